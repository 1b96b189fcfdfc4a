"""A pipe that is stopped up: the alert that is refused, or never decided on; and its end is told in any case."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from autoheal.clock import SystemClock
from autoheal.model import Check
from autoheal.selftest import Result
from autoheal.selftest.gateway import Gateway as Asked
from autoheal.selftest.pipe import pipe
from tests.support.gateway import Gateway, gateway, unavailable, until


async def piped(gate: Gateway) -> dict[Check, Result]:
    async with httpx.AsyncClient(trust_env=False) as http:
        asked = Asked(f"http://127.0.0.1:{gate.port}", http, None)
        return {result.check: result for result in await pipe(asked, SystemClock(), None)}


def told(gate: Gateway) -> list[str]:
    return [notification.alerts[0].status.value for notification, _ in gate.engine.received]


async def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """The alert is refused with 503, and the remedy is about the disk; of events nothing can be said."""
    async with gateway(tmp_path) as gate:
        gate.engine.error = unavailable()
        found = await piped(gate)
    assert (found[Check.ALERT].ok, found[Check.EVENTS].ok) == (False, None)
    assert "POST /alert answered 503" in found[Check.ALERT].text
    assert "the log cannot be written" in found[Check.ALERT].remedy


async def test_an_alert_that_nobody_decides_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken in, and nothing follows: neither on /events nor in the log. Its end is told all the same."""
    monkeypatch.setattr("autoheal.selftest.gateway.ANSWER_SECONDS", 1.0)
    monkeypatch.setattr("autoheal.selftest.pipe.ANSWER_SECONDS", 0.3)
    async with gateway(tmp_path) as gate:
        found = await piped(gate)
        assert told(gate) == ["firing", "resolved"]
    assert (found[Check.ALERT].ok, found[Check.EVENTS].ok) == (False, False)
    assert found[Check.EVENTS].text == "of the alert that was taken in, it did not come within 1 s"
    assert found[Check.ALERT].text == "decision is not in the log after 0.3 s"


async def test_a_test_that_is_given_up(tmp_path: Path) -> None:
    """Whoever cancels it, the service at its stop say, has the end told first."""
    async with gateway(tmp_path) as gate:
        task = asyncio.create_task(piped(gate))
        await until(lambda: told(gate) == ["firing"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told(gate) == ["firing", "resolved"]
