"""`make demo`, which is how most people meet it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        ((), "autoheal demo"),
        (("PORT=9010",), "autoheal demo --port 9010"),
        (("ONCE=1", "PORT=9010"), "autoheal demo --once --port 9010"),
        (("ONCE=0",), "autoheal demo"),
    ],
)
def test_what_is_given_to_make_reaches_the_demo(given: tuple[str, ...], runs: str) -> None:
    """`make demo PORT=9010` does what `autoheal demo --port 9010` does."""
    argv = ["make", "--dry-run", "--no-print-directory", "demo", *given]
    told = subprocess.run(argv, cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1].replace("'", "").split() == [".venv/bin/autoheal", *runs.split()[1:]]
