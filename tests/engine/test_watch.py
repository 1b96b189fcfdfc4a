"""Alertmanager's own word in verification, and notifications at the edges of a life."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoheal.errors import JournalUnavailable
from autoheal.model import Kind, Notification, Rejected
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE


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
    """Many runs under verification ask once in a few seconds, not once each."""
    stage = Stage(tmp_path)
    stage.alertmanager = api = Api(*[stage.alert(f"api-{name}") for name in "abc"])
    await stage.start()
    await stage.tell(*[stage.alert(f"api-{name}") for name in "abc"])
    await stage.clock.advance(15.5)
    assert len(stage.action.done) == 3
    assert len(api.asked) == 1
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
