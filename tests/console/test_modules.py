"""What the console's modules do by themselves: their tests are written in their own language."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.components import require

HERE = Path(__file__).parent


@pytest.mark.parametrize("file", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_in_javascript(file: str) -> None:
    """Every test of the file holds, by node's own runner."""
    argv = [require("node"), "--test", "--test-reporter=spec", str(HERE / file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_each_module_is_tested() -> None:
    """Of those that decide something without a page there are tests here; the rest is tested in a browser."""
    named = {path.name.removesuffix(".test.mjs") for path in HERE.glob("*.test.mjs")}
    assert {"api", "filter", "notices", "routes", "store", "stream", "time", "words"} <= named
