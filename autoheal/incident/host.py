"""The machine, and the versions of all that runs on it here."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from autoheal import __version__

_CGROUP = ("memory.max", "memory.current", "memory.events", "cpu.max", "cpu.stat", "pids.max", "pids.current")
JOURNAL_SECONDS = 10


def versions() -> str:
    """autoheal, Python, the system, and every package that is installed beside."""
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        system = "unknown"
    lines = [
        f"autoheal {__version__}",
        f"Python {platform.python_version()} ({platform.python_implementation()})",
        f"system {system}",
        f"kernel {platform.release()} {platform.machine()}",
        "",
        *sorted({f"{one.name}=={one.version}" for one in distributions()}, key=str.lower),
    ]
    return "\n".join(lines) + "\n"


def facts(data_dir: Path) -> str:
    """Load, memory, disks and limits, one thing a line."""
    lines = ["== uptime and load", _read("/proc/uptime"), _read("/proc/loadavg")]
    lines += ["", "== memory", *_read("/proc/meminfo").splitlines()[:8]]
    for name in ("cpu", "memory", "io"):
        lines += ["", f"== pressure: {name}", _read(f"/proc/pressure/{name}")]
    lines += ["", "== disks", *(_disk(path) for path in dict.fromkeys((data_dir, Path("/"), Path("/tmp"))))]  # noqa: S108 looked at
    lines += ["", "== limits of this cgroup"]
    lines += [f"{name}: {_read(f'/sys/fs/cgroup/{name}')}" for name in _CGROUP]
    lines += ["", "== clock", _read("/sys/devices/system/clocksource/clocksource0/current_clocksource")]
    return "\n".join(lines) + "\n"


def journald(unit: str) -> bytes | None:
    """The end of what the unit wrote to the system's journal; None where there is no such journal or unit."""
    program = shutil.which("journalctl")
    if program is None:
        return None
    argv = [program, "--no-pager", "-q", "-n", "1000", "-o", "short-iso", "-u", unit]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=JOURNAL_SECONDS, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 fixed
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout or None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return f"{path}: {error.strerror}"


def _disk(path: Path) -> str:
    try:
        found = os.statvfs(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return f"{path}: {free >> 20:,} of {size >> 20:,} MiB free, {found.f_favail:,} of {found.f_files:,} inodes free"
