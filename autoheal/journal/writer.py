"""The end of the log and the one thread that writes there.

Batches that arrive while a write is under way go together into the next one: one write, one fdatasync. There is
no timer; under load the groups grow by themselves.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO

from autoheal.clock import Clock
from autoheal.disk import Disk, write_all
from autoheal.errors import JournalConflict, JournalUnavailable
from autoheal.journal import rotation
from autoheal.journal.acks import Acks, Batch
from autoheal.journal.manifest import Manifest, Tally
from autoheal.journal.rotation import Standing
from autoheal.model import Head

MIN_PROBE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class End:
    """The last record that is safe, the current file's size up to it, and the seq of that file's first record."""

    head: Head
    size: int
    first: int


class Writer:
    """Owns the log's descriptor. `head` is the last record handed over, `durable` the last one acknowledged.

    `fd` is that of the newest file, -1 when there is none that can be written to: the next batch must begin a fresh
    one then. `own` makes sure that nobody else writes in the directory, and raises when somebody does.
    """

    def __init__(
        self,
        path: Path,
        fd: int,
        end: End,
        tally: Tally,
        *,
        disk: Disk,
        clock: Clock,
        acks: Acks,
        own: Callable[[], object],
        queue_bytes: int,
        retry_after: float,
    ) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._acks = acks
        self._own = own
        self._queue_bytes = queue_bytes
        self._retry_after = retry_after
        self._probe_bytes = MIN_PROBE_BYTES
        # Has the tally and what it is a tally of change together; taken before the other one.
        self._tallying = threading.Lock()
        # Guards all below; the writer's thread alone changes `_fd`, `durable` and `_tally`.
        self._lock = threading.Lock()
        # Wakes the thread; a condition variable takes several times as long, at every append of a lone client.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._fd = fd
        self.head = end.head
        self.durable = end
        self._tally = tally
        self._begun = fd >= 0
        self._queue: list[Batch] = []
        self._queued = 0
        self._stopping = False
        self._disturbed = False
        self._doubt: OSError | None = None
        self._trouble: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether a batch would be taken now, were there room in the queue."""
        return self._trouble is None and not self._stopping

    def check(self, expected: Head) -> None:
        """Raise what `hand_over` would raise for a batch of no size that goes on in the current file."""
        self._check(expected, 0)
        if not self._begun:
            raise JournalUnavailable(f"the audit log {self._path} has to begin a fresh file first")

    def hand_over(self, batch: Batch, expected: Head) -> None:
        """Queue `batch`, whose records continue `expected`.

        Raises JournalUnavailable (stopping, disk in trouble, queue full) or JournalConflict; nothing is kept then.
        """
        with self._lock:
            self._check(expected, batch.size)
            self._queue.append(batch)
            self._queued += batch.size
            self.head = batch.records[-1].head
            self._begun = True
            first = len(self._queue) == 1
        if first:
            self._bell.put(None)

    def tally(self) -> tuple[Tally, int]:
        """What the durable part of the current file holds, and the last seq in it."""
        with self._tallying:
            return self._tally.copy(), self.durable.head.seq

    def standing(self) -> Standing:
        """What has become of the current file. Raises OSError when that cannot be seen."""
        with self._lock:
            return self._standing()

    def look(self, error: OSError | None = None) -> None:
        """Have the thread look at the file now, and mend what it can; or refuse everything because of `error`."""
        with self._lock:
            self._disturbed = True
            self._doubt = error
        self._bell.put(None)

    def open_current(self) -> tuple[BinaryIO, End] | None:
        """The current file for reading, with what is durable of it; None when there is none. Raises OSError."""
        with self._lock:
            return (rotation.reopened(self._fd), self.durable) if self._fd >= 0 else None

    def stop(self) -> None:
        """Write what is queued, end the thread and close the file; blocks until then."""
        self._stopping = True
        self._bell.put(None)
        self._thread.join()

    def _check(self, expected: Head, size: int) -> None:
        if self._stopping:
            raise JournalUnavailable("the audit log is closed: the service is stopping")
        if self._trouble is not None:
            raise JournalUnavailable(f"the audit log {self._path} cannot be written now: {self._trouble}")
        if expected is not self.head and expected != self.head:
            raise JournalConflict(f"the log ends at seq {self.head.seq}, not at the {expected.seq} that was expected")
        if self._queued + size > self._queue_bytes:
            raise JournalUnavailable(f"{self._queued} bytes already wait for the disk under {self._path}")

    def _run(self) -> None:
        try:
            while (group := self._take()) is not None:
                if group:
                    self._commit(group)
                elif self._trouble is not None:
                    self._probe()
                else:
                    self._look()
        finally:
            # Also when a fault of ours ends the thread: nobody may wait for ever, nothing more is taken.
            self._stopping = True
            self._acks.post(self._acks.ended)
            self._exchange(-1)

    def _take(self) -> list[Batch] | None:
        """What is to be written next; nothing when it is time to look at the disk; None at the end."""
        deadline = None if self._trouble is None else time.monotonic() + self._retry_after
        while True:
            with self._lock:
                if self._stopping and (self._trouble is not None or not self._queue):
                    return None
                if self._trouble is None and (self._queue or self._disturbed):
                    group, self._queue = self._queue, []
                    self._disturbed = False
                    return group
            try:
                self._bell.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except Empty:
                return []

    def _commit(self, group: list[Batch]) -> None:
        for batches in _by_file(group):
            records = [record for batch in batches for record in batch.records]
            data = b"\n".join([record.line for record in records]) + b"\n"
            fresh = batches[0].manifest
            try:
                if fresh is not None:
                    self._begin(fresh, data, records[0].seq)
                else:
                    self._mend()
                    self._write(data)
            except OSError as error:
                self._fail(group, error, len(data))
                return
            del group[: len(batches)]
            # Hashing takes as long as writing: who hands over need not wait for it.
            with self._tallying:
                self._tally.extend(records, data)
                with self._lock:
                    self.durable = End(records[-1].head, self.durable.size + len(data), self.durable.first)
                    self._queued -= len(data)
            self._acks.post(self._acks.committed, len(batches), self._clock.monotonic())

    def _begin(self, before: Manifest, data: bytes, first: int) -> None:
        """Put `data` into a fresh file; all that is in the file before is durable already."""
        self._own()
        rotation.put_manifest(self._disk, self._path.parent, before)
        fd = rotation.place(self._disk, self._path, lambda to: write_all(self._disk, to, data), self._sync)
        self._exchange(fd, End(self.durable.head, 0, first), Tally())

    def _write(self, data: bytes) -> None:
        write_all(self._disk, self._fd, data)
        try:
            self._sync(self._fd)
        except OSError:
            # After a failed fdatasync Linux marks the pages clean: asking the same descriptor again reports a
            # success that is none (the "fsyncgate" of 2018). On a new one everything is written once more.
            self._reopen()
            write_all(self._disk, self._fd, data)
            self._disk.sync(self._fd)
        # Somebody's `echo >> audit.jsonl`: acknowledged behind it, all that follows would be lost with it at the next
        # start, and a later cut would end in the middle of a record. Who asked is refused, and all of it is cut away.
        if (foreign := os.fstat(self._fd).st_size - self.durable.size - len(data)) > 0:
            self._acks.post(self._acks.appended_to, foreign)
            raise OSError(errno.EIO, f"somebody else wrote {foreign} bytes to the file: they are cut away again")

    def _sync(self, fd: int) -> None:
        try:
            self._disk.sync(fd)
        except OSError as error:
            self._acks.post(self._acks.distrusted, error)
            raise

    def _exchange(self, fd: int, end: End | None = None, tally: Tally | None = None) -> None:
        """Go on with another descriptor, in the same file or, with `end` and `tally`, in another one."""
        with self._tallying, self._lock:
            old, self._fd = self._fd, fd
            self.durable = end or self.durable
            self._tally = tally or self._tally
        with contextlib.suppress(OSError):
            os.close(old)

    def _reopen(self) -> None:
        """Go on with a new descriptor, at the end of what was acknowledged."""
        # By this name it is the same file, also when it bears another one now.
        fd = self._disk.open(Path(f"/proc/self/fd/{self._fd}"), rotation.OPEN_FLAGS)
        try:
            self._cut_back(fd)
        except OSError:
            os.close(fd)
            raise
        self._exchange(fd)

    def _cut_back(self, fd: int) -> None:
        size = self.durable.size
        # Somebody truncated the file: "cutting" it to a greater size would fill it with NUL bytes.
        if (found := os.fstat(fd).st_size) < size:
            raise OSError(errno.EIO, f"the file has {found} bytes where {size} were acknowledged")
        self._disk.cut(fd, size)

    def _standing(self) -> Standing:
        if self._fd >= 0:
            return rotation.standing(self._fd, self._path, self.durable.size)
        rotation.refuse_foreign(self._path)
        return Standing.RENAMED

    def _mend(self) -> None:
        """Undo what somebody did to the file, or go on with what is left. Raises OSError when neither can be done."""
        standing = self._standing()
        if standing is Standing.TRUNCATED:
            self._shorten()
            standing = self._standing()
        if standing is Standing.DELETED:
            self._own()
            copy = rotation.copy_of(self._disk, self._fd, self.durable.size)
            self._exchange(rotation.place(self._disk, self._path, copy, self._sync))
            self._acks.post(self._acks.restored)
        elif standing is Standing.REPLACED:
            rotation.refuse_foreign(self._path)

    def _shorten(self) -> None:
        """Go on behind what is left of a file that somebody truncated."""
        head, expected, found = self.durable.head, self.durable.size, os.fstat(self._fd).st_size
        left = rotation.left_over(self._fd, head)
        if left.size < found:
            self._disk.cut(self._fd, left.size)
        with self._tallying, self._lock:
            self.durable = End(head, left.size, left.first_seq or head.seq + 1)
            self._tally = left
        self._acks.post(self._acks.truncated, expected, found)

    def _look(self) -> None:
        with self._lock:
            doubt, self._doubt = self._doubt, None
        try:
            if doubt is not None:
                raise doubt
            self._mend()
        except OSError as error:
            self._fail([], error, 0)

    def _fail(self, group: Sequence[Batch], error: OSError, size: int) -> None:
        # Whoever reads the file meanwhile should find no half line; the probe cuts again, and makes sure.
        with contextlib.suppress(OSError):
            self._cut_back(self._fd)
        with self._lock:
            lost = len(group) + len(self._queue)
            self._queue = []
            self._queued = 0
            self.head = self.durable.head
            self._begun = self._fd >= 0
            self._trouble = error
            self._probe_bytes = max(size, MIN_PROBE_BYTES)
        self._acks.post(self._acks.erred, error)
        self._acks.post(self._acks.failed, lost, f"the audit log {self._path} cannot be written: {error}")

    def _probe(self) -> None:
        """Take batches again once the disk holds as much as the failed one needed."""
        try:
            self._own()
            self._fill(self._path.with_name(".probe"))
            self._mend()
            if self._fd >= 0:
                self._reopen()
                self._disk.sync(self._fd)
        except OSError as error:
            with self._lock:
                self._trouble = error
            self._acks.post(self._acks.erred, error)
            return
        with self._lock:
            self._trouble = None

    def _fill(self, path: Path) -> None:
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(self._disk, fd, bytes(self._probe_bytes))
            self._disk.sync(fd)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)


def _by_file(group: Sequence[Batch]) -> list[Sequence[Batch]]:
    """The batches that go into one file together: each that brings a manifest begins another one."""
    starts = [at for at, batch in enumerate(group) if batch.manifest is not None and at]
    return [group[begin:end] for begin, end in pairwise([0, *starts, len(group)])]
