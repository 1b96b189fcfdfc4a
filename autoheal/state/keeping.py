"""How long things are remembered, and how they are forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ENDS_KEPT = 24 * 3600.0
"""How long the end of an episode is remembered to tell a stale firing from a new one, seconds."""
CHARGES_KEPT = 31 * 86400.0
"""How long budget charges are kept, seconds: no budget window may be longer."""
LAST_ACTIONS_KEPT = 366 * 86400.0
"""How long the last action on a target is kept, seconds: no cooldown may be longer."""
TARGETS_KEPT = 86400.0
"""How long it is kept that a rule's alert was about a target, seconds: no storm's window may be longer."""
CLOCK_SET_BACK = 86400.0
"""How far a machine's clock may have been set back before a start, seconds: until it has caught up, `ts` runs ahead of
the time by which decisions are made, and what seems to be over may last."""
ENDED_RUNS_KEPT = 1000
SELFTESTS_KEPT = 20
REMEMBERED = 100_000
"""How many ends, and how many targets of a rule, are kept at most, the newest: whoever makes up alerts must not fill
the memory.
"""


def given(value: T | None) -> T:
    """A field that every record of the kind has."""
    assert value is not None, "the log's writer always sets this field"
    return value


def forget(
    entries: dict[str, T],
    now: float,
    since: Callable[[T], float],
    kept: float = ENDS_KEPT,
    at_most: float = float("inf"),
) -> list[T]:
    """Drop the entries that are older than `kept` seconds, and the oldest beyond `at_most`; those that were dropped."""
    # Entries are in the order of their times (ts never decreases), so the old ones stand first.
    dropped: list[T] = []
    while entries:
        oldest = next(iter(entries))
        if now - since(entries[oldest]) <= kept and len(entries) <= at_most:
            break
        dropped.append(entries.pop(oldest))
    return dropped
