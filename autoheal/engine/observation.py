"""How that is which people are asked about: when they are asked, and again before what they approved is done."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from autoheal.actions import Action, Context, Observing

OBSERVE_SECONDS = 5.0
OBSERVED_CHARACTERS = 300

_log = structlog.get_logger(__name__)


async def observed(step: Mapping[str, Any], actions: Mapping[str, Action], context: Context) -> str | None:
    """How that is which the planned `step` would change; None where its action cannot tell, at all or now."""
    action: object = actions.get(step["action"])
    if not isinstance(action, Observing):
        return None
    try:
        async with asyncio.timeout(OBSERVE_SECONDS):
            told = await action.observe(step["params"], context)
    except TimeoutError:
        return None
    except Exception as error:  # noqa: BLE001 an action that breaks its promise must not leave a run open
        # Where, but not its text: that may quote a secret.
        where = traceback.format_tb(error.__traceback__)
        _log.error(
            "observation_raised", run=context.run, action=step["action"], error=type(error).__name__, where=where
        )
        return None
    # A lone surrogate, which JSON may have brought, no record can hold.
    return None if told is None else told[:OBSERVED_CHARACTERS].encode(errors="replace").decode()
