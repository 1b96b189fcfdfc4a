"""Time, passed in wherever something is decided, so that tests own it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What the program may ask about time."""

    def now(self) -> float:
        """Seconds since the Unix epoch (UTC); never goes back, and jumps when the machine's clock is set forward."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never jumps. Running waits use this one."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` of monotonic time."""
        ...


class SystemClock:
    """The machine's clock, less its steps back.

    When it is set back, `now` goes on at half speed until the machine's clock has caught up: records keep their order
    and a wait that runs takes at most twice as long, where following the step would make it hours longer.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._now, self._at = wall(), monotonic()

    def now(self) -> float:
        """See `Clock.now`."""
        at = self._monotonic()
        self._now = max(self._wall(), self._now + (at - self._at) / 2)
        self._at = at
        return self._now

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        await asyncio.sleep(seconds)
