"""The engine by chance: whatever happens in whichever order, it does nothing that it must not, and ends what it began.

Random sequences of what monitoring, people, actions, the disk and the clock may do are played to the real engine, and a
model made from the documentation alone (`tests/support/watchman.py`) watches.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autoheal.engine import Word, intake
from autoheal.engine.control import Control
from autoheal.engine.crew import Crew
from autoheal.engine.decider import Decider
from autoheal.engine.pauses import Pauses
from autoheal.engine.runs import Runner
from autoheal.model import Kind, Reason
from autoheal.rules import decide, guards
from autoheal.rules.guards import Verdict
from autoheal.state import Run, whole
from tests.support.chance import ALERTS, BROKEN, SlowJournal, World

SAMPLE, WHOLE = 100, 3000
ELSEWHERE = ("disabled", "no_rule", "bad_target", "hold_out", "human_present", "fleet_guard")
"""What these games do not play: tests/engine/test_hold_out.py, test_presence.py and test_fleet.py are about them."""
EXPECTED = frozenset(
    (
        *(f"decision {reason}" for reason in Reason if reason not in ELSEWHERE),
        *("action_ok", "action_fail", "action_interrupted gateway_died", "action_interrupted shutdown"),
        *("action_cancelled resolved", "action_cancelled cancelled", "action_cancelled paused"),
        *("approval_granted", "approval_denied denied", "approval_expired expired", "action_dry_run dry_run"),
        *("heal_confirmed resolved", "heal_failed not_resolved", "heal_failed action_failed"),
        *("escalated steps_exhausted", "escalated paused", "escalated storm", "storm_ended"),
        *("breaker_opened", "breaker_closed healed", "cancel_requested cancelled", "cancel_requested resolved"),
        *("alert_suspect", "snapshot", "silence_created", "paused", "resumed"),
        *("space_low", "space_ok", "config_rejected"),
    )
)
"""Kinds of records, with their reasons where they have one."""

alerts = st.integers(0, len(ALERTS) - 1)
some = st.lists(alerts, min_size=1, max_size=6, unique=True)
people = st.sampled_from(["ann", "bob"])
rules = st.sampled_from([None, "restart", "fail-over", "tidy"])
which = st.integers(0, 5)
seen: Counter[str] = Counter()
"""What came to pass in all games so far."""


class Chance(RuleBasedStateMachine):
    """One game."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sound = False
        """Whether the game has begun, and nothing is wrong with it so far."""

    @initialize(with_api=st.booleans())
    def begin(self, with_api: bool) -> None:
        self.world = World(Path(self.folder.name), with_api=with_api)
        self.sound = True

    def teardown(self) -> None:
        try:
            if self.sound:
                self.world.check_folds()
                self.world.calm_down()
                self.world.check_alive()
                self.world.check_folds()
                seen.update(f"{one.kind.value} {one.reason or ''}".strip() for one in self.world.journal.records)
        finally:
            if hasattr(self, "world"):
                self.world.close()
            self.folder.cleanup()

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.sound = False
        self.world.check()
        self.sound = True

    # What monitoring tells

    @rule(numbers=some, ago=st.sampled_from([0.0, 5.0, 30.0]))
    def fire(self, numbers: list[int], ago: float) -> None:
        self.world.fire(numbers, ago)

    @rule(number=alerts)
    def fire_one(self, number: int) -> None:
        self.world.fire([number])

    @rule(number=alerts, skew=st.integers(-25, 25))
    def fire_twice(self, number: int, skew: int) -> None:
        self.world.fire_twice(number, skew)

    @rule(number=alerts)
    def fire_anew(self, number: int) -> None:
        self.world.fire_anew(number)

    @rule(number=alerts)
    def fire_late(self, number: int) -> None:
        self.world.fire_late(number)

    @rule(numbers=some, told=st.booleans())
    def resolve(self, numbers: list[int], told: bool) -> None:
        self.world.resolve(numbers, told=told)

    @rule(answers=st.booleans(), uptime=st.sampled_from([10.0, 3600.0]), maintenance=st.booleans())
    def alertmanager(self, answers: bool, uptime: float, maintenance: bool) -> None:
        if (api := self.world.alertmanager) is not None:
            api.answered, api.uptime = answers, uptime
            api.maintenance_since = self.world.clock.wall if maintenance else None

    # What people say

    @precondition(lambda self: self.world.asked())
    @rule(index=which, who=people)
    def approve(self, index: int, who: str) -> None:
        runs = self.world.asked()
        self.world.approve(runs[index % len(runs)], who)

    @precondition(lambda self: self.world.asked())
    @rule(index=which, denied=st.booleans())
    def two_race(self, index: int, denied: bool) -> None:
        runs = self.world.asked()
        if denied:
            self.world.deny(runs[index % len(runs)], "bob")
        self.world.approve(runs[index % len(runs)], "ann")
        self.world.deny(runs[index % len(runs)], "bob")

    @precondition(lambda self: self.world.runs())
    @rule(index=which, who=people)
    def cancel(self, index: int, who: str) -> None:
        runs = self.world.runs()
        self.world.cancel(runs[index % len(runs)], who)

    @rule(name=rules, seconds=st.sampled_from([None, 30.0, 30.0, 90.0]))
    def pause(self, name: str | None, seconds: float | None) -> None:
        self.world.pause(name, seconds)

    @rule(name=rules)
    def resume(self, name: str | None) -> None:
        self.world.resume(name)

    @rule(there=st.booleans())
    def pause_by_file(self, there: bool) -> None:
        if there:
            self.world.pause_file.write_text("by chance")
        else:
            self.world.pause_file.unlink(missing_ok=True)

    @rule(number=alerts, seconds=st.sampled_from([60.0, 600.0]))
    def ack(self, number: int, seconds: float) -> None:
        self.world.ack(number, seconds)

    @rule(number=alerts)
    def unack(self, number: int) -> None:
        self.world.ack(number, 600.0)
        self.world.unack()

    @rule(book=st.integers(0, BROKEN))
    def reload(self, book: int) -> None:
        self.world.reload(book)

    @rule(name=st.sampled_from(["restart", "tidy"]))
    def reset(self, name: str) -> None:
        self.world.reset(name)

    # What actions do

    @rule(how=st.lists(st.sampled_from(["ok", "fail", "raise", "hang"]), min_size=1, max_size=3))
    def actions_will(self, how: list[str]) -> None:
        self.world.action.next = how

    @rule(number=alerts, then=st.sampled_from(["resolve", "restart", "die", "wait"]))
    def action_hangs(self, number: int, then: str) -> None:
        self.world.action.next = ["hang"]
        self.world.fire([number])
        match then:
            case "resolve":
                self.world.resolve([number])
            case "restart":
                self.world.restart()
            case "die":
                self.world.die(0, from_snapshot=True)
            case _:
                self.world.wait(30.0)

    @rule(ok=st.booleans())
    def actions_finish(self, ok: bool) -> None:
        self.world.finish(ok=ok)

    # What the machine does

    @rule(seconds=st.sampled_from([1.0, 10.0, 21.0, 61.0, 130.0, 310.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([21.0, 30.0, 61.0, 125.0]))
    def wait_more(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(seconds=st.sampled_from([-3600.0, -90.0, 90.0, 1500.0]))
    def set_clock(self, seconds: float) -> None:
        self.world.set_clock(seconds)

    @rule(how=st.sampled_from(["works", "works", "is slow", "takes some", "fails"]), count=which)
    def disk(self, how: str, count: int) -> None:
        match how:
            case "works":
                self.world.disk_works()
            case "is slow":
                self.world.journal.held = True
            case "takes some":
                self.world.disk_takes(count)
            case _:
                self.world.disk_fails()

    @rule(number=alerts, then=st.sampled_from(["there is room", "it dies", "it stays full"]))
    def disk_is_full(self, number: int, then: str) -> None:
        self.world.journal.free_bytes = 0
        self.world.wait(1.0)
        self.world.fire([number])
        if then == "it dies":
            self.world.die(0, from_snapshot=True)
        if then != "it stays full":
            self.world.journal.free_bytes = 2**40

    @rule()
    def log_is_rotated(self) -> None:
        self.world.journal.rotated = True

    @rule(durable=which, from_snapshot=st.booleans())
    def die(self, durable: int, from_snapshot: bool) -> None:
        self.world.die(durable, from_snapshot=from_snapshot)

    @rule()
    def restart(self) -> None:
        self.world.restart()


def play(games: int, steps: int, **more: Any) -> None:
    """Raises AssertionError with the shortest game found in which something is wrong."""
    rules_of_play = settings(
        max_examples=games,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    run_state_machine_as_test(Chance, settings=rules_of_play)


def test_games() -> None:
    """The same games each time, in which everything that the engine can decide and do comes to pass."""
    seen.clear()
    play(SAMPLE, 50, derandomize=True, phases=[Phase.generate])
    missing = {kind for kind in EXPECTED if not seen[kind]}
    assert not missing


@pytest.mark.hammer
@pytest.mark.timeout(3600)
def test_many_games() -> None:
    """Other games each time, and longer ones."""
    seen.clear()
    play(WHOLE, 80)
    print(f"{WHOLE:,} games: {sum(seen.values()):,} records of {len(seen)} sorts")


def waives(*reasons: Reason) -> Callable[..., Iterator[Verdict]]:
    """The guards, less these."""
    ask = decide._waits

    def waits(*about: Any) -> Iterator[Verdict]:
        return (replace(one, passed=one.passed or one.reason in reasons) for one in ask(*about))

    return waits


def passes(*_: object) -> Verdict:
    return Verdict(Reason.PAUSED, passed=True)


async def acts_again(self: Runner) -> None:
    """An action that the life before began is begun again."""
    step = self.run.steps[self.run.step - 1]
    outcome = await self._act(self._world.actions[step["action"]], step["params"])
    await self._tell(Kind.ACTION_OK, step["action"], {} if outcome is None else outcome.detail)


async def at_once(self: SlowJournal, seq: int) -> None:
    """The intent counts as written before it is."""


async def anybody(self: Control, run_id: str, word: Word) -> Run:
    """The last word counts, not the first."""
    return self._known(run_id, word)


MUTANTS: dict[str, tuple[object, str, object]] = {
    "for is not waited for": (decide, "_waits", waives(Reason.NOT_YET)),
    "a rule tries again on an episode": (decide, "_waits", waives(Reason.RUN_ENDED)),
    "targets are not locked": (decide, "_waits", waives(Reason.IN_PROGRESS)),
    "acknowledgements do not count": (decide, "_waits", waives(Reason.ACKED)),
    "freezes do not count": (decide, "_waits", waives(Reason.FROZEN)),
    "other alerts do not count": (decide, "_waits", waives(Reason.UNLESS)),
    "cooldowns do not count": (decide, "_waits", waives(Reason.COOLDOWN)),
    "budgets do not count": (decide, "_waits", waives(Reason.BUDGET)),
    "breakers do not count": (decide, "_waits", waives(Reason.BREAKER_OPEN)),
    "storms do not count": (decide, "_waits", waives(Reason.STORM)),
    "concurrency does not count": (decide, "_waits", waives(Reason.CONCURRENCY)),
    "a full disk does not count": (decide, "_waits", waives(Reason.LOW_SPACE)),
    "pauses do not count": (guards, "paused", passes),
    "protection does not count": (decide, "protected", passes),
    "approval is not needed": (guards, "approved", passes),
    "nobody looks again once the intent is written": (Runner, "_overtaken", lambda self: None),
    "nobody looks again before the step": (Runner, "_obstacle", lambda self, run, number=None, now=None: None),
    "what was interrupted is done again": (Runner, "_close_interrupted", acts_again),
    "it acts before the intent is durable": (SlowJournal, "wait", at_once),
    "anybody's word counts at any time": (Control, "_awaiting", anybody),
    "the other one of a pair tells of another firing": (intake, "_same_firing", lambda *_: False),
    "nothing is taken up at start": (Crew, "take_up", lambda self: None),
    "nobody asks again when a wait ends": (Decider, "_wait", lambda self, episode, decision: None),
    "the file is not looked at": (Pauses, "look_at_file", lambda self: None),
    "snapshots lack the charges": (whole, "_SNAPSHOT_FIELDS", [n for n in whole._SNAPSHOT_FIELDS if n != "charges"]),
}
"""Engines that are not to be trusted: what is put in the place of what."""


@pytest.mark.hammer
@pytest.mark.parametrize("name", MUTANTS)
def test_a_game_tells(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine in which one thing is broken does not come through the games of the sample."""
    owner, attribute, instead = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, instead)
    with pytest.raises((AssertionError, ExceptionGroup)):
        play(10 * SAMPLE, 50, derandomize=True, phases=[Phase.generate])
