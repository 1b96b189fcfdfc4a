"""What was let go and waits for its turn: a target that changes meanwhile is not acted on by the word on the batch."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import orjson
import pytest

from autoheal.model import Kind
from autoheal.state import RunState, fold
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.storms import (
    BEFORE,
    ONE_AT_A_TIME,
    Targets,
    a_storm,
    acted,
    approve,
    changed_since,
    fingerprints,
    last_run,
    let_go,
    make_room,
    of,
    told,
    voided,
)


async def test_what_has_not_changed_acts(tmp_path: Path) -> None:
    """By the one word on the batch: nobody is asked."""
    stage, _ = await a_storm(tmp_path)
    await let_go(stage)
    for number in range(3):
        await make_room(stage, number)
    assert acted(stage) == [f"restart api-{n}" for n in range(4)]
    assert last_run(stage, "api-3").approval == dataclasses.replace(
        last_run(stage, "api-0").approval or pytest.fail("people let it go"), observed=BEFORE
    )
    assert of(stage, Kind.APPROVAL_REQUESTED) == []
    await stage.engine.stop()


async def test_what_has_changed_is_asked_about_by_itself(tmp_path: Path) -> None:
    """The run ends before it begins, people see how the target is now, and it acts when they approve that. The word on
    the batch is good for the others.
    """
    stage, _ = await changed_since(tmp_path)
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-2"]
    (cancelled,) = voided(stage)
    assert cancelled.target == "api-1"
    assert cancelled.detail == {"approved": BEFORE, "observed": "replaced by hand"}
    for number in (2, 3):
        await make_room(stage, number)
    (asked,) = of(stage, Kind.APPROVAL_REQUESTED)
    assert (asked.target, asked.detail["observed"]) == ("api-1", "replaced by hand")
    run = last_run(stage, "api-1")
    assert run.state is RunState.AWAITING_APPROVAL
    await approve(stage, run)
    assert acted(stage) == [f"restart api-{n}" for n in (0, 2, 3, 1)]
    assert voided(stage) == [cancelled]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_who_is_asked_by_itself_is_asked_anew_when_it_changes_again(tmp_path: Path) -> None:
    """And no storm holds it meanwhile, though the storm goes on."""
    stage, targets = await a_storm(tmp_path)
    await let_go(stage)
    targets.now = dict.fromkeys(("api-1", "api-2", "api-3"), "replaced by hand")
    await make_room(stage)
    assert not stage.engine.state.storms["restart"].over
    assert stage.engine.state.storms["restart"].held == {}
    targets.now["api-1"] = "and once more"
    await approve(stage, last_run(stage, "api-1"))
    asked = [record.detail["observed"] for record in of(stage, Kind.APPROVAL_REQUESTED) if record.target == "api-1"]
    assert asked == ["replaced by hand", "and once more"]
    assert acted(stage) == ["restart api-0"]
    await stage.engine.stop()


async def test_the_word_is_void_after_a_restart_too(tmp_path: Path) -> None:
    """The gateway dies between the end of the run and the question: it does not act by that word all the same, though
    the target is again as it was.
    """
    stage, targets = await changed_since(tmp_path)
    stage.journal.held = True
    room = asyncio.create_task(make_room(stage))
    while Kind.ACTION_CANCELLED not in stage.journal.pending():
        stage.journal.release(count=1)
        await settle()
    stage.journal.release(Kind.ACTION_CANCELLED)
    await stage.crash()
    assert room.cancelled()
    assert stage.journal.records[-1] == voided(stage)[0]
    targets.now.clear()
    await stage.start()
    for number in (2, 3):
        await make_room(stage, number)
    assert "restart api-1" not in acted(stage)
    assert [record.target for record in of(stage, Kind.APPROVAL_REQUESTED)] == ["api-1"]
    await stage.engine.stop()


@pytest.mark.parametrize("unknown", [None, RuntimeError("hunter2"), asyncio.CancelledError()])
async def test_what_cannot_be_told_is_not_compared(tmp_path: Path, unknown: BaseException | None) -> None:
    """Whether the action says so, raises or cancels its own task: the others are looked at all the same."""
    stage, targets = await a_storm(tmp_path)
    targets.now["api-1"] = unknown
    await let_go(stage)
    assert told(stage).keys() == fingerprints(stage, 2, 3)
    targets.now["api-1"] = "replaced by hand"
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-1"]
    await stage.engine.stop()


async def test_what_begins_before_it_was_looked_at_acts(tmp_path: Path) -> None:
    """The look takes long; what it tells of a run that has begun may be how that has left it: no record has it."""
    stage, targets = await a_storm(tmp_path)
    targets.let.clear()
    await let_go(stage)
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-1"]
    targets.let.set()
    await settle()
    assert told(stage).keys() == fingerprints(stage, 2, 3)
    await stage.engine.stop()


async def test_another_firing_is_not_meant(tmp_path: Path) -> None:
    """Of an alert that ends and fires anew while the look takes long, and is let go again, the second look tells."""
    stage, targets = await a_storm(tmp_path)
    targets.let.clear()
    await let_go(stage)
    await make_room(stage, 1)
    await stage.tell(stage.alert("api-1", ago=-1.0))
    await let_go(stage)
    targets.let.set()
    await settle()
    first, second = of(stage, Kind.STORM_RELEASED)
    assert {
        record.detail["released"]: record.detail["observed"].keys() for record in of(stage, Kind.STORM_OBSERVED)
    } == {
        first.seq: fingerprints(stage, 2, 3),
        second.seq: fingerprints(stage, 1),
    }
    await stage.engine.stop()


async def test_two_alerts_about_one_target_are_two_questions(tmp_path: Path) -> None:
    """What the first one's run has changed is not what people saw: the second does not do it again by their word."""
    stage = Stage(
        tmp_path, ONE_AT_A_TIME.replace("cooldown: 10m", "cooldown: 0s").replace("concurrency: 1", "concurrency: 9")
    )
    targets = stage.action = Targets()
    await stage.start()
    twin = dataclasses.replace(stage.alert("api-0", pod="2"), fingerprint="f" * 16)
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)), twin)
    started = asyncio.Event()
    targets.answers = [started] * 4
    await let_go(stage)
    assert told(stage).keys() == {twin.fingerprint}
    targets.now["api-0"] = "restarted by its twin"
    started.set()
    await settle()
    await make_room(stage)
    assert [record.fingerprint for record in of(stage, Kind.APPROVAL_REQUESTED)] == [twin.fingerprint]
    assert sorted(acted(stage)) == [f"restart api-{n}" for n in range(4)]
    await stage.engine.stop()


