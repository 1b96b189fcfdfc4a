"""What a run does at the moment, its action or its verification, so that it can be cut short."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from autoheal.actions import Action, Context, Outcome

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Doing:
    """At most one thing at a time."""

    def __init__(self) -> None:
        self._work: asyncio.Future[Any] | None = None

    def cut(self) -> None:
        """End it, if anything is done now."""
        if self._work is not None:
            self._work.cancel()

    async def unless_cut(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` comes to; None when it was cut."""
        self._work = doing = asyncio.ensure_future(work)
        try:
            return await doing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return None
        finally:
            self._work = None


async def act(action: Action, params: Mapping[str, Any], context: Context) -> Outcome:
    """What the action came to, whatever it raises."""
    try:
        return await action.run(params, context)
    except Exception as error:  # noqa: BLE001 an action that breaks its promise must not leave a run open
        # Where, but not its text: that may quote a secret.
        where = traceback.format_tb(error.__traceback__)
        _log.error("action_raised", run=context.run, action=action.name, error=type(error).__name__, where=where)
        return Outcome(ok=False, detail={"error": f"fault in the action itself: {type(error).__name__}"})
