"""The few calls by which the journal changes a disk, in one place so that tests can make each of them fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path


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


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new file's fdatasync does not cover its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
