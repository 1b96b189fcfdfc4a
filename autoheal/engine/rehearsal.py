"""Rehearsals: a dry run asks, where an action can, whether each of its steps would be accepted."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from autoheal.actions import Action, Context, Rehearsing

_log = structlog.get_logger(__name__)


def can_rehearse(plan: Mapping[str, Any], actions: Mapping[str, Action]) -> bool:
    """Whether `rehearse` would ask anything."""
    return any(isinstance(actions.get(step["action"]), Rehearsing) for step in plan["steps"])


async def rehearse(
    steps: Sequence[Mapping[str, Any]], actions: Mapping[str, Action], context: Context
) -> list[dict[str, Any]]:
    """What each step that can be rehearsed was answered, ready for a record: its number, its action, `ok`, the rest.

    All steps are asked, though live a later one is only taken when those before have not helped.
    """
    answers: list[dict[str, Any]] = []
    for number, step in enumerate(steps, 1):
        action: object = actions.get(step["action"])
        if not isinstance(action, Rehearsing):
            continue
        try:
            outcome = await action.rehearse(step["params"], replace(context, step=number))
            answer = {**outcome.detail, "ok": outcome.ok}
        except Exception as error:  # noqa: BLE001 an action that breaks its promise must not leave a run open
            # Where, but not its text: that may quote a secret.
            where = traceback.format_tb(error.__traceback__)
            _log.error(
                "rehearsal_raised", run=context.run, action=step["action"], error=type(error).__name__, where=where
            )
            answer = {"error": f"fault in the action itself: {type(error).__name__}", "ok": False}
        # Whatever the keys of an action's answer are called.
        about = {"step": number, "action": step["action"]}
        answers.append(about | answer | about)
    return answers
