"""The process as a supervisor sees it: signals at any moment, and what its exit code tells."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from autoheal import serve
from tests.support import signalled
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

RULES = """\
version: 1
rules:
  - name: touch
    match: alertname="Down"
    target: '{{ labels.instance }}'
    steps: [{command: {argv: [/bin/true]}}]
"""
ROOT = Path(__file__).parents[1]
SERVE = [sys.executable, "-m", "autoheal", "serve"]


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    """Of a gateway with its rules and its data in `folder`."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_PORT": str(port),
        **more,
    }


def records(folder: Path) -> list[dict[str, Any]]:
    """The audit log."""
    return [orjson.loads(line) for line in (folder / "data" / "audit.jsonl").read_bytes().splitlines()]


def said(folder: Path, event: str) -> list[dict[str, Any]]:
    """The lines of the service's own log that tell of `event`."""
    lines = [orjson.loads(line) for line in (folder / "log").read_bytes().splitlines()]
    return [line for line in lines if line.get("event") == event]


def opened_by_reader(fifo: Path) -> int:
    """Wait until somebody opens `fifo` to read it; a descriptor that writes to it."""
    found: list[int] = []

    def opened() -> bool:
        try:
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    wait_until(opened, what="the reading of the rules")
    return found[0]


def test_a_stop_while_the_rules_are_read_ends_it_before_the_log_is_touched(tmp_path: Path) -> None:
    """Exit code 0 as soon as the rules are in, and no data directory."""
    fifo = tmp_path / "rules.yaml"
    os.mkfifo(fifo)
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(SERVE, env=environment(tmp_path, free_port()), stdout=output, stderr=output)
    with os.fdopen(opened_by_reader(fifo), "w") as writer:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        writer.write(RULES)
    assert process.wait(10) == 0
    assert said(tmp_path, "stopped_before_serving")
    assert not (tmp_path / "data").exists()


def test_a_reload_asked_for_while_the_rules_are_read_is_done_once_it_serves(tmp_path: Path) -> None:
    """It does not kill, it is not forgotten, and the log tells of it after the start."""
    fifo, port = tmp_path / "rules.yaml", free_port()
    os.mkfifo(fifo)
    (tmp_path / "next.yaml").write_text(RULES)
    with running(SERVE, lambda: True, tmp_path / "log", env=environment(tmp_path, port)) as process:
        with os.fdopen(opened_by_reader(fifo), "w") as writer:
            (tmp_path / "next.yaml").replace(fifo)
            process.send_signal(signal.SIGHUP)
            writer.write(RULES)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), what="readiness")
        wait_until(lambda: bool(said(tmp_path, "reloaded")), what="the reload")
    assert process.returncode == 0
    kinds = [record["kind"] for record in records(tmp_path)]
    assert kinds == [
        "log_created",
        "service_started",
        "config_loaded",
        "config_loaded",
        "service_stopped",
        "checkpoint",
    ]


POINTS = [
    "autoheal.serve:load_rules",
    "autoheal.serve:_listen",
    "autoheal.serve:_serve",
    "autoheal.engine.core:Engine.__init__",
    "autoheal.serve:_until_stopped",
    "uvicorn.server:Server.serve",
    "autoheal.engine.core:Engine.start",
    "uvicorn.server:Server.main_loop",
]


def signalled_at(folder: Path, number: str, point: str) -> int:
    """The exit code of a gateway to which a signal comes at `point`."""
    (folder / "rules.yaml").write_text(RULES)
    with (folder / "log").open("wb") as output:
        argv = [sys.executable, signalled.__file__, number, point]
        env = environment(folder, free_port())
        return subprocess.run(argv, env=env, stdout=output, stderr=output, timeout=60, check=False).returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_stop_at_any_moment_of_the_start_ends_it_in_good_order(tmp_path: Path, point: str) -> None:
    """Exit code 0, and a life that the log tells of has its end in it."""
    assert signalled_at(tmp_path, "SIGTERM", point) == 0
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
    log = tmp_path / "data" / "audit.jsonl"
    kinds = [record["kind"] for record in records(tmp_path)] if log.exists() else []
    assert kinds in (
        [],
        ["log_created"],
        ["log_created", "service_started", "config_loaded", "service_stopped", "checkpoint"],
    )


def test_a_stop_while_the_log_is_folded_does_not_wait_for_its_end(tmp_path: Path) -> None:
    """However long the log is: a bad line at its end, over which a start would fail, is not even reached."""
    assert signalled_at(tmp_path, "SIGTERM", "autoheal.engine.core:Engine.start") == 0
    log = tmp_path / "data" / "audit.jsonl"
    with log.open("ab") as file:
        file.write(b"{}\n")
    before = log.read_bytes()
    assert signalled_at(tmp_path, "SIGINT", "autoheal.state:State.apply") == 0
    assert log.read_bytes() == before


class BrokenEngine:
    """Its reload fails in a way that nobody foresaw."""

    async def reload(self) -> None:
        raise OSError("the disk is on fire")


async def test_a_reload_that_fails_in_any_way_is_logged() -> None:
    """And does not end whoever asked for it."""
    with capture_logs() as logs:
        await serve._reload(BrokenEngine())  # type: ignore[arg-type]
    assert [line["event"] for line in logs] == ["reload_failed"]
    assert "on fire" in str(logs[0]["exc_info"])


LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)"


def test_a_start_that_the_log_refuses_is_2(tmp_path: Path) -> None:
    """A disk that takes nothing more: a sentence for people, exit code 2."""
    assert signalled_at(tmp_path, "SIGTERM", "autoheal.engine.core:Engine.start") == 0
    full = str((tmp_path / "data" / "audit.jsonl").stat().st_size)
    argv = [sys.executable, "-c", f"{LIMITED}; os.execv(sys.argv[2], sys.argv[2:])", full, *SERVE]
    ended = subprocess.run(
        argv, env=environment(tmp_path, free_port()), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("autoheal: the service could not start")


BROKEN = """\
import sys
from autoheal.cli import main
from autoheal.engine.core import Engine
async def broken(self): raise RuntimeError("a fault that nobody foresaw")
Engine._decide_forever = broken
sys.exit(main(["serve"]))
"""


def test_a_service_whose_engine_fails_ends_with_1(tmp_path: Path) -> None:
    """In good order, so that a supervisor starts another; it does not live on to answer 503 for ever."""
    (tmp_path / "rules.yaml").write_text(RULES)
    with (tmp_path / "log").open("wb") as output:
        argv = [sys.executable, "-c", BROKEN]
        env = environment(tmp_path, free_port())
        ended = subprocess.run(argv, env=env, stdout=output, stderr=output, timeout=60, check=False)
    assert ended.returncode == 1
    assert [line["level"] for line in said(tmp_path, "engine_failed")] == ["critical"]
    assert [record["kind"] for record in records(tmp_path)[-2:]] == ["service_stopped", "checkpoint"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_two_colons_are_every_address_of_the_machine(tmp_path: Path) -> None:
    """`::` is reached by IPv4 as well, whose loopback is local then too, and the log shows it in brackets."""
    (tmp_path / "rules.yaml").write_text(RULES)
    port = free_port()
    env = environment(tmp_path, port, AUTOHEAL_HOST="::", AUTOHEAL_INSECURE="true")
    with running(SERVE, lambda: answers(f"http://127.0.0.1:{port}/readyz"), tmp_path / "log", env=env):
        assert answers(f"http://127.0.0.1:{port}/audit")
        assert answers(f"http://[::1]:{port}/audit")
    assert [line["address"] for line in said(tmp_path, "serving")] == [f"[::]:{port}"]
