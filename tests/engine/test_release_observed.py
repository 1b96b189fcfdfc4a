"""What was let go and waits for its turn: a target that changes meanwhile is not acted on by the word on the batch."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.actions import Context
from autoheal.breaker import Breaker
from autoheal.engine import Word
from autoheal.engine.batch_observation import LOOK_SECONDS
from autoheal.model import MAX_RECORD_BYTES, By, Draft, Kind, Notification, Record
from autoheal.state import Run, RunState, fold
from tests.engine.test_release import ANN, digest, held, let_go
from tests.support.clock import settle
from tests.support.engine import Api, FakeAction, Stage
from tests.support.rules import rules_from, with_keys

ASKING = with_keys("storm: 3/10m", "concurrency: 1").replace("mode: live", "mode: approve")
"""One at a time: of four that were let go one begins at once, and three wait."""
BEFORE = "as it was"


class Targets(FakeAction):
    """An action that tells how each target is: `now` by target, where it is not `BEFORE`. It waits for `let`."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, Any] = {}
        self.looks: list[str] = []
        self.let = asyncio.Event()
        self.let.set()
        self.most = self.under_way = 0

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        target = str(params["do"]).split()[-1]
        self.looks.append(target)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)  # as whoever asks over a socket
            await self.let.wait()
        finally:
            self.under_way -= 1
        told = self.now.get(target, BEFORE)
        if isinstance(told, BaseException):
            raise told
        return told if told is None else str(told)


async def a_storm(tmp_path: Path, rules: str = ASKING, **environ: str) -> tuple[Stage, Targets]:
    """Four alerts that a storm holds, and what acts on them."""
    stage = Stage(tmp_path, rules, **environ)
    targets = stage.action = Targets()
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    return stage, targets


def of(stage: Stage, kind: Kind) -> list[Record]:
    return [record for record in stage.journal.records if record.kind is kind]


def told(stage: Stage) -> dict[str, str]:
    """What all records together tell of targets as people let them go, by the alert's fingerprint."""
    return {one: text for record in of(stage, Kind.STORM_OBSERVED) for one, text in record.detail["observed"].items()}


def voided(stage: Stage) -> list[Record]:
    """The ends of runs whose target had changed."""
    return [record for record in of(stage, Kind.ACTION_CANCELLED) if record.reason == "human_present"]


def fingerprints(stage: Stage, *numbers: int) -> set[str]:
    return {stage.alert(f"api-{n}").fingerprint for n in numbers}


async def make_room(stage: Stage, number: int = 0) -> None:
    """The alert of the one that is at work ends."""
    await stage.tell(stage.alert(f"api-{number}", resolved=True))


def last_run(stage: Stage, target: str) -> Run:
    return [run for run in stage.engine.state.runs.values() if run.target == target][-1]


async def approve(stage: Stage, run: Run) -> None:
    await stage.engine.control.approve(run.id, Word(By("bob", "c2"), plan_digest=run.plan_digest))
    await settle()


def acted(stage: Stage) -> list[str]:
    return [do for *_, do in stage.action.done]


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
    stage, targets = await a_storm(tmp_path)
    await let_go(stage)
    targets.now["api-1"] = "replaced by hand"
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
    stage, targets = await a_storm(tmp_path)
    await let_go(stage)
    targets.now["api-1"] = "replaced by hand"
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


async def test_an_action_that_cannot_tell_is_not_asked(tmp_path: Path) -> None:
    """No record tells of it, and all act."""
    stage = await held(tmp_path, ASKING)
    await let_go(stage)
    for number in range(3):
        await make_room(stage, number)
    assert acted(stage) == [f"restart api-{n}" for n in range(4)]
    assert of(stage, Kind.STORM_OBSERVED) == []
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
    stage, targets = await a_storm(tmp_path, ASKING.replace("mode: approve", keys), **environ)
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
    stage = Stage(tmp_path, ASKING.replace("mode: approve", demotable))
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


async def test_two_alerts_about_one_target_are_two_questions(tmp_path: Path) -> None:
    """What the first one's run has changed is not what people saw: the second does not do it again by their word."""
    stage = Stage(tmp_path, ASKING.replace("cooldown: 10m", "cooldown: 0s").replace("concurrency: 1", "concurrency: 9"))
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


async def great_storm(tmp_path: Path, count: int, text: str) -> tuple[Stage, Targets]:
    """So many alerts that a storm holds and a pause holds back, whose targets all tell `text`."""
    stage = Stage(tmp_path, ASKING)
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


async def test_what_did_not_begin_after_all_is_compared(tmp_path: Path) -> None:
    """A run was decided on at once and stopped by a guard before it began: the next one by that word is compared."""
    stage = Stage(tmp_path, ASKING)
    targets = stage.action = Targets()
    firing = [stage.alert(f"api-{n}") for n in range(4)]
    api = stage.alertmanager = Api(*firing)
    await stage.start()
    await stage.tell(*firing)
    api.let.clear()
    await let_go(stage)
    assert acted(stage) == []
    assert told(stage).keys() == fingerprints(stage, 0, 1, 2, 3)
    seen = api.listed[firing[0].fingerprint]
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
    stage = Stage(tmp_path, ASKING)
    targets = stage.action = Targets()
    firing = [stage.alert(f"api-{n}") for n in range(4)]
    api = stage.alertmanager = Api(*firing)
    await stage.start()
    await stage.tell(*firing)
    api.let.clear()
    await let_go(stage)
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


async def test_a_rule_that_has_come_to_ask_people_is_one_that_asks(tmp_path: Path) -> None:
    """By a reload after which its alerts are yet to be decided on anew."""
    stage, targets = await a_storm(tmp_path, ASKING.replace("mode: approve", "mode: live"))
    stage.engine.rules = rules_from(ASKING)
    await let_go(stage)
    assert told(stage).keys() == fingerprints(stage, 1, 2, 3)
    targets.now["api-1"] = "replaced by hand"
    await make_room(stage)
    assert acted(stage) == ["restart api-0", "restart api-2"]
    await stage.engine.stop()
