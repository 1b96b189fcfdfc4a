"""What the steps of a plan would do, in words, and what their actions promise of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autoheal.actions import Action


def promise(step: Mapping[str, Any], action: Action) -> dict[str, Any]:
    """Of one step of a plan: `action`, `description`, `idempotent` and `reversible`, as `action_started` tells them."""
    params = step["params"]
    return {"action": action.name, "description": action.describe(params), **asdict(action.traits(params))}


def promises(steps: Sequence[Mapping[str, Any]], actions: Mapping[str, Action]) -> list[dict[str, Any]]:
    """Of all `steps`. One whose action is not installed any more has no description, and promises nothing."""
    return [
        promise(step, action)
        if (action := actions.get(step["action"])) is not None
        else {"action": step["action"], "description": None, "idempotent": False, "reversible": False}
        for step in steps
    ]
