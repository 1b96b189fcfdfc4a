"""Waiting for an event or for time, whichever comes first, on the clock that was passed in."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from autoheal.clock import Clock


async def event_or_time(clock: Clock, event: asyncio.Event, seconds: float | None) -> None:
    """Return when `event` is set or `seconds` have passed (None: only the event counts)."""
    if event.is_set():
        return
    waits: list[asyncio.Future[object]] = [asyncio.ensure_future(event.wait())]
    if seconds is not None:
        waits.append(asyncio.ensure_future(clock.sleep(seconds)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


class Lines:
    """Who waits for room, first come first served, in a line for each rule and one for room among all runs (None).

    When room is made, `first` names one and not all, of whom most would go on waiting.
    """

    def __init__(self) -> None:
        self._lines: dict[str | None, dict[str, None]] = {}

    def join(self, rule: str | None, key: str) -> None:
        """At the end of that line; who stands in it already keeps the place."""
        self._lines.setdefault(rule, {})[key] = None

    def first(self, room: Callable[[str | None], bool]) -> str | None:
        """Take the first out of a line for which there is `room`; None when nobody is to be taken."""
        for rule, line in self._lines.items():
            if line and room(rule):
                key = next(iter(line))
                del line[key]
                return key
        return None


class Alarms:
    """Calls `ring(key)` at wall-clock times, one task for all of them.

    Delays are run on the monotonic clock; whoever is rung looks at the wall clock itself, so a jump of it costs at
    most a needless look or `LONGEST` seconds.
    """

    LONGEST = 3600.0

    def __init__(self, clock: Clock, ring: Callable[[str], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._changed = asyncio.Event()

    def set(self, key: str, at: float) -> None:
        """Ring for `key` at `at` (epoch seconds), or at once when that has passed."""
        delay = min(max(0.0, at - self._clock.now()), self.LONGEST)
        due = self._clock.monotonic() + delay
        if self._due.get(key, due + 1) <= due:
            return  # whoever is rung earlier sets the next one
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        if self._heap[0][1] == key:
            self._changed.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            self._changed.clear()
            while self._heap and self._heap[0][0] <= self._clock.monotonic():
                due, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    del self._due[key]
                    self._ring(key)
            delay = self._heap[0][0] - self._clock.monotonic() if self._heap else None
            await event_or_time(self._clock, self._changed, delay)
