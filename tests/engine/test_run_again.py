"""`rerun_interrupted`: what is started once more after the gateway has died over it, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Outcome, Traits
from autoheal.engine import Word, runs
from autoheal.model import By, Kind
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Api, Stage, Watched
from tests.support.rules import ONE_RULE, with_keys

AGAIN = with_keys("rerun_interrupted: true")
CUT = ["alert_firing", "decision act", "action_started", "action_interrupted gateway_died"]


async def dying(tmp_path: Path, rules: str = AGAIN) -> Stage:
    """An engine that was killed over the first step's action."""
    stage = Stage(tmp_path, rules)
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.tell()
    await stage.crash()
    return stage


async def test_an_action_that_was_cut_short_is_started_once_more(tmp_path: Path) -> None:
    """As the same step, under the same idempotency key, and it is judged by what comes of that. It is charged once."""
    stage = await dying(tmp_path)
    await stage.clock.advance(600)
    await stage.start()
    assert stage.story() == [*CUT, "action_started", "action_ok"]
    assert stage.action.done == [("r5", 1, "restart api-1")] * 2
    assert len(set(stage.action.keys)) == 1
    assert len(stage.engine.state.charges) == 1
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    await stage.engine.stop()


async def test_it_is_started_once_more_and_no_oftener(tmp_path: Path) -> None:
    """When the gateway dies over it again the step is only verified; the next step has a second start of its own."""
    stage = await dying(tmp_path)
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.crash()
    await stage.start()
    assert stage.story()[4:] == ["action_started", "action_interrupted gateway_died"]
    stage.action.answers = [asyncio.Event()]
    await stage.clock.advance(301)
    assert stage.story()[-2:] == ["heal_failed not_resolved", "action_started"]
    await stage.crash()
    await stage.start()
    assert [step for _, step, _ in stage.action.done] == [1, 1, 2, 2]
    assert stage.story()[-3:] == ["action_interrupted gateway_died", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_a_crash_before_the_second_start_loses_nothing(tmp_path: Path) -> None:
    """The log says interrupted and nothing more: the next life starts it."""
    stage = await dying(tmp_path)
    await stage.start()
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.ACTION_INTERRUPTED) + 1 :]
    await stage.start()
    assert stage.story() == [*CUT, "action_started", "action_ok"]
    await stage.engine.stop()


async def test_what_a_stop_cut_short_is_started_again_too(tmp_path: Path) -> None:
    """By the next life, not by the one that ends."""
    stage = Stage(tmp_path, AGAIN)
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.tell()
    stopping = asyncio.ensure_future(stage.engine.stop())
    await stage.clock.advance(11)
    await stopping
    assert stage.story()[-1] == "action_interrupted shutdown"
    await stage.start()
    assert stage.story()[-2:] == ["action_started", "action_ok"]
    assert len(stage.action.done) == 2
    await stage.engine.stop()


def never(params: Mapping[str, Any]) -> Traits:
    """Traits of an action that must not be done twice."""
    assert params == {"do": "restart api-1"}
    return Traits(idempotent=False, reversible=False)


def frozen(stage: Stage) -> None:
    stage.rules = with_keys("rerun_interrupted: true", "freeze: [{from: '00:00', to: '24:00', zone: UTC}]")


def edited(stage: Stage) -> None:
    stage.rules = AGAIN.replace("restart {{ target }}", "reboot {{ target }}")


def not_idempotent(stage: Stage) -> None:
    stage.action.traits = never  # type: ignore[method-assign]


def unsaid(stage: Stage) -> None:
    stage.rules = ONE_RULE


def gone(stage: Stage) -> None:
    stage.rules = AGAIN.replace("name: restart", "name: other")


def below(stage: Stage) -> None:
    stage.rules = AGAIN.replace("rules:\n", 'rules: \n      - {name: first, match: alertname="Down", mode: off}\n')


