"""Real programs in tests: started, waited for, and gone again afterwards."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` holds; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {seconds:g} s")
        time.sleep(POLL_SECONDS)


@contextmanager
def running(
    argv: Sequence[str | os.PathLike[str]],
    ready: Callable[[], bool],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    printed: Path | None = None,
    seconds: float = 20.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argv` with its output in `log` until the block ends; enter it once `ready()` holds.

    What it prints on standard output is in `printed` instead, when that is given.

    AssertionError with the end of the log when the program exits first, or is not ready within `seconds`.
    It is ended by its own pid: SIGTERM, and SIGKILL when that has not helped after 10 s.
    """
    with log.open("ab") as output, (printed or log).open("ab") as stdout:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=output, env=env, cwd=cwd)
    try:
        _await_ready(process, ready, log, seconds)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} exited with {process.returncode}:\n{_tail(log)}")
        if ready():
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} was not ready within {seconds:g} s:\n{_tail(log)}")
        time.sleep(POLL_SECONDS)


def _tail(log: Path) -> str:
    return log.read_bytes()[-4000:].decode(errors="replace")
