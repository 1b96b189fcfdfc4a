"""Durable records on their way to many readers, each at its own speed.

The newest records lie in one shared ring. A reader is a cursor: what it needs next comes from the ring, or from the
log when it has fallen behind the ring, so a slow reader costs no memory, misses nothing and gets nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from autoheal.clock import Clock
from autoheal.errors import JournalDamaged
from autoheal.model import Record

RING_RECORDS = 4096
RING_BYTES = 2 * 1024 * 1024
"""Of lines: as objects, records take several times as much memory."""
PAGE_RECORDS = 512
PAGE_BYTES = 256 * 1024
TICK_SECONDS = 0.05


class Feed:
    """Fans out what `publish` gets; belongs to one event loop.

    `head` is the last durable seq when it is made. `read(after, limit)` gives the log's records that follow seq
    `after`, at least one when there is one. The ring holds 4,096 records or 2 MiB of lines, whichever is less.
    """

    def __init__(
        self,
        head: int,
        read: Callable[[int, int], Awaitable[Sequence[Record]]],
        clock: Clock,
        *,
        ring_records: int = RING_RECORDS,
    ) -> None:
        self._head = head
        self._first = head + 1
        self._read = read
        self._clock = clock
        self._ring_records = ring_records
        self._ring: dict[int, Record] = {}
        self._ring_bytes = 0
        self._subscribers = 0
        self._closed = False
        self._news = asyncio.Event()
        self._tick: asyncio.Task[None] | None = None

    @property
    def head(self) -> int:
        """The last seq that readers may have."""
        return self._head

    @property
    def first(self) -> int:
        """The oldest seq in the ring; one beyond the head while it is empty."""
        return self._first

    @property
    def subscribers(self) -> int:
        """How many readers there are now."""
        return self._subscribers

    def publish(self, records: Sequence[Record]) -> None:
        """Show durable records, which must continue the head (ValueError), to every reader within 50 ms.

        Readers are woken together, once a tick: a burst costs a thousand of them one wake-up each.
        """
        for record in records:
            if record.seq != self._head + 1:
                raise ValueError(f"seq {record.seq} was published where {self._head + 1} was due")
            self._ring[record.seq] = record
            self._ring_bytes += len(record.line)
            self._head = record.seq
        while len(self._ring) > self._ring_records or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.pop(self._first).line)
            self._first += 1
        if self._tick is None and not self._closed:
            self._tick = asyncio.get_running_loop().create_task(self._wake_later())

    @asynccontextmanager
    async def subscribe(
        self, after: int, goes_on: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[AsyncIterator[list[Record]]]:
        """`async with` it for an iterator over lists of records: all that follow seq `after`, in order, for ever.

        A list holds at most 512 records or 256 KiB of lines. With `after` beyond the head it begins when the head
        has passed it. It ends after `close`, once `goes_on` says no (asked before each list; `wake` has it asked now),
        and with the error of `read` when the log cannot be read.
        """
        pages = self._follow(after, goes_on)
        self._subscribers += 1
        try:
            yield pages
        finally:
            self._subscribers -= 1
            await pages.aclose()

    def close(self) -> None:
        """End every reader, after at most one more list: a client resumes with its last seq."""
        self._closed = True
        if self._tick is not None:
            self._tick.cancel()
        self._news.set()

    def wake(self) -> None:
        """Let every reader look whether it goes on."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _follow(self, cursor: int, goes_on: Callable[[], bool]) -> AsyncGenerator[list[Record], None]:
        while goes_on():
            closed = self._closed
            page = self._from_ring(cursor) if cursor + 1 >= self._first else await self._from_log(cursor)
            if page:
                cursor = page[-1].seq
                yield page
            if closed:
                return
            if not page:
                # Nothing was awaited since the ring was looked at, so no publication can fall between.
                await self._news.wait()

    def _from_ring(self, cursor: int) -> list[Record]:
        page: list[Record] = []
        size = 0
        for seq in range(cursor + 1, min(cursor + PAGE_RECORDS, self._head) + 1):
            record = self._ring[seq]
            size += len(record.line)
            if page and size > PAGE_BYTES:
                break
            page.append(record)
        return page

    async def _from_log(self, cursor: int) -> list[Record]:
        page = list(await self._read(cursor, PAGE_RECORDS))
        if not page or page[0].seq != cursor + 1:
            raise JournalDamaged(f"the log does not give seq {cursor + 1}, which is below its head {self._head}")
        return page

    async def _wake_later(self) -> None:
        await self._clock.sleep(TICK_SECONDS)
        self._tick = None
        self.wake()
