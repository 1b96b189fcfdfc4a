"""People who are at work on what an alert is about: seen by their silences, and by what they changed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Context, Outcome
from autoheal.engine import Word
from autoheal.engine.observation import OBSERVE_SECONDS, observed
from autoheal.model import By, Kind, Record
from autoheal.state import Run, RunState
from tests.support.clock import settle
from tests.support.engine import Api, FakeAction, Stage, Watched
from tests.support.facts import made_again
from tests.support.rules import ONE_RULE, rules_from


def silence(stage: Stage, *ids: str) -> None:
    """Every alert that Alertmanager lists is covered by these silences, or by none."""
    for seen in stage.alertmanager.listed.values():
        seen.silenced, seen.silenced_by = bool(ids), frozenset(ids)


async def begun(tmp_path: Path, rules: str = ONE_RULE) -> Stage:
    stage = Stage(tmp_path, rules)
    stage.alertmanager = Api(stage.alert())
    await stage.start()
    return stage


def saw(record: Record) -> dict[str, Any]:
    return next(guard for guard in record.detail["guards"] if guard["guard"] == "human_present")


async def test_a_fresh_alert_is_not_held_up_by_a_question(tmp_path: Path) -> None:
    """Its first decision needs no answer of Alertmanager's; the run asks before it acts."""
    stage = await begun(tmp_path)
    await stage.tell()
    (decision,) = [record for record in stage.journal.records if record.kind is Kind.DECISION]
    assert saw(decision) == {"guard": "human_present", "passed": True, "known": False}
    assert len(stage.action.done) == 1
    assert stage.alertmanager.asked == [{}]
    await stage.engine.stop()


async def test_what_a_person_has_silenced_is_left_to_them(tmp_path: Path) -> None:
    """Nothing is done while the silence stands, and acting and cancelling do not alternate; then it is healed."""
    stage = await begun(tmp_path)
    silence(stage, "s-by-hand")
    await stage.tell()
    story = ["alert_firing", "decision act", "decision human_present", "action_cancelled human_present"]
    assert stage.story() == story
    await stage.clock.advance(3600)
    assert stage.story() == story
    assert 100 < len(stage.alertmanager.asked) < 140
    silence(stage)
    await stage.clock.advance(31)
    assert stage.story()[4:] == ["decision act", "action_started", "action_ok"]
    decisions = [record for record in stage.journal.records if record.reason in ("act", "human_present")]
    assert [saw(record).get("silences") for record in decisions if "guards" in record.detail] == [
        None,
        ["s-by-hand"],
        None,
    ]
    assert made_again(decisions[-1], stage.journal.records, rules_from(stage.rules)) == decisions[-1].line
    await stage.engine.stop()


async def test_what_was_known_holds_until_alertmanager_tells_otherwise(tmp_path: Path) -> None:
    """It restarts and has forgotten the alert, or is gone: the person at work is not."""
    stage = await begun(tmp_path)
    listed = dict(stage.alertmanager.listed)
    silence(stage, "s-by-hand")
    await stage.tell()
    stage.alertmanager.uptime = 5.0
    for answered in (True, False):
        stage.alertmanager.answered = answered
        stage.alertmanager.listed.clear()
        await stage.clock.advance(100)
        assert stage.action.done == []
    stage.alertmanager.listed.update(listed)
    stage.alertmanager.answered = True
    silence(stage)
    await stage.clock.advance(31)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_alertmanager_that_does_not_answer_stands_in_nobodys_way(tmp_path: Path) -> None:
    """Nobody was seen, so the alert is healed; every step asks."""
    stage = await begun(tmp_path)
    stage.alertmanager.answered = False
    stage.alertmanager.listed.clear()
    stage.alertmanager.uptime = 5.0
    await stage.tell()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_inhibited_alert_is_no_person(tmp_path: Path) -> None:
    """A rule of Alertmanager's mutes it, and nobody minds it."""
    stage = await begun(tmp_path)
    for seen in stage.alertmanager.listed.values():
        seen.inhibited = True
    await stage.tell()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_next_step_is_not_taken_beside_a_person(tmp_path: Path) -> None:
    """Somebody came while the first step failed: the ladder stops, and people are told."""
    stage = await begun(tmp_path)
    failed = asyncio.Event()

    async def fail() -> Outcome:
        await failed.wait()
        return Outcome(ok=False)

    stage.action.answers = [fail]
    await stage.tell()
    silence(stage, "s-by-hand")
    await stage.clock.advance(10)
    failed.set()
    await settle()
    assert [name for *_, name in stage.action.done] == ["restart api-1"]
    assert stage.story()[-2:] == ["decision human_present", "escalated human_present"]
    await stage.engine.stop()


