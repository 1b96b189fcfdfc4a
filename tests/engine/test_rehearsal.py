"""Dry runs of actions that can be rehearsed: the record has what the world would have said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Context, Outcome
from autoheal.engine.core import REHEARSALS_AT_ONCE
from autoheal.model import Kind
from tests.support.clock import settle
from tests.support.engine import FakeAction, Stage
from tests.support.rules import ONE_RULE

RULES = ONE_RULE.replace("mode: live", "mode: dry_run")
DRY = ["alert_firing", "decision dry_run", "action_dry_run dry_run"]


class Rehearsed(FakeAction):
    """`rehearsals` are what it answers; `asked` is what it was asked."""

    def __init__(self, *rehearsals: Outcome | Exception | asyncio.Event) -> None:
        super().__init__()
        self.rehearsals = list(rehearsals)
        self.asked: list[tuple[str, int, str]] = []

    async def rehearse(self, params: Mapping[str, Any], context: Context) -> Outcome:
        self.asked.append((context.run, context.step, params["do"]))
        answer = self.rehearsals.pop(0) if self.rehearsals else Outcome(ok=True)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return Outcome(ok=True)
        return answer


async def stage_with(folder: Path, action: Rehearsed) -> Stage:
    stage = Stage(folder, RULES)
    stage.action = action
    await stage.start()
    return stage


def dry_run(stage: Stage) -> dict[str, Any]:
    (record,) = [record for record in stage.journal.records if record.kind is Kind.ACTION_DRY_RUN]
    return dict(record.detail)


async def test_each_step_is_rehearsed_and_none_is_run(tmp_path: Path) -> None:
    """The answers stand beside the plan, a refusal among them."""
    refusal = Outcome(ok=False, detail={"error": "forbidden (403)"})
    action = Rehearsed(refusal)
    stage = await stage_with(tmp_path, action)
    await stage.tell()
    assert stage.story() == DRY
    detail = dry_run(stage)
    assert detail["rehearsals"] == [
        {"step": 1, "action": "fake", "ok": False, "error": "forbidden (403)"},
        {"step": 2, "action": "fake", "ok": True},
    ]
    assert [(step, do) for _, step, do in action.asked] == [(1, "restart api-1"), (2, "replace api-1")]
    assert action.done == []
    await stage.engine.stop()


async def test_an_answer_cannot_pass_for_that_of_another_step(tmp_path: Path) -> None:
    """Whatever the keys of its detail are called."""
    stage = await stage_with(tmp_path, Rehearsed(Outcome(ok=False, detail={"step": 2, "action": "other", "ok": True})))
    await stage.tell()
    assert dry_run(stage)["rehearsals"][0] == {"step": 1, "action": "fake", "ok": False}
    await stage.engine.stop()


async def test_a_rehearsal_that_raises_is_a_refusal(tmp_path: Path) -> None:
    """Its text may quote a secret; the dry run is told all the same."""
    stage = await stage_with(tmp_path, Rehearsed(RuntimeError("hunter2")))
    await stage.tell()
    answer, other = dry_run(stage)["rehearsals"]
    assert other["ok"]
    assert answer == {"step": 1, "action": "fake", "ok": False, "error": "fault in the action itself: RuntimeError"}
    await stage.engine.stop()


async def test_answers_that_no_record_can_hold(tmp_path: Path) -> None:
    """The plan is what a dry run is for: it is recorded without them."""
    stage = await stage_with(tmp_path, Rehearsed(Outcome(ok=True, detail={"said": "x" * 70_000})))
    await stage.tell()
    assert stage.story() == DRY
    assert dry_run(stage)["rehearsals"] == [
        {"ok": False, "error": "what the rehearsals answered does not fit a record"}
    ]
    await stage.engine.stop()


async def test_a_rehearsal_that_a_crash_cut_short_is_asked_again(tmp_path: Path) -> None:
    """It has changed nothing. The run ends in one record, and a live run on the target was never kept waiting."""
    action = Rehearsed(asyncio.Event())
    stage = await stage_with(tmp_path, action)
    await stage.tell()
    assert stage.story() == DRY[:2]
    assert stage.engine.state.locks == {}
    assert stage.engine.state.waiting == {}
    await stage.crash()
    await stage.start()
    assert stage.story() == DRY
    assert [step for _, step, _ in action.asked] == [1, 1, 2]
    assert action.asked[0] == action.asked[1]
    assert stage.engine.state.runs[action.asked[0][0]].ended
    await stage.engine.stop()


async def test_a_stop_does_not_wait_for_a_rehearsal(tmp_path: Path) -> None:
    """The next start asks again."""
    action = Rehearsed(asyncio.Event())
    stage = await stage_with(tmp_path, action)
    await stage.tell()
    await stage.engine.stop()
    assert stage.story() == DRY[:2]
    await stage.start()
    assert stage.story() == DRY
    await stage.engine.stop()


async def test_rehearsals_are_bounded_and_keep_no_action_waiting(tmp_path: Path) -> None:
    """A cluster that does not answer holds up dry runs alone."""
    gate = asyncio.Event()
    action = Rehearsed(*[gate] * (REHEARSALS_AT_ONCE + 3))
    stage = await stage_with(tmp_path, action)
    await stage.tell(*(stage.alert("a" * number) for number in range(1, REHEARSALS_AT_ONCE + 4)))
    assert len(action.asked) == REHEARSALS_AT_ONCE
    gate.set()
    for _ in range(5):
        await settle()
    assert len(action.asked) == 2 * (REHEARSALS_AT_ONCE + 3)
    assert stage.story().count(DRY[2]) == REHEARSALS_AT_ONCE + 3
    await stage.engine.stop()


async def test_an_alert_that_resolves_meanwhile(tmp_path: Path) -> None:
    """What would have been done is recorded all the same."""
    gate = asyncio.Event()
    stage = await stage_with(tmp_path, Rehearsed(gate))
    await stage.tell()
    await stage.tell(stage.alert(resolved=True))
    gate.set()
    await settle()
    assert stage.story() == [*DRY[:2], "alert_resolved", DRY[2]]
    await stage.engine.stop()


@pytest.mark.parametrize("rehearsed", [False, True])
async def test_a_live_run_is_not_rehearsed(tmp_path: Path, rehearsed: bool) -> None:
    """It is done."""
    stage = Stage(tmp_path, ONE_RULE)
    action = Rehearsed() if rehearsed else FakeAction()
    stage.action = action
    await stage.start()
    await stage.tell()
    assert len(action.done) == 1
    assert getattr(action, "asked", []) == []
    await stage.engine.stop()
