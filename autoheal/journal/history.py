"""Reading the log across its files: the current one, and those that rotation has put away.

Of the current file only what is durable is shown; which file that is, and up to where, the writer says. It is read
through the writer's own descriptor, so that a reader goes on with it while it is renamed. All of it blocks.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from autoheal import snapshot
from autoheal.age import Identities
from autoheal.errors import JournalDamaged
from autoheal.journal import reading
from autoheal.journal.files import FILE_NAME, LogFile, Storage, Strays, log_files, open_again
from autoheal.journal.record import parse
from autoheal.journal.writer import End
from autoheal.model import MAX_RECORD_BYTES, Kind, Record

KEPT_STREAMS = 8
"""Compressed files that stay open where a reader left them: reading on there costs nothing."""


class History:
    """All durable records. `current` opens the current file; None when there is none. `identities` open older ones.

    What is needed from an encrypted file that none of them opens raises JournalEncrypted.
    """

    def __init__(
        self,
        data_dir: Path,
        current: Callable[[], tuple[BinaryIO, End] | None],
        identities: Identities | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._path = data_dir / FILE_NAME
        self._current = current
        self._identities = identities
        self._guard = threading.Lock()
        self._left: dict[int, BinaryIO] = {}

    def replay(self) -> Iterator[Record]:
        """Every record that a state needs, from the beginning of the log or the last snapshot on, chain checked.

        Raises JournalDamaged.
        """
        with contextlib.ExitStack() as stack:
            current = self._current()
            needed: Sequence[LogFile] = []
            if current is not None:
                stack.enter_context(current[0])
            if current is None or not (current[1].first == 1 or _founds(current[0])):
                needed = founded(self._data_dir, self._older(current, {}), self._identities)
            last: Record | None = None
            for file in needed:
                found, stream = open_again(self._data_dir, file, self._identities)
                for record in reading.replay(found.path, stream=stream, last=last):
                    yield (last := record)
            if current is not None:
                stream, end = current
                stream.seek(0)
                yield from reading.replay(self._path, end.size, stream=stream, last=last)

    def read(self, after: int, limit: int) -> list[Record]:
        """The records after seq `after`, oldest first: `limit` of them or 256 KiB, whichever is less.

        At least one when there is one; where retention has pruned what comes next, the oldest that are left.
        """
        current = self._current()
        if current is not None:
            stream, end = current
            with stream:
                if after + 1 < end.first and (page := self._read_older(current, after, limit)):
                    return page
                return reading.read(self._path, stream, end.size, after, limit)
        return self._read_older(None, after, limit)

    def close(self) -> None:
        """Close the files that were left open for the next reader."""
        with self._guard:
            for stream in self._left.values():
                stream.close()
            self._left.clear()

    def _older(self, current: tuple[BinaryIO, End] | None, strays: Strays) -> list[LogFile]:
        files = distinct(self._data_dir, strays)
        return [file for file in files if current is None or file.first < current[1].first]

    def _read_older(self, current: tuple[BinaryIO, End] | None, after: int, limit: int) -> list[Record]:
        strays: Strays = {}
        files = self._older(current, strays)
        # The last one that begins at or before the seq that is wanted, and those behind it.
        begin = max((at for at, file in enumerate(files) if file.first <= after + 1), default=0)
        for file in files[begin:]:
            found, stream = open_again(self._data_dir, file, self._identities)
            if found.storage is Storage.PLAIN:
                with stream:
                    page = reading.read(found.path, stream, _end_of_lines(stream), after, limit)
            else:
                page = self._read_on(found.path, stream, after, limit)
            if page:
                if page[0].seq > after + 1 and strays:
                    raise next(iter(strays.values()))
                return page
        return []

    def _read_on(self, path: Path, stream: BinaryIO, after: int, limit: int) -> list[Record]:
        """`reading.read` for a stream that cannot seek: from where a reader was before, if one was there."""
        with self._guard:
            left = self._left.pop(after + 1, None)
        if left is not None:
            stream.close()
            stream = left
        try:
            page = reading.read_on(path, stream, after, limit)
        except BaseException:
            stream.close()
            raise
        if page:
            self._leave(page[-1].seq + 1, stream)
        else:
            stream.close()
        return page

    def _leave(self, seq: int, stream: BinaryIO) -> None:
        with self._guard:
            self._left.setdefault(seq, stream)
            dropped = [] if self._left[seq] is stream else [stream]
            while len(self._left) > KEPT_STREAMS:
                dropped.append(self._left.pop(next(iter(self._left))))
        for unused in dropped:
            unused.close()


def distinct(data_dir: Path, strays: Strays) -> list[LogFile]:
    """The log's files, oldest first, one for each first seq: a copy that is under way is a part of the other."""
    return list({file.first: file for file in log_files(data_dir, strays)}.values())


def founded(data_dir: Path, files: Sequence[LogFile], identities: Identities | None = None) -> list[LogFile]:
    """The newest of `files` from which on a state can be folded.

    Raises JournalDamaged when there is none, and JournalEncrypted for one that has to be looked at.
    """
    for at in range(len(files) - 1, -1, -1):
        found, stream = open_again(data_dir, files[at], identities)
        with stream:
            if found.first == 1 or _founds(stream):
                return list(files[at:])
    if not files:
        raise JournalDamaged(f"{data_dir / FILE_NAME} holds no whole snapshot, and the files before it are gone")
    # A line that was changed is the likelier reason: its place is worth more.
    oldest, stream = open_again(data_dir, files[0], identities)
    for _ in reading.replay(oldest.path, stream=stream):
        pass
    raise JournalDamaged(
        f"{oldest.path} begins with seq {oldest.first}, and no file holds a whole snapshot that this version knows: "
        "restore the older files from a backup"
    )


def _end_of_lines(stream: BinaryIO) -> int:
    """A file's size less a last line that logrotate copied in part (copytruncate)."""
    size = os.fstat(stream.fileno()).st_size
    begin = max(0, size - MAX_RECORD_BYTES)
    return begin + os.pread(stream.fileno(), size - begin, begin).rfind(b"\n") + 1


def _founds(stream: BinaryIO) -> bool:
    """Whether the records in `stream` found a state: they hold seq 1, or a whole snapshot."""
    parts: list[str] = []
    rotated = False
    while (line := stream.readline(MAX_RECORD_BYTES)).endswith(b"\n"):
        try:
            record = parse(line[:-1])
        except JournalDamaged:
            # The line's place is told by whoever reads the records for good.
            return False
        if record.seq == 1:
            return True
        if record.kind is Kind.SNAPSHOT:
            parts, whole = snapshot.collect(parts, record.detail)
            if whole:
                return True
        elif record.kind is Kind.LOG_OPENED:
            rotated = record.detail["how"] == "renamed"
        elif rotated:
            # After a rotation the snapshot comes at once. One that comes later is not worth reading the file for.
            return False
    return False
