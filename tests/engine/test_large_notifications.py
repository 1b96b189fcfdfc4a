"""Notifications that are taken in slice by slice: whole for whoever sent them, and one thought for decisions."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from autoheal.engine import intake
from autoheal.errors import JournalUnavailable, TooManyOpen
from autoheal.model import Alert, By, Kind, Notification
from autoheal.slices import Slices
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import with_keys

MANY = 3 * intake.AT_ONCE
BY = By("alice", "c0")
STORM = with_keys(f"storm: {2 * intake.AT_ONCE}/10m")


def alerts(stage: Stage, many: int = MANY, *, resolved: bool = False) -> tuple[Alert, ...]:
    """As many distinct ones."""
    return tuple(
        dataclasses.replace(stage.alert(f"api-{number}", resolved=resolved), fingerprint=f"{number:016x}")
        for number in range(many)
    )


async def first_slice(stage: Stage) -> None:
    """Return when a notification has begun to come in and is not whole yet."""
    while not stage.engine.state.episodes:  # noqa: ASYNC110 it is looked at after each turn
        await asyncio.sleep(0)
    assert len(stage.engine.state.episodes) < MANY


async def test_others_get_their_turn_while_many_alerts_come_in(tmp_path: Path) -> None:
    """No slice is longer than a hundred alerts, and the answer tells of all of them."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    seen = set()
    told = asyncio.ensure_future(stage.engine.receive(Notification(alerts=alerts(stage)), "c1"))
    while not told.done():
        seen.add(len(stage.engine.state.episodes))
        await asyncio.sleep(0)
    assert sorted(seen)[:4] == [0, 100, 200, 300]
    assert told.result().accepted == MANY
    await stage.engine.stop()


async def test_nothing_is_decided_on_half_a_notification(tmp_path: Path) -> None:
    """Something has every open alert decided on while a slice is in: the storm is told by all, from the first on."""
    many = 12 * intake.AT_ONCE
    stage = Stage(tmp_path, with_keys(f"storm: {10 * intake.AT_ONCE}/10m"))
    await stage.start()
    await stage.engine.pause(None, "quiet", None, BY)
    told = asyncio.ensure_future(stage.engine.receive(Notification(alerts=alerts(stage, many)), "c1"))
    await first_slice(stage)
    await stage.engine.resume(None, "go on", BY)
    assert not told.done()
    await told
    while len(stage.decided()) < many:
        await settle()
    assert set(stage.decided().values()) == {"storm"}
    assert stage.action.done == []
    await stage.engine.stop()


async def test_two_notifications_come_in_one_after_the_other(tmp_path: Path) -> None:
    """Of two at once the second is not even unpacked before the first is in."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    open_then: list[int] = []

    def unpacking() -> Slices[Notification]:
        open_then.append(len(stage.engine.state.episodes))
        yield
        return Notification(alerts=(stage.alert("other"),))

    first = asyncio.ensure_future(stage.engine.receive(Notification(alerts=alerts(stage)), "c1"))
    await first_slice(stage)
    await stage.engine.receive(unpacking(), "c2")
    assert open_then == [MANY]
    await first
    await stage.engine.stop()


async def test_a_log_that_gives_up_the_first_slice_refuses_the_whole(tmp_path: Path) -> None:
    """It takes records again before the last slice: who sent them is told to send all of them again, and does."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    stage.journal.held = True
    told = asyncio.ensure_future(stage.engine.receive(Notification(alerts=alerts(stage)), "c1"))
    await first_slice(stage)
    stage.journal.fail()
    stage.journal.held = False
    stage.journal.healthy = True
    with pytest.raises(JournalUnavailable, match="first part"):
        await told
    await stage.tell(*alerts(stage))
    opened = [record.fingerprint for record in stage.journal.records if record.kind is Kind.ALERT_FIRING]
    assert len(opened) == len(set(opened)) == MANY
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_a_stop_between_two_slices_refuses_the_rest(tmp_path: Path) -> None:
    """Nothing follows the record of the stop."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    told = asyncio.ensure_future(stage.engine.receive(Notification(alerts=alerts(stage)), "c1"))
    await first_slice(stage)
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable, match="stopping"):
        await told
    assert [record.kind for record in stage.journal.records[-2:]] == [Kind.SERVICE_STOPPED, Kind.CHECKPOINT]


async def test_when_too_much_is_open_nothing_new_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New alerts are refused, those that are open are told of and end as ever, and each end makes room."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*alerts(stage, 3))
    monkeypatch.setattr(intake, "MAX_OPEN_BYTES", stage.engine.state.open_bytes)
    await stage.tell(*alerts(stage, 3))
    with pytest.raises(TooManyOpen, match="3 alerts are open, and 1 more cannot be now"):
        await stage.tell(*alerts(stage, 4))
    ending, new = alerts(stage, 1, resolved=True), alerts(stage, 4)[3:]
    with pytest.raises(TooManyOpen, match="2 alerts are open, and 1 more"):
        await stage.tell(*ending, *new)
    await stage.tell(*ending, *new)
    assert len(stage.engine.state.episodes) == 3
    await stage.engine.stop()


async def test_what_the_api_tells_of_opens_nothing_more_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a cut notification is left out when too much is open; the next repeat asks again."""
    stage = Stage(tmp_path, STORM)
    stage.alertmanager = Api(*alerts(stage, 3))
    await stage.start()
    cut = Notification(alerts=alerts(stage, 1), truncated=2)
    monkeypatch.setattr(intake, "MAX_OPEN_BYTES", 1)
    await stage.engine.receive(cut, "c1")
    await settle()
    assert len(stage.engine.state.episodes) == 1
    monkeypatch.undo()
    await stage.engine.receive(cut, "c2")
    await settle()
    assert len(stage.engine.state.episodes) == 3
    await stage.engine.stop()


async def test_an_alert_does_not_wait_for_all_decisions_before_it(tmp_path: Path) -> None:
    """It is taken in while most of a storm is yet to be decided on."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.engine.receive(Notification(alerts=alerts(stage)), "c1")
    await stage.engine.receive(Notification(alerts=(stage.alert("other"),)), "c2")
    assert len(stage.decided()) < MANY / 2
    while len(stage.decided()) < MANY + 1:
        await settle()
    await stage.engine.stop()
