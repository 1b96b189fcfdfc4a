"""The end of the log and the one thread that writes there.

Batches that arrive while a write is under way go together into the next one: one write, one fdatasync. There is
no timer; under load the groups grow by themselves.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

from autoheal.clock import Clock
from autoheal.errors import JournalConflict, JournalUnavailable
from autoheal.journal.acks import Acks, Batch
from autoheal.journal.disk import Disk, write_all
from autoheal.model import Head

MIN_PROBE_BYTES = 4096


class Writer:
    """Owns the log's descriptor. `head` is the last record handed over, `durable` the last one acknowledged."""

    def __init__(
        self,
        path: Path,
        head: Head,
        size: int,
        *,
        disk: Disk,
        clock: Clock,
        acks: Acks,
        queue_bytes: int,
        retry_after: float,
    ) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._acks = acks
        self._queue_bytes = queue_bytes
        self._retry_after = retry_after
        self._fd = disk.open(path, os.O_WRONLY | os.O_APPEND)
        self._probe_bytes = MIN_PROBE_BYTES
        # Guards all below; the writer's thread waits on it.
        self._changed = threading.Condition()
        self.head = head
        self.durable: tuple[Head, int] = (head, size)
        self._queue: list[Batch] = []
        self._queued = 0
        self._stopping = False
        self._trouble: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether a batch would be taken now, were there room in the queue."""
        return self._trouble is None and not self._stopping

    def check(self, expected: Head) -> None:
        """Raise what `hand_over` would raise for a batch of no size."""
        with self._changed:
            self._check(expected, 0)

    def hand_over(self, batch: Batch, expected: Head) -> None:
        """Queue `batch`, whose records continue `expected`.

        Raises JournalUnavailable (stopping, disk in trouble, queue full) or JournalConflict; nothing is kept then.
        """
        size = batch.size
        with self._changed:
            self._check(expected, size)
            self._queue.append(batch)
            self._queued += size
            self.head = batch.records[-1].head
            self._changed.notify()

    def stop(self) -> None:
        """Write what is queued, end the thread and close the file; blocks until then."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _check(self, expected: Head, size: int) -> None:
        if self._stopping:
            raise JournalUnavailable("the audit log is closed: the service is stopping")
        if self._trouble is not None:
            raise JournalUnavailable(f"the audit log {self._path} cannot be written now: {self._trouble}")
        if expected != self.head:
            raise JournalConflict(f"the log ends at seq {self.head.seq}, not at the {expected.seq} that was expected")
        if self._queued + size > self._queue_bytes:
            raise JournalUnavailable(f"{self._queued} bytes already wait for the disk under {self._path}")

    def _run(self) -> None:
        try:
            while (group := self._take()) is not None:
                if group:
                    self._commit(group)
                else:
                    self._probe()
        finally:
            # Also when a fault of ours ends the thread: nobody may wait for ever, nothing more is taken.
            self._stopping = True
            self._acks.post(self._acks.ended)
            with contextlib.suppress(OSError):
                os.close(self._fd)

    def _take(self) -> list[Batch] | None:
        """What is to be written next; nothing when it is time to probe the disk; None at the end."""
        with self._changed:
            if self._trouble is not None:
                self._changed.wait_for(lambda: self._stopping, self._retry_after)
                return None if self._stopping else []
            self._changed.wait_for(lambda: self._queue or self._stopping)
            group, self._queue = self._queue, []
            return group or None

    def _commit(self, group: list[Batch]) -> None:
        data = b"".join(b"%b\n" % record.line for batch in group for record in batch.records)
        try:
            self._write(data)
        except OSError as error:
            self._fail(group, error, len(data))
            return
        with self._changed:
            self.durable = (group[-1].records[-1].head, self.durable[1] + len(data))
            self._queued -= len(data)
        self._acks.post(self._acks.committed, len(group), self._clock.monotonic())

    def _write(self, data: bytes) -> None:
        write_all(self._disk, self._fd, data)
        try:
            self._disk.sync(self._fd)
        except OSError as error:
            # After a failed fdatasync Linux marks the pages clean: asking the same descriptor again reports a
            # success that is none (the "fsyncgate" of 2018). On a new one everything is written once more.
            self._acks.post(self._acks.distrusted, error)
            self._reopen()
            write_all(self._disk, self._fd, data)
            self._disk.sync(self._fd)

    def _reopen(self) -> None:
        """Go on with a new descriptor, at the end of what was acknowledged."""
        fd = self._disk.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            self._cut_back(fd)
        except OSError:
            os.close(fd)
            raise
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = fd

    def _cut_back(self, fd: int) -> None:
        size = self.durable[1]
        # Somebody truncated the file: "cutting" it to a greater size would fill it with NUL bytes.
        if (found := os.fstat(fd).st_size) < size:
            raise OSError(errno.EIO, f"the file has {found} bytes where {size} were acknowledged")
        self._disk.cut(fd, size)

    def _fail(self, group: list[Batch], error: OSError, size: int) -> None:
        # Whoever reads the file meanwhile should find no half line; the probe cuts again, and makes sure.
        with contextlib.suppress(OSError):
            self._cut_back(self._fd)
        with self._changed:
            lost = [*group, *self._queue]
            self._queue = []
            self._queued = 0
            self.head = self.durable[0]
            self._trouble = error
            self._probe_bytes = max(size, MIN_PROBE_BYTES)
        self._acks.post(self._acks.erred, error)
        self._acks.post(self._acks.failed, len(lost), f"the audit log {self._path} cannot be written: {error}")

    def _probe(self) -> None:
        """Take batches again once the disk holds as much as the failed one needed."""
        try:
            self._fill(self._path.with_name(".probe"))
            self._reopen()
            self._disk.sync(self._fd)
        except OSError as error:
            with self._changed:
                self._trouble = error
            self._acks.post(self._acks.erred, error)
            return
        with self._changed:
            self._trouble = None

    def _fill(self, path: Path) -> None:
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._disk, fd, bytes(self._probe_bytes))
            self._disk.sync(fd)
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)
