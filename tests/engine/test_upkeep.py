"""What the log needs from time to time: signed heads, and a warning before its disk is full."""

from __future__ import annotations

from pathlib import Path

from autoheal.engine.upkeep import CHECKPOINT_SECONDS
from autoheal.model import Kind, Record
from tests.support.clock import settle
from tests.support.engine import Stage

MIB = 2**20


def checkpoints(stage: Stage) -> list[Record]:
    return [record for record in stage.journal.records if record.kind is Kind.CHECKPOINT]


async def test_the_head_is_signed_every_five_minutes_and_at_stop(tmp_path: Path) -> None:
    """And at start; also while nothing happens, so that a log which was cut back shows. Each vouches for the record
    before it.
    """
    stage = Stage(tmp_path)
    await stage.start()
    await stage.clock.advance(3 * CHECKPOINT_SECONDS + 10)
    assert len(checkpoints(stage)) == 4
    await stage.engine.stop()
    assert len(checkpoints(stage)) == 5
    assert [record.kind for record in stage.journal.records[-2:]] == [Kind.SERVICE_STOPPED, Kind.CHECKPOINT]
    for record in checkpoints(stage):
        assert (record.detail["seq"], record.detail["hash"]) == (record.seq - 1, record.prev)


async def test_a_checkpoint_that_the_log_refused_follows_as_soon_as_it_can(tmp_path: Path) -> None:
    """What is due while the disk is full stays due."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.fail()
    await stage.clock.advance(CHECKPOINT_SECONDS + 60)
    assert len(checkpoints(stage)) == 1
    stage.journal.healthy = True
    await stage.clock.advance(2)
    assert len(checkpoints(stage)) == 2
    await stage.engine.stop()


async def test_low_space_stops_live_runs_before_alerts(tmp_path: Path) -> None:
    """Below AUTOHEAL_AUDIT_MIN_FREE alerts are taken in and decided, nothing live begins; with space again it does."""
    stage = Stage(tmp_path, AUTOHEAL_AUDIT_MIN_FREE="64MiB")
    await stage.start()
    stage.journal.free_bytes = 64 * MIB - 1
    await stage.clock.advance(1)
    await stage.tell()
    assert stage.story() == ["space_low", "alert_firing", "decision low_space"]
    assert stage.action.done == []
    assert stage.engine.ready
    stage.journal.free_bytes = 79 * MIB
    await stage.clock.advance(5)
    assert stage.story()[-1] == "decision low_space"
    stage.journal.free_bytes = 80 * MIB
    await stage.clock.advance(1)
    await settle()
    assert stage.story()[3:] == ["space_ok", "decision act", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_a_run_that_has_begun_is_carried_on(tmp_path: Path) -> None:
    """Its next step needs little room, and leaving it half done would help nobody."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    stage.journal.free_bytes = 0
    await stage.clock.advance(301)
    assert [do for _, _, do in stage.action.done] == ["restart api-1", "replace api-1"]
    await stage.engine.stop()


async def test_dry_runs_need_no_space(tmp_path: Path) -> None:
    """What executes nothing goes on telling what it would do."""
    stage = Stage(tmp_path, AUTOHEAL_DRY_RUN="true")
    stage.journal.free_bytes = 0
    await stage.start()
    await stage.tell()
    assert stage.story() == ["space_low", "alert_firing", "decision dry_run", "action_dry_run dry_run"]
    await stage.engine.stop()


async def test_space_is_looked_at_before_anything_is_decided(tmp_path: Path) -> None:
    """A start on a disk that is nearly full begins nothing, not even what was open; unknown space is no low space."""
    stage = Stage(tmp_path)
    stage.journal.free_bytes = None
    await stage.start()
    stage.engine.wind_down()
    await stage.tell()
    await stage.engine.stop()
    stage.journal.free_bytes = 1
    await stage.start()
    await stage.clock.advance(5)
    assert stage.action.done == []
    assert stage.story()[-2:] == ["decision low_space", "action_cancelled low_space"]
    stage.journal.free_bytes = 2**40
    await stage.clock.advance(5)
    assert len(stage.action.done) == 1
    await stage.engine.stop()
