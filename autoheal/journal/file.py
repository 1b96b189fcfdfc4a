"""The audit log of a data directory: `audit.jsonl`, and the files that rotation has made of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autoheal.age import Identities
from autoheal.clock import Clock
from autoheal.disk import Disk
from autoheal.errors import JournalUnavailable
from autoheal.journal import rotation, snapshots, start
from autoheal.journal.acks import Acks, Batch
from autoheal.journal.files import FILE_NAME
from autoheal.journal.history import History
from autoheal.journal.lock import Lock
from autoheal.journal.manifest import Manifest, Tally
from autoheal.journal.record import seal_all
from autoheal.journal.rotation import Standing
from autoheal.journal.writer import Writer
from autoheal.model import Draft, Head, Record

QUEUE_BYTES = 64 * 1024 * 1024


def _ignore(_: object) -> None:
    """For those who did not ask to be told."""


class FileJournal:
    """The log of one process. `append`, `wait` and `close` belong to one event loop; reading may use any thread.

    `log_id` is the first 16 hex digits of seq 1's hash.
    """

    def __init__(
        self,
        data_dir: Path,
        log_id: str,
        *,
        lock: Lock,
        clock: Clock,
        acks: Acks,
        writer: Writer,
        snapshot: int = 0,
        identities: Identities | None = None,
    ) -> None:
        self.log_id = log_id
        self._data_dir = data_dir
        self._lock = lock
        self._clock = clock
        self._acks = acks
        self._writer = writer
        # The seq of the last snapshot's last record, or where the last one was tried that came to nothing.
        self._snapshot = snapshot
        self._history = History(data_dir, writer.open_current, identities)
        self._closed = False

    @classmethod
    def open(
        cls,
        data_dir: Path,
        clock: Clock,
        *,
        on_durable: Callable[[Sequence[Record]], object],
        on_replay: Callable[[Record], object] = _ignore,
        on_snapshot: start.OnSnapshot | None = None,
        observe: Callable[[float], object] = _ignore,
        on_error: Callable[[OSError], object] = _ignore,
        accept_damage: str | None = None,
        identities: Identities | None = None,
        disk: Disk | None = None,
        queue_bytes: int = QUEUE_BYTES,
        retry_after: float = 1.0,
    ) -> FileJournal:
        """Own `data_dir`, read the log as far back as a state needs, and go on at its end.

        Blocks; needs no running event loop. `on_replay` gets the records in order, each once, from the beginning of
        the log or from a file that holds a whole snapshot on; those that opening itself added included (a new log's
        `log_created`, `log_repaired` for a torn end). `on_snapshot` may get the parts of a whole snapshot first: then
        `on_replay` gets what follows that. When it raises JournalDamaged, as without it, every record of the file is
        replayed. The other callbacks run on the event loop: `on_durable` with
        each group of later records once it is durable, `observe` with the seconds from hand-over to durable of each
        append, `on_error` with each failed write, fdatasync and probe. `accept_damage` is the reason why the log may
        go on before a line that was changed. `identities` open rotated files that are encrypted. A disk in trouble is
        probed every `retry_after` seconds.

        Raises JournalUnavailable when another process owns the directory or the disk refuses, JournalDamaged when a
        line is not what was sealed, and JournalEncrypted when a state needs an encrypted file that no key opens.
        """
        disk = disk or Disk()
        with contextlib.ExitStack() as undo:
            try:
                lock = Lock(data_dir)
                undo.callback(lock.release)
                begun = start.begin(data_dir, clock, disk, on_replay, on_snapshot, accept_damage, identities)
            except OSError as error:
                raise JournalUnavailable(f"the audit log in {data_dir} cannot be opened: {error}") from error
            undo.pop_all()
        acks = Acks(FILE_NAME, begun.reports, on_durable, observe, on_error)
        writer = Writer(
            data_dir / FILE_NAME,
            begun.fd,
            begun.end,
            begun.tally,
            disk=disk,
            clock=clock,
            acks=acks,
            own=lock.renew,
            queue_bytes=queue_bytes,
            retry_after=retry_after,
        )
        return cls(
            data_dir,
            begun.log_id,
            lock=lock,
            clock=clock,
            acks=acks,
            writer=writer,
            snapshot=begun.snapshot,
            identities=identities,
        )

    @property
    def head(self) -> Head:
        """The last record handed over: what the next append must expect."""
        return self._writer.head

    @property
    def durable(self) -> Head:
        """The last record that is safe on disk."""
        return self._writer.durable.head

    @property
    def healthy(self) -> bool:
        """Whether records can be made durable now."""
        return self._writer.healthy

    def free(self) -> int | None:
        """Bytes that the service may still write on the log's disk; None when the system does not tell."""
        try:
            disk = os.statvfs(self._data_dir)
        except OSError:
            return None
        return int(disk.f_bavail * disk.f_frsize)

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
        return self._hand_over([*drafts, *self._acks.repairs()], expected)

    def turn(
        self,
        snapshot: Callable[[], Sequence[Draft]],
        expected: Head,
        small: Callable[[], Sequence[Draft]] | None = None,
    ) -> tuple[Record, ...]:
        """Look whether somebody renamed, truncated or deleted the current file, and record what follows from it.

        A file that was renamed is left behind: a fresh one begins with `log_opened` and the records of `snapshot`,
        the state at `expected`; batches handed over before still go to the old one. The same two follow in a file
        that was truncated. A `log_repaired` that is due is appended by itself. 20,000 records behind a snapshot comes
        the next, so that a start need not read all of a long file: the records of `small`, which makes none where that
        would hold up others. To be called before every look at the head, and once a second: it costs a microsecond when
        nothing has happened.

        The answer are the records appended, none as a rule. Nothing is done while the log is not healthy, or when
        `expected` is not its head. Raises JournalUnavailable when the records cannot be taken.
        """
        self._acks.loop = asyncio.get_running_loop()
        if not self._writer.healthy or expected != self._writer.head or self._acks.turning:
            return ()
        try:
            standing = self._writer.standing()
            if standing is Standing.RENAMED and (tally := self._ahead()).first_seq:
                previous = rotation.previous_digest(self._data_dir, tally.first_seq)
                before = tally.manifest(self.log_id, previous)
                drafts = [rotation.renamed(self.log_id, expected, before), *snapshot()]
                return self._founding(self._hand_over(drafts, expected, before))
        except OSError as error:
            self._writer.look(error)
            return ()
        if standing not in (Standing.SAME, Standing.RENAMED):
            # The writer's thread mends it, or refuses all until somebody does.
            self._writer.look()
            return ()
        if cuts := self._acks.truncations:
            drafts = [rotation.truncated(self.log_id, expected, *cut) for cut in cuts]
            return self._founding(self._hand_over([*drafts, *snapshot()], expected))
        if repairs := self._acks.repairs():
            return self._hand_over(repairs, expected)
        if standing is Standing.SAME and small is not None and expected.seq - self._snapshot >= snapshots.EVERY:
            # Should it come to nothing, nobody is to wait for the next try: nothing depends on it.
            self._snapshot = expected.seq
            # Nothing is in a file that the writer's thread has found truncated a moment ago, and is yet to tell of.
            if (tally := self._ahead()).first_seq and (state := small()):
                with contextlib.suppress(JournalUnavailable):
                    described = snapshots.describing(state, tally, self.log_id)
                    return self._founding(self._hand_over(described, expected))
        return ()

    def _founding(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        self._snapshot = records[-1].seq
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
        """The durable records from which the state folds: all, or those from a whole snapshot on. Blocks.

        The chain is checked. Raises JournalDamaged.
        """
        return self._history.replay()

    def read(self, after: int, limit: int) -> list[Record]:
        """The durable records after seq `after`, oldest first: `limit` of them or 256 KiB, whichever is less.

        At least one when there is one. Blocks: to be called in a thread. Raises JournalDamaged when a file was
        changed since it was written.
        """
        return self._history.read(after, limit)

    async def close(self) -> None:
        """Make durable what was handed over, end the thread and give the directory free; a second call is nothing."""
        if self._closed:
            return
        self._closed = True
        self._acks.loop = asyncio.get_running_loop()
        # The writer's last words reach the loop before the thread's end does.
        await asyncio.to_thread(self._writer.stop)
        self._history.close()
        self._lock.release()

    def _ahead(self) -> Tally:
        """What the current file will hold when all that is under way is in it."""
        tally, seq = self._writer.tally()
        for record in self._acks.beyond(seq):
            tally.add(record)
        return tally

    def _hand_over(
        self, drafts: Sequence[Draft], expected: Head, manifest: Manifest | None = None
    ) -> tuple[Record, ...]:
        records = seal_all(drafts, expected, self._clock.now())
        size = sum([len(record.line) + 1 for record in records])
        batch = Batch(records, size, self._clock.monotonic(), manifest)
        self._acks.loop = asyncio.get_running_loop()
        self._writer.hand_over(batch, expected)
        self._acks.add(batch)
        return records
