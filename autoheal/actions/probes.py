"""Questions asked of the world after an action: does it answer now? One try each, nothing is changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from autoheal.actions.command import Command
from autoheal.actions.contract import Context, Outcome, milliseconds, one_line
from autoheal.actions.http import build_request, exchange
from autoheal.actions.secret import Secrets

PROBE_SECONDS = 5.0
"""How long one try may take."""

_COMMAND = Command()


async def probe(spec: Mapping[str, Any], context: Context, timeout: float = PROBE_SECONDS) -> Outcome:  # noqa: ASYNC109 of each kind
    """Try the one of `tcp`, `http` and `command` that `spec`, a rendered probe, has; its other keys are not for here.

    `tcp` holds when a connection opens, `http` when one of its statuses (default 200) is the answer, `command` when
    it ends with exit code 0. As with actions, whatever the world does is an `Outcome`. ValueError when `spec` has
    none of the three.
    """
    if spec.get("tcp") is not None:
        return await _tcp(spec["tcp"], context, timeout)
    if spec.get("http") is not None:
        asked = spec["http"]
        return await _http({"url": asked} if isinstance(asked, str) else asked, context, timeout)
    if spec.get("command") is not None:
        outcome = await _COMMAND.run({"argv": spec["command"]["argv"], "timeout": timeout}, context)
        return Outcome(outcome.ok, {"command": _COMMAND.describe(spec["command"]), **outcome.detail})
    raise ValueError("a probe is one of tcp, http and command")


async def _tcp(endpoint: str, context: Context, timeout: float) -> Outcome:  # noqa: ASYNC109 as above
    host, _, port = endpoint.rpartition(":")
    started = context.clock.monotonic()
    error: str | None = None
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host.removeprefix("[").removesuffix("]"), int(port))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except TimeoutError:
        error = f"no connection within {timeout:g} s"
    except (OSError, ValueError, OverflowError) as reason:
        error = one_line(str(reason))
    detail: dict[str, Any] = {"tcp": endpoint, "duration_ms": milliseconds(context.clock.monotonic() - started)}
    return Outcome(error is None, detail if error is None else detail | {"error": error})


async def _http(asked: Mapping[str, Any], context: Context, timeout: float) -> Outcome:  # noqa: ASYNC109 as above
    method = asked.get("method") or "GET"
    detail: dict[str, Any] = {"http": one_line(f"{method} {asked['url']}")}
    started = context.clock.monotonic()
    try:
        request = build_request(method, asked["url"], {}, None)
    except ValueError as error:
        return Outcome(ok=False, detail=detail | {"error": str(error)})
    answer = await exchange(request, asked.get("status") or (200,), timeout, Secrets(context.secrets))
    if answer.status is not None:
        detail["status"] = answer.status
    detail["duration_ms"] = milliseconds(context.clock.monotonic() - started)
    return Outcome(answer.error is None, detail if answer.error is None else detail | {"error": answer.error})