APPROVED = ONE_RULE.replace("mode: live", "mode: approve")


async def asked(tmp_path: Path, state: Any = "as it was", rules: str = APPROVED) -> Stage:
    stage = Stage(tmp_path, rules)
    stage.action = Watched()
    stage.action.state = state
    await stage.start()
    await stage.tell()
    return stage


async def approve(stage: Stage) -> Run:
    run = list(stage.engine.state.runs.values())[-1]
    await stage.engine.control.approve(run.id, Word(By("ann", "c2"), plan_digest=run.plan_digest))
    await settle()
    return run


def requests(stage: Stage) -> list[Any]:
    asked = [record for record in stage.journal.records if record.kind is Kind.APPROVAL_REQUESTED]
    return [record.detail.get("observed") for record in asked]


async def test_people_approve_what_they_saw(tmp_path: Path) -> None:
    """The request tells how the target is, and when it still is so the approved run acts."""
    stage = await asked(tmp_path)
    assert requests(stage) == ["as it was"]
    await approve(stage)
    assert len(stage.action.done) == 1
    assert isinstance(stage.action, Watched)
    assert stage.action.looks == 2
    await stage.engine.stop()


async def test_a_target_that_has_changed_since_is_asked_about_anew(tmp_path: Path) -> None:
    """Somebody was at work on it: the approval is void, and people see how it is now."""
    stage = await asked(tmp_path)
    stage.action.state = "restarted by hand"  # type: ignore[attr-defined]
    run = await approve(stage)
    assert stage.action.done == []
    assert (run.state, run.reason) == (RunState.CANCELLED, "human_present")
    (cancelled,) = [record for record in stage.journal.records if record.kind is Kind.ACTION_CANCELLED]
    assert cancelled.detail == {"approved": "as it was", "observed": "restarted by hand"}
    assert requests(stage) == ["as it was", "restarted by hand"]
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    await approve(stage)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


@pytest.mark.parametrize("unknown", [None, RuntimeError("hunter2")])
async def test_what_cannot_be_told_is_no_change(tmp_path: Path, unknown: Exception | None) -> None:
    """When people are asked, or before the action: it is the approval of the plan that counts then."""
    stage = await asked(tmp_path, unknown)
    assert requests(stage) == [None]
    stage.action.state = "new"  # type: ignore[attr-defined]
    await approve(stage)
    assert len(stage.action.done) == 1
    await stage.engine.stop()
    stage = await asked(tmp_path)
    stage.action.state = unknown  # type: ignore[attr-defined]
    await approve(stage)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_what_people_saw_outlives_a_crash(tmp_path: Path) -> None:
    """It is in the log, as the approval is."""
    stage = await asked(tmp_path)
    await stage.crash()
    stage.action.state = "restarted by hand"  # type: ignore[attr-defined]
    await stage.start()
    await approve(stage)
    assert stage.action.done == []
    assert requests(stage) == ["as it was", "restarted by hand"]
    await stage.engine.stop()


async def test_only_approved_runs_look(tmp_path: Path) -> None:
    """A live one acts on what is there, and the second step on what the first has left."""
    stage = await asked(tmp_path, rules=ONE_RULE)
    await stage.clock.advance(301)
    assert len(stage.action.done) == 2
    assert isinstance(stage.action, Watched)
    assert stage.action.looks == 0
    await stage.engine.stop()


async def test_a_look_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not answer in time has not told; what is told is cut."""
    assert OBSERVE_SECONDS == 5
    monkeypatch.setattr("autoheal.engine.observation.OBSERVE_SECONDS", 0.01)
    action, step = Watched(), {"action": "fake", "params": {"do": "x"}}
    stage = Stage(tmp_path)
    context = Context("r1", 0, "k", {}, tmp_path, stage.clock)
    action.state = "y" * 1000
    assert await observed(step, {"fake": action}, context) == "y" * 300
    action.state = "\ud800"
    assert await observed(step, {"fake": action}, context) == "?"
    assert await observed(step, {"fake": FakeAction()}, context) is None
    assert await observed(step, {}, context) is None

    async def hang(*_: object) -> str:
        await asyncio.Event().wait()
        return "never"

    monkeypatch.setattr(action, "observe", hang)
    assert await observed(step, {"fake": action}, context) is None
