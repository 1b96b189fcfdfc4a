"""Ends that one Alertmanager tells while another lists the alert: unknown is never success, and no reason to act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoheal.engine import Word
from autoheal.errors import WrongTurn
from autoheal.model import By, Kind, Reason
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.disputes import LADDER, Pair, acted, firing, kinds, waiting
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE


async def test_a_disputed_end_heals_nothing_and_lets_no_step_follow(tmp_path: Path) -> None:
    """The other one goes on to list it and hears nothing more: inconclusive at the deadline, and left to people."""
    stage, _ = await acted(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "alert_disputed"
    await stage.clock.advance(60)
    assert stage.story()[-2:] == ["heal_inconclusive disputed", "escalated disputed"]
    (verdict,) = [record for record in stage.journal.records if record.kind is Kind.HEAL_INCONCLUSIVE]
    assert verdict.detail["alertmanager"] == "disputed"
    assert len(stage.action.done) == 1
    await stage.engine.stop()


@pytest.mark.parametrize("case", ["unlisted", "unanswered", "fired anew"])
async def test_an_end_that_nobody_contradicts_counts_at_once(tmp_path: Path, case: str) -> None:
    """No other lists it, one does not answer, or what one lists has begun after that end."""
    stage, pair = await acted(tmp_path)
    if case == "fired anew":
        pair.seen.alert = stage.alert(ago=-1.0)
    else:
        pair.listed.clear()
        pair.answered = case == "unlisted"
    await stage.tell(stage.alert(resolved=True, ago=11.0))
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    assert stage.journal.records[-2].detail["how"] == "webhook"
    await stage.engine.stop()


async def test_nobody_is_asked_where_there_is_one(tmp_path: Path) -> None:
    """A single Alertmanager's own list may lag behind its webhook by nothing that matters: its word counts."""
    stage, pair = await acted(tmp_path)
    pair.several = False
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    await stage.engine.stop()


async def test_a_self_tests_end_is_not_asked_about(tmp_path: Path) -> None:
    """Its alert never was in an Alertmanager: one that hangs must not slow it down."""
    stage, pair = await acted(tmp_path)
    await stage.tell(stage.alert("test", alertname="AutohealSelfTest"))
    before = len(pair.asked)
    await stage.tell(stage.alert("test", resolved=True, alertname="AutohealSelfTest"))
    assert stage.story()[-1] == "alert_resolved"
    assert len(pair.asked) == before
    await stage.engine.stop()


