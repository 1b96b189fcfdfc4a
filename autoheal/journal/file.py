"""The audit log in one file, `audit.jsonl` of the data directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autoheal.clock import Clock
from autoheal.errors import JournalUnavailable
from autoheal.journal import reading, start
from autoheal.journal.acks import Acks, Batch
from autoheal.journal.disk import Disk
from autoheal.journal.record import seal_all
from autoheal.journal.writer import Writer
from autoheal.model import Draft, Head, Record

FILE_NAME = "audit.jsonl"
QUEUE_BYTES = 64 * 1024 * 1024


def _ignore(_: object) -> None:
    """For those who did not ask to be told."""


class FileJournal:
    """The log of one process. `append`, `wait` and `close` belong to one event loop; reading may use any thread.

    `log_id` is the first 16 hex digits of seq 1's hash.
    """

    def __init__(self, path: Path, log_id: str, *, lock: int, clock: Clock, acks: Acks, writer: Writer) -> None:
        self.log_id = log_id
        self._path = path
        self._lock = lock
        self._clock = clock
        self._acks = acks
        self._writer = writer

    @classmethod
    def open(
        cls,
        data_dir: Path,
        clock: Clock,
        *,
        on_durable: Callable[[Sequence[Record]], object],
        on_replay: Callable[[Record], object] = _ignore,
        observe: Callable[[float], object] = _ignore,
        on_error: Callable[[OSError], object] = _ignore,
        disk: Disk | None = None,
        queue_bytes: int = QUEUE_BYTES,
        retry_after: float = 1.0,
    ) -> FileJournal:
        """Own `data_dir`, check the whole log and go on at its end. Blocks; needs no running event loop.

        `on_replay` gets every record in the log, once and in order, those that opening itself added included (a
        new log's `log_created`, `log_repaired` for a torn end). The other callbacks run on the event loop:
        `on_durable` with each group of later records once it is durable, `observe` with the seconds from
        hand-over to durable of each append, `on_error` with each failed write, fdatasync and probe.
        A disk in trouble is probed every `retry_after` seconds.

        Raises JournalUnavailable when another process owns the directory or the disk refuses, and JournalDamaged
        when a line is not what was sealed.
        """
        disk = disk or Disk()
        path = data_dir / FILE_NAME
        with contextlib.ExitStack() as undo:
            try:
                lock = start.lock(data_dir)
                undo.callback(os.close, lock)
                begun = start.begin(path, clock, disk, on_replay)
                acks = Acks(FILE_NAME, on_durable, observe, on_error)
                writer = Writer(
                    path,
                    begun.head,
                    begun.size,
                    disk=disk,
                    clock=clock,
                    acks=acks,
                    queue_bytes=queue_bytes,
                    retry_after=retry_after,
                )
            except OSError as error:
                raise JournalUnavailable(f"the audit log in {data_dir} cannot be opened: {error}") from error
            undo.pop_all()
        return cls(path, begun.log_id, lock=lock, clock=clock, acks=acks, writer=writer)

    @property
    def head(self) -> Head:
        """The last record handed over: what the next append must expect."""
        return self._writer.head

    @property
    def durable(self) -> Head:
        """The last record that is safe on disk."""
        return self._writer.durable[0]

    @property
    def healthy(self) -> bool:
        """Whether records can be made durable now."""
        return self._writer.healthy

    def free(self) -> int | None:
        """Bytes that the service may still write on the log's disk; None when the system does not tell."""
        try:
            disk = os.statvfs(self._path.parent)
        except OSError:
            return None
        return disk.f_bavail * disk.f_frsize

    def append(self, drafts: Sequence[Draft], expected: Head) -> tuple[Record, ...]:
        """Seal `drafts` after `expected` and hand them to the writer, all or none; does not wait for the disk.

        The answer begins with one record for each draft. When a descriptor was given up since the last append, a
        `log_repaired` that tells of it follows them in the same batch.
        Raises JournalConflict when `expected` is not the head, JournalUnavailable when nothing can be taken now
        (`healthy` is False, or 64 MiB wait already), RecordTooLarge or JournalError for a draft that is no record.

        A batch is in the log whole or was never acknowledged: after a crash the file may hold the first records
        of a batch that nobody was told is durable.
        """
        if not drafts:
            return ()
        self._writer.check(expected)
        records = seal_all([*drafts, *self._acks.repairs()], expected, self._clock.now())
        batch = Batch(records, self._clock.monotonic())
        self._acks.loop = asyncio.get_running_loop()
        self._writer.hand_over(batch, expected)
        self._acks.add(batch)
        return records

    async def wait(self, seq: int) -> None:
        """Return once `seq` is durable. Raises JournalUnavailable when its append failed.

        Ask in the same breath as `append`, before anything else is awaited: after a failure, and a fold from the
        durable log, another record may come to have that seq.
        """
        if seq <= self.durable.seq:
            return
        if (waiter := self._acks.waiter(seq)) is not None:
            await waiter
            return
        raise JournalUnavailable(f"seq {seq} is not in the log: its append failed, or never was")

    def replay(self) -> Iterator[Record]:
        """Every durable record from seq 1, the chain checked: what state is folded from after a failure. Blocks."""
        return reading.replay(self._path, self._writer.durable[1])

    def read(self, after: int, limit: int) -> list[Record]:
        """The durable records after seq `after`, oldest first: `limit` of them or 256 KiB, whichever is less.

        At least one when there is one. Blocks: to be called in a thread. Raises JournalDamaged when the file was
        changed since it was opened.
        """
        return reading.read(self._path, self._writer.durable[1], after, limit)

    def newest_first(self, before: int | None = None) -> Iterator[Record]:
        """The durable records with a seq below `before` (None: all), newest first. Blocks, as `read` does."""
        return reading.newest_first(self._path, self._writer.durable[1], before)

    async def close(self) -> None:
        """Make durable what was handed over, end the thread and give the directory free; a second call is nothing."""
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        self._acks.loop = asyncio.get_running_loop()
        # The writer's last words reach the loop before the thread's end does.
        await asyncio.to_thread(self._writer.stop)
        os.close(lock)
