"""Snapshots within a file: a start folds the records behind the last one, however long the file has grown.

The first record of such a snapshot describes, in `detail.file`, all of the file that stands before it, as a manifest
describes a whole file. Where the bytes still have the SHA-256 that it tells, they are those whose chain was made or
checked before: one pass of the hash takes the place of parsing every line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from autoheal import snapshot
from autoheal.errors import JournalDamaged
from autoheal.journal import manifest
from autoheal.journal.backward import Backward, CutShort
from autoheal.journal.files import LogFile
from autoheal.journal.manifest import Manifest, Tally
from autoheal.journal.reading import BLOCK_BYTES
from autoheal.journal.record import follow, parse
from autoheal.journal.sources import OnDisk
from autoheal.model import MAX_RECORD_BYTES, Draft, Kind, Record

EVERY = 20_000
"""Records from one snapshot to the next: a quarter of a second of a start."""
MAX_DESCRIPTION_BYTES = 24 * 1024
"""Beside a part of the snapshot in one record. The alertnames of a longer one are left out."""

_NEEDLE = b'"kind":"snapshot"'


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot, `parts`, in a file of which all that stands before it is what it was: `tally`, up to `last`."""

    parts: Sequence[str]
    log_id: str
    tally: Tally
    last: Record

    @property
    def lines(self) -> int:
        """How many records stand before it in the file."""
        return self.last.seq - self.tally.first_seq + 1


def describing(drafts: Sequence[Draft], tally: Tally, log_id: str) -> list[Draft]:
    """The snapshot `drafts` with the description of the file that they are to continue, which holds `tally`."""
    told = tally.manifest(log_id)
    if len(told.data) > MAX_DESCRIPTION_BYTES:
        told = replace(told, alertnames=None)
    first, *others = drafts
    return [replace(first, detail={**first.detail, "file": told.content}), *others]


def newest(file: LogFile, stream: BinaryIO) -> Found | None:
    """The last snapshot in a plain file from which a start can go on; none where anything speaks against it.

    What is wrong with the file is left to whoever reads all of it: this raises OSError alone.
    """
    # What somebody else sealed may lack what a snapshot has.
    with contextlib.suppress(JournalDamaged, CutShort, KeyError):
        for offset, parts, records in _whole(file, stream):
            if (found := _founding(file, stream, offset, parts, records)) is not None:
                return found
    return None


def _whole(file: LogFile, stream: BinaryIO) -> Iterator[tuple[int, Sequence[str], Sequence[Record]]]:
    """Whole snapshots, newest first: where each begins, its parts, and the records that hold them."""
    backward = Backward(file.path, OnDisk(stream.fileno()), bytearray(BLOCK_BYTES))
    group: list[Record] = []
    for offset, line in backward.lines(0, backward.whole_end(), [_NEEDLE]):
        if line is None:
            continue
        record = parse(line)
        if record.kind is not Kind.SNAPSHOT:
            continue
        group.insert(0, record)
        # Another version's may have no such key.
        if record.detail.get("part") == 1:
            parts: list[str] = []
            for number, each in enumerate(group, 1):
                parts, whole = snapshot.collect(parts, each.detail)
                if whole:
                    yield offset, parts, group[:number]
                    break
            group = []


def _founding(
    file: LogFile, stream: BinaryIO, offset: int, parts: Sequence[str], records: Sequence[Record]
) -> Found | None:
    if "file" not in records[0].detail:
        return None
    told = manifest.parse(records[0].detail["file"])
    if (told.first_seq, told.size) != (file.first, offset) or _cut_in_part(told):
        return None
    stream.seek(0)
    tally = Tally.of(told, _blocks(stream, offset))
    stream.seek(max(0, offset - MAX_RECORD_BYTES))
    before = last = parse(stream.read(offset - stream.tell())[:-1].rpartition(b"\n")[2])
    if last.head != told.last:
        return None
    # A state that is taken from a line is not to be found out as damage later.
    for record in records:
        last = follow(record.line, last)
    return Found(parts, told.log, tally, before)


def _cut_in_part(told: Manifest) -> bool:
    """Whether somebody truncated that file and left some of it: what was left was described and not checked."""
    seqs = told.last.seq - told.first_seq + 1
    # A fresh file begins with `log_opened`; a second one came in between.
    return sum(told.kinds.values()) != seqs or told.kinds.get(Kind.LOG_OPENED, 0) > (told.first_seq > 1)


def _blocks(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while block := stream.read(min(BLOCK_BYTES, size)):
        size -= len(block)
        yield block