@pytest.mark.parametrize("change", [frozen, edited, not_idempotent, unsaid, gone, below])
async def test_what_must_not_begin_now_is_only_verified(tmp_path: Path, change: Callable[[Stage], None]) -> None:
    """A guard says no, the plan is another, the action is not idempotent, the rule does not say so or is not there."""
    stage = await dying(tmp_path)
    change(stage)
    await stage.start()
    story = stage.story(of=lambda record: record.run is not None)
    assert story == CUT[1:]
    await stage.tell(stage.alert(resolved=True))
    assert "heal_confirmed resolved" in stage.story()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_alert_that_has_ended_needs_no_second_start(tmp_path: Path) -> None:
    """Alertmanager says so at start: the first one has helped."""
    stage = await dying(tmp_path)
    stage.alertmanager = Api()
    await stage.clock.advance(400)
    await stage.start()
    assert stage.story()[-1] == "heal_confirmed resolved"
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_word_that_comes_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody cancels the run while the engine asks what other alerts fire: it is not started again."""
    rules = with_keys("rerun_interrupted: true", 'unless: [alertname="Upgrade"]')
    stage = Stage(tmp_path, rules)
    api = stage.alertmanager = Api(stage.alert())
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.tell()
    assert len(stage.action.done) == 1
    await stage.crash()
    orphans = [1]
    monkeypatch.setattr(runs, "orphan_gone", lambda *_: not orphans)
    await stage.start()
    api.let.clear()
    # What start has asked is old by the time at which nothing is left of the command.
    await stage.clock.advance(20)
    orphans.clear()
    await stage.clock.advance(1)
    await stage.engine.control.cancel(stage.action.done[0][0], Word(By("ann", "c")))
    api.let.set()
    await settle()
    assert stage.story(of=lambda record: record.run is not None)[-2:] == [
        "cancel_requested cancelled",
        "action_cancelled cancelled",
    ]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


APPROVED = with_keys("rerun_interrupted: true").replace("mode: live", "mode: approve")
QUARTER = 900.0


async def dying_approved(tmp_path: Path, *answers: asyncio.Event | Outcome) -> Stage:
    """One that was killed over an action, which people had approved."""
    stage = Stage(tmp_path, APPROVED)
    stage.action = Watched()
    stage.action.answers = [*answers] or [asyncio.Event()]
    await stage.start()
    await stage.tell()
    (run,) = stage.engine.state.runs.values()
    await stage.engine.control.approve(run.id, Word(By("ann", "c"), plan_digest=run.plan_digest))
    await settle()
    await stage.crash()
    return stage


async def test_what_people_have_approved_is_started_again_in_their_time(tmp_path: Path) -> None:
    """When its target still is as it was when they were asked: the first start has changed nothing."""
    stage = await dying_approved(tmp_path)
    await stage.clock.advance(QUARTER + 59)
    await stage.start()
    assert [step for _, step, _ in stage.action.done] == [1, 1]
    assert stage.story()[-3:] == ["action_interrupted gateway_died", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_an_approval_is_too_old_for_a_second_start_hours_later(tmp_path: Path) -> None:
    """Nobody knows that the first step has begun, and nobody expects it any more: what is there is verified, and where
    that has not helped people are told instead of taking the next step.
    """
    stage = await dying_approved(tmp_path)
    await stage.clock.advance(8 * 3600.0)
    await stage.start()
    assert stage.story()[-1] == "action_interrupted gateway_died"
    await stage.clock.advance(301)
    assert stage.story()[-3:] == ["heal_failed not_resolved", "decision awaiting_approval", "escalated expired"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_ladder_whose_first_step_has_an_outcome_goes_on_whenever(tmp_path: Path) -> None:
    """The run has begun, and everybody could see that."""
    stage = await dying_approved(tmp_path, Outcome(ok=True))
    await stage.clock.advance(8 * 3600.0)
    await stage.start()
    await stage.clock.advance(301)
    assert [step for _, step, _ in stage.action.done] == [1, 2]
    await stage.engine.stop()


async def test_a_second_start_that_a_slow_disk_delays_is_too_late_as_well(tmp_path: Path) -> None:
    """Its intent is written after people's time: nothing is done, and they are told."""
    stage = await dying_approved(tmp_path)
    await stage.clock.advance(600)
    stage.journal.held = True
    starting = asyncio.ensure_future(stage.start())
    await settle()
    while Kind.ACTION_STARTED not in stage.journal.pending():
        stage.journal.release(count=len(stage.journal.pending()))
        await settle()
    await stage.clock.advance(QUARTER - 600 + 61)
    stage.journal.held = False
    stage.journal.release()
    await starting
    await settle()
    assert stage.story()[-2:] == ["action_interrupted expired", "escalated expired"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_target_that_has_changed_is_verified_and_not_acted_on_again(tmp_path: Path) -> None:
    """The first start has come so far, or somebody was there: what people have approved was about how it was."""
    stage = await dying_approved(tmp_path)
    assert isinstance(stage.action, Watched)
    stage.action.state = "restarted"
    await stage.start()
    assert stage.story()[-1] == "action_interrupted gateway_died"
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_later_step_is_started_again_on_whatever_is_there(tmp_path: Path) -> None:
    """The steps before it have changed the target: how it was when people were asked says nothing."""
    stage = await dying_approved(tmp_path, Outcome(ok=False), asyncio.Event())
    assert isinstance(stage.action, Watched)
    stage.action.state = "left by step 1"
    await stage.start()
    assert [step for _, step, _ in stage.action.done] == [1, 2, 2]
    await stage.engine.stop()
