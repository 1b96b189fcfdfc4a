"""Letting go what a storm holds: exactly what was looked at, by somebody else than who sent it, guards willing."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from autoheal.actions import Outcome
from autoheal.errors import JournalUnavailable, NoRule, OtherBatch, OwnRun, WrongTurn
from autoheal.model import By, Kind, Notification
from autoheal.snapshot import text
from autoheal.state import RunState, fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys
from tests.support.storms import ANN, STORM, digest, held, let_go

ASKING = STORM.replace("mode: live", "mode: approve")


async def test_what_was_looked_at_is_let_go(tmp_path: Path) -> None:
    """Each of the batch acts; the record tells who let how many go, on which plans and rule; live is as folded."""
    stage = await held(tmp_path)
    looked_at = digest(stage)
    assert await let_go(stage) == 4
    (record,) = [record for record in stage.journal.records if record.kind is Kind.STORM_RELEASED]
    assert (record.rule, record.actor, record.correlation_id, record.run) == ("restart", "ann", "c-ann", None)
    rule_digest = stage.engine.rules.rules[0].digest
    assert record.detail == {
        "batch_digest": looked_at,
        "rule_digest": rule_digest,
        "alerts": 4,
        "comment": "it was the switch",
    }
    assert sorted(do for *_, do in stage.action.done) == [f"restart api-{n}" for n in range(4)]
    acted = next(record for record in stage.journal.records if record.reason == "act")
    assert {"guard": "storm", "passed": True, "of": 3, "window": 600.0, "released_by": "ann"} in acted.detail["guards"]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_what_comes_while_the_storm_lasts_is_held(tmp_path: Path) -> None:
    """Also an alert that was let go, resolved and fired anew. What was let go stays so, and is no longer counted: the
    storm is over when its window is.
    """
    stage = await held(tmp_path, STORM.replace("cooldown: 10m", "cooldown: 0s"))
    await let_go(stage)
    await stage.tell(stage.alert("api-7"), stage.alert("api-1", resolved=True))
    await stage.tell(stage.alert("api-1", ago=-1.0))
    assert stage.decided()["api-7"] == stage.decided()["api-1"] == "storm"
    assert stage.engine.state.storms["restart"].held.keys() == {stage.alert(f"api-{n}").fingerprint for n in (1, 7)}
    assert await let_go(stage, By("bob", "c")) == 2
    assert stage.decided()["api-7"] == stage.decided()["api-1"] == "act"
    await stage.clock.advance(602)
    assert Kind.STORM_ENDED in [record.kind for record in stage.journal.records]
    assert stage.engine.state.storms == {}
    await stage.engine.stop()


async def test_another_batch_is_not_let_go(tmp_path: Path) -> None:
    """An alert more, one less, one that is another firing of the same, another plan, another rule: each is told with
    the digest that counts now, and nothing is done.
    """
    stage = await held(tmp_path)
    seen = [digest(stage)]

    async def changed() -> None:
        with pytest.raises(OtherBatch, match="is another batch now") as refused:
            await stage.engine.releases.release("restart", seen[-1], "", ANN)
        assert refused.value.digest == digest(stage)
        seen.append(refused.value.digest)

    await stage.tell(stage.alert("api-7"))
    await changed()
    await stage.tell(stage.alert("api-7", resolved=True))
    await changed()
    await stage.clock.advance(100)
    await stage.tell(stage.alert("api-2", ago=0.0))
    await changed()
    stage.rules = STORM.replace("replace {{ target }}", "rebuild {{ target }}")
    await stage.engine.reload()
    await settle()
    await changed()
    stage.rules = stage.rules.replace("cooldown: 10m", "cooldown: 5m")
    await stage.engine.reload()
    await changed()
    assert seen[0] == seen[2]
    assert len(set(seen)) == 5
    assert stage.action.done == []
    await stage.engine.stop()


async def test_who_sent_one_of_them_cannot_let_them_go(tmp_path: Path) -> None:
    """Whoever can make alerts fire must not be the one who has them acted on; nobody is meant by a reserved name."""
    stage = await held(tmp_path)
    stage.engine.state.episodes[stage.alert("api-2").fingerprint].caused_by = "eve"
    with pytest.raises(OwnRun, match="eve"):
        await let_go(stage, By("eve", "c"))
    assert stage.action.done == []
    assert await let_go(stage, By("local", "c")) == 4
    await stage.engine.stop()


async def test_who_asked_for_a_run_on_one_of_them_cannot_let_them_go(tmp_path: Path) -> None:
    """As they cannot approve that run."""
    stage = await held(tmp_path)
    stage.engine.state.episodes[stage.alert("api-2").fingerprint].asked_by = {"restart": "eve"}
    with pytest.raises(OwnRun, match="eve"):
        await let_go(stage, By("eve", "c"))
    assert await let_go(stage, By("ann", "c")) == 4
    await stage.engine.stop()


async def test_where_nothing_is_held_nothing_is_let_go(tmp_path: Path) -> None:
    """No storm, an unknown rule, a batch that somebody else has let go, a service that stops."""
    stage = await held(tmp_path, count=2)
    with pytest.raises(WrongTurn, match="no storm of the rule 'restart' holds"):
        await let_go(stage)
    with pytest.raises(NoRule, match="'restrat'"):
        await stage.engine.releases.release("restrat", "d", "", ANN)
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(2, 6)))
    looked_at = digest(stage)
    answers = await asyncio.gather(
        *(stage.engine.releases.release("restart", looked_at, "", By(name, "c")) for name in ("ann", "bob")),
        return_exceptions=True,
    )
    assert answers[0] == 4
    assert isinstance(answers[1], WrongTurn)
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await let_go(stage)


@pytest.mark.parametrize("ok", [True, False])
async def test_what_the_rule_has_begun_on_is_no_part_of_the_batch(tmp_path: Path, ok: bool) -> None:
    """Three are acted on before the fourth makes a storm, and are being verified or were left to people by then: the
    fourth alone can be let go.
    """
    stage = Stage(tmp_path, STORM)
    stage.action.answers = [Outcome(ok=ok)] * 6
    await stage.start()
    for n in range(4):
        await stage.tell(stage.alert(f"api-{n}"))
    before = len(stage.action.done)
    assert {do for *_, do in stage.action.done} >= {f"restart api-{n}" for n in range(3)}
    assert len(stage.engine.state.storms["restart"].held) == 4
    assert await let_go(stage) == 1
    assert {do for *_, do in stage.action.done[before:]} == {"restart api-3"}
    await stage.engine.stop()


async def test_all_other_guards_are_asked_as_ever(tmp_path: Path) -> None:
    """They drain one at a time where the rule says so, and stop for a pause."""
    stage = await held(tmp_path, with_keys("storm: 3/10m", "concurrency: 1"))
    await let_go(stage)
    assert len(stage.action.done) == 1
    assert sorted(stage.decided().values()) == ["act", "concurrency", "concurrency", "concurrency"]
    await stage.tell(stage.alert("api-0", resolved=True))
    assert len(stage.action.done) == 2
    await stage.engine.pause("restart", "enough", None, ANN)
    await stage.tell(stage.alert("api-1", resolved=True))
    assert len(stage.action.done) == 2
    await stage.engine.resume("restart", "", ANN)
    await settle()
    assert len(stage.action.done) == 3
    await stage.engine.stop()


@pytest.mark.parametrize("how", ["crash", "snapshot"])
async def test_it_survives_a_restart(tmp_path: Path, how: str) -> None:
    """What was let go and waits for room goes on, from the log or from what a fresh file begins with."""
    stage = await held(tmp_path, with_keys("storm: 3/10m", "concurrency: 1"))
    await let_go(stage)
    if how == "snapshot":
        parts = [record["data"] for record in (draft.detail for draft in stage.engine.state.snapshot())]
        assert b'"by":"ann"' in text(parts)
    await stage.crash()
    await stage.start()
    for n in range(3):
        await stage.tell(stage.alert(f"api-{n}", resolved=True))
    assert sorted(do for *_, do in stage.action.done) == [f"restart api-{n}" for n in range(4)]
    await stage.engine.stop()


async def test_people_are_asked_once_for_the_whole_batch(tmp_path: Path) -> None:
    """With `mode: approve` no run of it asks again; each shows who let it go. What comes later asks by itself."""
    stage = await held(tmp_path, ASKING)
    assert stage.action.done == []
    await let_go(stage)
    runs = list(stage.engine.state.runs.values())
    assert [(run.state, run.approval.by) for run in runs if run.approval] == [(RunState.VERIFYING, "ann")] * 4
    assert Kind.APPROVAL_REQUESTED not in [record.kind for record in stage.journal.records]
    await stage.clock.advance(700)
    await stage.tell(stage.alert("api-8"))
    assert stage.story()[-1] == "approval_requested"
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("old", "new"), [("replace {{ target }}", "rebuild {{ target }}"), ("resolved_within: 5m", "resolved_within: 6m")]
)
async def test_another_plan_or_rule_needs_an_approval_of_its_own(tmp_path: Path, old: str, new: str) -> None:
    """They were let go and wait for room; a reload changes what would be done: people are asked for each."""
    stage = await held(tmp_path, ASKING.replace("storm:", "concurrency: 1\n        storm:"))
    await let_go(stage)
    assert len(stage.action.done) == 1
    stage.rules = stage.rules.replace(old, new)
    await stage.engine.reload()
    await stage.tell(stage.alert("api-0", resolved=True))
    asked = [run for run in stage.engine.state.runs.values() if run.state is RunState.AWAITING_APPROVAL]
    assert len(asked) == 3
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_word_on_a_batch_does_not_outlast_the_time_to_give_one(tmp_path: Path) -> None:
    """Neither for a run that was decided on in time, and that a death of the gateway kept from beginning for hours."""
    stage = await held(tmp_path, ASKING)
    stage.journal.held = True
    letting_go = asyncio.create_task(let_go(stage))
    await settle()
    stage.journal.release(Kind.STORM_RELEASED)
    await letting_go
    stage.journal.release(Kind.DECISION)
    await stage.crash()
    await stage.clock.advance(8 * 3600.0)
    await stage.start()
    assert "action_cancelled expired" in stage.story()
    assert stage.story().count("approval_requested") == 4
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_great_batch_fits_a_record(tmp_path: Path) -> None:
    """Its record names none of them, and is folded by what the storm held at that moment."""
    stage = Stage(tmp_path, with_keys("storm: 3/10m", "concurrency: 1"))
    await stage.start()
    alerts = [dataclasses.replace(stage.alert(f"api-{n}"), fingerprint=f"{n:016x}") for n in range(500)]
    await stage.engine.receive(Notification(alerts=tuple(alerts)), "c1")
    while len(stage.engine.state.batch("restart")) < 500:
        await settle()
    assert await stage.engine.releases.release("restart", digest(stage), "", ANN) == 500
    (record,) = [record for record in stage.journal.records if record.kind is Kind.STORM_RELEASED]
    assert len(record.line) < 1000
    assert stage.engine.state.storms["restart"].held == {}
    await stage.engine.stop()
