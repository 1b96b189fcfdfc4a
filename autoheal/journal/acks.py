"""What became of the batches that were handed to the writer, told on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVarTuple

from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind, Record

_Ts = TypeVarTuple("_Ts")


@dataclass(slots=True, eq=False)
class Batch:
    """The records of one append, and who waits for them. `handed_over` is monotonic time in seconds."""

    records: tuple[Record, ...]
    handed_over: float
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes in the file, newlines included."""
        return sum(len(record.line) + 1 for record in self.records)


class Acks:
    """Batches under way, oldest first. All but `post` belongs to the event loop, which `loop` names."""

    def __init__(
        self,
        file_name: str,
        on_durable: Callable[[Sequence[Record]], object],
        observe: Callable[[float], object],
        on_error: Callable[[OSError], object],
    ) -> None:
        # Set by whoever hands over or closes: before that there is nothing to tell.
        self.loop: asyncio.AbstractEventLoop
        self._file_name = file_name
        self._on_durable = on_durable
        self._observe = observe
        self._on_error = on_error
        self._pending: deque[Batch] = deque()
        self._distrusted = 0
        self._last_error = ""

    def post(self, callback: Callable[[*_Ts], None], *args: *_Ts) -> None:
        """Have `callback` run on the event loop; from any thread, in the order of the calls."""
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *args)

    def add(self, batch: Batch) -> None:
        """A batch was handed over; a `log_repaired` that was due is in it."""
        self._pending.append(batch)
        self._distrusted = 0

    def waiter(self, seq: int) -> asyncio.Future[None] | None:
        """Resolved when the newest batch under way with `seq` in it is durable, or failed; None without such."""
        for batch in reversed(self._pending):
            if batch.records[0].seq <= seq <= batch.records[-1].seq:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                batch.waiters.append(waiter)
                return waiter
        return None

    def repairs(self) -> list[Draft]:
        """A `log_repaired` when descriptors were given up that no record tells of yet."""
        if not self._distrusted:
            return []
        detail = {
            "problem": "fdatasync failed",
            "file": self._file_name,
            "failures": self._distrusted,
            "error": self._last_error,
        }
        return [Draft(kind=Kind.LOG_REPAIRED, detail=detail)]

    def committed(self, count: int, at: float) -> None:
        """The oldest `count` batches are durable since `at` (monotonic)."""
        group = [self._pending.popleft() for _ in range(count)]
        for batch in group:
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._observe(at - batch.handed_over)
        self._on_durable([record for batch in group for record in batch.records])

    def failed(self, count: int, why: str) -> None:
        """The oldest `count` batches are not in the log and never will be."""
        for _ in range(count):
            batch = self._pending.popleft()
            for record in batch.records:
                # What a lost record told of is due again.
                if record.kind is Kind.LOG_REPAIRED:
                    self._distrusted += record.detail["failures"]
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_exception(JournalUnavailable(why))

    def distrusted(self, error: OSError) -> None:
        """The log's fdatasync failed, and its descriptor was given up."""
        self._distrusted += 1
        self._last_error = str(error)
        self._on_error(error)

    def erred(self, error: OSError) -> None:
        """A write, a probe or a second fdatasync failed."""
        self._on_error(error)

    def ended(self) -> None:
        """The writer's thread is gone: what is still under way has nobody to finish it."""
        self.failed(len(self._pending), "the audit log's writer has ended")
