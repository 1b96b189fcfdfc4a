"""docs/safety.md against the code that it explains."""

from __future__ import annotations

import re
from pathlib import Path

from autoheal.model import Kind, Reason

PAGE = (Path(__file__).parents[1] / "docs" / "safety.md").read_text()


def test_the_guards_stand_in_the_order_asked() -> None:
    """Every reason but the one that lets a run begin, as `decide` asks."""
    section = PAGE.split("## The guards, in the order asked")[1].split("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [
        reason.value for reason in Reason if reason is not Reason.ACT
    ]


def test_what_it_names_exists() -> None:
    """Words in code marks are kinds, reasons, or words of the code; tests that it names are there."""
    words = set(re.findall(r"`(\w+)`", PAGE)) - {kind.value for kind in Kind} - {reason.value for reason in Reason}
    source = "".join(path.read_text() for path in (Path(__file__).parents[1] / "autoheal").rglob("*.py"))
    assert {word for word in words if not re.search(rf"\b{word}\b", source)} == set()
    for named in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (Path(__file__).parents[1] / named).exists(), named
