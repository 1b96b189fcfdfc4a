"""One file of the log as lines, from its end to its beginning, and the places in it that seq and ts name.

Every line begins with its seq and ts, and neither ever decreases, so a place is found by bisecting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autoheal.errors import JournalDamaged
from autoheal.journal.sources import SizedSource
from autoheal.model import MAX_RECORD_BYTES

FIRST_BLOCK_BYTES = 2 * MAX_RECORD_BYTES
"""The last lines of a file are often enough; every next block is longer, up to the whole buffer."""
UNACKNOWLEDGED_BYTES = 128 * 1024 * 1024
"""More than a writer can have queued: how far from the file's end the last durable record may begin."""

_HEAD = re.compile(rb'\{"seq":([0-9]{1,18}),"ts":"([0-9TZ:.-]{20,32})"')
_HEAD_BYTES = 96
_PIECE_BYTES = 4096


class CutShort(Exception):
    """A file has fewer bytes than it had a moment ago."""


def head(path: Path, offset: int, line: bytes) -> tuple[int, str]:
    """The seq and ts that `line` begins with. Raises JournalDamaged, naming the file and `offset`, if it does not."""
    match = _HEAD.match(line)
    if match is None:
        raise JournalDamaged(f"{path}, byte {offset}: the line does not begin with its seq and ts")
    return int(match[1]), match[2].decode()


def too_long(path: Path, offset: int) -> JournalDamaged:
    """What to raise for a line that does not end."""
    return JournalDamaged(f"{path}, byte {offset}: a line is longer than {MAX_RECORD_BYTES} bytes")


class Backward:
    """The lines of one file. `path` is for errors only; `buffer` is used anew for each block.

    All methods raise CutShort when the file was truncated meanwhile, and JournalDamaged, naming the byte, for what
    cannot be a line of the log.
    """

    def __init__(self, path: Path, source: SizedSource, buffer: bytearray) -> None:
        self._path = path
        self._source = source
        self._buffer = buffer

    def whole_end(self) -> int:
        """Where the last line that has its newline ends."""
        end = self._source.size
        while end > 0:
            begin = max(0, end - FIRST_BLOCK_BYTES)
            newline = self._fill(begin, end).rfind(b"\n", 0, end - begin)
            if newline >= 0:
                return begin + newline + 1
            end = begin
        return 0

    def end_of(self, seq: int) -> int | None:
        """Where the line of `seq` ends, when that is near the end of the file.

        It is sought by its own bytes: what comes after it may be torn, cut away or written anew at this moment.
        """
        wanted = b'\n{"seq":%d,' % seq
        end = self._source.size
        least = max(0, end - UNACKNOWLEDGED_BYTES)
        while end > least:
            begin = max(0, end - len(self._buffer))
            block = self._fill(begin, end)
            found = block.rfind(wanted, 0, end - begin)
            if found < 0 and begin == 0 and block.startswith(wanted[1:]):
                found = -1
            elif found < 0:
                # The next block overlaps this one, by less than the wanted bytes.
                end = begin + len(wanted) - 1 if begin else 0
                continue
            return self._next_line(begin + found + 2)
        return None

    def first(self, end: int, late: Callable[[int, str], bool]) -> int:
        """Where the first line begins whose seq and ts are `late`, which holds from some line on; else `end`."""
        if not end or not late(*self.head(self._last_line(end))):
            return end
        low, high = 0, 0 if late(*self.head(0)) else end
        while low < high:
            middle = (low + high) // 2
            start = self._next_line(middle)
            if start >= end or late(*self.head(start)):
                high = middle
            else:
                low = middle + 1
        return self._next_line(low)

    def head(self, start: int) -> tuple[int, str]:
        """The seq and ts of the line that begins there."""
        return head(self._path, start, self._piece(start, _HEAD_BYTES))

    def lines(self, start: int, end: int, needles: Sequence[bytes]) -> Iterator[tuple[int, bytes | None]]:
        """Lines without their newline and where each begins, newest first, from `end` to `start`, where lines begin.

        With `needles`, only the lines that hold at least one. After each block, where it began, and None.
        """
        length = FIRST_BLOCK_BYTES
        while end > start:
            least = max(start, end - length)
            size = end - least
            block = self._fill(least, end)
            begin = 0
            if least > start:
                # The first line may have begun in the block before: it is read again with that one.
                begin = block.find(b"\n", 0, size - 1) + 1
                if not begin:
                    raise too_long(self._path, least)
            for line, newline in _holding(block, begin, size, needles) if needles else _all(block, begin, size):
                yield least + line, bytes(block[line:newline])
            end = least + begin
            yield end, None
            length = min(4 * length, len(block))

    def _last_line(self, end: int) -> int:
        """Where the line that ends at `end` begins."""
        least = max(0, end - MAX_RECORD_BYTES - 1)
        newline = self._piece(least, end - 1 - least).rfind(b"\n")
        if newline < 0 and least:
            raise too_long(self._path, least)
        return least + newline + 1

    def _next_line(self, position: int) -> int:
        """Where the first line begins that begins at or after `position`."""
        if not position:
            return 0
        at = position - 1
        while at < position + MAX_RECORD_BYTES:
            newline = self._piece(at, _PIECE_BYTES).find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += _PIECE_BYTES
        raise too_long(self._path, position)

    def _piece(self, at: int, size: int) -> bytes:
        """Up to `size` bytes, without touching the block that `lines` is at."""
        piece = bytearray(max(0, min(size, self._source.size - at)))
        if self._source.read(memoryview(piece), at) < len(piece):
            raise CutShort
        return bytes(piece)

    def _fill(self, begin: int, end: int) -> bytearray:
        """The buffer, with those bytes of the file at its beginning."""
        if self._source.read(memoryview(self._buffer)[: end - begin], begin) < end - begin:
            raise CutShort
        return self._buffer


def _all(block: bytearray, begin: int, size: int) -> Iterator[tuple[int, int]]:
    newline = size - 1
    while newline > begin:
        line = max(begin, block.rfind(b"\n", begin, newline) + 1)
        yield line, newline
        newline = line - 1


def _holding(block: bytearray, begin: int, size: int, needles: Sequence[bytes]) -> list[tuple[int, int]]:
    """Found forward, which is several times faster than backward; each line once."""
    lines: dict[int, int] = {}
    for needle in needles:
        at = begin
        while (hit := block.find(needle, at, size)) >= 0:
            newline = block.find(b"\n", hit, size)
            lines[max(begin, block.rfind(b"\n", begin, hit) + 1)] = newline
            at = newline + 1
    return sorted(lines.items(), reverse=True)
