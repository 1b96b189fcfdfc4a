"""`autoheal serve` that is killed, as by kill -9, at one record: `doomed_gateway.py KIND WHEN NTH`.

It dies when the log's disk is given the NTH record of that KIND in this life: `before` any of it is written, `within`
it, or `after` it is durable. It puts its state down every 200 records, so that
most lives go on behind a snapshot, and every 25 where it is to die of one.
"""

from __future__ import annotations

import os
import re
import signal
import sys

from autoheal.cli import main
from autoheal.disk import Disk
from autoheal.journal import file, snapshots


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DoomedDisk(Disk):
    """Writes what the moment says, and no more."""

    def __init__(self) -> None:
        kind, self._when, nth = sys.argv[1:]
        self._line = re.compile(rb'[^\n]*"kind":"%s"[^\n]*\n' % kind.encode())
        self._left = int(nth)
        self._doomed = False

    def write(self, fd: int, data: memoryview) -> int:
        for found in self._line.finditer(data):
            self._left -= 1
            if self._left == 0:
                if self._when == "after":
                    self._doomed = True
                    break
                middle = (found.start() + found.end()) // 2
                super().write(fd, data[: found.start() if self._when == "before" else middle])
                die()
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        if self._doomed:
            die()


if __name__ == "__main__":
    file.Disk = DoomedDisk  # type: ignore[misc]
    snapshots.EVERY = 25 if sys.argv[1] == "snapshot" else 200
    sys.exit(main(["serve"]))
