"""An engine on a clock of its own beside a real Alertmanager."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from autoheal.alertmanager import Alertmanager, Poll
from autoheal.clock import SystemClock
from tests.support.clock import FakeClock


class Settled(Alertmanager):
    """Counts as up for an hour: nobody waits five minutes until what it does not list has ended."""

    async def poll(self, **about: Any) -> Poll:
        return replace(await super().poll(**about), uptime=3600.0)


def settled(url: str, client: httpx.AsyncClient) -> Settled:
    """The Alertmanager at `url`."""
    return Settled([url], client, clock=SystemClock())


def clock_of_today() -> FakeClock:
    """A clock that stands still at the time that the Alertmanager has."""
    return FakeClock(SystemClock().now())
