"""The log in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoheal.demo.story import Log, tell

TS = "2026-11-21T12:00:01.123456Z"


def test_a_line_is_told_once_and_only_when_it_is_whole(tmp_path: Path) -> None:
    """No file is an empty log; half a line waits for its other half; nothing is told twice."""
    log = Log(tmp_path / "audit.jsonl")
    assert list(log.new()) == []
    log.path.write_bytes(b'{"seq":1}\n{"se')
    assert list(log.new()) == [{"seq": 1}]
    assert list(log.new()) == []
    with log.path.open("ab") as file:
        file.write(b'q":2}\n{"seq":3}\n')
    assert list(log.new()) == [{"seq": 2}, {"seq": 3}]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"kind": "log_created"}, "12:00:01.123  log_created"),
        (
            {"kind": "service_started", "detail": {"version": "0.1.0", "pid": 7}},
            "12:00:01.123  service_started   autoheal 0.1.0, pid 7",
        ),
        (
            {"kind": "alert_firing", "alertname": "Down", "labels": {"instance": "127.0.0.1:1"}},
            "12:00:01.123  alert_firing      Down at 127.0.0.1:1",
        ),
        (
            {"kind": "alert_resolved", "alertname": "Down", "labels": {}},
            "12:00:01.123  alert_resolved    Down",
        ),
        (
            {
                "kind": "decision",
                "reason": "cooldown",
                "rule": "restart",
                "target": "api",
                "detail": {"guards": [{"passed": True}, {"passed": False}]},
            },
            "12:00:01.123  decision          cooldown: restart on api, 1 of 2 guards let it pass",
        ),
        (
            {"kind": "decision", "reason": "no_rule", "detail": {"guards": [{"passed": False}]}},
            "12:00:01.123  decision          no_rule: no rule, 0 of 1 guards let it pass",
        ),
        (
            {"kind": "action_started", "detail": {"description": "/bin/true api"}},
            "12:00:01.123  action_started    /bin/true api",
        ),
        (
            {"kind": "action_ok", "detail": {"exit_code": 0, "duration_ms": 35}},
            "12:00:01.123  action_ok         exit 0 in 35 ms",
        ),
        (
            {"kind": "action_ok", "detail": {"status": 204, "duration_ms": 35}},
            "12:00:01.123  action_ok         HTTP 204 in 35 ms",
        ),
        (
            {"kind": "action_fail", "detail": {"exit_code": 3, "duration_ms": 35, "error": "exit code 3"}},
            "12:00:01.123  action_fail       exit code 3 in 35 ms",
        ),
        (
            {"kind": "heal_confirmed", "rule": "restart", "target": "api", "reason": "probe_held"},
            "12:00:01.123  heal_confirmed    restart, api, probe_held",
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_each_record_is_one_line(record: dict[str, Any], told: str) -> None:
    """Time, kind, and what matters of that kind."""
    assert tell({"ts": TS, **record}, colour=False) == told


def test_colour_marks_what_matters() -> None:
    """The kind alone is coloured, and only where it means good or bad news."""
    failed = tell({"ts": TS, "kind": "action_fail", "detail": {"error": "no"}}, colour=True)
    assert failed == "12:00:01.123  \x1b[31maction_fail     \x1b[0m  no"
    assert "\x1b" not in tell({"ts": TS, "kind": "log_created"}, colour=True)
