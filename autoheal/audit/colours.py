"""A record as one line for people."""

from __future__ import annotations

import re
from typing import Any

import orjson

_RESET, _DIM, _BOLD, _RED, _GREEN, _YELLOW, _BLUE = "\033[0m", "\033[2m", "\033[1m", *(f"\033[3{n}m" for n in "1234")
_KIND_COLOURS = (
    (re.compile(r".*(fail|failed|rejected|escalated|repaired|interrupted).*"), _RED),
    (re.compile(r".*(_ok|confirmed|resolved)"), _GREEN),
    (re.compile(r"(alert_|action_|approval_).*|heal_inconclusive|decision"), _YELLOW),
    (re.compile(r".*"), _BLUE),
)
_FIELDS = ("rule", "target", "run", "step", "mode", "reason", "actor")
_BARE = re.compile(r"[^\s\"'=]+")
_MAX_VALUE = 120


def coloured(line: bytes, *, colours: bool) -> str:
    """Time, seq, kind, alert, and what else it tells in a word; without `colours` the same text alone.

    Labels are written by strangers: whatever could move a cursor, change colours or reorder text is escaped.
    """
    record: dict[str, Any] = orjson.loads(line)

    def paint(text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if colours else text

    kind = record["kind"]
    colour = next(colour for pattern, colour in _KIND_COLOURS if pattern.fullmatch(kind))
    words = [
        paint(f"{record['ts'][:10]} {record['ts'][11:23]}Z", _DIM),
        paint(f"{record['seq']:>7}", _DIM),
        paint(f"{kind:<18}", colour),
    ]
    if "alertname" in record:
        words.append(paint(_value(record["alertname"]), _BOLD))
    shown = {name: record[name] for name in _FIELDS if name in record}
    shown |= {name: value for name, value in record.get("detail", {}).items() if isinstance(value, str | int | float)}
    words += [f"{paint(_value(name) + '=', _DIM)}{_value(value)}" for name, value in shown.items()]
    return " ".join(words)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) > _MAX_VALUE:
        text = text[:_MAX_VALUE] + "…"
    escaped = "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)
    return escaped if _BARE.fullmatch(escaped) else '"' + escaped.replace('"', '\\"') + '"'


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
