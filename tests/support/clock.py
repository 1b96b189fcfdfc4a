"""A clock that only tests move."""

from __future__ import annotations

import asyncio
import heapq


class FakeClock:
    """Both clocks stand still until `advance`; sleepers wake in the order of their deadlines."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def set_now(self, now: float) -> None:
        """Jump the wall clock alone, as an operator or NTP does."""
        self._now = now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + seconds, self._count, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its own moment and letting it run."""
        end = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, future = heapq.heappop(self._sleepers)
            self._now += max(0.0, deadline - self._monotonic)
            self._monotonic = max(self._monotonic, deadline)
            if not future.done():
                future.set_result(None)
            await settle()
        self._now += end - self._monotonic
        self._monotonic = end


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(50):
        await asyncio.sleep(0)