async def test_what_an_older_version_let_go_is_not_compared(tmp_path: Path) -> None:
    """Its snapshot reads: of a release it tells neither its record nor how anything was."""
    stage, targets = await a_storm(tmp_path)
    targets.now = {f"api-{n}": None for n in range(4)}
    await let_go(stage)
    for episode in stage.engine.state.episodes.values():
        word = episode.released["restart"]
        old = {name: getattr(word, name) for name in ("plan_digest", "rule_digest", "ts", "by")}
        episode.released["restart"] = old  # type: ignore[assignment]
    stage.journal.rotated = True
    await stage.tell(stage.alert("other", alertname="Other"))
    assert b'"void"' not in orjson.dumps([record.detail for record in of(stage, Kind.SNAPSHOT)])
    opened = of(stage, Kind.LOG_OPENED)[0].seq
    stage.journal.records = [record for record in stage.journal.records if record.seq >= opened]
    await stage.crash()
    targets.now["api-1"] = "replaced by hand"
    await stage.start()
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-1"]
    await stage.engine.stop()


async def unanswered(tmp_path: Path) -> tuple[Stage, Targets, Api]:
    """What a storm held was let go; the first one's run asks Alertmanager, which does not answer yet."""
    stage = Stage(tmp_path, ONE_AT_A_TIME)
    targets = stage.action = Targets()
    firing = [stage.alert(f"api-{n}") for n in range(4)]
    api = stage.alertmanager = Api(*firing)
    await stage.start()
    await stage.tell(*firing)
    api.let.clear()
    await let_go(stage)
    return stage, targets, api


async def test_what_did_not_begin_after_all_is_compared(tmp_path: Path) -> None:
    """A run was decided on at once and stopped by a guard before it began: the next one by that word is compared."""
    stage, targets, api = await unanswered(tmp_path)
    assert acted(stage) == []
    assert told(stage).keys() == fingerprints(stage, 0, 1, 2, 3)
    seen = api.listed[stage.alert("api-0").fingerprint]
    seen.silenced, seen.silenced_by = True, frozenset({"by hand"})
    api.let.set()
    await settle()
    (stopped,) = voided(stage)
    assert (stopped.target, stopped.detail) == ("api-0", {})
    targets.now["api-0"] = "replaced by hand"
    seen.silenced, seen.silenced_by = False, frozenset()
    for number in (1, 2, 3):
        await stage.clock.advance(60)
        await make_room(stage, number)
    await stage.clock.advance(60)
    assert "restart api-0" not in acted(stage)
    assert [record.target for record in of(stage, Kind.APPROVAL_REQUESTED)] == ["api-0"]
    await stage.engine.stop()


@pytest.mark.parametrize("restarted", [False, True])
async def test_what_is_seen_before_its_run_begins_is_compared(tmp_path: Path, restarted: bool) -> None:
    """That was decided on before: it asks Alertmanager first, which may take long, or outlast this life."""
    stage, targets, api = await unanswered(tmp_path)
    assert last_run(stage, "api-0").state is RunState.PLANNED
    targets.now["api-0"] = "replaced by hand"
    if restarted:
        await stage.crash()
    api.let.set()
    if restarted:
        await stage.start()
    await settle()
    assert "restart api-0" not in acted(stage)
    assert [record.target for record in voided(stage)] == ["api-0"]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()
