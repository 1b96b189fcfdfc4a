"""What became of the batches that were handed to the writer, told on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVarTuple

from autoheal.errors import JournalUnavailable
from autoheal.journal.manifest import Manifest
from autoheal.model import Draft, Kind, Record

_Ts = TypeVarTuple("_Ts")
_DISTRUSTED = "fdatasync failed"
AT_ONCE = 25
"""Batches told of before others on the event loop get their turn: what a waiter does next is part of that step."""


@dataclass(slots=True, eq=False)
class Batch:
    """The records of one append, and who waits for them. `handed_over` is monotonic time in seconds.

    `size` is in bytes, newlines included. With a `manifest`, that of the file before, a fresh file begins with it.
    """

    records: tuple[Record, ...]
    size: int
    handed_over: float
    manifest: Manifest | None = None
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class Acks:
    """Batches under way, oldest first. All but `post` belongs to the event loop, which `loop` names.

    `truncations` are those that no record tells of yet, as bytes acknowledged and bytes found.
    """

    def __init__(
        self,
        file_name: str,
        reports: Sequence[Mapping[str, Any]],
        on_durable: Callable[[Sequence[Record]], object],
        observe: Callable[[float], object],
        on_error: Callable[[OSError], object],
    ) -> None:
        # Set by whoever hands over or closes: before that there is nothing to tell.
        self.loop: asyncio.AbstractEventLoop
        self.truncations: list[tuple[int, int]] = []
        self._file_name = file_name
        self._on_durable = on_durable
        self._observe = observe
        self._on_error = on_error
        self._pending: deque[Batch] = deque()
        self._durable: deque[tuple[int, float]] = deque()
        self._telling = False
        self._distrusted = 0
        self._last_error = ""
        self._reports = list(reports)

    def post(self, callback: Callable[[*_Ts], None], *args: *_Ts) -> None:
        """Have `callback` run on the event loop; from any thread, in the order of the calls."""
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *args)

    def add(self, batch: Batch) -> None:
        """A batch was handed over; what it tells of is not due any more."""
        self._pending.append(batch)
        for record in batch.records:
            if record.kind is Kind.LOG_REPAIRED:
                self._distrusted = 0
                self._reports.clear()
            elif record.kind is Kind.LOG_OPENED and "found_bytes" in record.detail:
                self.truncations.clear()

    @property
    def turning(self) -> bool:
        """Whether a fresh file is under way."""
        return any(batch.manifest is not None for batch in self._pending)

    def beyond(self, seq: int) -> Iterator[Record]:
        """The records under way that follow `seq`."""
        return (record for batch in self._pending for record in batch.records if record.seq > seq)

    def waiter(self, seq: int) -> asyncio.Future[None] | None:
        """Resolved when the newest batch under way with `seq` in it is durable, or failed; None without such."""
        for batch in reversed(self._pending):
            if batch.records[0].seq <= seq <= batch.records[-1].seq:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                batch.waiters.append(waiter)
                return waiter
        return None

    def repairs(self) -> list[Draft]:
        """A `log_repaired` for each repair that no record tells of yet."""
        if not (self._reports or self._distrusted):
            return []
        details = list(self._reports)
        if self._distrusted:
            about = {"failures": self._distrusted, "error": self._last_error}
            details.append({"problem": _DISTRUSTED, "file": self._file_name, **about})
        return [Draft(kind=Kind.LOG_REPAIRED, detail=detail) for detail in details]

    def committed(self, count: int, at: float) -> None:
        """The oldest `count` batches of which nothing was told are durable since `at` (monotonic)."""
        self._durable.append((count, at))
        if not self._telling:
            self._tell()

    def _tell(self) -> None:
        """Tell of some durable batches, and of the rest when others on the loop have had their turn."""
        if self._durable:
            self._tell_some()
        self._telling = bool(self._durable)
        if self._telling:
            self.loop.call_soon(self._tell)

    def _tell_some(self) -> None:
        count, at = self._durable.popleft()
        told = [self._pending.popleft() for _ in range(min(count, AT_ONCE))]
        if count > AT_ONCE:
            self._durable.appendleft((count - AT_ONCE, at))
        for batch in told:
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._observe(at - batch.handed_over)
        self._on_durable([record for batch in told for record in batch.records])

    def failed(self, count: int, why: str) -> None:
        """The oldest `count` batches of which nothing was told are not in the log and never will be."""
        self._tell_all()
        for _ in range(count):
            batch = self._pending.popleft()
            for record in batch.records:
                self._due_again(record)
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_exception(JournalUnavailable(why))

    def distrusted(self, error: OSError) -> None:
        """The log's fdatasync failed, and its descriptor was given up."""
        self._distrusted += 1
        self._last_error = str(error)
        self._on_error(error)

    def restored(self) -> None:
        """The file had been deleted, and was put back."""
        self._reports.append({"problem": "file deleted", "file": self._file_name})

    def appended_to(self, size: int) -> None:
        """Somebody else wrote `size` bytes to the end of the file, and they were cut away."""
        self._reports.append({"problem": "foreign bytes", "file": self._file_name, "bytes": size})

    def truncated(self, expected: int, found: int) -> None:
        """Somebody cut the file, of which `expected` bytes were acknowledged, to `found`."""
        self.truncations.append((expected, found))

    def erred(self, error: OSError) -> None:
        """A write, a probe or a second fdatasync failed."""
        self._on_error(error)

    def ended(self) -> None:
        """The writer's thread is gone: what is still under way has nobody to finish it."""
        self._tell_all()
        self.failed(len(self._pending), "the audit log's writer has ended")

    def _tell_all(self) -> None:
        while self._durable:
            self._tell_some()

    def _due_again(self, lost: Record) -> None:
        """What a lost record told of is to be told once more."""
        if lost.kind is Kind.LOG_REPAIRED:
            if lost.detail["problem"] == _DISTRUSTED:
                self._distrusted += lost.detail["failures"]
            else:
                self._reports.append(lost.detail)
        elif lost.kind is Kind.LOG_OPENED and "found_bytes" in lost.detail:
            self.truncations.append((lost.detail["expected_bytes"], lost.detail["found_bytes"]))
