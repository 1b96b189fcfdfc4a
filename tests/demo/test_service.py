"""The service that the demo kills."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from autoheal.demo import main, service
from tests.support.ports import free_port
from tests.support.processes import wait_until


def _start(port: int, pidfile: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, service.__file__, str(port), str(pidfile)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_it_is_a_daemon_that_answers_at_once(tmp_path: Path) -> None:
    """Its starter returns, the port answers, the pid file names the process, and a second one is refused."""
    port, pidfile = free_port(), tmp_path / "pid"
    assert _start(port, pidfile).returncode == 0
    try:
        assert service.pid_at(port) == int(pidfile.read_text())
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
        assert metrics.text.startswith("demo_service_start_time_seconds 1")
        second = _start(port, tmp_path / "second")
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
        assert not (tmp_path / "second").exists()
    finally:
        killed = service.kill(port, pidfile)
    wait_until(lambda: service.pid_at(port) is None, what="the service's death")
    assert killed == int(pidfile.read_text())
    assert service.kill(port, pidfile) is None


def test_only_its_own_process_is_killed(tmp_path: Path) -> None:
    """A pid file that names another process than the one that answers kills neither."""
    port, pidfile, stale = free_port(), tmp_path / "pid", tmp_path / "stale"
    assert _start(port, pidfile).returncode == 0
    try:
        stale.write_text("1\n")
        assert service.kill(port, stale) is None
        assert service.pid_at(port) is not None
    finally:
        service.kill(port, pidfile)


def test_the_demo_says_when_it_cannot_have_its_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use, or no port at all, is told before anything is started: exit code 2."""
    port, pidfile = free_port(), tmp_path / "pid"
    assert _start(port, pidfile).returncode == 0
    try:
        assert main(once=True, port=port) == 2
    finally:
        service.kill(port, pidfile)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err
    assert main(once=True, port=70000) == 2
    assert "from 1 to 65535" in capsys.readouterr().err
