"""Every command that a page shows is tried, or says why it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT, Block, blocks, exchanges, fits, terminal

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


@pytest.mark.parametrize(
    ("shown", "told", "fit"),
    [
        ("401\n", "401\n", True),
        ("401\n", "200\n", False),
        ("", "one record\n", False),
        ('{"status":"ok",…"oidc":true,…\n', '{"status":"ok","paused":false,"oidc":true,"head":9}', True),
        ('{"status":"ok",…"oidc":true,…\n', '{"status":"ok","paused":false,"oidc":false,"head":9}', False),
        ("OK: …\n", "OK: 5 records\n  log 5f\n", True),
        ("OK: …\n", "BAD: changed\nOK: \n", False),
    ],
)
def test_an_output_that_is_not_the_one_shown_is_noticed(shown: str, told: str, fit: bool) -> None:
    """`…` stands for anything, everything else for itself."""
    assert fits(shown, told) is fit


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    """In the middle of a block too, and with what it printed; variables last from one block to the next."""
    with terminal(tmp_path, tmp_path, {"GIVEN": "1"}) as shell:
        shell.run("MADE=2\n", strict=True)
        assert shell.run('echo "$GIVEN $MADE"; false\necho after\n', strict=False) == "1 2\nafter\n"
        with pytest.raises(AssertionError, match="it failed:\nls /nowhere\necho after\n\nls: cannot access"):
            shell.run("ls /nowhere\necho after\n", strict=True)


def test_what_stays_running_ends_with_the_page(tmp_path: Path) -> None:
    """It is interrupted as by Ctrl-C, when the next one begins too; one that ends by itself is noticed."""
    here = tmp_path / "here"
    script = f"trap 'rm {here}; exit' INT; touch {here}; while :; do sleep 0.05; done"
    with terminal(tmp_path, tmp_path, {}) as shell:
        shell.leave_running(script, here.exists)
        with pytest.raises(AssertionError, match="it ended"):
            shell.leave_running("echo too bad", lambda: False)
        assert not here.exists()
        shell.leave_running(script, here.exists)
    assert not here.exists()
