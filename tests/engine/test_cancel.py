"""Runs that are ended before their time: by people, and by the end of their alert."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Outcome
from autoheal.engine import Word
from autoheal.errors import JournalUnavailable, WrongTurn
from autoheal.model import By, Kind, Record
from autoheal.state import Run, RunState
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE

ANN = By("ann", "c7")
CUT_WHEN_RESOLVED = ONE_RULE.replace("mode: live", "mode: live\n        cancel_on_resolve: true")


class Slow:
    """An action that goes on until it is cut, and then takes as long to end as a test lets it."""

    def __init__(self) -> None:
        self.cut = asyncio.Event()
        self.let_end = asyncio.Event()
        self.let_end.set()

    async def __call__(self) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()
            await self.let_end.wait()
        raise AssertionError("nobody sets that event")


async def acting(tmp_path: Path, rules: str = ONE_RULE) -> tuple[Stage, Slow]:
    """An engine with one run whose action executes."""
    stage, slow = Stage(tmp_path, rules), Slow()
    stage.action.answers = [slow]
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_started"
    return stage, slow


async def cancel(stage: Stage, *, by: By = ANN, **more: Any) -> Run:
    run = list(stage.engine.state.runs.values())[-1]
    found = await stage.engine.control.cancel(run.id, Word(by, **more))
    await settle()
    return found


def last(stage: Stage, kind: Kind) -> Record:
    return [record for record in stage.journal.records if record.kind is kind][-1]


async def test_an_action_under_way_is_ended(tmp_path: Path) -> None:
    """The request first, then the end, each with who asked; no further step, and nothing is tried again."""
    stage, slow = await acting(tmp_path)
    run = await cancel(stage, comment="wrong host")
    assert slow.cut.is_set()
    assert stage.story()[-3:] == ["cancel_requested cancelled", "action_cancelled cancelled", "decision run_ended"]
    assert (run.state, run.ended_by) == (RunState.CANCELLED, "ann")
    asked, ended = last(stage, Kind.CANCEL_REQUESTED), last(stage, Kind.ACTION_CANCELLED)
    assert (asked.actor, asked.step, asked.detail) == ("ann", 1, {"request_id": "c7", "comment": "wrong host"})
    assert (ended.actor, ended.step, ended.detail) == ("ann", 1, {"action": "fake"})
    assert stage.engine.state.locks == {}
    await stage.clock.advance(2000)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_target_stays_locked_until_the_action_is_gone(tmp_path: Path) -> None:
    """Between TERM and its end the run is `cancelling`; who asks again is answered the same."""
    stage, slow = await acting(tmp_path)
    slow.let_end.clear()
    assert (await cancel(stage)).state is RunState.CANCELLING
    assert (await cancel(stage, by=By("bob", "c8"))).ended_by == "ann"
    assert list(stage.engine.state.locks) == ["api-1"]
    assert stage.story()[-1] == "cancel_requested cancelled"
    slow.let_end.set()
    await settle()
    assert "action_cancelled cancelled" in stage.story()
    assert stage.story().count("cancel_requested cancelled") == 1
    await stage.engine.stop()


async def test_nothing_is_ended_before_the_word_is_durable(tmp_path: Path) -> None:
    """When the log refuses it, the action goes on and whoever asked is told."""
    stage, slow = await acting(tmp_path)
    stage.journal.held = True
    cancelling = asyncio.create_task(cancel(stage))
    await settle()
    assert not slow.cut.is_set()
    stage.journal.fail()
    with pytest.raises(JournalUnavailable):
        await cancelling
    stage.journal.held, stage.journal.healthy = False, True
    await stage.clock.advance(2)
    assert not slow.cut.is_set()
    assert [run.state for run in stage.engine.state.runs.values()] == [RunState.ACTING]
    await cancel(stage)
    assert slow.cut.is_set()
    await stage.engine.stop()


async def test_what_the_action_said_before_it_was_ended_is_kept(tmp_path: Path) -> None:
    """It may end by itself between the word and TERM: its outcome is recorded, and no further step follows."""
    stage = Stage(tmp_path)
    done = asyncio.Event()
    stage.action.answers = [done]
    await stage.start()
    await stage.tell()
    stage.journal.held = True
    cancelling = asyncio.create_task(cancel(stage))
    await settle()
    done.set()
    await settle()
    stage.journal.held = False
    stage.journal.release()
    await cancelling
    assert stage.story()[3:6] == ["cancel_requested cancelled", "action_ok", "action_cancelled cancelled"]
    assert last(stage, Kind.ACTION_CANCELLED).detail == {}
    await stage.engine.stop()


async def test_an_action_that_has_not_begun_to_execute_never_does(tmp_path: Path) -> None:
    """The word comes while the intent is being written."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.create_task(stage.tell())
    await settle()
    cancelling = asyncio.create_task(cancel(stage))
    await settle()
    stage.journal.release(Kind.ACTION_STARTED)
    await settle()
    assert stage.action.done == []
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(telling, cancelling)
    assert stage.action.done == []
    assert stage.story()[2:5] == ["action_started", "cancel_requested cancelled", "action_cancelled cancelled"]
    await stage.engine.stop()


