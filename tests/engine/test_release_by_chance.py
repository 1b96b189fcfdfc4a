"""Storms, releases and second tries in whatever order: an auditor who knows the rules reads the log."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.actions import Outcome
from autoheal.engine import Word, batch_digest
from autoheal.errors import WrongTurn
from autoheal.model import By, Kind, Mode, Record
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys

RULES = with_keys("storm: 2/3m", "concurrency: 2", "rerun_interrupted: true").replace("cooldown: 10m", "cooldown: 0s")
ANN, BOB = By("ann", "c"), By("bob", "c")
"""Whoever asked for another run lets nothing go that follows from it."""
targets = st.sampled_from([f"api-{n}" for n in range(6)])
STEPS = st.one_of(
    st.tuples(st.just("fire"), st.lists(targets, min_size=1, max_size=5, unique=True)),
    st.tuples(st.sampled_from(["resolve", "rerun"]), st.lists(targets, min_size=1, max_size=3, unique=True)),
    st.tuples(st.sampled_from(["look", "release", "crash"]), st.just([])),
    st.tuples(st.sampled_from(["look and release", "a moment", "both steps"]), st.just([])),
)
SECONDS = {"a moment": 20.0, "both steps": 121.0}


class Auditor:
    """What the log must say, from its records alone: `held` and `let_go` are open alerts, by their episodes."""

    def __init__(self) -> None:
        self.storm = False
        self.planned: dict[str, bool] = {}
        self.running: dict[str, str] = {}
        self.over: set[str] = set()
        self.held: set[str] = set()
        self.let_go: set[str] = set()
        self.started: dict[tuple[str, int], int] = {}
        self.cut: set[tuple[str, int]] = set()

    def read(self, record: Record) -> None:
        episode, run = str(record.episode), str(record.run)
        match record.kind:
            case Kind.STORM_BEGAN:
                self.storm = True
                self.held |= self.planned.keys() - self.let_go
            case Kind.STORM_ENDED:
                self.storm = False
            case Kind.STORM_RELEASED:
                batch = self.held - self.over - set(self.running.values())
                assert record.detail["alerts"] == len(batch) > 0
                self.held -= batch
                self.let_go |= batch
            case Kind.RERUN_REQUESTED:
                assert episode in self.over
                self.over.discard(episode)
                self.let_go.discard(episode)
            case Kind.ALERT_RESOLVED:
                self.planned.pop(episode, None)
                self.held.discard(episode)
            case Kind.DECISION:
                self.planned[episode] = True
                if self.storm and episode not in self.let_go:
                    self.held.add(episode)
                if record.reason in ("act", "awaiting_approval"):
                    assert episode not in self.held | self.over
                    assert episode not in self.running.values()
                    assert record.reason == "act" or episode not in self.let_go
                    self.running[run] = episode
            case Kind.ACTION_STARTED:
                self.starts(run, record.step or 0)
            case Kind.ACTION_INTERRUPTED:
                self.cut.add((run, record.step or 0))
        ends = (Kind.HEAL_CONFIRMED, Kind.ESCALATED, Kind.ACTION_CANCELLED, Kind.APPROVAL_EXPIRED)
        if record.run is not None and record.kind in ends:
            of = self.running.pop(run)
            if record.kind is not Kind.ACTION_CANCELLED or any(one == run for one, _ in self.started):
                self.over.add(of)

    def starts(self, run: str, step: int) -> None:
        """Once; a second time only after it was cut short."""
        count = self.started[run, step] = self.started.get((run, step), 0) + 1
        assert count == 1 or (count == 2 and (run, step) in self.cut)


class Night:
    """An engine in a bad night. Actions take a minute and fail; `seen` is the digest that somebody has looked at."""

    def __init__(self, folder: Path, mode: Mode) -> None:
        self.stage = Stage(folder, RULES.replace("mode: live", f"mode: {mode}"))
        self.stage.action.answers = [self._slow] * 1000
        self.seen = ""

    async def _slow(self) -> Outcome:
        await self.stage.clock.sleep(60)
        return Outcome(ok=False)

    async def do(self, what: str, where: list[str]) -> None:
        stage, state = self.stage, self.stage.engine.state
        match what:
            case "fire" | "resolve":
                await stage.tell(*(stage.alert(one, resolved=what == "resolve", ago=-1.0) for one in where))
            case "look" | "release" | "look and release":
                if "look" in what:
                    self.seen = batch_digest(stage.engine.rules.rules[0], state.batch("restart"))
                if "release" in what:
                    with contextlib.suppress(WrongTurn):
                        await stage.engine.releases.release("restart", self.seen, "", ANN)
            case "rerun":
                for run in [run for run in state.runs.values() if run.ended and run.target in where]:
                    with contextlib.suppress(WrongTurn):
                        await stage.engine.control.rerun(run.id, Word(BOB))
            case "crash":
                await stage.crash()
                await stage.start()
            case _:
                await stage.clock.advance(SECONDS[what])
        await settle()


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=12, max_size=24), st.sampled_from([Mode.LIVE, Mode.APPROVE]))
def test_only_what_was_looked_at_is_let_go(steps: list[tuple[str, list[str]]], mode: Mode) -> None:
    """No run begins on an alert that a storm holds until a release that counted it; a rule tries once, and once more
    for each time that it was asked; a step is started again only after it was cut short, and once; an alert that was
    let go never waits for people; and the state is the fold of the log.
    """

    async def story() -> None:
        with TemporaryDirectory() as folder:
            night = Night(Path(folder), mode)
            await night.stage.start()
            for step in steps:
                await night.do(*step)
            auditor = Auditor()
            for record in night.stage.journal.records:
                auditor.read(record)
            assert night.stage.engine.state == fold(night.stage.journal.records)
            await night.stage.crash()

    asyncio.run(story())