async def test_a_firing_after_a_disputed_end_is_another_however_soon(tmp_path: Path) -> None:
    """It is told once: were it taken for the one before, it would be lost when that is settled to have ended."""
    stage, pair = await acted(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(5)
    again = pair.seen.alert = stage.alert(ago=1.0)
    await stage.tell(stage.alert(ago=16.0))
    assert kinds(stage, "alert_resolved") == []
    await stage.tell(again)
    await stage.clock.advance(31)
    assert kinds(stage, "alert_firing", "alert_resolved") == ["alert_firing", "alert_resolved", "alert_firing"]
    (episode,) = stage.engine.state.episodes.values()
    assert episode.starts_at == pytest.approx(again.starts_at)
    assert episode.dispute is None
    await stage.engine.stop()


async def test_another_firing_ends_the_dispute(tmp_path: Path) -> None:
    """What one lists has begun after the end that the other has told: that firing is over."""
    stage, pair = await acted(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    pair.seen.alert = stage.alert(ago=-5.0)
    await stage.clock.advance(16)
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    await stage.engine.stop()


async def test_a_clock_ahead_of_ours_makes_no_other_firing(tmp_path: Path) -> None:
    """The end and the beginning are by the sender's clock: what began ten minutes ahead of us fires all the same."""
    stage = Stage(tmp_path, LADDER)
    stage.alertmanager = Pair(stage.alert(ago=-600.0))
    await stage.start()
    await stage.tell(stage.alert(ago=-600.0))
    await stage.clock.advance(1)
    ahead = stage.clock.now() + 610
    await stage.tell(replace(stage.alert(resolved=True, ago=-599.0), ends_at=ahead))
    await stage.clock.advance(31)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.engine.stop()


async def test_nothing_begins_while_it_is_disputed(tmp_path: Path) -> None:
    """The decision says so with what is known, and the rule acts once the alert is heard of anew."""
    stage, pair = await waiting(tmp_path)
    await stage.clock.advance(60)
    decision = stage.journal.records[-1]
    assert decision.reason == Reason.DISPUTED
    (saw,) = [guard for guard in decision.detail["guards"] if guard["guard"] == "disputed"]
    assert set(saw) == {"guard", "passed", "since", "ends_at", "heard_at"}
    pair.hear(stage.clock.now())
    await stage.clock.advance(16)
    assert stage.story()[-4:] == ["alert_undisputed", "decision act", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_a_question_to_people_is_taken_back(tmp_path: Path) -> None:
    """Nobody is to approve what may have ended; people are asked anew if the alert fires."""
    stage, pair = await firing(tmp_path, ONE_RULE.replace("mode: live", "mode: approve"))
    await stage.clock.advance(1)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-3:] == ["alert_disputed", "decision disputed", "action_cancelled disputed"]
    (run,) = stage.engine.state.runs.values()
    with pytest.raises(WrongTurn):
        await stage.engine.control.approve(run.id, Word(By("ann", "c-ann"), plan_digest=run.plan_digest))
    pair.hear(stage.clock.now())
    await stage.clock.advance(16)
    assert stage.story()[-3:] == ["alert_undisputed", "decision awaiting_approval", "approval_requested"]
    await stage.engine.stop()


async def test_a_dispute_outlives_the_gateway(tmp_path: Path) -> None:
    """It stands in the log: the next life holds as well, and settles it."""
    stage, pair = await waiting(tmp_path)
    await stage.crash()
    await stage.start()
    await stage.clock.advance(60)
    assert stage.story()[-1] == "decision disputed"
    pair.listed.clear()
    await stage.clock.advance(16)
    assert stage.story()[-1] == "alert_resolved"
    assert stage.action.done == []
    assert fold(stage.journal.records).episodes == {}
    await stage.engine.stop()


async def test_one_that_no_longer_lists_it_is_a_dispute_in_verification(tmp_path: Path) -> None:
    """Without a word by webhook too: that one lists the alert and another does not is no answer."""
    stage, pair = await acted(tmp_path)
    pair.denied = set(pair.listed)
    await stage.clock.advance(60)
    assert stage.story()[-2:] == ["heal_inconclusive disputed", "escalated disputed"]
    await stage.engine.stop()


@pytest.mark.parametrize("case", ["heard of anew", "listed by both"])
async def test_what_fires_by_the_deadline_is_no_dispute_in_verification(tmp_path: Path, case: str) -> None:
    """The other one is cut off for good, or was away for a moment: rules still go on to their next step."""
    stage, pair = await acted(tmp_path)
    pair.denied = set(pair.listed)
    await stage.clock.advance(20)
    if case == "heard of anew":
        pair.hear(stage.clock.now())
    else:
        pair.denied = set()
    await stage.clock.advance(40)
    assert kinds(stage, "heal_failed", "heal_inconclusive") == ["heal_failed not_resolved"]
    await stage.engine.stop()


async def test_what_was_heard_before_the_action_proves_nothing_after_it(tmp_path: Path) -> None:
    """A dispute that was settled for firing, before the action healed it: the stale one lists it, and hears no more."""
    stage = Stage(tmp_path, LADDER)
    healed = asyncio.Event()
    stage.action.answers = [healed]
    stage.alertmanager = pair = Pair(stage.alert())
    await stage.start()
    await stage.tell()
    await stage.clock.advance(1)
    await stage.tell(stage.alert(resolved=True))
    pair.hear(stage.clock.now())
    await stage.clock.advance(16)
    assert stage.story()[-1] == "alert_undisputed"
    healed.set()
    await settle()
    pair.denied = set(pair.listed)
    await stage.clock.advance(60)
    assert stage.story()[-3:] == ["action_ok", "heal_inconclusive disputed", "escalated disputed"]
    await stage.engine.stop()


async def test_one_that_knew_of_the_end_and_answers_no_more_is_not_forgotten(tmp_path: Path) -> None:
    """The stale one alone answers at the deadline: still nobody knows."""
    stage, pair = await acted(tmp_path)
    pair.denied = set(pair.listed)
    await stage.clock.advance(50)
    pair.denied, pair.answered = set(), False
    await stage.clock.advance(10)
    assert stage.story()[-2:] == ["heal_inconclusive disputed", "escalated disputed"]
    await stage.engine.stop()


async def test_an_answer_before_the_dispute_does_not_judge(tmp_path: Path) -> None:
    """Just before the deadline, and the other one hears of the end a second later: that is asked for, and heals."""
    stage = Stage(tmp_path, LADDER)
    stage.alertmanager = pair = Pair(stage.alert())
    await stage.start()
    await stage.clock.advance(7)
    await stage.tell()
    await stage.clock.advance(58)
    poll = pair.poll

    async def slow(**about: Any) -> Any:
        told = await poll(**about)
        stage.clock.set_now(stage.clock.now() + 0.5)
        return told

    pair.poll = slow  # type: ignore[method-assign]
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "alert_disputed"
    pair.listed.clear()
    await stage.clock.advance(2)
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    await stage.engine.stop()
