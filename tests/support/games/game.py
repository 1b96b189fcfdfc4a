"""A game of chance: whatever monitoring, people, actions, the disk and the clock may do, in any order."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from tests.support.games.moves import Moves, alerts, which
from tests.support.games.world import World

seen: Counter[str] = Counter()
"""What came to pass in all games so far."""


class Chance(Moves):
    """One game."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.sound = False
        """Whether the game has begun, and nothing is wrong with it so far."""

    @initialize(alertmanagers=st.sampled_from([0, 1, 2]))
    def begin(self, alertmanagers: int) -> None:
        self.world = World(Path(self.folder.name), alertmanagers=alertmanagers)
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

    # What actions do

    @rule(how=st.lists(st.sampled_from(["ok", "fail", "raise", "hang"]), min_size=1, max_size=3))
    def actions_will(self, how: list[str]) -> None:
        self.world.action.next = how

    @rule(number=alerts, then=st.sampled_from(["resolve", "restart", "die", "pause", "wait"]))
    def action_hangs(self, number: int, then: str) -> None:
        self.world.clear_the_way()
        self.world.action.next = ["hang"]
        self.world.fire_anew(number)
        match then:
            case "resolve":
                self.world.resolve([number])
            case "restart":
                self.world.restart()
            case "die":
                self.world.die(0, from_snapshot=True)
            case "pause":
                self.world.pause(None, 30.0)
                self.world.finish(ok=False)
            case _:
                self.world.wait(30.0)

    @rule(number=alerts, times=st.integers(1, 3), gently=st.booleans())
    def actions_are_cut(self, number: int, times: int, gently: bool) -> None:
        self.world.action.next = ["hang"] * times
        self.world.fire([number])
        self.world.wait(21.0)
        for _ in range(times):
            if gently:
                self.world.restart()
            else:
                self.world.die(0, from_snapshot=False)

    @rule(number=alerts, times=st.integers(1, 4), heard=st.booleans())
    def nothing_helps(self, number: int, times: int, heard: bool) -> None:
        self.world.clear_the_way()
        self.world.takes(anything=heard)
        for _ in range(times):
            self.world.action.next = ["fail", "fail"]
            self.world.fire_anew(number)
            self.world.wait(130.0)

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

    @rule(number=alerts, then=st.sampled_from(["ack", "pause", "file", "resolve", "reload"]))
    def disk_is_slow(self, number: int, then: str) -> None:
        self.world.clear_the_way()
        self.world.journal.held = True
        self.world.fire_anew(number)
        match then:
            case "ack":
                self.world.ack(number, 60.0)
            case "pause":
                self.world.pause(None, 30.0)
            case "file":
                self.world.pause_file.write_text("by chance")
            case "resolve":
                self.world.resolve([number])
            case _:
                self.world.reload(1)
        self.world.disk_works()

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
