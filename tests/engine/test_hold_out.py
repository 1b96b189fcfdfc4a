"""Rollout in the engine: what is kept out, what is recorded of it, and what a greater share changes."""

from __future__ import annotations

from pathlib import Path

from autoheal.model import Kind, Mode
from autoheal.state import RunState, fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys


def targets(stage: Stage, kind: Kind) -> set[str]:
    """What records of that kind are about."""
    return {str(record.target) for record in stage.journal.records if record.kind is kind}


async def shared(tmp_path: Path, percent: str) -> Stage:
    """An engine that has met twenty alerts with a rule that acts on so many."""
    stage = Stage(tmp_path, with_keys(f"rollout: {percent}", "storm: off"))
    await stage.start()
    await stage.tell(*(stage.alert("x" * n) for n in range(1, 21)))
    return stage


async def test_a_hold_out_is_planned_and_left_alone(tmp_path: Path) -> None:
    """Each of twenty alerts is acted on or held out; of the latter the log has the plan and when they resolved, so that
    the two can be compared. Another life changes nothing of it.
    """
    stage = await shared(tmp_path, "50%")
    acted, held = targets(stage, Kind.ACTION_STARTED), targets(stage, Kind.ACTION_DRY_RUN)
    assert len(acted) > 3 < len(held)
    assert not acted & held
    assert len(acted | held) == 20
    one = min(held)
    of = [record for record in stage.journal.records if record.target == one]
    assert [(record.kind, record.reason, record.mode) for record in of] == [
        (Kind.DECISION, "hold_out", Mode.DRY_RUN),
        (Kind.ACTION_DRY_RUN, "hold_out", Mode.DRY_RUN),
    ]
    assert of[1].detail["plan"]["steps"][0]["params"] == {"do": f"restart {one}"}
    run = stage.engine.state.runs[str(of[0].run)]
    assert (run.state, run.reason) == (RunState.DRY_RUN, "hold_out")
    assert not stage.engine.state.locks.keys() & held
    before = len(stage.journal.records)
    await stage.crash()
    await stage.start()
    news = {record.kind for record in stage.journal.records[before:]}
    assert news == {Kind.SERVICE_STARTED, Kind.CONFIG_LOADED, Kind.CHECKPOINT}
    await stage.tell(stage.alert(one, resolved=True))
    assert stage.journal.records[-1].episode == of[0].episode
    await stage.engine.stop()


async def test_a_greater_share_takes_in_who_was_held_out(tmp_path: Path) -> None:
    """Who was in stays in, and what it did is not done again; at all of them nobody is held out."""
    stage = await shared(tmp_path, "10%")
    first = list(stage.action.done)
    for percent in ("50%", "100%"):
        stage.rules = with_keys(f"rollout: {percent}", "storm: off")
        await stage.engine.reload()
        await settle()
        assert stage.action.done[: len(first)] == first
    assert len({do for _, _, do in stage.action.done}) == len(stage.action.done) == 20
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_nobody_is_asked_to_approve_what_is_held_out(tmp_path: Path) -> None:
    """With `mode: approve` only the share comes before people."""
    stage = Stage(tmp_path, with_keys("rollout: 0.01%").replace("mode: live", "mode: approve"))
    await stage.start()
    await stage.tell()
    assert stage.story() == ["alert_firing", "decision hold_out", "action_dry_run hold_out"]
    await stage.engine.stop()
