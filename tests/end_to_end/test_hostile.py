"""Hostile webhooks against the true gateway with a live rule: a clear answer, no traceback, no shell, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until

RULES = """\
version: 1
budget: [999999/1h]
storm: off
rules:
  - name: echo
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 0s
    steps:
      - command: {argv: [/bin/echo, '{{ target }}', '{{ labels.extra }}']}
        verify: {probe: {command: {argv: [/bin/true]}}}
"""
NOBODY = "1970-01-01T00:00:00Z"


@dataclass
class Gateway:
    url: str
    folder: Path

    def post(self, body: bytes | Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
        with httpx.Client(trust_env=False, timeout=60) as client:
            return client.post(f"{self.url}/alert", content=content, headers=headers)

    def records(self, fingerprint: str) -> list[dict[str, Any]]:
        lines = (self.folder / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        return [record for record in map(orjson.loads, lines) if record.get("fingerprint") == fingerprint]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One gateway for all of this; at the end its own log must hold no traceback."""
    folder, port = tmp_path_factory.mktemp("hostile"), free_port()
    with gateway(folder, port, RULES, {"AUTOHEAL_DRY_RUN": "false"}):
        yield Gateway(f"http://127.0.0.1:{port}", folder)
    said = (folder / "gateway.log").read_text()
    assert "Traceback" not in said
    assert '"level": "error"' not in said


def alert(fingerprint: int = 1, **labels: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "Down", "instance": "host", "extra": "x", **labels},
        "annotations": {},
        "startsAt": "2026-11-21T05:00:00Z",
        "fingerprint": f"{fingerprint:016x}",
    }


def body(*alerts: Any) -> dict[str, Any]:
    return {"version": "4", "status": "firing", "receiver": "r", "alerts": list(alerts)}


METACHARACTERS = ["$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED #", "a\ntouch PWNED\n", "'\"\\&&"]


@pytest.mark.parametrize("text", METACHARACTERS)
def test_no_shell_ever_reads_a_label(here: Gateway, text: str) -> None:
    """Metacharacters and line breaks reach the program as they are, as one argument."""
    text = text.replace("PWNED", str(here.folder / "pwned"))
    fingerprint = 0x1000 + METACHARACTERS.index(text.replace(str(here.folder / "pwned"), "PWNED"))
    assert here.post(body(alert(fingerprint, extra=text, instance=f"host-{fingerprint}"))).status_code == 200
    key = f"{fingerprint:016x}"
    wait_until(lambda: any(r["kind"] == "heal_confirmed" for r in here.records(key)), what="the echo")
    done = next(record for record in here.records(key) if record["kind"] == "action_ok")
    assert done["detail"]["output"] == f"host-{fingerprint} {text}\n"
    assert not (here.folder / "pwned").exists()


@pytest.mark.parametrize(
    ("number", "labels"),
    [
        (1, {"instance": ""}),
        (2, {"instance": "a\x00b"}),
        (3, {"extra": "-rf"}),
        (4, {"extra": "⟦secret:x⟧"}),
        (5, {"instance": "x" * 40_000}),
        (6, {"instance": "x" * 25_000}),
        (7, {"instance": "\x01" * 5_000}),
    ],
)
def test_a_label_that_is_no_safe_value_is_a_bad_target(here: Gateway, number: int, labels: dict[str, str]) -> None:
    """Empty targets, NUL bytes, options in disguise, forged secrets and endless names are refused, and say why."""
    assert here.post(body(alert(0x2000 + number, **labels))).status_code == 200
    key = f"{0x2000 + number:016x}"
    wait_until(lambda: any(record["kind"] == "decision" for record in here.records(key)), what="the decision")
    decision = here.records(key)[-1]
    assert decision["reason"] == "bad_target"
    assert decision["detail"]["guards"][-1]["error"]


BAD = [
    b"",
    b"\x00",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"{}",
    b'{"alerts": null}',
    b'{"alerts": [null]}',
    b'{"alerts": [{}]}',
    b'{"version": "3", "alerts": []}',
    b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": "\xff"}}]}',
    b"[" * 100_000,
    b'{"alerts":' * 50_000,
    b'{"version": "4", "alerts": [{"labels": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}]}",
    b'{"version": "4", "alerts": [], "truncatedAlerts": 1e999}',
    b'{"version": "4", "alerts": [], "truncatedAlerts": ' + b"9" * 5000 + b"}",
    b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": "\\ud800"}, "startsAt": "x"}]}',
    b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": "b"}, "startsAt": 1e400}]}',
    b"text=a&b=c",
]


@pytest.mark.parametrize("content", BAD, ids=range(len(BAD)))
def test_a_body_that_is_no_webhook_is_400(here: Gateway, content: bytes) -> None:
    """Whatever it is, the answer is a problem in JSON, short, and says what was wrong."""
    answer = here.post(content)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert len(answer.content) < 16_384


@pytest.mark.parametrize(
    "change",
    [
        {"status": None},
        {"status": "sideways"},
        {"labels": None},
        {"labels": {}},
        {"labels": {"a": 1}},
        {"labels": []},
        {"startsAt": None},
        {"startsAt": "yesterday"},
        {"startsAt": "9999-12-31T23:59:60Z"},
        {"endsAt": "never"},
        {"fingerprint": "../../etc/passwd"},
        {"annotations": "x"},
        {"labels": {"alertname": "Down", "big": "x" * 65_536}},
    ],
)
def test_a_bad_alert_is_named_and_its_good_neighbour_taken(here: Gateway, change: dict[str, Any]) -> None:
    """Alone it is a 400 that names the field; beside a good one it is `rejected` and the good one is accepted."""
    bad = {**alert(0x3000), **change}
    alone = here.post(body(bad))
    assert alone.status_code == 400
    assert next(iter(change)) in alone.text
    beside = here.post(body(bad, alert(0x3001, alertname="Calm")))
    assert beside.status_code == 200, beside.text
    assert (beside.json()["accepted"], beside.json()["rejected"]) == (1, 1)


def test_dates_at_the_edge_of_the_calendar_are_taken(here: Gateway) -> None:
    """Dates at both ends of what RFC 3339 can write are dates like others."""
    for number, moment in enumerate(("0001-01-02T00:00:00Z", "9999-12-30T23:59:59.999999999Z", NOBODY)):
        one = {**alert(0x4000 + number, instance=f"date-{number}"), "startsAt": moment}
        assert here.post(body(one)).status_code == 200
        key = f"{0x4000 + number:016x}"
        wait_until(lambda key=key: here.records(key)[-1]["kind"] == "heal_confirmed", what="a run")


def test_a_body_beyond_8_mib_is_413(here: Gateway) -> None:
    """Not read to its end, and not taken."""
    assert here.post(b" " * (8 * 1024 * 1024 + 1)).status_code == 413


def test_ten_thousand_alerts_in_one_body(here: Gateway) -> None:
    """Accepted whole: each has its record and its decision; the service answers on."""
    alerts = [alert(0x100000 + number, alertname="Calm", instance=f"h{number}") for number in range(10_000)]
    answer = here.post(body(*alerts))
    assert answer.status_code == 200
    assert answer.json()["firing"] == 10_000
    log = here.folder / "data" / "audit.jsonl"
    wait_until(lambda: log.read_bytes().count(b'"reason":"no_rule"') >= 10_000, seconds=60, what="10,000 decisions")
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{here.url}/healthz").status_code == 200
