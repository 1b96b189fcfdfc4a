"""The running service as the machine sees it: which process it is, what it does, what it was given."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

DUMP = "threads.txt"
"""What SIGUSR2 makes the service write, in its data directory."""
DUMP_SECONDS = 3.0
END_OF_DUMP = b"end of tasks\n"
MAX_DUMP_BYTES = 4 * 1024 * 1024
OWN_LOG_BYTES = 512 * 1024
_STDERR = 2


def pid_of(data_dir: Path) -> int | None:
    """The process that holds the lock of `data_dir`, as numbered here; None when none does, or none that is seen."""
    try:
        lock = (data_dir / "lock").stat()
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    for line in held:
        fields = line.split()
        if place in fields and fields[fields.index(place) - 1].isdigit():
            return int(fields[fields.index(place) - 1]) or None
    return None


def environ_of(pid: int) -> Mapping[str, str]:
    """The environment that the process was given. Raises OSError."""
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "surrogateescape")
    return dict(one.split("=", 1) for one in raw.split("\0") if "=" in one)


def facts(pid: int) -> str:
    """What the system knows of the process, one thing a line."""
    lines = [f"pid {pid}"]
    for name in ("status", "limits", "cgroup", "wchan", "io", "schedstat"):
        try:
            text = Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace").rstrip()
        except OSError as error:
            text = f"cannot be read: {error.strerror}"
        lines += ["", f"== {name}", text]
    try:
        found = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda path: int(path.name))
        lines += ["", f"== {len(found)} open files", *(f"{path.name} {_target(path)}" for path in found[:500])]
    except OSError as error:
        lines += ["", f"== open files cannot be read: {error.strerror}"]
    return "\n".join(lines) + "\n"


def threads(pid: int, data_dir: Path) -> tuple[bytes, bool]:
    """What the process does, and whether its event loop told of its tasks as well.

    Raises OSError, and ValueError for a process that the signal would kill.
    """
    if not _catches(pid, signal.SIGUSR2):
        raise ValueError("it does not listen to SIGUSR2: it is starting or stopping, or no autoheal of this version")
    file = data_dir / DUMP
    before = file.stat().st_size
    os.kill(pid, signal.SIGUSR2)
    last = time.monotonic() + DUMP_SECONDS
    while True:
        with file.open("rb") as opened:
            opened.seek(before)
            found = opened.read(MAX_DUMP_BYTES)
        if found.endswith(END_OF_DUMP) or time.monotonic() > last:
            return found, found.endswith(END_OF_DUMP)
        time.sleep(0.05)


def own_log(pid: int) -> bytes | None:
    """The end of the service's own log, where that goes to a file; None elsewhere. Raises OSError."""
    path = Path(f"/proc/{pid}/fd/{_STDERR}")
    target = path.readlink()
    if not path.is_file():
        return None
    with path.open("rb") as opened:
        opened.seek(max(0, path.stat().st_size - OWN_LOG_BYTES))
        return f"# the end of {target}\n".encode() + opened.read(OWN_LOG_BYTES)


def _catches(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _target(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError as error:
        return f"({error.strerror})"
