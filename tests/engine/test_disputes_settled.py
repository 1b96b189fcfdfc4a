"""What settles a disputed end: clocks that are set back and restarts do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from autoheal.model import Kind
from tests.support.clock import settle
from tests.support.disputes import WAITS, Pair, acted, kinds, waiting
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE


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
