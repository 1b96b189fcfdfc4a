"""An end about which others are being asked: nothing is lost or overtakes it meanwhile, and nothing begins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind, Notification
from tests.support.clock import settle
from tests.support.disputes import WAITS, acted, firing, kinds


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


async def test_an_end_while_the_log_refuses_is_refused(tmp_path: Path) -> None:
    """Neither the end nor the dispute is on disk: the sender is to try again."""
    stage, _ = await acted(tmp_path)
    stage.journal.healthy = False
    with pytest.raises(JournalUnavailable):
        await stage.engine.receive(Notification(alerts=(stage.alert(resolved=True),)), "c")
    stage.journal.healthy = True
    await stage.engine.stop()
