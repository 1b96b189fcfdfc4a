"""The audit log as a story: each record one line, in words, as the log grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

Line = Mapping[str, Any]

_BAD, _GOOD, _NEWS = "\x1b[31m", "\x1b[32m", "\x1b[33m"
_PLAIN = "\x1b[0m"
_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "alert_firing": _BAD,
        "action_fail": _BAD,
        "action_interrupted": _BAD,
        "heal_failed": _BAD,
        "escalated": _BAD,
        "decision": _NEWS,
        "heal_inconclusive": _NEWS,
        "action_ok": _GOOD,
        "alert_resolved": _GOOD,
        "heal_confirmed": _GOOD,
    }
)


class Log:
    """Reads what is new in a growing JSONL file that need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self) -> Iterator[Line]:
        """The records written since the last call; a line without its end is left for later."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield orjson.loads(line)


def tell(record: Line, *, colour: bool) -> str:
    """`12:00:01.123  action_ok  exit 0 in 35 ms`: the time of day is UTC, as in the log."""
    kind = record["kind"]
    shown = f"{kind:<16}"
    if colour and kind in _COLOURS:
        shown = f"{_COLOURS[kind]}{shown}{_PLAIN}"
    return f"{record['ts'][11:23]}  {shown}  {_words(record, record.get('detail', {}))}".rstrip()


def _words(record: Line, detail: Line) -> str:
    match record["kind"]:
        case "service_started":
            return f"autoheal {detail['version']}, pid {detail['pid']}"
        case "alert_firing" | "alert_resolved":
            instance = record["labels"].get("instance")
            return f"{record['alertname']} at {instance}" if instance else str(record["alertname"])
        case "decision":
            return _decision(record, detail)
        case "action_started":
            return str(detail["description"])
        case "action_ok" | "action_fail":
            return _outcome(detail)
        case _:
            return ", ".join(str(record[key]) for key in ("rule", "target", "reason") if key in record)


def _decision(record: Line, detail: Line) -> str:
    about = " on ".join(str(record[key]) for key in ("rule", "target") if key in record)
    passed = sum(guard["passed"] for guard in detail["guards"])
    return f"{record['reason']}: {about or 'no rule'}, {passed} of {len(detail['guards'])} guards let it pass"


def _outcome(detail: Line) -> str:
    how = detail.get("error")
    if how is None:
        how = f"exit {detail['exit_code']}" if "exit_code" in detail else f"HTTP {detail.get('status')}"
    return f"{how} in {detail['duration_ms']} ms" if "duration_ms" in detail else str(how)
