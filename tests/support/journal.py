"""A journal in memory, for tests of those who use one; it can refuse, and forget what was not durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from autoheal.clock import Clock
from autoheal.errors import JournalConflict, JournalUnavailable
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record


class MemoryJournal:
    """Makes batches durable at the next turn of the event loop, or on `release()` while `held`."""

    def __init__(self, clock: Clock, records: Sequence[Record] = ()) -> None:
        self._clock = clock
        self.records = list(records)
        self._pending: list[Record] = []
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.free_bytes: int | None = 2**40
        self.held = False
        self.healthy = True
        self.rotated = False

    @property
    def head(self) -> Head:
        if self._pending:
            return self._pending[-1].head
        return self.records[-1].head if self.records else Head()

    @property
    def log_id(self) -> str:
        return [*self.records, *self._pending][0].hash[:16]

    def free(self) -> int | None:
        return self.free_bytes

    def append(self, drafts: Sequence[Draft], expected: Head) -> tuple[Record, ...]:
        if not self.healthy:
            raise JournalUnavailable("disk full")
        if expected != self.head:
            raise JournalConflict("not the head")
        sealed = seal_all(drafts, self.head, self._clock.now())
        self._pending += sealed
        if not self.held:
            asyncio.get_running_loop().call_soon(self.release)
        return sealed

    def turn(
        self,
        snapshot: Callable[[], Sequence[Draft]],
        expected: Head,
        small: Callable[[], Sequence[Draft]] | None = None,
    ) -> tuple[Record, ...]:
        """As a rotation does, once `rotated` is set."""
        if not (self.rotated and self.healthy):
            return ()
        self.rotated = False
        return self.append([Draft(kind=Kind.LOG_OPENED, detail={"how": "renamed"}), *snapshot()], expected)

    async def wait(self, seq: int) -> None:
        if not self._pending or seq < self._pending[0].seq:
            if self.records and self.records[-1].seq >= seq:
                return
            raise JournalUnavailable("given up")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, future))
        await future

    def replay(self) -> Iterator[Record]:
        return iter(list(self.records))

    def release(self, until: Kind | None = None, count: int | None = None) -> None:
        """Make what is pending durable: all of it unless held, or the records up to the first of a kind, or so many."""
        if self.held and until is None and count is None:
            return
        kinds = [record.kind for record in self._pending]
        if count is None:
            count = len(kinds) if until is None else kinds.index(until) + 1
        self.records += self._pending[:count]
        self._pending = self._pending[count:]
        self._wake(None)

    def pending(self) -> list[Kind]:
        """Kinds of what is not durable yet."""
        return [record.kind for record in self._pending]

    def fail(self) -> None:
        """Give up what is pending and refuse from now on, as a full disk does."""
        self.healthy = False
        self._pending = []
        self._wake(JournalUnavailable("disk full"))

    def _wake(self, error: JournalUnavailable | None) -> None:
        waiters, self._waiters = self._waiters, []
        for seq, future in waiters:
            if future.done():
                continue
            if self.records and seq <= self.records[-1].seq:
                future.set_result(None)
            elif error is not None:
                future.set_exception(error)
            else:
                self._waiters.append((seq, future))
