"""Service time without a checkpoint, held against a plain model of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.journal.verify.service_time import ServiceTime
from autoheal.model import rfc3339

OPENING = {"log_repaired", "log_opened", "snapshot", "checkpoint"}
KINDS = ("decision", "checkpoint", "service_started", "service_stopped", "log_repaired", "log_opened", "snapshot")
Events = list[tuple[str, float]]


def overdue(events: Events, *, all_shown: bool) -> list[int]:
    """The seqs at which it had been too long; records that need not be shown are not, unless `all_shown`."""
    told: list[int] = []
    watch = ServiceTime(lambda seq, _: told.append(seq))
    before = ""
    for seq, (kind, now) in enumerate(events, 1):
        ts = rfc3339(now)
        if all_shown or ts > watch.limit or kind in ServiceTime.kinds:
            watch.take(kind, seq, ts, before)
        before = ts
    return told


def in_time(events: Events) -> bool:
    """The same, plainly: everything is shown, and only the verdict is told."""
    served, at, alive, number = 0.0, 0.0, False, 0
    unsigned = 0
    for kind, _ in events:
        unsigned = 0 if kind == "checkpoint" else unsigned + (kind == "service_started")
        if unsigned > 3:
            return False
    while number < len(events):
        kind, now = events[number]
        run = number
        if kind in OPENING - {"checkpoint"}:
            while run < len(events) and events[run][0] in OPENING:
                run += 1
            if run == len(events) or events[run][0] == "service_started":
                if "checkpoint" in [each for each, _ in events[number:run]]:
                    served = 0.0
                number = run
                continue
        if kind != "service_started" and alive:
            served += now - at
        if served > 600:
            return False
        served = 0.0 if kind == "checkpoint" else served
        at, alive, number = now, kind != "service_stopped", number + 1
    return True


def at(*steps: tuple[str, float]) -> Events:
    """Events, each so many seconds behind the one before."""
    now, events = 1_800_000_000.0, []
    for kind, seconds in steps:
        now += seconds
        events.append((kind, now))
    return events


STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 400).map(float)), min_size=1, max_size=30)


@given(STEPS)
def test_it_agrees_with_the_plain_model(steps: list[tuple[str, float]]) -> None:
    """Whatever the kinds and times."""
    events = at(("log_created", 0.0), *steps)
    assert bool(overdue(events, all_shown=True)) == (not in_time(events))


@given(STEPS)
def test_records_that_are_not_shown_change_nothing(steps: list[tuple[str, float]]) -> None:
    """`limit` never hides a record that matters."""
    events = at(("log_created", 0.0), *steps)
    assert overdue(events, all_shown=False) == overdue(events, all_shown=True)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # Exactly ten minutes are allowed, a second more is not.
        ([("service_started", 0), ("decision", 600), ("checkpoint", 0)], []),
        ([("service_started", 0), ("decision", 601)], [2]),
        ([("service_started", 0), ("checkpoint", 601)], [2]),
        # A stop, or the end of a life without one, is no service time.
        ([("service_started", 0), ("service_stopped", 10), ("service_started", 9999), ("decision", 580)], []),
        ([("service_started", 0), ("decision", 10), ("service_started", 9999), ("decision", 580)], []),
        # Lives add up.
        ([("service_started", 0), ("decision", 400), ("service_started", 9999), ("decision", 201)], [4]),
        # What a start adds before service_started belongs to it.
        ([("service_started", 0), ("decision", 1), ("log_repaired", 9999), ("service_started", 0)], []),
        (
            [
                ("service_started", 0),
                ("decision", 1),
                ("log_opened", 9999),
                ("snapshot", 0),
                ("checkpoint", 0),
                ("service_started", 0),
            ],
            [],
        ),
        # A rotation does not.
        ([("service_started", 0), ("log_opened", 700), ("snapshot", 0), ("checkpoint", 0), ("decision", 1)], [4]),
        # Three starts that nobody signed may be crashes; a fourth is none.
        ([("service_started", 0)] * 3, []),
        ([("service_started", 0)] * 4, [4]),
        ([("service_started", 0), ("checkpoint", 0)] * 4, []),
        # Work behind a stop counts again, whoever wrote that stop.
        ([("service_started", 0), ("service_stopped", 1), ("decision", 1), ("decision", 601)], [4]),
    ],
)
def test_what_counts(steps: list[tuple[str, float]], expected: list[int]) -> None:
    """Each rule by itself; seqs count from 1."""
    assert overdue(at(*steps), all_shown=False) == expected
