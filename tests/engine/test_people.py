"""Whatever people, alerts and crashes do, in whatever order: what a word promises holds."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.actions import Outcome
from autoheal.engine import Word
from autoheal.errors import ApprovalExpired, WrongTurn
from autoheal.model import By, Kind, Mode
from autoheal.state import State, fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE

LIVE = ONE_RULE.replace("cooldown: 10m", "cooldown: 0s")
ASKING = LIVE.replace("restart\n", "ask\n").replace('"Down"', '"Ask"').replace("mode: live", "mode: approve")
RULES = LIVE.replace("mode: live", "mode: live\n        cancel_on_resolve: true") + ASKING.partition("rules:")[2]
STEPS = st.one_of(
    st.tuples(st.just("fire"), st.sampled_from(["Down", "Ask"]), st.sampled_from(["api-1", "api-2"])),
    st.tuples(st.just("resolve"), st.sampled_from(["Down", "Ask"]), st.sampled_from(["api-1", "api-2"])),
    st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from([None, "restart", "ask"]), st.just("")),
    st.tuples(st.sampled_from(["file", "no file", "crash", "reload"]), st.none(), st.just("")),
    st.tuples(st.sampled_from(["approve", "deny", "cancel", "rerun"]), st.integers(0, 3), st.just("")),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 400]), st.just("")),
)


class People:
    """An engine, and those who have to do with it; an action takes 50 s unless it is cut."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder, RULES)
        self.pause_file = folder / "PAUSE"
        self.stage.action.answers = [self._slow] * 1000
        self.edits = 0

    async def _slow(self) -> Outcome:
        await self.stage.clock.sleep(50)
        return Outcome(ok=False)

    async def do(self, what: str, which: object, where: str) -> None:
        stage, engine, by = self.stage, self.stage.engine, By("ann", "c")
        match what:
            case "fire" | "resolve":
                one = stage.alert(where, resolved=what == "resolve", alertname=str(which))
                await stage.tell(replace(one, fingerprint=f"{where} {which}"))
            case "pause":
                await engine.pause(which, "x", 300.0, by)  # type: ignore[arg-type]
            case "resume":
                await engine.resume(which, "", by)  # type: ignore[arg-type]
            case "file":
                self.pause_file.touch()
            case "no file":
                self.pause_file.unlink(missing_ok=True)
            case "crash":
                await stage.crash()
                await stage.start()
            case "reload":
                self.edits += 1
                stage.rules = RULES.replace("cooldown: 0s", f"cooldown: {self.edits}ms")
                await engine.reload()
            case "wait":
                await stage.clock.advance(float(str(which)))
            case _:
                runs = list(engine.state.runs.values())[-1 - int(str(which)) :][:1]
                for run in runs:
                    word = Word(by, plan_digest=run.plan_digest)
                    with contextlib.suppress(WrongTurn, ApprovalExpired):
                        await getattr(engine.control, what)(run.id, word)
        await settle()


def check(stage: Stage) -> None:
    """Read the log as an auditor would: what each record finds when it is written."""
    state = State()
    ends: dict[str, int] = {}
    for record in stage.journal.records:
        run = state.runs.get(record.run or "")
        if record.kind is Kind.ACTION_STARTED:
            assert run is not None
            assert not [pause for pause in state.paused(record.ts) if pause.rule in (None, run.rule)]
            assert not [pause for pause in state.pauses if pause.how == "file"]
            assert run.mode is not Mode.APPROVE or (run.approval is not None and run.approval.by == "ann")
            assert run.ended_by is None
            assert state.locks[run.target] == run.id
            episode = state.episodes[run.fingerprint]
            # One run, and one for each time that somebody has asked again.
            assert run.rule not in episode.ran
        state.apply(record)
        if run is not None and run.ended and record.kind is not Kind.RERUN_REQUESTED:
            ends[run.id] = ends.get(run.id, 0) + 1
            assert ends[run.id] == 1, "nothing is told of a run after its end"
    assert state == stage.engine.state == fold(stage.journal.records)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=14))
def test_a_word_counts_from_its_record_on(steps: list[tuple[str, object, str]]) -> None:
    """No step begins while its rule is paused, unapproved or its run is to end; each run ends once and with nothing
    after; no step runs twice; the state is the fold of the log.
    """

    async def story() -> None:
        with TemporaryDirectory() as folder:
            people = People(Path(folder))
            await people.stage.start()
            for step in steps:
                await people.do(*step)
            people.pause_file.unlink(missing_ok=True)
            await people.stage.clock.advance(2400)
            check(people.stage)
            assert all(run.ended for run in people.stage.engine.state.runs.values())
            begun = [(run, step) for run, step, _ in people.stage.action.done]
            assert len(set(begun)) == len(begun)
            await people.stage.engine.stop()

    asyncio.run(story())
