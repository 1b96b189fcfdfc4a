"""A disk that fails on command."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from autoheal.disk import Disk


class FaultyDisk(Disk):
    """The real calls, except where a test says otherwise; may be changed while the journal runs.

    `free` is how many bytes still fit on it (None: all), `bad_syncs` how many of the next fdatasyncs fail, `gate`
    holds writes up until it is set, `bad_writes` are the errors of the next writes, `refusing` is that of every open,
    write and cut, `opened` counts descriptors, `synced` holds which of them were synced.
    """

    def __init__(self) -> None:
        self.free: int | None = None
        self.longest: int | None = None
        self.bad_syncs = 0
        self.bad_opens = 0
        self.bad_cuts = 0
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.broken: Exception | None = None
        self.bad_writes: list[int] = []
        self.refusing = 0
        self.writes = 0
        self.opened: list[Path] = []
        self.sync_log: list[tuple[int, bool]] = []
        self._serial: dict[int, int] = {}

    def open(self, path: Path, flags: int) -> int:
        self._refuse()
        if self.bad_opens:
            self.bad_opens -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fd = super().open(path, flags)
        self.opened.append(path)
        self._serial[fd] = len(self.opened)
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        self.waiting.set()
        self.gate.wait(30)
        if self.broken is not None:
            raise self.broken
        self._refuse()
        if self.bad_writes:
            error = self.bad_writes.pop(0)
            raise OSError(error, os.strerror(error))
        if self.longest is not None:
            data = data[: self.longest]
        if self.free is not None:
            if not self.free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.free]
            self.free -= len(data)
        self.writes += 1
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        bad = self.bad_syncs > 0
        self.sync_log.append((self._serial[fd], not bad))
        if bad:
            self.bad_syncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync(fd)

    def _refuse(self) -> None:
        if self.refusing:
            raise OSError(self.refusing, os.strerror(self.refusing))

    def cut(self, fd: int, size: int) -> None:
        self._refuse()
        if self.bad_cuts:
            self.bad_cuts -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().cut(fd, size)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return as soon as `condition` holds; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come to hold in {seconds} s")
        await asyncio.sleep(0.001)
