"""The few calls by which autoheal changes a disk, in one place so that tests can make each of them fail."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Disk:
    """The operating system's calls as they are; each raises OSError."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor that children do not inherit; a new file is readable by owner and group."""
        return os.open(path, flags | os.O_CLOEXEC, 0o640)

    def write(self, fd: int, data: memoryview) -> int:
        """The number of bytes written, which may be fewer than given."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Return once the file's data and size are on the medium (fdatasync)."""
        os.fdatasync(fd)

    def cut(self, fd: int, size: int) -> None:
        """Make the file end at `size` bytes (ftruncate)."""
        os.ftruncate(fd, size)


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write every byte of `data`, going on after short writes."""
    rest = memoryview(data)
    while rest:
        written = disk.write(fd, rest)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[written:]


def write_whole(path: Path, data: bytes, mode: int = 0o640, disk: Disk | None = None) -> None:
    """Make `path` hold `data`, durably, whole or not at all, also for a reader who comes meanwhile. Raises OSError.

    Its folder is made when it is missing, for the owner and the group.
    """
    disk = disk or Disk()
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        sync_directory(path.parent.parent)
    draft = path.with_name(f".{path.name}")
    # What a crash left behind.
    draft.unlink(missing_ok=True)
    fd = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        # Before the first byte: nobody may open it meanwhile.
        os.fchmod(fd, mode)
        write_all(disk, fd, data)
        disk.sync(fd)
    finally:
        os.close(fd)
    draft.replace(path)
    sync_directory(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Let two files bear each other's name, at one stroke. Raises FileNotFoundError when one of them is not there.

    Raises OSError with ENOSYS, EINVAL or ENOTSUP where the system or the file system (NFS) cannot do that.
    """
    # renameat2(2); Python has no function of its own for it.
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new file's fdatasync does not cover its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
