"""A real systemd: a user instance, which differs from the system's in what it may do and not in how it is asked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.components import require, require_root
from tests.support.processes import running

SYSTEMD = "/lib/systemd/systemd"


@dataclass(frozen=True)
class RunningSystemd:
    """`systemctl` is a program that asks this instance."""

    systemctl: Path

    def show(self, unit: str, what: str) -> str:
        """One of a unit's properties."""
        argv = [self.systemctl, "show", "--value", f"--property={what}", "--", unit]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


@contextmanager
def systemd(folder: Path, units: Mapping[str, str]) -> Iterator[RunningSystemd]:
    """An instance that knows `units`, each by its name and text."""
    require_root("the mount namespace of a systemd of our own")
    (folder / "units").mkdir()
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    for name, text in {"default.target": "[Unit]\n", **units}.items():
        (folder / "units" / name).write_text(text)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "SYSTEMD_UNIT_PATH": f"{folder / 'units'}:/usr/lib/systemd/user",
    }
    # It starts only where the machine seems to run systemd: in a /run of its own, which nobody else sees.
    script = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$0" --user --log-target=console'
    argv = [require("unshare"), "--mount", "/bin/sh", "-c", script, require(SYSTEMD)]
    wrapper = folder / "systemctl"
    wrapper.write_text(f'#!/bin/sh\nXDG_RUNTIME_DIR={runtime} exec {require("systemctl")} --user "$@"\n')
    wrapper.chmod(0o755)
    made = RunningSystemd(wrapper)
    with running(argv, lambda: _is_up(made), folder / "systemd.log", env=env):
        yield made


def _is_up(made: RunningSystemd) -> bool:
    argv = [made.systemctl, "show", "--value", "--property=SystemState"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() == "running"
