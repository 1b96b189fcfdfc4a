"""What runs need besides the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoheal.actions import Action
from autoheal.engine.verification import Standing
from autoheal.model import Draft
from autoheal.rules import RuleSet
from autoheal.rules.decide import Decision
from autoheal.state import Run


@dataclass(slots=True)
class World:
    """How to decide again, act, and look."""

    rules: Callable[[], RuleSet]
    look: Callable[[Run], Awaitable[None]]
    """Asks the world what the guards must know of it before they are asked. Raises JournalUnavailable."""
    decide_again: Callable[[Run], Decision | None]
    """The guards asked at the moment of execution; None when the rule is gone."""
    decision: Callable[[Run, Decision], Draft]
    """The record of a decision that stopped a run."""
    actions: Mapping[str, Action]
    ask: Callable[[str, float], Awaitable[Standing]] | None
    measure: Callable[[str], Awaitable[tuple[bool | None, dict[str, Any]]]]
    """Whether a PromQL expression holds now, None where that cannot be known, and what was seen."""
    lock_dir: Path
    rehearsal_slots: asyncio.Semaphore
    """Bounds the rehearsals, which must not keep actions waiting."""
    winding_down: Callable[[], bool]
    """Whether the service was told to stop: no step begins any more."""
    began: float
    """When this process began to listen, epoch seconds: before that no resolution could arrive."""
