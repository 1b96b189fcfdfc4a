"""Storms that are let go, and targets that change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoheal.actions import Context
from autoheal.engine import Word, batch_digest
from autoheal.model import By, Kind, Record
from autoheal.state import Run
from tests.support.clock import settle
from tests.support.engine import FakeAction, Stage
from tests.support.rules import with_keys

STORM = with_keys("storm: 3/10m")
ONE_AT_A_TIME = with_keys("storm: 3/10m", "concurrency: 1").replace("mode: live", "mode: approve")
"""Of four that were let go one begins at once, and three wait."""
ANN = By("ann", "c-ann")
BEFORE = "as it was"


async def held(tmp_path: Path, rules: str = STORM, count: int = 4) -> Stage:
    """An engine with a storm that holds so many alerts."""
    stage = Stage(tmp_path, rules)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(count)))
    return stage


def digest(stage: Stage) -> str:
    """Of the batch as it is now."""
    return batch_digest(stage.engine.rules.rules[0], stage.engine.state.batch("restart"))


async def let_go(stage: Stage, by: By = ANN) -> int:
    released = await stage.engine.releases.release("restart", digest(stage), "it was the switch", by)
    await settle()
    return released


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


async def a_storm(tmp_path: Path, rules: str = ONE_AT_A_TIME, **environ: str) -> tuple[Stage, Targets]:
    """Four alerts that a storm holds, and what acts on them."""
    stage = Stage(tmp_path, rules, **environ)
    targets = stage.action = Targets()
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    return stage, targets


async def changed_since(tmp_path: Path) -> tuple[Stage, Targets]:
    """What a storm held was let go; while it waits for room, the target of the second is no longer as it was."""
    stage, targets = await a_storm(tmp_path)
    await let_go(stage)
    targets.now["api-1"] = "replaced by hand"
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
