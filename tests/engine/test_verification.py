"""Verification: all that is named must hold, and unknown is never success."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from autoheal.engine.verification import Evidence, Outcome, Standing, Verdict, verify
from tests.support.clock import FakeClock, settle


class World:
    """What verification sees, as a test sets it."""

    def __init__(self, *, api: Standing | None = None) -> None:
        self.clock = FakeClock()
        self.how: str | None = None
        self.api = api
        self.asked = 0
        self.up: bool | None = False
        self.changed = asyncio.Event()

    async def ask(self) -> Standing:
        self.asked += 1
        assert self.api is not None
        return self.api

    async def probe(self, spec: Mapping[str, Any]) -> tuple[bool | None, dict[str, Any]]:
        return self.up, {"up": self.up}

    def begin(self, passed: float = 0.0, **spec: Any) -> asyncio.Task[Verdict]:
        evidence = Evidence(
            resolution=lambda: self.how,
            changed=self.changed,
            ask=None if self.api is None else self.ask,
            probe=self.probe,
        )
        return asyncio.ensure_future(verify(spec, self.clock.now() - passed, evidence, self.clock))

    async def resolve(self, how: str = "webhook") -> None:
        self.how = how
        self.changed.set()
        await settle()


TCP = {"tcp": "127.0.0.1:1", "within": 60.0, "stable": 0.0}


async def test_a_resolution_in_time_confirms() -> None:
    """The alert's end within `resolved_within` is a confirmation, at once."""
    world = World()
    task = world.begin(resolved_within=300.0)
    await world.clock.advance(299)
    await world.resolve()
    assert task.result() == Verdict(Outcome.CONFIRMED, "resolved", {"resolved": "webhook"})


async def test_what_cannot_be_known_at_the_deadline_is_inconclusive() -> None:
    """Before it, that is no matter; behind it neither the last yes counts nor the last no."""
    for before in (False, None):
        world = World()
        world.up = before
        task = world.begin(probe={"promql": "up", "within": 60.0, "stable": 10.0})
        await world.clock.advance(55)
        world.up = True
        await world.clock.advance(4)
        world.up = None
        await world.clock.advance(2)
        assert await task == Verdict(Outcome.INCONCLUSIVE, "prometheus_unknown", {"probe": {"up": None}})


async def test_no_resolution_in_time_fails() -> None:
    """Without an API to ask, the deadline is the end."""
    world = World()
    task = world.begin(resolved_within=300.0)
    await world.clock.advance(300)
    assert (await task).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("api", "outcome", "reason"),
    [
        ("firing", Outcome.FAILED, "not_resolved"),
        ("silenced", Outcome.INCONCLUSIVE, "silenced"),
        ("unknown", Outcome.INCONCLUSIVE, "alertmanager_unknown"),
    ],
)
async def test_the_api_has_the_last_word_at_the_deadline(api: Standing, outcome: Outcome, reason: str) -> None:
    """Silenced there, or no answer, is inconclusive; firing is a failure. It is asked every 15 s until then."""
    world = World(api=api)
    task = world.begin(resolved_within=60.0)
    await world.clock.advance(59)
    assert world.asked == 3
    assert not task.done()
    await world.clock.advance(1)
    verdict = await task
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


async def test_the_api_may_tell_the_end_first() -> None:
    """An end that the API tells of confirms, also when no resolution is ever delivered (a silence)."""
    world = World(api="ended")
    task = world.begin(resolved_within=300.0)
    await world.clock.advance(300)
    assert (await task).outcome is Outcome.CONFIRMED


async def test_a_probe_must_begin_to_hold_in_time_and_stay() -> None:
    """`within` bounds when a probe first holds, `stable` how long it must go on to."""
    world = World()
    task = world.begin(probe={**TCP, "stable": 10.0})
    await world.clock.advance(55)
    world.up = True
    await world.clock.advance(10)
    assert not task.done()
    await world.clock.advance(2)
    assert (await task).outcome is Outcome.CONFIRMED


async def test_a_probe_that_flaps_after_the_deadline_fails() -> None:
    """A probe that drops during `stable` and has no time left has failed."""
    world = World()
    task = world.begin(probe={**TCP, "stable": 30.0})
    await world.clock.advance(50)
    world.up = True
    await world.clock.advance(15)
    world.up = False
    await world.clock.advance(2)
    assert (await task).outcome is Outcome.FAILED


async def test_all_that_is_named_must_hold() -> None:
    """A probe that holds does not confirm while the alert still fires; a failed probe need not wait for it."""
    world = World()
    world.up = True
    task = world.begin(resolved_within=300.0, probe=TCP)
    await world.clock.advance(100)
    assert not task.done()
    await world.resolve()
    assert (await task).outcome is Outcome.CONFIRMED
    world = World()
    task = world.begin(resolved_within=3000.0, probe=TCP)
    await world.clock.advance(62)
    assert (await task).outcome is Outcome.FAILED


async def test_inconclusive_weighs_more_than_confirmed() -> None:
    """One unknown spoils a confirmation."""
    world = World(api="silenced")
    world.up = True
    task = world.begin(resolved_within=30.0, probe=TCP)
    await world.clock.advance(31)
    assert (await task).outcome is Outcome.INCONCLUSIVE


async def test_time_before_a_restart_counts() -> None:
    """Deadlines run from the action's end, across a restart; a probe gets at least one try."""
    world = World()
    task = world.begin(passed=299.0, resolved_within=300.0)
    await world.clock.advance(1)
    assert (await task).outcome is Outcome.FAILED
    world = World()
    world.up = True
    task = world.begin(passed=9999.0, probe=TCP)
    await settle()
    assert (await task).outcome is Outcome.CONFIRMED


@pytest.mark.parametrize("passed", [0.0, 45.0])
async def test_a_probe_has_what_is_left_of_its_time(passed: float) -> None:
    """`within` counts from the end of the action: what has passed by then is taken off."""
    world = World()
    task = world.begin(passed=passed, probe=TCP)
    await world.clock.advance(60.0 - passed - 0.5)
    assert not task.done()
    await world.clock.advance(1.0)
    assert task.done()
    assert task.result().outcome is Outcome.FAILED
