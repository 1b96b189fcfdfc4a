"""Reading one file of the log: forward with the chain checked, from a seq on, and backward.

Every function takes `end`, the durable size in bytes: what lies beyond it has not been acknowledged and is
never shown. All of them block; callers on an event loop use a thread. `path` is for messages: the stream given
with it goes on being that file when it is renamed or removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from autoheal.errors import JournalDamaged
from autoheal.journal.record import follow, parse
from autoheal.model import MAX_RECORD_BYTES, Record

READ_BYTES = 256 * 1024
BLOCK_BYTES = 1024 * 1024


def replay(
    path: Path,
    end: int | None = None,
    *,
    stream: BinaryIO | None = None,
    last: Record | None = None,
    number: int = 0,
) -> Iterator[Record]:
    """Every record from the beginning; with no `end`, up to a last line that has no newline.

    `last` is the record before the file; without it the file may begin anywhere in the chain. With `number`, so many
    lines stand before the place where `stream` is, and `last` is the last of them. Raises JournalDamaged,
    naming file, line and seq, at the first line that is not what was sealed or does not follow the one before, and
    when the file stops before `end`.
    """
    offset = 0
    with stream or path.open("rb", buffering=BLOCK_BYTES) as file:
        while (end is None or offset < end) and (line := file.readline(MAX_RECORD_BYTES)).endswith(b"\n"):
            offset += len(line)
            number += 1
            try:
                last = follow(line[:-1], last) if last else _first(line[:-1])
            except JournalDamaged as error:
                raise JournalDamaged(f"{_place(path, number, last)}: {error}") from None
            yield last
    if end is not None and offset < end:
        place = _place(path, number + 1, last)
        raise JournalDamaged(f"{place}: the file stops at byte {offset}; {end} were acknowledged")


def _first(line: bytes) -> Record:
    record = parse(line)
    return follow(line, None) if record.seq == 1 else record


def _place(path: Path, number: int, last: Record | None) -> str:
    return f"{path}, line {number} (seq {last.seq + 1 if last else number})"


def read(path: Path, file: BinaryIO, end: int, after: int, limit: int) -> list[Record]:
    """The records that follow seq `after`, oldest first: `limit` of them or 256 KiB, whichever is less.

    At least one when there is one, so only an empty list means the end.
    """
    offset = _offset_of(path, file, end, after + 1)
    file.seek(offset)
    records: list[Record] = []
    stop = min(end, offset + READ_BYTES)
    while offset < end and len(records) < limit:
        line = file.readline(MAX_RECORD_BYTES)
        offset += len(line)
        if records and offset > stop:
            break
        records.append(_parse_at(path, offset - len(line), line))
    return records


def read_on(path: Path, file: BinaryIO, after: int, limit: int) -> list[Record]:
    """As `read`, for a file that cannot be searched: from where its stream stands, up to its last whole line."""
    records: list[Record] = []
    size = offset = 0
    while len(records) < limit and size < READ_BYTES and (line := file.readline(MAX_RECORD_BYTES)).endswith(b"\n"):
        if _seq_of(path, offset, line) > after:
            records.append(_parse_at(path, offset, line))
            size += len(line)
        offset += len(line)
    return records


def _parse_at(path: Path, offset: int, line: bytes) -> Record:
    try:
        return parse(line[:-1])
    except JournalDamaged as error:
        raise JournalDamaged(f"{path}, byte {offset}: {error}") from None


def _offset_of(path: Path, file: BinaryIO, end: int, seq: int) -> int:
    """Where the first line whose seq is at least `seq` begins; `end` when there is none.

    Bisects byte positions: whether the first line that begins at or after a position has a large enough seq
    changes once from no to yes along the file.
    """
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        start = _line_start(file, middle)
        if start >= end or _seq_at(path, file, start) >= seq:
            high = middle
        else:
            low = middle + 1
    return min(end, _line_start(file, low))


def _line_start(file: BinaryIO, position: int) -> int:
    """Where the first line that begins at or after `position` begins."""
    if not position:
        return 0
    file.seek(position - 1)
    file.readline(MAX_RECORD_BYTES + 1)
    return file.tell()


def _seq_at(path: Path, file: BinaryIO, start: int) -> int:
    file.seek(start)
    return _seq_of(path, start, file.read(32))


def _seq_of(path: Path, offset: int, line: bytes) -> int:
    digits = line[len(b'{"seq":') : 32].split(b",", 1)[0]
    if not digits.isdigit():
        raise JournalDamaged(f"{path}, byte {offset}: the line does not begin with its seq")
    return int(digits)
