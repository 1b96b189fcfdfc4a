"""The log's files in a data directory: the current one, and those that logrotate has renamed, copied or compressed.

Names only say that a file belongs to the log: it is `audit.jsonl`, or begins with `audit.jsonl-` or `audit.jsonl.`.
What is in it, and how it is stored, is read from the file itself. logrotate may rename, compress and remove files
at any moment, and asks nobody: `open_again` finds a file that is no longer where it was.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from autoheal.errors import JournalDamaged

FILE_NAME = "audit.jsonl"
BLOCK_BYTES = 1024 * 1024
TRIES = 100
"""How often a directory that changes under the reader is looked at again."""

_GZIP_MAGIC = b"\x1f\x8b"
_BEGINNING = re.compile(rb'\{"seq":([0-9]{1,18}),')
_BEGINNING_BYTES = 32
_BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


class Storage(StrEnum):
    """How a file holds its lines."""

    PLAIN = "plain"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log as it was found. `first` is the seq of its first record, `size` its bytes on disk."""

    path: Path
    first: int
    storage: Storage
    size: int

    @property
    def current(self) -> bool:
        """Whether it bears the name that the service writes to."""
        return self.path.name == FILE_NAME


def log_files(data_dir: Path) -> list[LogFile]:
    """The log's files, oldest first; of two that begin with the same seq the longer one, or the current one, is last.

    A file without a whole beginning of a record is left out (logrotate or the service has just made it), and so is
    a gzip'd file while the plain one that it is made from is still there. Raises JournalDamaged for a file that
    holds something else, and OSError when the directory or a file cannot be read.
    """
    for _ in range(TRIES):
        before = _names(data_dir)
        try:
            found = [file for name in sorted(before) if (file := _look(data_dir / name, before)) is not None]
        except FileNotFoundError:
            continue
        # A file that is renamed while a directory is read may be listed twice, or not at all.
        if _names(data_dir) == before:
            plain = {file.first for file in found if file.storage is Storage.PLAIN}
            files = [file for file in found if file.storage is Storage.PLAIN or file.first not in plain]
            return sorted(files, key=lambda file: (file.first, file.current, file.size))
    raise OSError(f"the files in {data_dir} change faster than they can be listed; try again")


def open_plain(path: Path) -> BinaryIO:
    """The file's lines as they were written, for reading from the beginning; memory does not grow with the file.

    Reading a gzip'd file that is not whole raises JournalDamaged.
    """
    return _content(path, path.open("rb", buffering=0))


def open_again(data_dir: Path, file: LogFile) -> tuple[LogFile, BinaryIO]:
    """`open_plain`, wherever the file is by now. Raises what `open_stored` raises."""
    found, stored = open_stored(data_dir, file)
    return found, _content(found.path, stored)


def open_stored(data_dir: Path, file: LogFile) -> tuple[LogFile, io.FileIO]:
    """The bytes on disk of `file`, wherever it is by now, and how they are stored there.

    Raises FileNotFoundError when no file that begins with its first seq is there any more.
    """
    for _ in range(TRIES):
        with contextlib.ExitStack() as undo, contextlib.suppress(FileNotFoundError):
            stored = undo.enter_context(file.path.open("rb", buffering=0))
            # Another file may have come to bear that name.
            if _first_seq(_beginning(file.path, stored)) == file.first:
                stored.seek(0)
                undo.pop_all()
                return file, stored
        again = [other for other in log_files(data_dir) if other.first == file.first]
        if not again:
            raise FileNotFoundError(f"{file.path}: the file that began with seq {file.first} is gone")
        file = again[-1]
    raise OSError(f"{file.path}: renamed faster than it can be opened; try again")


class _Inflated(io.RawIOBase):
    """A gzip'd file's content. zlib gives the GIL free while it works."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path = path
        self._file = file
        self._content = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            data = self._content.read(len(buffer))
        except _BAD_GZIP as error:
            raise _not_whole(self._path, error) from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _names(data_dir: Path) -> dict[str, int]:
    """The inode of every file that belongs to the log, by name."""
    names: dict[str, int] = {}
    with os.scandir(data_dir) as entries:
        for entry in entries:
            if entry.name == FILE_NAME or entry.name.startswith((f"{FILE_NAME}-", f"{FILE_NAME}.")):
                names[entry.name] = entry.inode()
    return names


def _look(path: Path, names: Iterable[str]) -> LogFile | None:
    """What `path` is; None for what holds no record, or not yet. `names` are those beside it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return None
    with path.open("rb", buffering=0) as file:
        storage = Storage.GZIP if _is_gzip(file) else Storage.PLAIN
        try:
            beginning = _beginning(path, file)
        except JournalDamaged:
            # Half compressed: the plain file is removed only after the last byte of this one was written.
            if path.stem in names:
                return None
            raise
    first = _first_seq(beginning)
    if first is not None:
        return LogFile(path, first, storage, found.st_size)
    if len(beginning) < _BEGINNING_BYTES and b"\n" not in beginning:
        return None
    raise JournalDamaged(
        f"{path} does not begin with a record: if it is no part of the log, give it another name "
        f"(all that begins with {FILE_NAME}- or {FILE_NAME}. counts as the log)"
    )


def _content(path: Path, stored: io.FileIO) -> BinaryIO:
    raw = _Inflated(path, stored) if _is_gzip(stored) else stored
    return cast("BinaryIO", io.BufferedReader(raw, BLOCK_BYTES))


def _beginning(path: Path, stored: io.FileIO) -> bytes:
    """The first bytes of the first line."""
    if not _is_gzip(stored):
        return stored.read(_BEGINNING_BYTES)
    try:
        return gzip.GzipFile(fileobj=stored).read(_BEGINNING_BYTES)
    except _BAD_GZIP as error:
        raise _not_whole(path, error) from None


def _is_gzip(stored: io.FileIO) -> bool:
    magic = stored.read(len(_GZIP_MAGIC))
    stored.seek(0)
    return magic == _GZIP_MAGIC


def _not_whole(path: Path, error: Exception) -> JournalDamaged:
    return JournalDamaged(f"{path}: not a whole gzip file: {error}")


def _first_seq(beginning: bytes) -> int | None:
    match = _BEGINNING.match(beginning)
    return int(match[1]) if match else None
