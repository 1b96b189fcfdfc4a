"""The machine's clock as the program sees it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.clock import SystemClock


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.wall, self.since = 1_790_000_000.0, 50.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.since += seconds


def test_it_is_the_machines_clock() -> None:
    """While nobody sets the clock back, `now` is what the machine says, steps forward included."""
    machine = Machine()
    clock = SystemClock(lambda: machine.wall, lambda: machine.since)
    for step in (0.0, 1.5, 3600.0):
        machine.pass_(step)
        assert clock.now() == machine.wall
    machine.wall += 7200
    assert clock.now() == machine.wall


def test_a_step_back_is_worn_off() -> None:
    """Set back by two hours, time goes on at half speed: a wait takes twice as long, and in the end all is well."""
    machine = Machine()
    clock = SystemClock(lambda: machine.wall, lambda: machine.since)
    begun = clock.now()
    machine.wall -= 7200
    assert clock.now() == begun
    machine.pass_(1200)
    assert clock.now() == pytest.approx(begun + 600)
    machine.pass_(4 * 3600)
    assert clock.now() == machine.wall


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), max_size=30))
def test_it_never_goes_back(steps: list[tuple[float, float]]) -> None:
    """Whatever is done to the machine's clock, `now` is never before what it was, nor before the machine's own."""
    machine = Machine()
    clock = SystemClock(lambda: machine.wall, lambda: machine.since)
    last = clock.now()
    for passed, jump in steps:
        machine.pass_(passed)
        machine.wall += jump
        now = clock.now()
        assert now >= max(last, machine.wall)
        last = now


async def test_it_sleeps() -> None:
    """`sleep` gives the event loop free and comes back; `monotonic` tells that time has passed."""
    clock = SystemClock()
    begun = clock.monotonic()
    await asyncio.wait_for(clock.sleep(0.01), 5)
    assert clock.monotonic() - begun >= 0.009
