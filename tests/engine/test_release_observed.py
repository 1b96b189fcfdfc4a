"""What was let go and waits for its turn: how its targets are is looked at, and recorded."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from autoheal.breaker import Breaker
from autoheal.engine.batch_observation import LOOK_SECONDS
from autoheal.model import MAX_RECORD_BYTES, Draft, Kind, Notification
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import rules_from
from tests.support.storms import (
    ANN,
    BEFORE,
    ONE_AT_A_TIME,
    Targets,
    a_storm,
    acted,
    digest,
    fingerprints,
    held,
    let_go,
    make_room,
    of,
    told,
)


async def test_how_the_targets_are_is_recorded(tmp_path: Path) -> None:
    """Of those that wait; one that has begun is not named. It follows from whoever let them go."""
    stage, _ = await a_storm(tmp_path)
    await let_go(stage)
    assert acted(stage) == ["restart api-0"]
    (released,) = of(stage, Kind.STORM_RELEASED)
    (record,) = of(stage, Kind.STORM_OBSERVED)
    assert (record.rule, record.actor, record.correlation_id) == ("restart", "system", "c-ann")
    assert record.run is record.fingerprint is None
    assert record.detail == {
        "released": released.seq,
        "observed": dict.fromkeys([stage.alert(f"api-{n}").fingerprint for n in (1, 2, 3)], BEFORE),
    }
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_an_action_that_cannot_tell_is_not_asked(tmp_path: Path) -> None:
    """No record tells of it, and all act."""
    stage = await held(tmp_path, ONE_AT_A_TIME)
    await let_go(stage)
    for number in range(3):
        await make_room(stage, number)
    assert acted(stage) == [f"restart api-{n}" for n in range(4)]
    assert of(stage, Kind.STORM_OBSERVED) == []
    await stage.engine.stop()


async def test_a_record_of_another_release_changes_nothing(tmp_path: Path) -> None:
    """Nor does one of an alert that is gone."""
    stage, _ = await a_storm(tmp_path)
    await let_go(stage)
    (released,) = of(stage, Kind.STORM_RELEASED)
    before = dict(stage.engine.state.episodes[stage.alert("api-1").fingerprint].released)
    about = {stage.alert("api-1").fingerprint: "replaced by hand", "0" * 16: "gone"}
    detail = {"released": released.seq - 1, "observed": about}
    await stage.engine.note(Draft(kind=Kind.STORM_OBSERVED, rule="restart", detail=detail))
    assert stage.engine.state.episodes[stage.alert("api-1").fingerprint].released == before
    assert before["restart"].observed == BEFORE
    await stage.engine.stop()


@pytest.mark.parametrize("again", [False, True])
async def test_a_log_that_fails_meanwhile_ends_nothing(tmp_path: Path, again: bool) -> None:
    """What was seen is recorded once the log takes records again, if its run has not begun by then; the log may also
    fail with that record in hand.
    """
    stage, targets = await a_storm(tmp_path)
    targets.let.clear()
    await let_go(stage)
    stage.journal.held = again
    if not again:
        stage.journal.fail()
    targets.let.set()
    await settle()
    if again:
        assert stage.journal.pending() == [Kind.STORM_OBSERVED]
        stage.journal.held = False
        stage.journal.fail()
    await stage.clock.advance(2)
    assert told(stage) == {}
    stage.journal.healthy = True
    await stage.clock.advance(2)
    assert told(stage).keys() == fingerprints(stage, 1, 2, 3)
    targets.now["api-1"] = "replaced by hand"
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-2"]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_a_release_that_the_log_gives_up_is_not_looked_at(tmp_path: Path) -> None:
    """Whoever asked for it is told; nobody has let anything go."""
    stage, targets = await a_storm(tmp_path)
    stage.journal.held = True
    letting_go = asyncio.create_task(let_go(stage))
    await settle()
    assert targets.looks == []
    stage.journal.fail()
    stage.journal.held, stage.journal.healthy = False, True
    assert "disk full" in str(await asyncio.wait_for(asyncio.gather(letting_go, return_exceptions=True), 5))
    await settle()
    assert (targets.looks, told(stage)) == ([], {})
    await stage.engine.stop()


async def test_the_request_does_not_wait(tmp_path: Path) -> None:
    """Nor does a stop: what was not looked at by then is unknown to the next life, which does not look again."""
    stage, targets = await a_storm(tmp_path)
    targets.let.clear()
    assert await let_go(stage) == 4
    assert targets.under_way == 3
    await asyncio.wait_for(stage.engine.stop(), 5)
    assert targets.under_way == 0
    targets.let.set()
    await stage.start()
    assert told(stage) == {}
    targets.now["api-1"] = "replaced by hand"
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-1"]
    await stage.engine.stop()


async def test_a_crash_before_the_look_leaves_it_unknown(tmp_path: Path) -> None:
    """The next life would tell a later state as what people saw."""
    stage, targets = await a_storm(tmp_path)
    targets.let.clear()
    await let_go(stage)
    await stage.crash()
    targets.let.set()
    targets.now["api-1"] = "replaced by hand"
    await stage.start()
    await make_room(stage)
    assert told(stage) == {}
    assert acted(stage) == ["restart api-0", "restart api-1"]
    await stage.engine.stop()


@pytest.mark.parametrize("rotated", [False, True])
async def test_what_was_seen_outlives_a_crash(tmp_path: Path, rotated: bool) -> None:
    """In the log, or in the snapshot with which a fresh file begins."""
    stage, targets = await a_storm(tmp_path)
    await let_go(stage)
    if rotated:
        stage.journal.rotated = True
        await stage.tell(stage.alert("other", alertname="Other"))
        opened = of(stage, Kind.LOG_OPENED)[0].seq
        stage.journal.records = [record for record in stage.journal.records if record.seq >= opened]
    await stage.crash()
    targets.now["api-1"] = "replaced by hand"
    await stage.start()
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-2"]
    await stage.engine.stop()


@pytest.mark.parametrize("how", ["live", "dry run", "disabled", "hold-out"])
async def test_nothing_is_looked_at_that_no_word_of_people_lets_act(tmp_path: Path, how: str) -> None:
    """A live plan is made the moment before it acts, and what else there is never acts."""
    keys = {"live": "mode: live", "hold-out": "mode: approve\n        rollout: 0.1%"}.get(how, "mode: approve")
    environ = {"dry run": {"AUTOHEAL_DRY_RUN": "true"}}.get(how, {})
    stage, targets = await a_storm(tmp_path, ONE_AT_A_TIME.replace("mode: approve", keys), **environ)
    if how == "disabled":
        stage.environ["AUTOHEAL_ENABLED"] = "false"
        await stage.crash()
        await stage.start()
    await stage.engine.pause("restart", "not yet", None, ANN)
    await settle()
    await let_go(stage)
    assert (targets.looks, told(stage)) == ([], {})
    await stage.engine.stop()


async def test_a_rule_that_was_demoted_to_ask_is_one_that_asks(tmp_path: Path) -> None:
    """However live it is written."""
    demotable = "mode: live\n        breaker: {failures: 5, reset: 1h, demote: approve}"
    stage = Stage(tmp_path, ONE_AT_A_TIME.replace("mode: approve", demotable))
    stage.action = Targets()
    await stage.start()
    stage.engine.state.breakers["restart"] = Breaker(demoted=True)
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    await let_go(stage)
    assert told(stage).keys() == fingerprints(stage, 1, 2, 3)
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("replace {{", "rebuild {{"),
        ("resolved_within: 5m", "resolved_within: 6m"),
        ("version: 1", "version: 1\n    protect: ['alertname=\"Down\"']"),
    ],
)
async def test_a_reload_meanwhile_leaves_out_what_the_word_does_not_cover_any_more(
    tmp_path: Path, old: str, new: str
) -> None:
    """Another plan or rule is asked about by itself in any case, and what is protected now is not touched."""
    stage, targets = await a_storm(tmp_path)
    await stage.engine.pause("restart", "not yet", None, ANN)
    before = stage.engine.rules
    stage.journal.held = True
    letting_go = asyncio.create_task(let_go(stage))
    await settle()
    stage.rules = stage.rules.replace(old, new)
    reloading = asyncio.create_task(stage.engine.reload())
    while stage.engine.rules is before:
        await settle()
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(letting_go, reloading)
    await settle()
    assert (targets.looks, told(stage)) == ([], {})
    await stage.engine.stop()


async def great_storm(tmp_path: Path, count: int, text: str) -> tuple[Stage, Targets]:
    """So many alerts that a storm holds and a pause holds back, whose targets all tell `text`."""
    stage = Stage(tmp_path, ONE_AT_A_TIME)
    targets = stage.action = Targets()
    targets.now = {f"api-{n}": text for n in range(count)}
    await stage.start()
    alerts = [dataclasses.replace(stage.alert(f"api-{n}"), fingerprint=f"{n:016x}") for n in range(count)]
    await stage.engine.receive(Notification(alerts=tuple(alerts)), "c1")
    while len(stage.engine.state.batch("restart")) < count:
        await settle()
    # None begins, and looks for itself.
    await stage.engine.pause("restart", "not yet", None, ANN)
    return stage, targets


async def test_a_great_batch_is_looked_at_piece_by_piece(tmp_path: Path) -> None:
    """Sixteen targets at a time, each told of once, in records that fit whatever they tell; others get their turn."""
    stage, targets = await great_storm(tmp_path, 250, "\0" * 300)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    beside = asyncio.create_task(others())
    await stage.engine.releases.release("restart", digest(stage), "", ANN)
    while len(told(stage)) < 250:
        await settle()
    beside.cancel()
    assert targets.most == 16
    records = of(stage, Kind.STORM_OBSERVED)
    assert max(len(record.detail["observed"]) for record in records) <= 20
    assert sum(len(record.detail["observed"]) for record in records) == 250
    assert max(len(record.line) for record in records) < MAX_RECORD_BYTES / 2
    assert turns > len(records)
    assert targets.looks.count("api-7") == 1
    await stage.engine.stop()


async def test_what_takes_longer_than_a_minute_is_left(tmp_path: Path) -> None:
    """How a target is that much later is not what people saw."""
    assert LOOK_SECONDS == 60
    stage, targets = await great_storm(tmp_path, 40, BEFORE)
    targets.let.clear()
    await stage.engine.releases.release("restart", digest(stage), "", ANN)
    await settle()
    await stage.clock.advance(60)
    targets.let.set()
    await settle()
    assert len(told(stage)) == 16
    await stage.engine.stop()


async def test_a_rule_that_has_come_to_ask_people_is_one_that_asks(tmp_path: Path) -> None:
    """By a reload after which its alerts are yet to be decided on anew."""
    stage, targets = await a_storm(tmp_path, ONE_AT_A_TIME.replace("mode: approve", "mode: live"))
    stage.engine.rules = rules_from(ONE_AT_A_TIME)
    await let_go(stage)
    assert told(stage).keys() == fingerprints(stage, 1, 2, 3)
    targets.now["api-1"] = "replaced by hand"
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-2"]
    await stage.engine.stop()
