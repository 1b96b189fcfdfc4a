"""Times at which rules do not act: `from` and `to` on a wall clock somewhere, each day, each week or once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from autoheal.rules.fields import Strict

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
YEARS = range(2000, 3000)
"""Of a dated window: anything else is a slip of the pen."""

_DAY = "|".join(DAYS)
_MOMENT_PATTERN = rf"(?:({_DAY}) |([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}) )?([0-9]{{2}}):([0-9]{{2}})"
_DAYS_PATTERN = rf"({_DAY})(?:-({_DAY}))?"
_MOMENT = re.compile(_MOMENT_PATTERN)
_RANGE = re.compile(_DAYS_PATTERN)


@dataclass(frozen=True, slots=True)
class Moment:
    """A wall clock's reading: `minutes` after midnight (1440 is the next one), each day, on a weekday (0 is Monday),
    or on a date.
    """

    text: str
    minutes: int
    weekday: int | None
    day: date | None


def _moment(value: Any) -> Moment:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} should be written like 22:00, Fri 16:00 or 2026-12-20 18:00")
    weekday, day, hours, minutes = found.groups()
    total = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or total > 24 * 60:
        raise ValueError(f"{value!r} is no time of day: they go from 00:00 to 24:00")
    try:
        on = None if day is None else date.fromisoformat(day)
    except ValueError as error:
        raise ValueError(f"{value!r} is no date: {error}") from None
    if on is not None and on.year not in YEARS:
        raise ValueError(f"{value!r} is not between {YEARS[0]} and {YEARS[-1]}")
    return Moment(value, total, None if weekday is None else DAYS.index(weekday), on)


def _weekdays(value: Any) -> frozenset[int]:
    days: set[int] = set()
    for part in value.split(",") if isinstance(value, str) else [""]:
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"{str(value)[:40]!r} should be written like Mon-Fri or Sat, Sun")
        first = DAYS.index(found[1])
        last = DAYS.index(found[2] or found[1])
        days |= {(first + after) % 7 for after in range((last - first) % 7 + 1)}
    return frozenset(days)


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (TypeError, ValueError, KeyError, OSError):
        raise ValueError(
            f"{str(value)[:60]!r} is not a time zone that this machine knows: write UTC, or one of the IANA database"
            " such as Europe/Berlin (Debian's package tzdata has it)"
        ) from None


_MOMENT_SCHEMA = {
    "type": "string",
    "pattern": f"^{_MOMENT_PATTERN}$",
    "description": "HH:MM, or a weekday or a date before it: Fri 16:00, 2026-12-20 18:00",
}
_DAYS_SCHEMA = {
    "type": "string",
    "pattern": f"^ *{_DAYS_PATTERN} *(?:, *{_DAYS_PATTERN} *)*$",
    "description": "Mon-Fri, or Sat, Sun",
}
MomentText = Annotated[Moment, PlainValidator(_moment), WithJsonSchema(_MOMENT_SCHEMA)]
DaysText = Annotated[frozenset[int], PlainValidator(_weekdays), WithJsonSchema(_DAYS_SCHEMA)]
ZoneText = Annotated[
    ZoneInfo, PlainValidator(_zone), WithJsonSchema({"type": "string", "description": "of the IANA database"})
]


class Freeze(Strict):
    """From `from` until just before `to`, on the clocks of `zone`; with `days`, only on those, by the day on which it
    begins.
    """

    from_: Annotated[MomentText, Field(alias="from")]
    to: MomentText
    zone: ZoneText
    days: DaysText | None = None

    @model_validator(mode="after")
    def _sound(self) -> Freeze:
        first, last = self.from_, self.to
        if (first.weekday is None, first.day is None) != (last.weekday is None, last.day is None):
            raise ValueError("`from` and `to` should be of one kind: two times, two weekdays or two dates")
        if self.days is not None and (first.weekday is not None or first.day is not None):
            raise ValueError("`days` is for a window of each day: `from` and `to` have a weekday or a date already")
        if first.minutes == 24 * 60:
            raise ValueError(f"`from: {first.text}` should be 00:00 of the next day")
        if first == last or (first.day is not None and self._once()[0] >= self._once()[1]):
            raise ValueError("`to` should be after `from`; a whole day is from 00:00 to 24:00")
        return self

    def __str__(self) -> str:
        days = "" if self.days is None else f"{','.join(DAYS[day] for day in sorted(self.days))} "
        return f"{days}{self.from_.text} to {self.to.text} {self.zone.key}"

    def until(self, now: float) -> float | None:
        """When the window in which `now` lies is over, both in epoch seconds; None outside of it."""
        spans = [self._once()] if self.from_.day is not None else self._around(now)
        return max((end for begin, end in spans if begin <= now < end), default=None)

    def _once(self) -> tuple[float, float]:
        assert self.from_.day is not None, "asked of a dated window only"
        assert self.to.day is not None, "a dated window has two dates"
        return self._begin(self.from_.day), self._end(self.to.day)

    def _around(self, now: float) -> Iterator[tuple[float, float]]:
        """Begin and end of every recurrence that may hold `now`."""
        today = datetime.fromtimestamp(now, self.zone).date()
        days, length = self._recurrence()
        # One that begins tomorrow, or has ended yesterday, may hold now where the clocks are changed at midnight.
        for back in range(-1, length + 2):
            day = today - timedelta(days=back)
            if day.weekday() in days:
                yield self._begin(day), self._end(day + timedelta(days=length))

    def _recurrence(self) -> tuple[Collection[int], int]:
        """The weekdays on which it begins, and how many midnights it goes over."""
        first, last = self.from_, self.to
        over = last.minutes <= first.minutes
        if first.weekday is None or last.weekday is None:
            return range(7) if self.days is None else self.days, int(over)
        between = (last.weekday - first.weekday) % 7
        return {first.weekday}, 7 if between == 0 and over else between

    # A reading that the clocks skip or show twice counts so that the window is the longer: it must not end too early.

    def _begin(self, day: date) -> float:
        return min(_instants(day, self.from_.minutes, self.zone))

    def _end(self, day: date) -> float:
        return max(_instants(day, self.to.minutes, self.zone))


def _instants(day: date, minutes: int, zone: ZoneInfo) -> tuple[float, float]:
    """The epoch seconds that a wall clock's reading may mean: PEP 495's two folds, nearly always the same."""
    local = datetime.combine(day, time_of_day()) + timedelta(minutes=minutes)
    return (
        local.replace(tzinfo=zone, fold=0).timestamp(),
        local.replace(tzinfo=zone, fold=1).timestamp(),
    )
