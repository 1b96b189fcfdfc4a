"""Ends that one Alertmanager tells while another lists the alert: unknown is never success, and no reason to act."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoheal.engine import Word
from autoheal.errors import JournalUnavailable, WrongTurn
from autoheal.model import Alert, By, Draft, Kind, Notification, Reason
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE, with_keys

LADDER = ONE_RULE.replace("resolved_within: 5m", "resolved_within: 60s")


class Pair(Api):
    """Two Alertmanagers, of which the second lists `alerts`."""

    def __init__(self, *alerts: Alert) -> None:
        super().__init__(*alerts)
        self.several = True

    @property
    def seen(self) -> Any:
        """The only alert that is listed."""
        (one,) = self.listed.values()
        return one

    def hear(self, at: float) -> None:
        """The second hears of the alert again."""
        self.seen.heard_at = at


async def firing(tmp_path: Path, rules: str) -> tuple[Stage, Pair]:
    """A stage that was told of an alert, and both Alertmanagers, of which one lists it."""
    stage = Stage(tmp_path, rules)
    stage.alertmanager = pair = Pair(stage.alert())
    await stage.start()
    await stage.tell()
    return stage, pair


async def acted(tmp_path: Path, rules: str = LADDER) -> tuple[Stage, Pair]:
    """As `firing`, and the first step has run."""
    stage, pair = await firing(tmp_path, rules)
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(1)
    return stage, pair


def kinds(stage: Stage, *of: str) -> list[str]:
    return [kind for kind in stage.story() if kind.split()[0] in of]


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


async def test_it_has_ended_once_nobody_lists_it(tmp_path: Path) -> None:
    """The stale one forgets it in the end; its end is the one that was told, and confirms the heal."""
    stage, pair = await acted(tmp_path)
    ended_at = stage.clock.now()
    await stage.tell(stage.alert(resolved=True))
    pair.listed.clear()
    await stage.clock.advance(16)
    assert stage.story()[-3:] == ["alert_disputed", "alert_resolved", "heal_confirmed resolved"]
    resolved = stage.journal.records[-2]
    assert resolved.detail["how"] == "api"
    assert stage.engine.state.ends[str(resolved.fingerprint)].ends_at == pytest.approx(ended_at)
    await stage.engine.stop()


async def test_it_fires_when_it_is_heard_of_anew(tmp_path: Path) -> None:
    """Then the one that told the end is the stale one: verification fails at its deadline, and the next step acts."""
    stage, pair = await acted(tmp_path)
    pair.denied = set(pair.listed)
    await stage.tell(stage.alert(resolved=True))
    pair.hear(stage.clock.now())
    await stage.clock.advance(16)
    assert stage.story()[-2:] == ["alert_disputed", "alert_undisputed"]
    await stage.clock.advance(45)
    assert kinds(stage, "heal_failed", "action_started") == [
        "action_started",
        "heal_failed not_resolved",
        "action_started",
    ]
    await stage.engine.stop()


async def test_the_second_one_to_tell_the_end_settles_it(tmp_path: Path) -> None:
    """Its webhook is a question again, and now nobody lists the alert."""
    stage, pair = await acted(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    await stage.tell(stage.alert(resolved=True))
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.clock.advance(6)
    pair.listed.clear()
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    assert stage.journal.records[-2].detail["how"] == "webhook"
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


async def test_one_that_cannot_be_asked_any_more_is_believed_for_five_minutes(tmp_path: Path) -> None:
    """By then it would have forgotten the alert by itself, unless it were told of it again."""
    stage, pair = await acted(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    pair.listed.clear()
    pair.answered = False
    await stage.clock.advance(299)
    assert "alert_resolved" not in stage.story()
    await stage.clock.advance(31)
    assert "alert_resolved" in stage.story()
    await stage.engine.stop()


@pytest.mark.parametrize("case", ["unanswered", "just started"])
async def test_an_end_that_is_told_again_does_not_settle_it(tmp_path: Path, case: str) -> None:
    """Whoever listed the alert does not answer, or has forgotten it by a restart: what it said counts for its time."""
    stage, pair = await acted(tmp_path, ONE_RULE)
    await stage.tell(stage.alert(resolved=True))
    pair.listed.clear()
    pair.answered, pair.uptime = case != "unanswered", 5.0
    await stage.clock.advance(6)
    await stage.tell(stage.alert(resolved=True))
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.clock.advance(301)
    await stage.tell(stage.alert(resolved=True))
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed", "alert_resolved"]
    await stage.engine.stop()


async def test_who_has_been_up_since_before_it_has_forgotten_nothing(tmp_path: Path) -> None:
    """A pair that has started a minute ago, less than the five it takes to know all that fires: nobody lists it now."""
    stage, pair = await acted(tmp_path, ONE_RULE)
    await stage.tell(stage.alert(resolved=True))
    pair.listed.clear()
    pair.uptime = 60.0
    await stage.clock.advance(6)
    await stage.tell(stage.alert(resolved=True))
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed", "alert_resolved"]
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("after", "moved", "uptime", "ended"), [(6, -3600, 5.0, False), (500, 0, 400.0, True), (6, 3600, 60.0, False)]
)
async def test_who_has_started_since_is_believed_after_five_minutes(
    tmp_path: Path, after: float, moved: float, uptime: float, *, ended: bool
) -> None:
    """However long the dispute has lasted, and wherever the clock was set meanwhile."""
    stage, pair = await acted(tmp_path, ONE_RULE)
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(after)
    stage.clock.set_now(stage.clock.now() + moved)
    pair.listed.clear()
    pair.uptime = uptime
    await stage.clock.advance(16)
    assert kinds(stage, "alert_disputed", "alert_resolved")[1:] == ["alert_resolved"] * ended
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("before", "set_back", "lasts", "up"), [(100, 0, 101, 60.0), (100, 0, 101, 100.0), (0, 50, 56, 46.0)]
)
async def test_a_clock_that_is_set_back_makes_no_dispute_shorter(
    tmp_path: Path, before: float, set_back: float, lasts: float, up: float
) -> None:
    """The one that fires has started since, and forgotten it; ours was set back `before` the dispute, which is of the
    future until the clock catches up, or in it.
    """
    stage, pair = await acted(tmp_path, ONE_RULE)
    end = stage.alert(resolved=True)
    stage.clock.set_now(stage.clock.now() - before)
    await stage.tell(end)
    assert stage.story()[-1] == "alert_disputed"
    await stage.clock.advance(lasts)
    stage.clock.set_now(stage.clock.now() - set_back)
    pair.listed.clear()
    pair.uptime = up
    await stage.tell(end)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.engine.stop()


async def test_an_end_that_is_told_again_begins_no_other_dispute(tmp_path: Path) -> None:
    """Whoever told it was restarted since, and has forgotten what fires; ours was set back by less than it lasts."""
    stage, pair = await acted(tmp_path, ONE_RULE)
    end = stage.alert(resolved=True)
    await stage.tell(end)
    await stage.clock.advance(30)
    await stage.tell(end)
    await stage.clock.advance(20)
    stage.clock.set_now(stage.clock.now() - 45)
    pair.listed.clear()
    pair.uptime = 35.0
    await stage.tell(end)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.engine.stop()


@pytest.mark.parametrize("set_back", [0, 3600])
async def test_who_has_started_while_others_are_asked_has_forgotten(tmp_path: Path, set_back: float) -> None:
    """The one that lists the alert answers at once and is restarted while the other one hangs; or has answered before
    ours was set back, by which that answer is young.
    """
    stage, pair = await acted(tmp_path, ONE_RULE)
    watch = stage.engine._reception.watch
    assert watch is not None
    pair.let.clear()
    if set_back:
        pair.let.set()
        await watch._fresh(stage.clock.now())
        await stage.clock.advance(4)
    end = stage.alert(resolved=True)
    stage.clock.set_now(stage.clock.now() - set_back)
    told = asyncio.ensure_future(stage.tell(end))
    await stage.clock.advance(0 if set_back else 20)
    pair.let.set()
    await told
    assert stage.story()[-1] == "alert_disputed"
    pair.listed.clear()
    await stage.clock.advance(6)
    pair.uptime = 9.0 if set_back else 25.0
    await stage.tell(end)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    await stage.engine.stop()


async def test_a_life_that_has_not_seen_it_begin_believes_nobody_sooner(tmp_path: Path) -> None:
    """Nobody knows how long it has lasted: the clock may have been set back while no gateway ran."""
    stage, pair = await waiting(tmp_path)
    await stage.clock.advance(10)
    await stage.crash()
    await stage.clock.advance(50)
    stage.clock.set_now(stage.clock.now() - 30)
    pair.listed.clear()
    pair.uptime = 55.0
    await stage.start()
    await stage.clock.advance(16)
    assert "alert_resolved" not in stage.story()
    pair.uptime = 300.0
    await stage.clock.advance(16)
    assert stage.story()[-1] == "alert_resolved"
    await stage.engine.stop()


async def test_of_three_one_may_never_have_heard_of_it(tmp_path: Path) -> None:
    """One tells an end, one lists the alert until it forgets it, and the third, which fires, had just started."""
    stage, pair = await acted(tmp_path, ONE_RULE)
    pair.missed = set(pair.listed)
    await stage.tell(stage.alert(resolved=True))
    pair.listed.clear()
    pair.uptime = 60.0
    await stage.clock.advance(31)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed"]
    pair.uptime = 300.0
    await stage.clock.advance(16)
    assert kinds(stage, "alert_disputed", "alert_resolved") == ["alert_disputed", "alert_resolved"]
    await stage.engine.stop()


async def test_what_is_known_of_an_alert_goes_with_its_episode(tmp_path: Path) -> None:
    """The memory that disputes take is that of open ones."""
    stage, pair = await waiting(tmp_path)
    watch = stage.engine._reception.watch
    assert watch is not None
    assert set(watch.disputes._known) == set(pair.listed)
    pair.listed.clear()
    await stage.clock.advance(31)
    assert stage.story()[-1] == "alert_resolved"
    assert watch.disputes._known == {}
    await stage.engine.stop()


@pytest.mark.parametrize("case", ["an answer is missing", "a restart"])
async def test_the_five_minutes_begin_when_it_answers_no_more(tmp_path: Path, case: str) -> None:
    """However long the dispute has lasted: neither one answer that fails nor a start before the network ends it."""
    stage, pair = await waiting(tmp_path)
    listed = dict(pair.listed)
    if case == "a restart":
        await stage.crash()
        stage.clock.set_now(stage.clock.now() + 600)
        pair.listed, pair.answered = {}, False
        await stage.start()
        await stage.clock.advance(299)
    else:
        await stage.clock.advance(400)
        for _ in range(2):
            pair.listed, pair.answered = {}, False
            await stage.clock.advance(200)
            pair.listed, pair.answered = dict(listed), True
            await stage.clock.advance(16)
    assert "alert_resolved" not in stage.story()
    await stage.engine.stop()


async def test_a_clock_that_is_set_back_delays_nothing(tmp_path: Path) -> None:
    """The dispute is of the future then: an answer is younger all the same."""
    stage, pair = await waiting(tmp_path)
    stage.clock.set_now(stage.clock.now() - 3600)
    pair.listed.clear()
    await stage.clock.advance(16)
    assert stage.story()[-1] == "alert_resolved"
    await stage.engine.stop()


async def test_without_an_alertmanager_to_ask_the_end_counts(tmp_path: Path) -> None:
    """The next life was given no ALERTMANAGER_URL: a dispute that nobody can settle would hold for ever."""
    stage, _ = await waiting(tmp_path)
    ended_at = stage.clock.now()
    await stage.crash()
    stage.alertmanager = None
    await stage.start()
    resolved = [record for record in stage.journal.records if record.kind is Kind.ALERT_RESOLVED]
    assert [one.detail["how"] for one in resolved] == ["webhook"]
    assert stage.engine.state.episodes == {}
    assert stage.engine.state.ends[str(resolved[0].fingerprint)].ends_at == pytest.approx(ended_at)
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


WAITS = with_keys("for: 60s")


async def waiting(tmp_path: Path) -> tuple[Stage, Pair]:
    """As `firing`, by a rule that waits for a minute, and the end is disputed."""
    stage, pair = await firing(tmp_path, WAITS)
    await stage.clock.advance(1)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-2:] == ["decision not_yet", "alert_disputed"]
    return stage, pair


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


async def test_a_firing_beside_a_doubted_end_does_not_wait(tmp_path: Path) -> None:
    """What begins is decided on while others are asked about what has ended; the sender waits for both."""
    stage, pair = await acted(tmp_path)
    pair.let.clear()
    both = Notification(alerts=(stage.alert(resolved=True), stage.alert("api-2")))
    receipt = asyncio.ensure_future(stage.engine.receive(both, "c2"))
    await settle()
    assert kinds(stage, "alert_firing", "alert_disputed") == ["alert_firing", "alert_firing"]
    assert not receipt.done()
    pair.let.set()
    assert (await receipt).accepted == 2
    assert kinds(stage, "alert_disputed") == ["alert_disputed"]
    await stage.engine.stop()


async def test_what_is_told_meanwhile_does_not_overtake_the_end(tmp_path: Path) -> None:
    """The next firing, seconds after the one whose end is asked about: in its place it would be taken for that one."""
    stage, pair = await acted(tmp_path)
    pair.listed.clear()
    pair.let.clear()
    end = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(stage.alert(resolved=True),)), "c2"))
    await settle()
    await stage.clock.advance(2)
    anew = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(stage.alert(ago=1.0),)), "c3"))
    await settle()
    assert not anew.done()
    pair.let.set()
    await end
    await anew
    assert kinds(stage, "alert_firing", "alert_resolved") == ["alert_firing", "alert_resolved", "alert_firing"]
    assert stage.engine._reception._asked == {}
    await stage.engine.stop()


@pytest.mark.parametrize("case", ["a slow disk", "a clock set back"])
async def test_the_next_firing_overtakes_no_end_whatever_that_waits_for(tmp_path: Path, case: str) -> None:
    """It may find on disk what the end still waits for, and an answer too old for the end that is one for it."""
    stage, pair = await acted(tmp_path)
    pair.listed.clear()
    pair.let.clear()
    watch = stage.engine._reception.watch
    assert watch is not None
    if case == "a slow disk":
        stage.journal.held = True
        before: asyncio.Future[Any] = asyncio.ensure_future(stage.engine.note(Draft(kind=Kind.LOGOUT)))
    else:
        before = asyncio.ensure_future(watch._fresh(stage.clock.now()))
        await settle()
        stage.clock.set_now(stage.clock.now() + 1)
    end = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(stage.alert(resolved=True),)), "c2"))
    await settle()
    anew = Notification(alerts=(stage.alert(ago=-1.0),))
    if case == "a slow disk":
        stage.journal.held = False
        stage.journal.release()
    else:
        stage.clock.set_now(stage.clock.now() - 3600)
    pair.let.set()
    await stage.engine.receive(anew, "c3")
    await asyncio.gather(before, end)
    assert kinds(stage, "alert_firing", "alert_resolved") == ["alert_firing", "alert_resolved", "alert_firing"]
    await stage.engine.stop()


async def test_one_that_is_refused_lets_nothing_pass_either(tmp_path: Path) -> None:
    """The end is asked about, what was told after it is given up: what comes third waits for the end still."""
    stage, pair = await acted(tmp_path)
    pair.listed.clear()
    pair.let.clear()
    anew = Notification(alerts=(stage.alert(ago=-1.0),))
    ended = Notification(alerts=(stage.alert(resolved=True),))
    end = asyncio.ensure_future(stage.engine.receive(ended, "c2"))
    await settle()
    second = asyncio.ensure_future(stage.engine.receive(anew, "c3"))
    await settle()
    third = asyncio.ensure_future(stage.engine.receive(anew, "c4"))
    await settle()
    second.cancel()
    await settle()
    assert not third.done()
    fourth = asyncio.ensure_future(stage.engine.receive(anew, "c5"))
    await settle()
    assert not fourth.done()
    pair.let.set()
    await asyncio.gather(end, third, fourth)
    assert kinds(stage, "alert_firing", "alert_resolved") == ["alert_firing", "alert_resolved", "alert_firing"]
    assert stage.engine._reception._asked == {}
    await stage.engine.stop()


async def test_doubted_ends_share_their_questions(tmp_path: Path) -> None:
    """A hundred notifications of ends are two questions: the one under way, and one for all who came too late for it.

    So does an Alertmanager that hangs cost each of them its time twice at most.
    """
    stage, pair = await acted(tmp_path)
    pair.let.clear()
    before = len(pair.asked)
    ends = Notification(alerts=(stage.alert(resolved=True),))
    first = asyncio.ensure_future(stage.engine.receive(ends, "c"))
    await settle()
    stage.clock.set_now(stage.clock.now() + 1.0)
    later = [asyncio.ensure_future(stage.engine.receive(ends, "c")) for _ in range(99)]
    await settle()
    await stage.clock.advance(6)
    pair.let.set()
    await asyncio.gather(first, *later)
    assert len(pair.asked) - before == 2
    await stage.engine.stop()


async def test_an_end_while_the_log_refuses_is_refused(tmp_path: Path) -> None:
    """Neither the end nor the dispute is on disk: the sender is to try again."""
    stage, _ = await acted(tmp_path)
    stage.journal.healthy = False
    with pytest.raises(JournalUnavailable):
        await stage.engine.receive(Notification(alerts=(stage.alert(resolved=True),)), "c")
    stage.journal.healthy = True
    await stage.engine.stop()


async def test_what_settles_it_is_told_again_where_the_log_refused(tmp_path: Path) -> None:
    """Nothing is lost: the next answer says the same."""
    stage, pair = await waiting(tmp_path)
    pair.hear(stage.clock.now())
    stage.journal.healthy = False
    await stage.clock.advance(16)
    assert "alert_undisputed" not in stage.story()
    stage.journal.healthy = True
    await stage.clock.advance(16)
    assert kinds(stage, "alert_undisputed") == ["alert_undisputed"]
    await stage.engine.stop()


async def test_many_are_settled_in_slices(tmp_path: Path) -> None:
    """Others get their turn in between; what was settled meanwhile is left alone."""
    stage = Stage(tmp_path, WAITS)
    many = [replace(stage.alert(), fingerprint=f"{number:016x}") for number in range(250)]
    stage.alertmanager = pair = Pair(*many)
    await stage.start()
    await stage.tell(*many)
    await stage.clock.advance(1)
    ends = [replace(stage.alert(resolved=True), fingerprint=one.fingerprint) for one in many]
    await stage.tell(*ends)
    await settle()
    assert len(kinds(stage, "alert_disputed")) == 250
    pair.listed = {many[249].fingerprint: pair.listed[many[249].fingerprint]}
    await stage.clock.advance(1)
    poll, begun = await stage.engine._reception.watch._fresh(stage.clock.now())  # type: ignore[union-attr]
    settling = asyncio.ensure_future(stage.engine._reception.watch.disputes.settle(poll, begun))  # type: ignore[union-attr]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(stage.engine.state.episodes) < 250
    # Word comes in between that another one, not looked at yet, has fired anew.
    anew = replace(stage.alert(ago=-100.0), fingerprint=many[248].fingerprint)
    stage.clock.set_now(stage.clock.now() + 100)
    await stage.tell(anew)
    assert many[248].fingerprint not in await settling
    assert set(stage.engine.state.episodes) == {many[248].fingerprint, many[249].fingerprint}
    await stage.engine.stop()


async def test_nothing_begins_while_an_end_is_asked_about(tmp_path: Path) -> None:
    """One that hangs takes seconds, and `for` may be over meanwhile: the guards wait for the same answer as the end."""
    stage, pair = await firing(tmp_path, WAITS)
    await stage.clock.advance(48)
    pair.let.clear()
    ends = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(stage.alert(resolved=True),)), "c2"))
    await stage.clock.advance(4)
    pair.listed.clear()
    pair.let.set()
    await ends
    await settle()
    assert stage.story()[1:] == ["decision not_yet", "decision act", "alert_resolved", "action_cancelled resolved"]
    assert stage.action.done == []
    await stage.engine.stop()
