"""`autoheal serve` on a disk and a clock that a file rules while it runs: `shimmed_gateway.py FILE`.

FILE holds a JSON object: `longest`, how many bytes the log's disk takes in one write; `clock`, by how many seconds the
machine's clock was set. What it obeyed is in FILE.obeyed.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from autoheal.cli import main
from autoheal.clock import SystemClock
from autoheal.disk import Disk
from autoheal.journal import file
from autoheal.serve import process


def told(name: str) -> Any:
    """What the file says now; None when it says nothing of it."""
    value = orjson.loads(Path(sys.argv[1]).read_bytes()).get(name)
    if value is not None:
        Path(f"{sys.argv[1]}.obeyed").touch()
    return value


class ShimmedDisk(Disk):
    def write(self, fd: int, data: memoryview) -> int:
        return super().write(fd, data[: told("longest")])


if __name__ == "__main__":
    file.Disk = ShimmedDisk  # type: ignore[misc]
    process.SystemClock = partial(SystemClock, lambda: time.time() + (told("clock") or 0))  # type: ignore[misc, assignment]
    sys.exit(main(["serve"]))
