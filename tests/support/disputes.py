"""A pair of Alertmanagers of which one may tell an end while the other lists the alert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoheal.model import Alert
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE, with_keys

LADDER = ONE_RULE.replace("resolved_within: 5m", "resolved_within: 60s")


class Pair(Api):
    """Two Alertmanagers, of which the second lists `alerts`."""

    def __init__(self, *alerts: Alert) -> None:
        super().__init__(*alerts)
        self.several = True

    @property
    def seen(self) -> Any:
        """The only alert that is listed."""
        (one,) = self.listed.values()
        return one

    def hear(self, at: float) -> None:
        """The second hears of the alert again."""
        self.seen.heard_at = at


async def firing(tmp_path: Path, rules: str) -> tuple[Stage, Pair]:
    """A stage that was told of an alert, and both Alertmanagers, of which one lists it."""
    stage = Stage(tmp_path, rules)
    stage.alertmanager = pair = Pair(stage.alert())
    await stage.start()
    await stage.tell()
    return stage, pair


async def acted(tmp_path: Path, rules: str = LADDER) -> tuple[Stage, Pair]:
    """As `firing`, and the first step has run."""
    stage, pair = await firing(tmp_path, rules)
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(1)
    return stage, pair


def kinds(stage: Stage, *of: str) -> list[str]:
    return [kind for kind in stage.story() if kind.split()[0] in of]


WAITS = with_keys("for: 60s")


async def waiting(tmp_path: Path) -> tuple[Stage, Pair]:
    """As `firing`, by a rule that waits for a minute, and the end is disputed."""
    stage, pair = await firing(tmp_path, WAITS)
    await stage.clock.advance(1)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-2:] == ["decision not_yet", "alert_disputed"]
    return stage, pair
