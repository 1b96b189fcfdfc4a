"""Sole possession of a data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from autoheal.disk import sync_directory
from autoheal.errors import JournalUnavailable


class Lock:
    """Sole possession of a data directory, until `release`."""

    def __init__(self, data_dir: Path) -> None:
        """Make the directory when it is missing and own it. Raises JournalUnavailable when another process does."""
        if not data_dir.is_dir():
            data_dir.mkdir(mode=0o750, parents=True)
            sync_directory(data_dir.parent)
        self._data_dir = data_dir
        self._fd = self._take()

    def renew(self) -> None:
        """Own the directory still, after somebody made it anew: its lock went with the old one. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._fd), (self._data_dir / "lock").stat()):
                return
        try:
            fd = self._take()
        except JournalUnavailable as error:
            raise OSError(str(error)) from None
        self.release()
        self._fd = fd

    def release(self) -> None:
        """Give the directory free."""
        os.close(self._fd)

    def _take(self) -> int:
        fd = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise JournalUnavailable(
                f"another autoheal (pid {owner or 'unknown'}) owns {self._data_dir}: "
                "stop it, or use another data directory"
            ) from None
        # For people only; a start on a full disk must not fail for want of it.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, os.pwrite(fd, b"%d\n" % os.getpid(), 0))
        return fd
