"""Programs that check a file and say what is wrong with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.components import require


def checked(
    program: str,
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = 120,
) -> str:
    """What it prints on standard output. AssertionError with all that it says when it is not content."""
    argv = [require(program), *arguments]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, timeout=seconds, cwd=cwd, env={**os.environ, **(env or {})}
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
    return done.stdout
