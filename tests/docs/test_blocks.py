"""Every command that a page shows is tried, or says why it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, Block, blocks, exchanges

COMMANDS = {"sh", "console"}
OTHERS = {"yaml", "yml", "json", "python", "toml", "js", "promql", "ini", "text"}
PROGRAMS = {
    "autoheal",
    ".venv/bin/autoheal",
    "curl",
    "make",
    "docker",
    "kubectl",
    "systemctl",
    "journalctl",
    "promtool",
    "amtool",
    "sed",
}
WRITTEN_ELSEWHERE = {
    "docs/api.md": "it shows requests with their answers, of runs and digests that only one installation has",
}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is(page: Path) -> None:
    """A language that we know, a comment that we know, and none of it indented, where it would not be tried."""
    found = blocks(page)
    fences = re.findall(r"^[ \t]*```", page.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(found), f"{named(page)}: fences stand at the beginning of a line, and are closed"
    for block in found:
        assert block.language in COMMANDS | OTHERS, f"{block.where}: {block.language or 'no language'}"
        if block.language in COMMANDS:
            assert re.fullmatch(r"|stays running|not run: .{10,}", block.says), f"{block.where}: {block.says}"
        if block.language == "console":
            assert exchanges(block), f"{block.where}: nothing to run"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_command_hides_from_the_tests(page: Path) -> None:
    """Indented blocks, which no test runs, hold settings, filters and answers, but no command."""
    if named(page) in WRITTEN_ELSEWHERE:
        return
    outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (\S+)", outside, re.MULTILINE)
    assert [word for word in indented if word in PROGRAMS] == []


def test_what_is_written_elsewhere_is_there() -> None:
    """The exceptions are pages."""
    assert WRITTEN_ELSEWHERE.keys() <= {named(page) for page in PAGES}


def test_exchanges() -> None:
    """A command may take several lines; an output too."""
    block = Block(ROOT / "README.md", 1, "console", "$ a \\\n> b\n1\n> 2\n$ c\n", "")
    assert exchanges(block) == [("a \\\nb\n", "1\n> 2\n"), ("c\n", "")]
