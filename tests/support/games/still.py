"""A world in which time passes only when a test says so: an event loop that runs until nothing is left to do, and a
machine whose clock can be set.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable
from typing import Any, TypeVar

from autoheal.clock import SystemClock

T = TypeVar("T")
FINEST = 1e-6
"""No sleep is shorter, seconds: one that does not show on the machine's clock would be begun for ever."""


class _Idle(selectors.DefaultSelector):  # type: ignore[misc,valid-type] # which class that is depends on the machine
    """Calls `idle` where the loop would begin to wait."""

    idle: Callable[[], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self.idle()
        return super().select(0)


class StillLoop(asyncio.SelectorEventLoop):
    """Runs everything in one thread, in an order that is always the same; it never waits."""

    def __init__(self) -> None:
        selector = _Idle()
        super().__init__(selector)
        selector.idle = self.stop

    def settle(self) -> None:
        """Run until everybody waits for something that only the test can bring about."""
        asyncio.set_event_loop(self)
        self.run_forever()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """At once: threads would come back whenever they like."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 as an executor does
            future.set_exception(error)
        return future


class StillClock:
    """A machine's clock as the gateway sees it, in several lives: `boot` begins one."""

    def __init__(self, loop: StillLoop, wall: float) -> None:
        self._loop = loop
        self.wall = wall
        """What the machine's clock shows; set it as an operator or NTP does."""
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.boot()

    def boot(self) -> None:
        self._sleepers = []
        self._life = SystemClock(lambda: self.wall, lambda: self._monotonic)

    def now(self) -> float:
        return self._life.now()

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + max(seconds, FINEST), self._count, future))
        await future

    def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its own moment and letting it run."""
        end = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            deadline, _, future = heapq.heappop(self._sleepers)
            self._pass(max(0.0, deadline - self._monotonic))
            if not future.done():
                future.set_result(None)
                self._loop.settle()
        self._pass(end - self._monotonic)

    def _pass(self, seconds: float) -> None:
        self.wall += seconds
        self._monotonic += seconds
