"""The pages of the documentation as what can be tried of them: their blocks, and a terminal to type them into."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^(?:<!-- (?P<says>.*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment right above it says about trying it: `not run: WHY`, `stays running` or
    `file: NAME`; usually nothing.
    """

    page: Path
    line: int
    language: str
    text: str
    says: str

    @property
    def runs(self) -> bool:
        """Whether its commands are tried."""
        return self.language in {"sh", "console"} and not self.says.startswith("not run: ")

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks, in their order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"], found["says"] or "")
        for found in _BLOCK.finditer(text)
    ]


def exchanges(block: Block) -> list[tuple[str, str]]:
    """The commands of a `console` block, which stand behind `$ ` (and `> ` where they go on), each with its output."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
            continue
        assert found, f"{block.where}: a console block begins with a command, behind `$ `"
        command, output = found[-1]
        found[-1] = (command + line[2:], output) if line.startswith("> ") and not output else (command, output + line)
    return found


def fits(shown: str, told: str) -> bool:
    """Whether that output is the one that a page shows; `…` there stands for anything, also for lines."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, told.strip(), re.DOTALL) is not None


class Terminal:
    """One bash in `folder`, which keeps its variables and functions from block to block."""

    def __init__(self, folder: Path, scratch: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, dict(env)
        self._block, self._told, self._log = scratch / "block.sh", scratch / "told", scratch / "stays.log"
        self._staying: subprocess.Popen[bytes] | None = None
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        _end(self._bash, signal.SIGKILL)
        for pipe in (self._bash.stdin, self._bash.stdout):
            assert pipe is not None
            pipe.close()

    def run(self, text: str, *, strict: bool, seconds: float = 60) -> str:
        """What `text` prints on both outputs. With `strict`, AssertionError where a command of it fails."""
        self._block.write_text(text)
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        mode = "set -e" if strict else "set +e"
        self._bash.stdin.write(f"{mode}; . '{self._block}' </dev/null >'{self._told}' 2>&1; echo done\n".encode())
        self._bash.stdin.flush()
        waiting = select.poll()
        waiting.register(self._bash.stdout, select.POLLIN)
        there = waiting.poll(seconds * 1000)
        told = self._told.read_text(errors="replace") if self._told.exists() else ""
        assert there, f"it did not end within {seconds:g} s:\n{text}\n{told}"
        assert self._bash.stdout.readline() == b"done\n", f"it failed:\n{text}\n{told}"
        return told

    def leave_running(self, text: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        """Start `text` as in a window of its own, in place of what ran there before, until it is `ready`."""
        self.interrupt()
        with self._log.open("wb") as log:
            self._staying = subprocess.Popen(
                ["bash", "-ec", text],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + seconds
        while not ready():
            told = self._log.read_text(errors="replace")
            assert self._staying.poll() is None, f"it ended:\n{text}\n{told}"
            assert time.monotonic() < deadline, f"it was not ready within {seconds:g} s:\n{text}\n{told}"
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Press ^C in that window."""
        if self._staying is not None:
            _end(self._staying, signal.SIGINT)
            self._staying = None


@contextlib.contextmanager
def terminal(folder: Path, scratch: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """One until the block ends, with no variable of ours in it but `env`."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "USER"}}
    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    with Terminal(folder, scratch, {**kept, **measured, **env}) as made:
        yield made


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End it and what it started, all of which is in a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, how)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
