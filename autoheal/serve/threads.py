"""What the process does right now, written to a file when SIGUSR2 asks: for a service that no longer answers.

The threads are written by faulthandler inside of the signal itself, so also while the event loop is stuck. The tasks of
the loop follow as soon as Python gets its turn; where they do not, something that is not Python keeps the main thread.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

import structlog

FILE_NAME = "threads.txt"
"""In the data directory; begun anew at each start."""
MAX_TASKS = 200
FRAMES = 8

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def writes_on_signal(data_dir: Path) -> AsyncIterator[None]:
    """Within it SIGUSR2 has it written to a file in `data_dir`. Where that cannot be made nothing is."""
    try:
        file = _open(data_dir / FILE_NAME)
    except OSError as error:
        # It is for bad days: a service must not refuse to start for the lack of it.
        _log.warning("no_threads_on_signal", file=str(data_dir / FILE_NAME), error=str(error))
        signal.signal(signal.SIGUSR2, _nothing)
        yield
        return

    def tasks(_number: int, _frame: FrameType | None) -> None:
        # A full disk: the threads may be there all the same.
        with suppress(OSError, ValueError):
            _write_tasks(file)

    with file:
        # In this order: faulthandler hands the signal on to what was there before.
        signal.signal(signal.SIGUSR2, tasks)
        faulthandler.register(signal.SIGUSR2, file=file, all_threads=True, chain=True)
        try:
            yield
        finally:
            faulthandler.unregister(signal.SIGUSR2)
            signal.signal(signal.SIGUSR2, _nothing)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Unlike a signal that is ignored, one that is handled like this is no concern of the commands of actions."""


def _open(path: Path) -> TextIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o640), "w", encoding="utf-8", errors="backslashreplace")


def _write_tasks(file: TextIO) -> None:
    try:
        found = list(asyncio.all_tasks())
    except RuntimeError:
        found = []  # no loop runs
    file.write(f"\n{len(found)} tasks\n")
    for task in found[:MAX_TASKS]:
        file.write(f"\n{task.get_name()}: {task.get_coro()}\n")
        task.print_stack(limit=FRAMES, file=file)
    file.write("end of tasks\n")
    file.flush()
