"""Alertmanager's own word in verification, and notifications at the edges of a life."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from autoheal.engine.watch import Watch
from autoheal.errors import JournalUnavailable, RecordTooLarge
from autoheal.model import Kind, Notification, Rejected
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE, with_keys


async def healing(tmp_path: Path, *, listed: bool) -> tuple[Stage, Api]:
    """A stage whose action has run, and the API that is asked about it."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(*([stage.alert()] if listed else []))
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    return stage, api


async def test_a_silenced_alert_makes_the_verdict_inconclusive(tmp_path: Path) -> None:
    """Nobody can know whether it healed: escalated at once, no further step."""
    stage, api = await healing(tmp_path, listed=True)
    next(iter(api.listed.values())).silenced = True
    await stage.clock.advance(301)
    assert stage.story()[-2:] == ["heal_inconclusive silenced", "escalated silenced"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_api_that_does_not_answer_is_inconclusive(tmp_path: Path) -> None:
    """Unknown is never success, and never a reason to act again."""
    stage, api = await healing(tmp_path, listed=False)
    api.answered = False
    await stage.clock.advance(301)
    assert stage.story()[-2:] == ["heal_inconclusive alertmanager_unknown", "escalated alertmanager_unknown"]
    await stage.engine.stop()


async def test_an_end_that_only_the_api_knows_confirms(tmp_path: Path) -> None:
    """Asked every 15 s: the end is recorded as the API's word, then the verdict."""
    stage, _ = await healing(tmp_path, listed=False)
    await stage.clock.advance(16)
    assert stage.story()[-2:] == ["alert_resolved", "heal_confirmed resolved"]
    assert stage.journal.records[-2].detail["how"] == "api"
    await stage.engine.stop()


async def test_verifications_share_one_poll(tmp_path: Path) -> None:
    """Many runs ask once in a few seconds and not once each: before they act, and while they are verified."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(*[stage.alert(f"api-{name}") for name in "abc"])
    await stage.start()
    await stage.tell(*[stage.alert(f"api-{name}") for name in "abc"])
    await stage.clock.advance(15.5)
    assert len(stage.action.done) == 3
    assert len(api.asked) == 2
    await stage.engine.stop()


async def begin(alerts: object, correlation_id: object) -> None:
    raise AssertionError("nothing begins here")


def note(drafts: object) -> None:
    raise AssertionError("nothing is disputed here")


async def test_many_ends_are_told_in_slices(tmp_path: Path) -> None:
    """Others get their turn in between; an alert that fires anew meanwhile is left alone: the answer is older."""
    stage = Stage(tmp_path, with_keys("storm: 200/10m"))
    await stage.start()
    many = [dataclasses.replace(stage.alert(), fingerprint=f"{number:016x}") for number in range(300)]
    await stage.tell(*many)
    watch = Watch(Api(), stage.clock, lambda: stage.engine.state, begin, stage.engine._reception._end_from_api, note)
    looking = asyncio.ensure_future(watch.catch_up())
    while len(stage.engine.state.episodes) == 300:  # noqa: ASYNC110 it is looked at after each turn
        await asyncio.sleep(0)
    assert len(stage.engine.state.episodes) == 200
    stage.clock.set_now(stage.clock.now() + 100)
    await stage.tell(dataclasses.replace(many[299], starts_at=stage.clock.now()))
    await looking
    assert list(stage.engine.state.episodes) == [many[299].fingerprint]
    await stage.engine.stop()


async def test_a_clock_that_was_set_back_hides_no_end(tmp_path: Path) -> None:
    """What is open was told an hour ahead of a life whose clock was set back: its end is heard of at the start."""
    stage = Stage(tmp_path, with_keys("for: 1h"))
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    await stage.tell()
    await stage.crash()
    api.listed.clear()
    stage.clock.set_now(stage.clock.now() - 3600.0)
    await stage.start()
    await settle()
    assert stage.story()[-1] == "alert_resolved"
    await stage.engine.stop()


@pytest.mark.parametrize(("apart", "polls"), [(5.0, 1), (5.01, 2)])
async def test_a_poll_answers_for_five_seconds(tmp_path: Path, apart: float, polls: int) -> None:
    """Whoever asks within five seconds of a poll's question gets its answer; later ones a new one."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    watch = Watch(api, stage.clock, lambda: stage.engine.state, begin, lambda ended: None, note)
    fingerprint = stage.alert().fingerprint
    assert await watch.standing(fingerprint, acted_at=0.0) == "firing"
    await stage.clock.advance(apart)
    assert await watch.standing(fingerprint, acted_at=0.0) == "firing"
    assert len(api.asked) == polls
    await stage.engine.stop()


async def test_askers_share_a_poll_that_is_under_way(tmp_path: Path) -> None:
    """A hundred runs that ask before the answer is there are one request; one that gives up does not end it."""
    stage = Stage(tmp_path)
    api = Api(stage.alert())
    api.let.clear()
    await stage.start()
    watch = Watch(api, stage.clock, lambda: stage.engine.state, begin, lambda ended: None, note)
    askers = [asyncio.ensure_future(watch.standing(stage.alert().fingerprint, acted_at=0.0)) for _ in range(100)]
    await settle()
    askers[0].cancel()
    await settle()
    api.let.set()
    assert set(await asyncio.gather(*askers[1:])) == {"firing"}
    assert len(api.asked) == 1
    await stage.engine.stop()


def truncated(stage: Stage, receiver: str = "autoheal", **labels: str) -> Notification:
    return Notification(alerts=(stage.alert(),), truncated=3, receiver=receiver, group_labels=labels)


def rests(api: Api) -> list[dict[str, Any]]:
    """The questions for what a group left out."""
    return [about for about in api.asked if about]


async def test_what_is_silenced_or_inhibited_is_not_fetched(tmp_path: Path) -> None:
    """Alertmanager would not have notified of it, so nothing may be done about it."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(*[stage.alert(name) for name in ("one", "two", "three")])
    api.listed[stage.alert("two").fingerprint].silenced = True
    api.listed[stage.alert("three").fingerprint].inhibited = True
    await stage.start()
    await stage.engine.receive(truncated(stage), "c")
    await settle()
    opened = [record for record in stage.journal.records if record.kind is Kind.ALERT_FIRING]
    assert sorted(record.labels["instance"] for record in opened) == ["api-1", "one"]
    await stage.engine.stop()


async def test_truncated_notifications_of_one_group_share_their_fetches(tmp_path: Path) -> None:
    """One fetch at a time for a receiver and group, and one more for all that came meanwhile; others have their own."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(stage.alert())
    api.let.clear()
    await stage.start()
    for _ in range(20):
        await stage.engine.receive(truncated(stage, job="a"), "c")
    await settle()
    assert len(rests(api)) == 1
    await stage.engine.receive(truncated(stage, job="b"), "c")
    await stage.engine.receive(truncated(stage, "other", job="a"), "c")
    await settle()
    assert len(rests(api)) == 3
    api.let.set()
    await settle()
    assert len(rests(api)) == 4
    await stage.engine.receive(truncated(stage, job="a"), "c")
    await settle()
    assert len(rests(api)) == 5
    await stage.engine.stop()


async def test_a_fetch_that_is_tried_again_serves_those_who_came_before(tmp_path: Path) -> None:
    """A try whose question came after a notification answers for it: no further one is needed."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(stage.alert())
    api.answered = False
    await stage.start()
    await stage.engine.receive(truncated(stage), "c")
    await stage.engine.receive(truncated(stage), "c")
    await settle()
    assert len(rests(api)) == 1
    api.answered = True
    await stage.clock.advance(60)
    assert len(rests(api)) == 2
    await stage.engine.stop()


class Broken(Api):
    """An API whose answer breaks its reader."""

    quoted = "hunter2"

    async def poll(self, **about: Any) -> Any:
        await super().poll(**about)
        raise ValueError(self.quoted)


async def test_a_poll_that_raises_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is logged without its text; the verdict is inconclusive, and the watch goes on."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Broken()
    await stage.start()
    await stage.engine.receive(truncated(stage), "c")
    await stage.clock.advance(301)
    assert stage.story()[-2:] == ["heal_inconclusive alertmanager_unknown", "escalated alertmanager_unknown"]
    asked = len(api.asked)
    await stage.clock.advance(301)
    assert len(api.asked) > asked
    assert not stage.engine.failed.is_set()
    log = capsys.readouterr().out
    assert "poll_raised" in log
    assert "truncated_group_given_up" in log
    assert "alertmanager_did_not_answer" in log
    assert Broken.quoted not in log
    await stage.engine.stop()


async def test_news_that_no_record_can_hold_do_not_end_the_watch(tmp_path: Path) -> None:
    """Whatever the log refuses, the next poll tells again."""
    stage = Stage(tmp_path)
    api = Api()
    await stage.start()
    await stage.tell()

    def end(alerts: object) -> None:
        raise RecordTooLarge("too large")

    watch = Watch(api, stage.clock, lambda: stage.engine.state, begin, end, note)
    assert await watch.standing(stage.alert().fingerprint, acted_at=0.0) == "ended"
    await stage.engine.stop()


async def test_bad_alerts_among_good_ones_are_recorded_and_bounded(tmp_path: Path) -> None:
    """Each has its alert_rejected; beyond a hundred one record says how many more."""
    stage = Stage(tmp_path)
    await stage.start()
    rejected = tuple(Rejected(index, ("labels: missing",)) for index in range(150))
    receipt = await stage.engine.receive(Notification(alerts=(stage.alert(),), rejected=rejected), "c")
    assert (receipt.accepted, receipt.rejected) == (1, 150)
    said = [record for record in stage.journal.records if record.kind is Kind.ALERT_REJECTED]
    assert len(said) == 101
    assert said[-1].detail == {"more": 50}
    await stage.engine.stop()


async def test_the_second_word_on_an_alert_in_one_body_sees_the_first(tmp_path: Path) -> None:
    """Firing and resolved of one alert in one body are one episode that has ended, and nothing is done."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell(stage.alert(), stage.alert(resolved=True))
    assert stage.story() == ["alert_firing", "alert_resolved"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_service_that_stops_takes_nothing_in(tmp_path: Path) -> None:
    """After stop the sender is told to try again."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await stage.engine.receive(Notification(alerts=(stage.alert(),)), "c")


async def test_a_repeat_waits_for_the_first_to_be_durable(tmp_path: Path) -> None:
    """The 200 of a duplicate says that the alert is safe, also while the first copy is still being written."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    alert = stage.alert()
    first = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(alert,)), "c1"))
    await settle()
    second = asyncio.ensure_future(stage.engine.receive(Notification(alerts=(alert,)), "c2"))
    await settle()
    assert not first.done()
    assert not second.done()
    stage.journal.fail()
    await settle()
    assert isinstance(first.exception(), JournalUnavailable)
    assert isinstance(second.exception(), JournalUnavailable)
    stage.journal.healthy, stage.journal.held = True, False
    await stage.clock.advance(1)
    await stage.engine.stop()


async def test_what_ended_while_nobody_listened_is_not_acted_on(tmp_path: Path) -> None:
    """At start Alertmanager is asked first: an alert that is gone by then ends, though its `for` has run out."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", "mode: live\n        for: 30m"))
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    await stage.tell()
    await stage.engine.stop()
    api.listed.clear()
    await stage.clock.advance(36_000)
    await stage.start()
    await stage.clock.advance(60)
    assert stage.story() == ["alert_firing", "decision not_yet", "alert_resolved"]
    assert stage.action.done == []
    await stage.engine.stop()
