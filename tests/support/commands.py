"""The command line, run as people run it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Sequence


def autoheal(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, its output in pipes."""
    return subprocess.run(
        argv(arguments), env=environment(environ), capture_output=True, text=True, timeout=60, check=False
    )


def on_terminal(*arguments: object, **environ: str) -> tuple[int, str]:
    """Run it to its end with a terminal as its standard output; the exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(argv(arguments), env=environment(environ), stdout=theirs) as process:
            os.close(theirs)
            shown = b""
            while piece := _read(ours):
                shown += piece
            return process.wait(60), shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


def argv(arguments: Sequence[object]) -> list[str]:
    """Its command line."""
    return [sys.executable, "-m", "autoheal", *map(str, arguments)]


def environment(environ: dict[str, str]) -> dict[str, str]:
    """A bare environment, in which what runs is still measured."""
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], "TERM": "xterm", **measured, **environ}


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        # Linux's way of saying that the other side has closed the terminal.
        return b""
