"""Durations and budget windows as people write them: `1h30m`, `3/1h`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

DAY = 86400.0
MAX_DURATION = 365 * DAY
MAX_WINDOW = 31 * DAY

_UNITS = {"y": 365 * DAY, "w": 7 * DAY, "d": DAY, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION_PATTERN = "".join(rf"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS)
_DURATION = re.compile(_DURATION_PATTERN)
_WINDOW = re.compile(r"([0-9]{1,6})/([0-9a-z]+)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%")


def parse_duration(text: object) -> float:
    """Seconds of a duration in Prometheus's notation: `1h30m`, `250ms`, `0s`; `0` alone needs no unit.

    Units are `y` (365 days), `w`, `d`, `h`, `m`, `s` and `ms`, each at most once and in this order.
    Raises ValueError for anything else, and beyond 365 days.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        if text == 0:
            return 0.0
        raise ValueError(f"{text} has no unit: write {text}s for seconds")
    if text == "0":
        return 0.0
    found = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if found is None:
        raise ValueError(f"{_shown(text)} is not a duration: write it like 30s, 5m or 1h30m (units y w d h m s ms)")
    seconds = sum(int(count) * unit for count, unit in zip(found.groups(), _UNITS.values(), strict=True) if count)
    if seconds > MAX_DURATION:
        raise ValueError(f"{_shown(text)} is longer than 365d")
    return seconds


@dataclass(frozen=True, slots=True)
class Window:
    """At most `count` runs within any span of `seconds`."""

    count: int
    seconds: float


def parse_window(text: object) -> Window:
    """A `Window` from `N/DURATION`, as in `3/1h`; one that is a `Window` already stays.

    Raises ValueError for anything else: N counts from 1 to 999999 and the span is longer than 0 and at most 31 days.
    """
    if isinstance(text, Window):
        return text
    found = _WINDOW.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{_shown(text)} is not a budget: write it like 3/1h, at most 3 in any hour")
    count, seconds = int(found[1]), parse_duration(found[2])
    if count == 0:
        raise ValueError("a budget of 0 never acts: say so with `mode: off`")
    if not 0 < seconds <= MAX_WINDOW:
        raise ValueError(f"the span of {_shown(text)} is not between 1ms and 31d")
    return Window(count, seconds)


def parse_storm(text: object) -> Window | Literal["off"]:
    """At most how many targets in any span so long, or `off`. Raises ValueError: the span is at most a day."""
    if text == "off":
        return "off"
    try:
        window = parse_window(text)
    except ValueError:
        window = Window(0, 0.0)
    if not 0 < window.seconds <= DAY:
        raise ValueError(f"{_shown(text)} is not off, or N/DURATION such as 30/10m with a span of at most 1d")
    return window


def parse_percent(text: object) -> float:
    """The number before the sign of `25%` or `0.5%`: more than 0, at most 100. Raises ValueError for anything else."""
    found = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{_shown(text)} is not a share: write it like 25% or 0.5%")
    percent = float(found[1])
    if percent == 0:
        raise ValueError("a share of 0% never acts: say so with `mode: dry_run`")
    if percent > 100:
        raise ValueError(f"{_shown(text)} is more than all")
    return percent


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be longer than 0s")
    return seconds


def _shown(value: object) -> str:
    return repr(value if isinstance(value, str) else str(value))[:60]


_DURATION_SCHEMA = WithJsonSchema(
    {
        "description": "a duration in Prometheus's notation: 30s, 5m, 1h30m, 250ms",
        "anyOf": [{"const": 0}, {"type": "string", "pattern": f"^(?:0|(?=.){_DURATION_PATTERN.replace('?:', '')})$"}],
    }
)
Duration = Annotated[float, BeforeValidator(parse_duration), _DURATION_SCHEMA]
"""A field that holds seconds and is written as a duration; 0s is allowed."""

Timeout = Annotated[float, BeforeValidator(parse_duration), AfterValidator(_positive), _DURATION_SCHEMA]
"""As `Duration`, but longer than 0s."""

Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?%$", "description": "a share: 25%, 0.5%"}),
]
"""A field that holds a percentage, more than 0 and at most 100, and is written as `25%`."""

Storm = Annotated[
    Window | Literal["off"],
    PlainValidator(parse_storm),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(off|[0-9]{1,6}/[0-9a-z]+)$",
            "description": "N/DURATION: more targets in any span so long are a storm; or off",
        }
    ),
]
"""A field that holds a `Window` or `off`."""

Budget = Annotated[
    Window,
    PlainValidator(parse_window),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{1,6}/[0-9a-z]+$",
            "description": "N/DURATION: at most N runs in any span so long",
        }
    ),
]
"""A field that holds a `Window` and is written as `N/DURATION`."""
