"""Any part of a gzip'd file without what comes before it, in bounded memory.

Reading a log newest first wants the end of a file, and gzip can only be read forward. So the file is read through
once, and the decoder's state is kept every few megabytes (each state holds deflate's window of 32 KiB): from there
on, a part can be read again by itself.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoheal.errors import JournalDamaged

PART_BYTES = 4 * 1024 * 1024
MAX_PARTS = 128
_STORED_BYTES = 16 * 1024
_STEP_BYTES = 256 * 1024
_GZIP_WINDOW = 31


@dataclass(slots=True)
class _State:
    """Where a decoder stands: `at` in the content, `stored` in the file."""

    decoder: zlib._Decompress
    at: int = 0
    stored: int = 0
    begun: bool = False

    def copy(self) -> _State:
        return _State(self.decoder.copy(), self.at, self.stored, self.begun)


class Inflated:
    """The content of one gzip'd file, for one reader at a time.

    At most 128 states of about 60 KiB are held, and while it is read two parts of content: they have 4 MiB, and more in
    files beyond 512 MiB.
    """

    def __init__(self, path: Path, *, part_bytes: int = PART_BYTES, max_parts: int = MAX_PARTS) -> None:
        # Set by whoever reads: the states outlive any one open file.
        self.file: io.FileIO
        self.size = 0
        self._path = path
        self._part_bytes = part_bytes
        self._max_parts = max_parts
        self._front = _State(zlib.decompressobj(_GZIP_WINDOW))
        self._states: list[_State] = [self._front.copy()]
        self._complete = False
        self._parts: dict[int, bytes] = {}

    def complete(self, stop: Callable[[], bool]) -> bool:
        """Read the file through, as far as it has not been; False when `stop()` said so first. Sets `size`."""
        while not self._complete:
            if stop():
                return False
            if not self._step(self._front):
                self._complete = True
                self.size = self._front.at
            elif self._front.at >= self._states[-1].at + self._part_bytes:
                if len(self._states) == self._max_parts:
                    del self._states[1::2]
                    self._part_bytes *= 2
                self._states.append(self._front.copy())
        return True

    def read(self, view: memoryview, at: int) -> int:
        """Fill `view` with the content from byte `at` on, as far as there is any; how many bytes those were."""
        done = 0
        while done < len(view) and at + done < self.size:
            begin, part = self._part(at + done)
            offset = at + done - begin
            piece = memoryview(part)[offset : offset + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def rest(self) -> None:
        """Keep only what the next reader cannot do without: the states."""
        self._parts.clear()

    def _part(self, at: int) -> tuple[int, bytes]:
        """The part that holds byte `at`, and where it begins. The last two are kept: lines span them."""
        number = sum(state.at <= at for state in self._states) - 1
        state = self._states[number]
        part = self._parts.pop(number, None)
        while len(self._parts) > 1:
            del self._parts[next(iter(self._parts))]
        if part is None:
            last = number + 1 == len(self._states)
            part = self._inflate(state.copy(), self.size if last else self._states[number + 1].at)
        self._parts[number] = part
        return state.at, part

    def _inflate(self, state: _State, end: int) -> bytes:
        pieces = []
        while state.at < end and (piece := self._step(state)):
            pieces.append(piece)
        return b"".join(pieces)

    def _step(self, state: _State) -> bytes:
        """The next bytes of the content; none at its end. Raises JournalDamaged when the file is not whole."""
        while True:
            data = state.decoder.unconsumed_tail
            if not data:
                self.file.seek(state.stored)
                data = self.file.read(_STORED_BYTES)
                if not state.begun:
                    # Between members (RFC 1952 section 2.2) and after the last one, zeros are padding.
                    stored, data = len(data), data.lstrip(b"\0")
                    state.stored += stored - len(data)
                    if stored and not data:
                        continue
                    if not data:
                        return b""
                state.stored += len(data)
                state.begun = True
            try:
                piece = state.decoder.decompress(data, _STEP_BYTES)
            except zlib.error as error:
                raise JournalDamaged(f"{self._path}: not a whole gzip file: {error}") from None
            if state.decoder.eof:
                state.stored -= len(state.decoder.unused_data)
                state.decoder, state.begun = zlib.decompressobj(_GZIP_WINDOW), False
            elif not data and not piece:
                raise JournalDamaged(f"{self._path}: not a whole gzip file: it ends at byte {state.stored}")
            if piece:
                state.at += len(piece)
                return piece
