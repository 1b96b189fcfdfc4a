"""The ways of a search through the log: newest first, and oldest first.

A file is read backward in blocks, in one buffer. Where the filter has needles, only lines with a needle in them are
parsed; the filter itself decides. Lines come out as they stand in the file, byte for byte.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal.ask import Range
from autoheal.journal.backward import FIRST_BLOCK_BYTES, Backward, CutShort, head, too_long
from autoheal.journal.encrypted import Decrypted
from autoheal.journal.files import BLOCK_BYTES, LogFile, Storage, open_again, open_stored
from autoheal.journal.inflate import Inflated
from autoheal.journal.needles import needles
from autoheal.journal.sources import OnDisk, SizedSource
from autoheal.model import MAX_RECORD_BYTES, rfc3339

KEPT_INDICES = 4
UNBOUND = 2**53
"""A seq beyond every record, as in JavaScript's numbers."""
BREATH_LINES = 64
BREATH_BLOCKS = 4
"""After so many parsed lines, or blocks, other threads get their turn: by itself Python lets them wait for 5 ms."""

Step = tuple[int, bytes | None]
"""A line that was asked for and its seq; or None, and the seq from which on all has been looked at."""


class Indices:
    """The decoder states of compressed files that were read last: whoever asks for the next page needs them again.

    They also carry on an unpacking that ran out of time. A reader takes one out while it uses it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, ...], Inflated] = {}

    @contextlib.contextmanager
    def of(self, path: Path, fd: int) -> Iterator[Inflated]:
        """The states of that open file, as far as it has been unpacked before."""
        found = os.fstat(fd)
        key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            index = self._kept.pop(key, None)
        index = index or Inflated(path)
        try:
            yield index
        except JournalDamaged:
            # Whoever asks again is told the same from the beginning.
            index = Inflated(path)
            raise
        finally:
            index.rest()
            with self._lock:
                self._kept[key] = index
                while len(self._kept) > KEPT_INDICES:
                    del self._kept[next(iter(self._kept))]


class Walk:
    """One search backward, through the files and through each. From `_bound` on all is done."""

    def __init__(self, asked: Range, indices: Indices, stop: Callable[[], bool]) -> None:
        self._asked = asked
        self._indices = indices
        self._stop = stop
        self._needles = needles(asked.query.root) if asked.query else ()
        self._bound = asked.before
        self._buffer = bytearray(BLOCK_BYTES)

    def steps(self) -> Iterator[Step]:
        """What is not done yet. Raises CutShort when a file was truncated; asked again, it goes on."""
        asked = self._asked
        files = asked.files()
        for file, known in reversed(files):
            if self._bound is not None and file.first >= self._bound:
                continue
            if asked.too_old(known):
                return
            if not asked.can_skip(known):
                try:
                    found, stored = open_stored(asked.data_dir, file)
                except FileNotFoundError:
                    continue  # pruned by retention meanwhile
                try:
                    with stored:
                        ends_here = yield from self._file(found, stored, newest=file is files[-1][0])
                except JournalEncrypted as error:
                    asked.skip(error)
                    ends_here = False
                if ends_here:
                    return
            self._bound = file.first
            yield file.first, None

    def _file(self, file: LogFile, stored: io.FileIO, *, newest: bool) -> Generator[Step, None, bool]:
        """The steps of one file; whether the search ends with it."""
        if file.storage is Storage.PLAIN:
            reader = Backward(file.path, OnDisk(stored.fileno()), self._buffer)
            try:
                return (yield from self._lines(file.path, reader, newest=newest))
            except JournalDamaged:
                # Cut short and already longer again: these are other lines than those that stood here.
                if reader.head(0)[0] != file.first:
                    raise CutShort from None
                raise
        if not file.packed:
            return (yield from self._content(file, OnDisk(stored.fileno()), newest=newest))
        with self._indices.of(file.path, stored.fileno()) as content:
            content.file = stored
            while not content.complete(self._stop):
                # Nothing of this file has been looked at; what was unpacked is kept for the next search, too.
                yield self._bound or UNBOUND, None
            return (yield from self._content(file, content, newest=newest))

    def _content(self, file: LogFile, source: SizedSource, *, newest: bool) -> Generator[Step, None, bool]:
        """The steps of a file that `source` has unpacked, and that may still have to be decrypted."""
        if file.header is not None:
            source = Decrypted(file.path, file.header, source, self._asked.identities)
        return (yield from self._lines(file.path, Backward(file.path, source, self._buffer), newest=newest))

    def _lines(self, path: Path, reader: Backward, *, newest: bool) -> Generator[Step, None, bool]:
        asked = self._asked
        end = reader.end_of(asked.durable) if newest and asked.durable is not None else None
        end = reader.whole_end() if end is None else end
        start = 0
        if (bound := self._bound) is not None:
            end = reader.first(end, lambda seq, _: seq >= bound)
        if (until := asked.until) is not None:
            end = reader.first(end, lambda _, ts: ts >= rfc3339(until))
        if (since := asked.since) is not None:
            start = reader.first(end, lambda _, ts: ts >= rfc3339(since))
        blocks = 0
        for count, (offset, line) in enumerate(reader.lines(start, end, self._needles)):
            if line is None:
                self._advance(path, offset, reader.head(offset)[0])
                yield self._bound or 0, None
                blocks += 1
                if blocks % BREATH_BLOCKS == 0:
                    # Reading gives the GIL free too, but for less time than a waiter needs to wake up.
                    time.sleep(1e-6)
            elif (record := asked.matches(path, offset, line)) is not None:
                self._advance(path, offset, record.seq, by=1)
                yield record.seq, line
            if count % BREATH_LINES == 0:
                time.sleep(0)
        return start > 0

    def _advance(self, path: Path, offset: int, seq: int, *, by: int = 0) -> None:
        """All from `seq` on is done. Going backward, seqs fall."""
        if self._bound is not None and seq + by > self._bound:
            raise JournalDamaged(f"{path}, byte {offset}: seq {seq} stands before seq {self._bound}")
        self._bound = seq


class Forward:
    """One reading from the oldest record on. All up to seq `_after` is done."""

    def __init__(self, asked: Range, after: int) -> None:
        self._asked = asked
        self._after = after
        self._needles = needles(asked.query.root) if asked.query else ()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """What is not done yet, each line with its seq. Raises CutShort when a file was truncated, as `steps` does."""
        asked = self._asked
        files = asked.files()
        for (file, known), (following, _) in zip(files, [*files[1:], (None, None)], strict=True):
            if following is not None and following.first <= self._after + 1:
                continue
            if asked.too_old(known) or asked.can_skip(known):
                continue
            try:
                found, stream = open_again(asked.data_dir, file, asked.identities)
            except FileNotFoundError:
                continue  # pruned by retention meanwhile
            except JournalEncrypted as error:
                asked.skip(error)
                continue
            with stream:
                yield from self._file(found, stream)

    def _file(self, file: LogFile, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        asked, offset, size = self._asked, 0, 0
        since = "" if asked.since is None else rfc3339(asked.since)
        until = "" if asked.until is None else rfc3339(asked.until)

        def due(seq: int, ts: str) -> bool:
            return seq > self._after and ts >= since

        if file.storage is Storage.PLAIN:
            source = OnDisk(stream.fileno())
            size = source.size
            reader = Backward(file.path, source, bytearray(FIRST_BLOCK_BYTES))
            offset = stream.seek(reader.first(reader.whole_end(), due))
        while (line := stream.readline(MAX_RECORD_BYTES)).endswith(b"\n"):
            seq, ts = head(file.path, offset, line)
            if (asked.before is not None and seq >= asked.before) or (until and ts >= until):
                return
            wanted = due(seq, ts) and (not self._needles or any(needle in line for needle in self._needles))
            if wanted and asked.matches(file.path, offset, line[:-1]):
                yield seq, line[:-1]
            self._after = max(self._after, seq)
            offset += len(line)
        if len(line) == MAX_RECORD_BYTES:
            raise too_long(file.path, offset)
        if offset + len(line) < size:
            raise CutShort
