"""What becomes of a command that cannot be started, or not be watched."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoheal.actions import Command, Context, Outcome, guardian, orphan_gone, supervision
from tests.support.looping import run_on
from tests.support.processes import wait_until
from tests.support.victims import marked

SLEEPER = "import sys, time; time.sleep(600)"


async def run(context: Context, *argv: str, **params: Any) -> Outcome:
    return await Command(grace=0.2).run({"argv": list(argv), **params}, context)


async def test_no_process_to_be_had_is_not_another_command(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN of fork, a limit on processes, is told as that: it is the same exception as a lock that is held."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: _fail(errno.EAGAIN))
    before = _descriptors()
    outcome = await run(context, "/bin/true")
    assert not outcome.ok
    assert "no process could be started" in outcome.detail["error"]
    assert os.strerror(errno.EAGAIN) in outcome.detail["error"]
    assert _descriptors() == before
    assert list(context.lock_dir.iterdir()) == []


def _fail(number: int) -> Any:
    raise OSError(number, os.strerror(number))


class Reluctant:
    """A loop whose `add_reader` refuses its `refused`th call."""

    def __init__(self, refused: int) -> None:
        self.calls, self.refused, self.loop = 0, refused, asyncio.get_running_loop()

    def add_reader(self, *args: Any) -> None:
        self.calls += 1
        if self.calls == self.refused:
            _fail(errno.ENOSPC)
        self.loop.add_reader(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


@pytest.mark.parametrize("refused", [0, 1, 2])
def test_a_command_that_cannot_be_watched_is_killed_before_anything_else_happens(
    context: Context, loop: str, victim: str, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """However far it came: no process, no zombie, no descriptor and no lock is left, and the outcome says why."""
    started: list[int] = []
    pidfd_open = os.pidfd_open

    def late(pid: int) -> int:
        # Even when the command has begun by then, ignores SIGTERM and has a child.
        started.append(pid)
        wait_until(lambda: len([other for other in marked(victim) if other != pid]) == 2)
        return pidfd_open(pid) if refused else int(_fail(errno.EMFILE))

    async def attempt() -> tuple[Outcome, int]:
        reluctant = SimpleNamespace(get_running_loop=lambda: Reluctant(refused), wait=asyncio.wait)
        monkeypatch.setattr(supervision, "asyncio", reluctant)
        monkeypatch.setattr(os, "pidfd_open", late)
        before = _descriptors()
        outcome = await run(context, "/bin/sh", "-c", script, "sh", sys.executable, SLEEPER, victim)
        return outcome, _descriptors() - before

    script = 'trap "" TERM; "$1" -c "$2" "$3"; :'
    outcome, more = run_on(loop, attempt())
    assert not outcome.ok
    assert outcome.detail["error"].startswith("the process could not be watched, so it was killed at once: ")
    assert "still_running" not in outcome.detail
    wait_until(lambda: marked(victim) == [])
    with pytest.raises(ChildProcessError):
        os.waitpid(started[0], os.WNOHANG)
    assert more == 0
    assert list(context.lock_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("fork", "the program cannot be executed: "),
        ("pidfd_open", "the process could not be watched, so it was ended: "),
    ],
)
def test_a_guardian_that_lacks_something_says_what(
    context: Context, loop: str, tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch, call: str, error: str
) -> None:
    """No process or no descriptor for it: the command does not run on, and the outcome says why."""
    script, begun = tmp_path / "guardian.py", tmp_path / "begun"
    script.write_text(
        "import errno, os, runpy, time\n"
        "def broken(*_):\n"
        f"    while {call!r} != 'fork' and not os.path.exists({str(begun)!r}): time.sleep(0.01)\n"
        "    raise OSError(errno.EAGAIN, 'injected')\n"
        f"os.{call} = broken\n"
        f"runpy.run_path({guardian.__file__!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(supervision, "_GUARDIAN", str(script))
    family = '"$1" -c "$2" "$3" & : > "$4"; wait'
    argv = ["/bin/sh", "-c", family, "sh", sys.executable, SLEEPER, victim, str(begun)]
    outcome = run_on(loop, run(context, *argv, timeout=60))
    assert not outcome.ok
    assert outcome.detail["error"] == error + os.strerror(errno.EAGAIN)
    assert outcome.detail["output"] == ""
    assert marked(victim) == []
    assert orphan_gone(context.lock_dir, "run-1", 2)


async def test_a_lock_directory_that_cannot_be_is_an_outcome(context: Context, tmp_path: Path) -> None:
    """No traceback: the action has failed and says why."""
    (tmp_path / "locks").write_text("a file")
    outcome = await run(context, "/bin/true")
    assert not outcome.ok
    assert outcome.detail["error"].startswith("no process could be started: ")


async def test_a_lock_that_cannot_be_removed_does_not_hide_the_end(context: Context, tmp_path: Path) -> None:
    """Whatever becomes of the lock's directory while a command runs, how the command ended is told; a lock file that
    stayed is removed once it can be.
    """
    go = tmp_path / "go"
    os.mkfifo(go)
    task = asyncio.ensure_future(run(context, "/bin/sh", "-c", 'read line < "$0"', str(go)))
    # Somebody reads: the command has begun.
    writer = await asyncio.to_thread(os.open, go, os.O_WRONLY)
    context.lock_dir.rename(tmp_path / "aside")
    context.lock_dir.write_text("a file")
    os.write(writer, b"\n")
    os.close(writer)
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.ok, outcome
    context.lock_dir.unlink()
    (tmp_path / "aside").rename(context.lock_dir)
    assert orphan_gone(context.lock_dir, "run-1", 2)
    assert list(context.lock_dir.iterdir()) == []


async def test_a_process_that_cannot_be_started_leaves_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine has no memory or no process ids left: an outcome, no descriptor, no lock file."""
    monkeypatch.setattr(sys, "executable", "/no/python")
    before = _descriptors()
    outcome = await run(context, "/bin/true")
    assert outcome.detail["error"].startswith("no process could be started: ")
    assert _descriptors() == before
    assert list(context.lock_dir.iterdir()) == []


async def test_a_step_that_still_runs_is_not_started_again(context: Context, victim: str) -> None:
    """One step, one command: the lock file says that the last one is there, and stays the last one's."""
    task = asyncio.ensure_future(run(context, sys.executable, "-c", SLEEPER, victim))
    await asyncio.to_thread(wait_until, lambda: bool(marked(victim)))
    outcome = await run(context, "/bin/true")
    assert not outcome.ok
    assert outcome.detail["error"] == "a command of this very step is still running"
    assert not orphan_gone(context.lock_dir, "run-1", 2)
    task.cancel()
    await asyncio.wait([task])


async def test_no_descriptor_and_no_file_is_left(context: Context) -> None:
    """However an execution ends."""

    async def some() -> None:
        await run(context, "/bin/true")
        await run(context, "/no/such")
        await run(context, "/bin/sleep", "600", timeout=0.1)
        await run(context, "/bin/echo", "⟦secret:missing⟧")

    await some()
    before = _descriptors()
    await some()
    assert _descriptors() == before
    assert list(context.lock_dir.iterdir()) == []


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
