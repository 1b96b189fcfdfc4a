"""An acknowledgement with a real Alertmanager behind it, from a firing alert to a silence there, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.model import parse_rfc3339, rfc3339
from autoheal.wire import fingerprint
from tests.support.monitoring import alertmanager, gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: later
    match: alertname="DiskFull"
    target: '{{ labels.instance }}'
    mode: live
    for: 1h
    steps: [{command: {argv: [/bin/true]}}]
  - name: at-once
    match: alertname="DiskSlow"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/true]}}]
"""
LABELS = {"alertname": "DiskFull", "instance": "db-1", "path": 'a"b\\c\nж', "api_token": "hunter2"}


@dataclass
class Here:
    """A gateway and its Alertmanager, which can be stopped before the rest."""

    gateway: httpx.Client
    alertmanager: httpx.Client
    log: Path
    stop_alertmanager: ExitStack

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [
            found
            for line in self.log.read_bytes().rpartition(b"\n")[0].splitlines()
            if (found := orjson.loads(line))["kind"] == kind
        ]

    def fire(self, labels: dict[str, str]) -> str:
        """As Prometheus does; the fingerprint, once the gateway has been told."""
        now = SystemClock().now()
        body = [{"labels": labels, "startsAt": rfc3339(now - 5), "endsAt": rfc3339(now + 600)}]
        self.alertmanager.post("/api/v2/alerts", json=body).raise_for_status()
        known = fingerprint(labels)
        wait_until(
            lambda: known in {record["fingerprint"] for record in self.records("alert_firing")}, what="alert_firing"
        )
        return known

    def silences(self, state: str = "active") -> list[dict[str, Any]]:
        found = self.alertmanager.get("/api/v2/silences").raise_for_status().json()
        return [silence for silence in found if silence["status"]["state"] == state]

    def reasons(self, known: str) -> list[str]:
        return [record["reason"] for record in self.records("decision") if record["fingerprint"] == known]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with _world(tmp_path) as made:
        yield made


@contextmanager
def _world(folder: Path) -> Iterator[Here]:
    port, behind = free_port(), free_port()
    dead = free_port()
    env = {
        "AUTOHEAL_DRY_RUN": "false",
        "ALERTMANAGER_URL": f"http://127.0.0.1:{dead},http://127.0.0.1:{behind}",
    }
    with ExitStack() as stack:
        stack.enter_context(gateway(folder, port, RULES, env))
        alone = stack.enter_context(ExitStack())
        alone.enter_context(alertmanager(folder, behind, f"http://127.0.0.1:{port}/alert"))
        clients = [
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{one}", trust_env=False, timeout=20))
            for one in (port, behind)
        ]
        yield Here(clients[0], clients[1], folder / "data" / "audit.jsonl", alone)


def test_an_acknowledged_alert_is_silenced_there(here: Here) -> None:
    """In the operator's name, by the labels that are no secret, for five minutes at first, whatever was answered; then
    shorter, at the operator's word, and as one silence. The log tells it, and nothing of the secret.
    """
    known = here.fire(LABELS)
    wait_until(lambda: here.reasons(known) == ["not_yet"], what="the first decision")
    answer = here.gateway.post("/ack", json={"fingerprint": known, "duration": "2h", "comment": "on it"})
    assert answer.status_code == 201, answer.text
    (silence,) = here.silences()
    assert silence["id"] == answer.json()["silence_id"]
    assert (silence["createdBy"], silence["comment"]) == ("local", "on it")
    assert abs(parse_rfc3339(answer.json()["until"]) - parse_rfc3339(silence["endsAt"]) - (7200 - 300)) < 0.002
    assert {each["name"]: each["value"] for each in silence["matchers"]} == {
        name: value for name, value in LABELS.items() if name != "api_token"
    }
    assert not any(each["isRegex"] for each in silence["matchers"])

    def muted() -> bool:
        (alert,) = here.alertmanager.get("/api/v2/alerts").raise_for_status().json()
        return bool(alert["status"]["silencedBy"] == [silence["id"]])

    wait_until(muted, what="the alert to be silenced")
    again = here.gateway.post("/ack", json={"fingerprint": known, "duration": "4m"})
    assert again.status_code == 201, again.text
    assert [one["id"] for one in here.silences()] == [again.json()["silence_id"]]
    assert [record["detail"]["silence_id"] for record in here.records("silence_created")] == [
        silence["id"],
        again.json()["silence_id"],
    ]
    assert here.records("silence_created")[1]["detail"]["replaces"] == silence["id"]
    assert b"hunter2" not in here.log.read_bytes()


def test_what_matchers_cover_is_left_alone_until_they_are_taken_back(here: Here) -> None:
    """Also an alert that comes later, from another Alertmanager, say; a silence of one second ends it, and by its own
    timer the gateway acts.
    """
    body = {"matchers": ['alertname=~"Disk.*"', 'instance!="db-9"']}
    assert here.gateway.post("/ack", json=body).status_code == 201
    (silence,) = here.silences()
    assert {(each["name"], each["value"], each["isRegex"], each["isEqual"]) for each in silence["matchers"]} == {
        ("alertname", "Disk.*", True, True),
        ("instance", "db-9", False, False),
    }
    slow = {"alertname": "DiskSlow", "instance": "db-1"}
    alert = {"status": "firing", "labels": slow, "startsAt": rfc3339(SystemClock().now()), "annotations": {}}
    here.gateway.post("/alert", json={"version": "4", "alerts": [alert]}).raise_for_status()
    wait_until(lambda: here.reasons(fingerprint(slow)) == ["acked"], what="the decision acked")
    assert here.gateway.post("/ack", json={**body, "duration": "1s"}).status_code == 201
    wait_until(lambda: len(here.records("action_ok")) == 1, what="the action")
    assert here.reasons(fingerprint(slow)) == ["acked", "act"]
    wait_until(lambda: not here.silences(), what="the end of the silence")


def test_without_alertmanager_it_is_502(here: Here) -> None:
    """The answer names each that was asked, and the log keeps the request and that it failed."""
    known = here.fire(LABELS)
    here.stop_alertmanager.close()
    answer = here.gateway.post("/ack", json={"fingerprint": known})
    assert answer.status_code == 502
    assert answer.json()["detail"].count(" (silences): ") == 2
    (requested,) = here.records("silence_requested")
    (failed,) = here.records("silence_failed")
    assert failed["detail"]["request"] == requested["seq"]
    assert here.records("silence_created") == []
