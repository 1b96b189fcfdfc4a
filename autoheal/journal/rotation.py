"""What others do to the log's current file while autoheal writes to it: how it is noticed, and what is done then.

logrotate renames the file, or copies and truncates it; people delete it, or put another one in its place. None of
them can tell the writer, so the writer looks: at its descriptor, and at what its path names now.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

from autoheal.disk import Disk, sync_directory, write_all
from autoheal.errors import JournalDamaged
from autoheal.journal import manifest
from autoheal.journal.manifest import Manifest, Tally
from autoheal.journal.record import parse
from autoheal.model import MAX_RECORD_BYTES, ZERO_HASH, Draft, Head, Kind

OPEN_FLAGS = os.O_RDWR | os.O_APPEND
COPY_BYTES = 1024 * 1024


class Standing(Enum):
    """What has become of the file behind a descriptor."""

    SAME = auto()
    RENAMED = auto()
    """It has another name now, and its own is free (or an empty file has it): a fresh file is due."""
    DELETED = auto()
    """No name leads to it any more: it is gone when its descriptor is closed."""
    TRUNCATED = auto()
    """It is shorter than what was acknowledged."""
    REPLACED = auto()
    """Its name belongs to another file that is not empty."""


def standing(fd: int, path: Path, size: int) -> Standing:
    """How the file behind `fd`, of which `size` bytes are acknowledged, stands to `path`. Raises OSError."""
    ours = os.fstat(fd)
    if ours.st_size < size:
        return Standing.TRUNCATED
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        there = None
    if there is not None and os.path.samestat(ours, there):
        return Standing.SAME
    if there is not None and there.st_size:
        return Standing.REPLACED
    return Standing.RENAMED if ours.st_nlink else Standing.DELETED


def refuse_foreign(path: Path) -> None:
    """Raise OSError when a file is there that is not empty: nobody's text is overwritten or appended to."""
    with suppress(FileNotFoundError):
        if path.stat().st_size:
            raise OSError(
                errno.EEXIST,
                f"{path} is a file that autoheal does not write to, and it is not empty: move it away, "
                "and autoheal goes on by itself with all of its own records",
            )


def place(disk: Disk, path: Path, fill: Callable[[int], None], sync: Callable[[int], None]) -> int:
    """A durable file at `path` with what `fill` writes to a descriptor, whole or not at all; that descriptor.

    Raises OSError, also when a file is there already that is not empty.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = disk.open(draft, OPEN_FLAGS | os.O_CREAT | os.O_EXCL)
    ours = draft
    try:
        fill(fd)
        sync(fd)
        refuse_foreign(path)
        draft.replace(path)
        ours = path
        sync_directory(path.parent)
    except BaseException:
        # Left there, it would be taken for somebody else's at the next try.
        with suppress(OSError):
            ours.unlink()
        os.close(fd)
        raise
    return fd


def copy_of(disk: Disk, fd: int, size: int) -> Callable[[int], None]:
    """For `place`: the first `size` bytes of the file behind `fd`."""

    def fill(to: int) -> None:
        done = 0
        while done < size:
            block = os.pread(fd, min(COPY_BYTES, size - done), done)
            if not block:
                raise OSError(errno.EIO, f"the deleted file stops at byte {done}; {size} were acknowledged")
            write_all(disk, to, block)
            done += len(block)

    return fill


def left_over(fd: int, head: Head) -> Tally:
    """What a truncated file still holds: its first whole records that are not beyond `head`.

    What stands behind them is half a line, a batch that was never acknowledged, or nothing of ours.
    """
    left = Tally()
    with reopened(fd) as file:
        while (line := file.readline(MAX_RECORD_BYTES)).endswith(b"\n"):
            try:
                record = parse(line[:-1])
            except JournalDamaged:
                break
            if record.seq > head.seq:
                break
            left.add(record)
    return left


def reopened(fd: int) -> BinaryIO:
    """The file behind `fd`, whatever its name is now, for reading with an offset of its own."""
    return Path(f"/proc/self/fd/{fd}").open("rb", buffering=COPY_BYTES)


def put_manifest(disk: Disk, data_dir: Path, of: Manifest) -> None:
    """Make the manifest durable; one that an earlier try to rotate the same file left behind goes."""
    folder = data_dir / manifest.FOLDER_NAME
    manifest.write(of, folder, disk)
    for path in folder.glob(f"{of.first_seq:015d}-*.json"):
        if path.name != of.name:
            path.unlink()


def previous_digest(data_dir: Path, first_seq: int) -> str:
    """The SHA-256 of the manifest of the file before the one that begins with `first_seq`; 64 zeros without one."""
    for path in reversed(manifest.paths(data_dir / manifest.FOLDER_NAME)):
        if int(path.name[:15]) < first_seq:
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ZERO_HASH


def renamed(log_id: str, head: Head, of: Manifest) -> Draft:
    """The first record of a fresh file; `of` is the manifest of the file before, which ends with `head`."""
    about = {"file": of.name, "sha256": of.digest}
    return Draft(kind=Kind.LOG_OPENED, detail=_detail(log_id, "renamed", head) | {"manifest": about})


def truncated(log_id: str, head: Head, expected: int, found: int) -> Draft:
    """The record that says: of `expected` bytes acknowledged in this file `found` were there, and it went on."""
    detail = _detail(log_id, "truncated", head) | {"expected_bytes": expected, "found_bytes": found}
    return Draft(kind=Kind.LOG_OPENED, detail=detail)


def _detail(log_id: str, how: str, head: Head) -> dict[str, object]:
    return {"log": log_id, "how": how, "head": {"seq": head.seq, "hash": head.hash}}
