"""docs/why.md against the code that it explains."""

from __future__ import annotations

import re
from pathlib import Path

from autoheal.model import Kind, Reason
from autoheal.state import CANCELLED_BY_PEOPLE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "why.md").read_text()


def test_every_reason_is_explained_in_its_order() -> None:
    """The table of reasons is the closed vocabulary, in the order in which the guards are asked."""
    section = PAGE.split("## Reasons of a decision")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_reason_of_a_run_is_explained_and_exists() -> None:
    """Reasons in the table of runs are those that the engine writes, no more and no fewer."""
    section = PAGE.split("## How a run goes on")[1].split("\n## ")[0]
    kinds = {kind.value for kind in Kind}
    said = {word for line in section.splitlines() for word in re.findall(r"`(\w+)`", line)} - kinds - {"reason"}
    files = ("runs.py", "obstacles.py", "endings.py", "verification.py", "control.py")
    source = "".join((ROOT / "autoheal" / "engine" / name).read_text() for name in files)
    written = set(re.findall(r'reason="(\w+)"', source))
    written |= set(re.findall(r'(?:judged|escalated)\(self\.run, (?:Kind\.\w+, )?"(\w+)"', source))
    written |= set(re.findall(r'return "(\w+)"', source)) | {CANCELLED_BY_PEOPLE}
    written |= {word for line in source.splitlines() if "Verdict(" in line for word in re.findall(r'"(\w+)"', line)}
    # Ways in which an episode ended, and keys of what was seen, stand on the same lines.
    assert said == written - {"probe", "api", "superseded"}
