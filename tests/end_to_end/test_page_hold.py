"""What autoheal tells a real Alertmanager, with the routes and the inhibit rule of deploy/alertmanager.yml."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.model import rfc3339
from tests.support import impatient_gateway
from tests.support.called import People, people
from tests.support.components import require
from tests.support.monitoring import ALERTMANAGER_EXAMPLE, ROOT, alertmanager, gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart
    match: alertname="ApiDown"
    target: '{{ labels.instance }}'
    mode: live
    page_hold: true
    steps:
      - command: {argv: [/bin/true]}
        verify: {probe: {command: {argv: [/usr/bin/test, -e, HEALED]}, within: 10m}}
  - name: hopeless
    match: alertname="DiskFull"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/false]}}]
"""
IMPATIENT = (sys.executable, impatient_gateway.__file__)
TRIGGER = {"alertname": "ApiDown", "instance": "api-1", "severity": "warning"}
PAGE = {"alertname": "ApiDownForLong", "target": "api-1", "severity": "page"}


@dataclass
class Here:
    """A gateway, its Alertmanager, and the people whom that calls."""

    process: subprocess.Popen[bytes]
    start_again: Callable[[], None]
    gateway: str
    alertmanager: httpx.Client
    people: People
    folder: Path

    def fire(self, *alerts: dict[str, str], ends_in: float = 600) -> None:
        """As Prometheus does."""
        now = SystemClock().now()
        times = {"startsAt": rfc3339(now - 9), "endsAt": rfc3339(now + ends_in)}
        body = [{"labels": labels, **times} for labels in alerts]
        self.alertmanager.post("/api/v2/alerts", json=body).raise_for_status()

    def alert(self, name: str) -> dict[str, Any] | None:
        """The alert of that name that fires there now."""
        found = self.alertmanager.get("/api/v2/alerts").raise_for_status().json()
        return next((alert for alert in found if alert["labels"]["alertname"] == name), None)

    def held(self) -> bool:
        """Whether the alert that would page is held back now."""
        alert = self.alert(PAGE["alertname"])
        return alert is not None and bool(alert["status"]["inhibitedBy"])

    def kinds(self) -> list[str]:
        lines = (self.folder / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        return [orjson.loads(line)["kind"] for line in lines]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    port, behind = free_port(), free_port()
    env = {"AUTOHEAL_DRY_RUN": "false", "ALERTMANAGER_URL": f"http://127.0.0.1:{behind}", "PYTHONPATH": str(ROOT)}
    rules = RULES.replace("HEALED", str(tmp_path / "healed"))
    with ExitStack() as stack:
        called = stack.enter_context(people())
        stack.enter_context(alertmanager(tmp_path, behind, f"http://127.0.0.1:{port}/alert", people=called.url))
        base = f"http://127.0.0.1:{behind}"
        client = stack.enter_context(httpx.Client(base_url=base, trust_env=False, timeout=20))
        killed, later = (stack.enter_context(ExitStack()) for _ in range(2))
        process = killed.enter_context(gateway(tmp_path, port, rules, env, IMPATIENT))

        def start_again() -> None:
            later.enter_context(gateway(tmp_path, port, rules, env, IMPATIENT))

        yield Here(process, start_again, f"http://127.0.0.1:{port}", client, called, tmp_path)
        if process.poll() == -signal.SIGKILL:
            killed.pop_all()  # it cannot stop in good order


def test_a_page_waits_while_a_run_is_at_work(here: Here) -> None:
    """Only the alert that would page is held back, and nobody hears of it when the run heals."""
    here.fire(TRIGGER)
    wait_until(lambda: here.alert("AutohealActive") is not None, what="AutohealActive")
    here.fire(PAGE)
    wait_until(here.held, what="the page to be held back")
    wait_until(lambda: bool(here.people.called("firing", alertname="ApiDown")), what="the other alert to go out")
    # Longer than one post reaches: it is repeated.
    first = here.alert("AutohealActive")
    assert first is not None
    wait_until(lambda: (here.alert("AutohealActive") or first)["endsAt"] > first["endsAt"], what="a repetition")
    here.fire(PAGE, ends_in=0)
    wait_until(lambda: here.alert(PAGE["alertname"]) is None, what="the end of the page")
    (here.folder / "healed").touch()
    wait_until(lambda: "heal_confirmed" in here.kinds(), what="heal_confirmed")
    wait_until(lambda: here.alert("AutohealActive") is None, what="the end of AutohealActive")
    assert here.people.called("firing", alertname=PAGE["alertname"]) == []
    assert [call for call in here.people.calls if call["labels"]["alertname"].startswith("Autoheal")] == []


def test_what_was_left_to_people_is_never_held_back(here: Here) -> None:
    """A run on the target of one that has failed must not hide that, whatever the severity is called."""
    here.fire(TRIGGER)
    wait_until(lambda: here.alert("AutohealActive") is not None, what="AutohealActive")
    here.fire(PAGE, {"alertname": "AutohealFailed", "target": "api-1", "severity": "page", "rule": "other"})
    wait_until(here.held, what="the page to be held back")
    wait_until(lambda: bool(here.people.called("firing", alertname="AutohealFailed")), what="the call")


def test_a_gateway_that_is_killed_over_a_run_holds_nothing_back(here: Here) -> None:
    """What it said lapses by itself, and people are called."""
    here.fire(TRIGGER)
    wait_until(lambda: here.alert("AutohealActive") is not None, what="AutohealActive")
    here.fire(PAGE)
    wait_until(here.held, what="the page to be held back")
    assert here.people.called("firing", alertname=PAGE["alertname"]) == []
    here.process.kill()
    here.process.wait()
    wait_until(lambda: bool(here.people.called("firing", alertname=PAGE["alertname"])), what="the page")
    assert here.alert("AutohealActive") is None


def test_a_silence_does_not_outlive_the_gateway(here: Here) -> None:
    """It is extended for as long as that lives; then people are called, until the next life makes it anew."""
    slow = {"alertname": "Slow", "instance": "api-1"}
    ack = {"matchers": 'alertname="Slow"', "duration": "1h", "comment": "on it"}
    answer = httpx.post(f"{here.gateway}/ack", json=ack, trust_env=False)
    assert answer.status_code == 201, answer.text

    def silences() -> list[dict[str, Any]]:
        found = here.alertmanager.get("/api/v2/silences").raise_for_status().json()
        return [silence for silence in found if silence["status"]["state"] == "active"]

    (first,) = silences()
    here.fire(slow)
    wait_until(lambda: silences()[0]["updatedAt"] > first["endsAt"], what="extensions beyond its first end")
    (longer,) = silences()
    assert (longer["id"], longer["createdBy"], longer["comment"]) == (answer.json()["silence_id"], "local", "on it")
    assert here.people.called("firing", alertname="Slow") == []
    here.process.kill()
    here.process.wait()
    wait_until(lambda: bool(here.people.called("firing", alertname="Slow")), what="the call")
    assert silences() == []
    here.start_again()
    wait_until(lambda: len(silences()) == 1, what="the silence of the next life")
    assert silences()[0]["createdBy"] == "local"
    wait_until(lambda: here.kinds().count("silence_extended") == 1, what="silence_extended")


def test_what_is_left_to_people_reaches_them(here: Here) -> None:
    """With rule, target and why, until the alert itself has ended; the log says that it was taken."""
    cause = {"alertname": "DiskFull", "instance": "db-1", "severity": "critical"}
    here.fire(cause)
    wait_until(lambda: bool(here.people.called("firing", alertname="AutohealFailed")), what="the call")
    call = here.people.called("firing", alertname="AutohealFailed")[0]
    assert call["labels"] == {
        "alertname": "AutohealFailed",
        "autoheal": "failed",
        "rule": "hopeless",
        "target": "db-1",
        "cause": "DiskFull",
        "severity": "critical",
    }
    assert call["annotations"]["reason"] == "steps_exhausted"
    wait_until(lambda: here.kinds().count("notified") == 1, what="notified")
    here.fire(cause, ends_in=0)
    wait_until(lambda: bool(here.people.called("resolved", alertname="AutohealFailed")), what="the end of it")


def test_the_example_is_a_configuration() -> None:
    """What amtool says."""
    subprocess.run([require("amtool"), "check-config", ALERTMANAGER_EXAMPLE], check=True, capture_output=True)
