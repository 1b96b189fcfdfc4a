"""Guards in the engine: what ends a wait, and who is asked again then."""

from __future__ import annotations

from pathlib import Path

from tests.support.engine import Stage
from tests.support.rules import ONE_RULE


def with_keys(*keys: str) -> str:
    """ONE_RULE with further `keys` in its rule."""
    return ONE_RULE.replace("mode: live", "\n        ".join(("mode: live", *keys)))


async def test_a_freeze_ends_by_the_engines_own_timer(tmp_path: Path) -> None:
    """Hours later, without a word from the sender; the clock stands at Monday, 14:13:20 UTC."""
    stage = Stage(tmp_path, with_keys("freeze: [{from: Mon 14:00, to: Mon 16:00, zone: UTC}]"))
    await stage.start()
    await stage.tell()
    assert stage.story() == ["alert_firing", "decision frozen"]
    await stage.clock.advance(3600 + 46 * 60 + 39)
    assert stage.action.done == []
    await stage.clock.advance(2)
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_a_freeze_that_begins_stops_the_ladder(tmp_path: Path) -> None:
    """The step under way is verified to its end; the next one does not begin, and people are told."""
    stage = Stage(tmp_path, with_keys("freeze: [{from: Mon 14:14, to: Mon 15:00, zone: UTC}]"))
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(301)
    assert stage.story()[-3:] == ["heal_failed not_resolved", "decision frozen", "escalated frozen"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()
