"""What becomes of a command when the gateway dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoheal.actions import guardian, orphan_gone
from tests.support import dying_gateway
from tests.support.processes import wait_until
from tests.support.victims import marked

ROOT = Path(__file__).parents[2]
SLEEPER = "import sys, time; time.sleep(600)"


@contextmanager
def gateway(loop: str, locks: Path, grace: float, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway that runs `argv`; killed at the latest at the end of the block."""
    program = [sys.executable, str(dying_gateway.__file__), loop, str(locks), str(grace), *argv]
    process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_kill_9_of_the_gateway_ends_the_command(loop: str, tmp_path: Path, victim: str) -> None:
    """The whole family goes; the lock is held until then, and recovery removes its file."""
    script = '"$1" -c "$2" "$3" & timeout 600 "$1" -c "$2" "$3"; :'
    with gateway(loop, tmp_path, 5, "/bin/sh", "-c", script, "sh", sys.executable, SLEEPER, victim) as process:
        wait_until(lambda: len([pid for pid in marked(victim) if pid != process.pid]) == 4)
        assert not orphan_gone(tmp_path, "run-1", 1)
        process.kill()
        process.wait()
        wait_until(lambda: orphan_gone(tmp_path, "run-1", 1))
    assert marked(victim) == []
    assert list(tmp_path.iterdir()) == []


def test_an_orphan_that_ignores_sigterm_keeps_the_lock_until_it_is_killed(tmp_path: Path, victim: str) -> None:
    """Recovery may start nothing on that target while the old command still works."""
    ready = tmp_path / "ready"
    script = 'trap "" TERM; : > "$4"; "$1" -c "$2" "$3"; while :; do "$1" -c "$2" "$3"; done'
    arguments = ("/bin/sh", "-c", script, "sh", sys.executable, SLEEPER, victim, str(ready))
    with gateway("asyncio", tmp_path / "locks", 0.3, *arguments) as process:
        wait_until(ready.exists)
        process.kill()
        process.wait()
        wait_until(lambda: orphan_gone(tmp_path / "locks", "run-1", 1))
    assert marked(victim) == []


def test_a_daemon_of_a_success_does_not_hold_the_lock(tmp_path: Path, victim: str) -> None:
    """It does not inherit it, so recovery does not wait for what is meant to stay."""
    script = '"$1" -c "$2" "$3" & :'
    with gateway("asyncio", tmp_path, 5, "/bin/sh", "-c", script, "sh", sys.executable, SLEEPER, victim) as process:
        assert process.wait(20) == 0
    assert orphan_gone(tmp_path, "run-1", 1)
    assert len(marked(victim)) == 1


def test_a_lock_file_that_nobody_holds_is_removed(tmp_path: Path) -> None:
    """As one is that a gateway left which died between making it and starting the command."""
    (tmp_path / "run-1-1.lock").touch()
    assert orphan_gone(tmp_path, "run-1", 1)
    assert not list(tmp_path.iterdir())
    assert orphan_gone(tmp_path, "run-1", 1)


def test_a_group_of_another_user_or_of_nobody_is_passed_over() -> None:
    """Signalling goes on with the others."""
    child = subprocess.Popen(["/bin/sleep", "600"], process_group=0)
    guardian.signal_groups({2**22 + 1}, 15)
    guardian.signal_groups({2**22 + 1, child.pid}, 15)
    assert child.wait(10) == -15


def test_zombies_do_not_count_as_work() -> None:
    """In a container whose PID 1 reaps nobody they would hold the lock for ever."""
    leader = subprocess.Popen(
        [sys.executable, "-I", "-c", "import os, time; os.fork() or (os.setpgid(0, 0), os._exit(0)); time.sleep(600)"],
        start_new_session=True,
    )
    try:
        children = Path(f"/proc/{leader.pid}/task/{leader.pid}/children")
        wait_until(lambda: _state(children.read_text().strip()) == "Z")
        assert guardian.working_groups(leader.pid) == set()
    finally:
        leader.kill()
        leader.wait()


def _state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] if pid else ""
