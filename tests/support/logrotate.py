"""The shipped logrotate configuration, run by the real program."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.components import require

BEHIND_SECONDS = 0.02
CONFIG = Path(__file__).parents[2] / "logrotate/audit.conf"


@dataclass
class Logrotate:
    """The shipped configuration for another directory and user; `changes` are replaced in it too."""

    data_dir: Path
    changes: Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        self.program = require("logrotate")
        text = CONFIG.read_text()
        user = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
        for old, new in [("/var/lib/autoheal/", f"{self.data_dir}/"), ("su root root", user), *self.changes]:
            assert old in text
            text = text.replace(old, new)
        self.config = self.data_dir.parent / "audit.conf"
        self.config.write_text(text)
        self.config.chmod(0o644)
        self.second = 0

    def __call__(self) -> None:
        """Rotate now, whatever the date: once in a second, of which the names are made."""
        # It reads the kernel's coarse clock, which is some milliseconds behind ours.
        while int(time.time() - BEHIND_SECONDS) <= self.second:
            time.sleep(0.01)
        argv = [self.program, "--force", "--state", str(self.data_dir / "logrotate.status"), str(self.config)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        # It may have begun in a later second than we did.
        self.second = int(time.time())
        assert done.returncode == 0, done.stderr
