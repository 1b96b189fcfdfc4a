"""The log's files in a data directory: the current one, and those that logrotate has renamed, copied or compressed.

Names only say that a file belongs to the log: it is `audit.jsonl`, or begins with `audit.jsonl-` or `audit.jsonl.`.
What is in it, and how it is stored, is read from the file itself. logrotate may rename, compress and remove files
at any moment, and asks nobody: `open_again` finds a file that is no longer where it was.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from autoheal.age import Identities
from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal.encrypted import HEADER_BYTES, Decrypted, Header, header
from autoheal.journal.sources import OnDisk, Source, Stream, Unpacked

FILE_NAME = "audit.jsonl"
BLOCK_BYTES = 1024 * 1024
TRIES = 100
"""How often a directory that changes under the reader is looked at again."""

_GZIP_MAGIC = b"\x1f\x8b"
_BEGINNING = re.compile(rb'\{"seq":([0-9]{1,18}),')
_BEGINNING_BYTES = 32


class Storage(StrEnum):
    """How a file holds its lines."""

    PLAIN = "plain"
    GZIP = "gzip"
    ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log as it was found. `first` is the seq of its first record, `size` its bytes on disk.

    `packed`: it is gzip'd on the outside, also when `header` tells that it is encrypted.
    """

    path: Path
    first: int
    size: int
    packed: bool
    header: Header | None

    @property
    def storage(self) -> Storage:
        """How it holds its lines."""
        if self.header is not None:
            return Storage.ENCRYPTED
        return Storage.GZIP if self.packed else Storage.PLAIN

    @property
    def current(self) -> bool:
        """Whether it bears the name that the service writes to."""
        return self.path.name == FILE_NAME


Strays = dict[Path, JournalDamaged]
"""Files that bear a name of the log and do not begin as one does, each with why: damaged, or somebody else's."""


def log_files(data_dir: Path, strays: Strays | None = None) -> list[LogFile]:
    """The log's files, oldest first; of two that begin with the same seq the longer one, or the current one, is last.

    A file without a whole beginning of a record is left out (logrotate or the service has just made it), and so is
    a gzip'd file while the one that it is made from is still there. What holds something else comes to stand in
    `strays`; without it, JournalDamaged is raised. Raises OSError when the directory or a file cannot be read.
    """
    for _ in range(TRIES):
        before = _names(data_dir)
        found: list[LogFile] = []
        strange: Strays = {}
        try:
            for name in sorted(before):
                try:
                    if (file := _look(data_dir / name, before)) is not None:
                        found.append(file)
                except JournalDamaged as error:
                    strange[data_dir / name] = error
        except FileNotFoundError:
            continue
        # A file that is renamed while a directory is read may be listed twice, or not at all.
        if _names(data_dir) == before:
            if strange and strays is None:
                raise next(iter(strange.values()))
            if strays is not None:
                strays.update(strange)
            origins = {file.first for file in found if not file.packed}
            files = [file for file in found if not file.packed or file.first not in origins]
            return sorted(files, key=lambda file: (file.first, file.current, file.size))
    raise OSError(f"the files in {data_dir} change faster than they can be listed; try again")


def open_plain(path: Path, identities: Identities | None = None) -> BinaryIO:
    """The file's lines as they were written, for reading from the beginning; memory does not grow with the file.

    Raises JournalEncrypted when it is encrypted and none of `identities` opens it, and JournalDamaged for what is no
    file of the log. Reading raises JournalDamaged for what is not what was written.
    """
    stored = path.open("rb", buffering=0)
    try:
        file = _identify(path, stored)
    except JournalDamaged:
        stored.close()
        raise
    return content(file or LogFile(path, 0, 0, packed=False, header=None), stored, identities)


def open_again(data_dir: Path, file: LogFile, identities: Identities | None = None) -> tuple[LogFile, BinaryIO]:
    """`open_plain`, wherever the file is by now. Raises what `open_stored` raises, and JournalEncrypted."""
    found, stored = open_stored(data_dir, file)
    return found, content(found, stored, identities)


def open_stored(data_dir: Path, file: LogFile) -> tuple[LogFile, io.FileIO]:
    """The bytes on disk of `file`, wherever it is by now, and how they are stored there.

    Raises FileNotFoundError when no file that begins with its first seq is there any more.
    """
    for _ in range(TRIES):
        with contextlib.ExitStack() as undo, contextlib.suppress(FileNotFoundError):
            stored = undo.enter_context(file.path.open("rb", buffering=0))
            # Another file may have come to bear that name, or the same one encrypted.
            found = _identify(file.path, stored)
            if found is not None and found.first == file.first:
                undo.pop_all()
                return found, stored
        again = [other for other in log_files(data_dir, {}) if other.first == file.first]
        if not again:
            raise FileNotFoundError(f"{file.path}: the file that began with seq {file.first} is gone")
        file = again[-1]
    raise OSError(f"{file.path}: renamed faster than it can be opened; try again")


def content(file: LogFile, stored: io.FileIO, identities: Identities | None = None) -> BinaryIO:
    """The lines of an open file that is `file`, from its beginning; closing it closes `stored`, and an error does so.

    Raises JournalEncrypted; reading raises JournalDamaged for what is not what was written.
    """
    if not file.packed and file.header is None:
        return cast("BinaryIO", io.BufferedReader(stored, BLOCK_BYTES))
    source: Source = Unpacked(file.path, stored) if file.packed else OnDisk(stored.fileno())
    if file.header is not None:
        source = decrypted = Decrypted(file.path, file.header, source, identities)
        try:
            decrypted.open()
        except JournalEncrypted:
            stored.close()
            raise
    return cast("BinaryIO", io.BufferedReader(Stream(source, stored), BLOCK_BYTES))


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
    with path.open("rb", buffering=0) as stored:
        try:
            packed, beginning = _beginning(path, stored)
        except JournalDamaged:
            # Half compressed: the one that it is made from is removed only after the last byte of it was written.
            if path.stem in names:
                return None
            raise
        return _found(path, stored, beginning, packed=packed)


def _identify(path: Path, stored: io.FileIO) -> LogFile | None:
    """What an open file is; None for what holds no record yet. It stands at its beginning again."""
    packed, beginning = _beginning(path, stored)
    return _found(path, stored, beginning, packed=packed)


def _beginning(path: Path, stored: io.FileIO) -> tuple[bool, bytes]:
    """Whether it is gzip'd, and how its content begins. Raises JournalDamaged when that cannot be unpacked."""
    packed = stored.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    stored.seek(0)
    source: Source = Unpacked(path, stored) if packed else OnDisk(stored.fileno())
    data = bytearray(HEADER_BYTES)
    beginning = bytes(data[: source.read(memoryview(data), 0)])
    stored.seek(0)
    return packed, beginning


def _found(path: Path, stored: io.FileIO, beginning: bytes, *, packed: bool) -> LogFile | None:
    size = os.fstat(stored.fileno()).st_size
    if (found := header(path, beginning)) is not None:
        return LogFile(path, found.first, size, packed, found)
    if (match := _BEGINNING.match(beginning)) is not None:
        return LogFile(path, int(match[1]), size, packed, None)
    if len(beginning) < _BEGINNING_BYTES and b"\n" not in beginning:
        return None
    if path.name == FILE_NAME:
        raise JournalDamaged(
            f"{path} does not begin with a record: restore it from a copy, or move it away to go on without what it "
            "holds, after the newest file before it"
        )
    raise JournalDamaged(
        f"{path} does not begin with a record: if it is no part of the log, give it another name "
        f"(all that begins with {FILE_NAME}- or {FILE_NAME}. counts as the log)"
    )
