"""How much of a population a rule may have under treatment at the same time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from autoheal.rules.fields import ProbeQuery, Strict

MOST = 999_999
_SHARE = re.compile(r"([0-9]{1,3})%")


@dataclass(frozen=True, slots=True)
class AtMost:
    """A number, or a share in percent."""

    count: int
    percent: bool

    def __str__(self) -> str:
        return f"{self.count}%" if self.percent else str(self.count)

    def of(self, population: float) -> int:
        """How many of `population` (finite) that are; rounded down, and never more than there are."""
        # Whole numbers: with floats 29% of 100 may be 28.
        there = max(0, int(population))
        return there * self.count // 100 if self.percent else min(self.count, there)


def _at_most(value: Any) -> AtMost:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST:
        return AtMost(value, percent=False)
    found = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= 100:
        raise ValueError(f"{str(value)[:40]!r} is neither a whole number from 1 to {MOST} nor a share from 1% to 100%")
    return AtMost(int(found[1]), percent=True)


_SCHEMA = {
    "description": "a number, or a share such as 10%",
    "anyOf": [
        {"type": "integer", "minimum": 1, "maximum": MOST},
        {"type": "string", "pattern": "^(100|[1-9][0-9]?)%$"},
    ],
}


class Fleet(Strict):
    """At most `at_most` of as many as the query `of` counts, this rule's runs for the same query taken together."""

    at_most: Annotated[AtMost, PlainValidator(_at_most), WithJsonSchema(_SCHEMA)]
    of: ProbeQuery