async def test_a_run_under_verification_is_ended(tmp_path: Path) -> None:
    """What was done stays done; no further step follows."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await cancel(stage)
    assert stage.story()[3:6] == ["action_ok", "cancel_requested cancelled", "action_cancelled cancelled"]
    assert last(stage, Kind.ACTION_CANCELLED).detail == {}
    await stage.clock.advance(2000)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


@pytest.mark.parametrize("mode", ["live", "approve"])
async def test_a_run_that_has_not_begun_is_ended_at_once(tmp_path: Path, mode: str) -> None:
    """Whether it waits for its turn or for an approval; and it is not begun again on this episode."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", f"mode: {mode}"))
    await stage.start()
    if mode == "live":
        stage.engine.wind_down()
    await stage.tell()
    run = await cancel(stage)
    assert (run.state, run.reason, run.ended_by) == (RunState.CANCELLED, "cancelled", "ann")
    assert stage.story()[-2:] == ["action_cancelled cancelled", "decision run_ended"]
    await stage.clock.advance(2000)
    assert stage.action.done == []
    await stage.engine.stop()


async def test_what_is_over_cannot_be_cancelled(tmp_path: Path) -> None:
    """Whoever asks is told how it ended."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await stage.tell(stage.alert(resolved=True))
    with pytest.raises(WrongTurn, match=r"is over: healed \(resolved\)"):
        await cancel(stage)
    await stage.tell(stage.alert("api-2"))
    await cancel(stage)
    with pytest.raises(WrongTurn, match="is over: cancelled by ann"):
        await cancel(stage)
    await stage.engine.stop()


@pytest.mark.parametrize("durable", [Kind.CANCEL_REQUESTED, Kind.ACTION_CANCELLED])
async def test_a_crash_on_the_way(tmp_path: Path, durable: Kind) -> None:
    """After kill -9 a word that is in the log counts: the run ends as cancelled, and takes no further step."""
    stage, slow = await acting(tmp_path)
    if durable is Kind.CANCEL_REQUESTED:
        slow.let_end.clear()
    await cancel(stage)
    assert durable in [record.kind for record in stage.journal.records[-2:]]
    assert (stage.story()[-1] == "cancel_requested cancelled") is (durable is Kind.CANCEL_REQUESTED)
    await stage.crash()
    await stage.start()
    await stage.clock.advance(2000)
    assert stage.story().count("action_cancelled cancelled") == 1
    assert len(stage.action.done) == 1
    assert all(run.ended for run in stage.engine.state.runs.values())
    await stage.engine.stop()


async def test_a_stop_on_the_way(tmp_path: Path) -> None:
    """The service ends before the action does: the next life closes the run as cancelled."""
    stage, slow = await acting(tmp_path)
    slow.let_end.clear()
    await cancel(stage)
    stopping = asyncio.create_task(stage.engine.stop())
    await stage.clock.advance(10.1)
    slow.let_end.set()
    await stopping
    assert "action_interrupted shutdown" not in stage.story()
    await stage.start()
    assert stage.story().count("action_cancelled cancelled") == 1
    await stage.engine.stop()


async def test_an_alert_that_ends_cuts_what_its_rule_says(tmp_path: Path) -> None:
    """`cancel_on_resolve: true`: what it heals is healed, and going on would do harm."""
    stage, slow = await acting(tmp_path, CUT_WHEN_RESOLVED)
    await stage.tell(stage.alert(resolved=True))
    assert slow.cut.is_set()
    assert stage.story()[-3:] == ["alert_resolved", "cancel_requested resolved", "action_cancelled resolved"]
    assert last(stage, Kind.ACTION_CANCELLED).actor == "system"
    await stage.engine.stop()


async def test_otherwise_an_action_is_let_end(tmp_path: Path) -> None:
    """By default half a restart is worse than a whole one."""
    stage, slow = await acting(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(100)
    assert not slow.cut.is_set()
    await stage.crash()


async def test_a_verification_is_not_cut_by_what_it_waits_for(tmp_path: Path) -> None:
    """With `cancel_on_resolve: true` the end of the alert confirms what was done all the same."""
    stage = Stage(tmp_path, CUT_WHEN_RESOLVED)
    await stage.start()
    await stage.tell()
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    await stage.engine.stop()


async def test_an_action_that_cancels_itself_has_failed(tmp_path: Path) -> None:
    """It breaks its promise; that is its own fault, and the ladder goes on."""
    stage = Stage(tmp_path)

    async def breaks() -> Outcome:
        raise asyncio.CancelledError

    stage.action.answers = [breaks]
    await stage.start()
    await stage.tell()
    assert "cancelled its own task" in last(stage, Kind.ACTION_FAIL).detail["error"]
    assert len(stage.action.done) == 2
    await stage.engine.stop()
