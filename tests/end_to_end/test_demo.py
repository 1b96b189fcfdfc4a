"""`autoheal demo`: the first thing that anybody tries."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoheal.demo import _RULES, main
from tests.support.ports import free_port
from tests.support.processes import wait_until

STORY = [
    r"A small service answers at http://127\.0\.0\.1:\d+/ \(pid \d+\)",
    r"The gateway listens at http://127\.0\.0\.1:\d+ with one live rule: /\S+/rules\.yaml",
    r"service_started +autoheal \d",
    r"The service is killed: SIGKILL to pid \d+",
    r"POST /alert, .* fires: 200 {",
    r"alert_firing +DemoServiceDown at 127\.0\.0\.1:\d+",
    r"decision +act: restart-demo on 127\.0\.0\.1:\d+",
    r"action_started +\S+python\S* .*service\.py",
    r"action_ok +exit 0 in \d+ ms",
    r"heal_confirmed +restart-demo, 127\.0\.0\.1:\d+, probe_held",
    r"Healed: http://127\.0\.0\.1:\d+/ answers again \(pid \d+ after pid \d+\)",
    r"POST /alert, .* is resolved: 200 {",
    r"alert_resolved +DemoServiceDown",
]


def _demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    # What it makes lies in its temporary folder: by that name its processes are found.
    return subprocess.Popen(
        [sys.executable, "-m", "autoheal", "demo", "--port", str(free_port()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "AUTOHEAL_ENABLED": "false"},
    )


def _left(folder: Path) -> dict[int, str]:
    """The living processes that know of `folder`: pids and command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            knows = os.fsencode(folder) in command + (process / "environ").read_bytes()
        except OSError:
            continue
        if knows:
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def _gateway(folder: Path) -> int:
    """The pid of the gateway, as soon as there is one."""
    pids: list[int] = []

    def started() -> bool:
        pids[:] = [pid for pid, command in _left(folder).items() if " serve " in command]
        return bool(pids)

    wait_until(started, what="the gateway's start")
    return pids[0]


def _in_order(text: str, patterns: list[str]) -> None:
    position = 0
    for pattern in patterns:
        found = re.compile(pattern).search(text, position)
        assert found, f"{pattern!r} is missing, or not in its place, in\n{text}"
        position = found.end()


def test_once_it_tells_the_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """`autoheal demo --once` heals for real, tells it in order, exits 0, and no process of it lives on."""
    demo = _demo(tmp_path, "--once")
    output, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, output
    _in_order(output, [*STORY, r"Ended\. The log stays at \S+audit\.jsonl\n$"])
    assert "\x1b" not in output, "colours are for terminals"
    assert _left(tmp_path) == {}


def test_it_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    """Without --once it says where everything is and stays; SIGTERM ends it all, with exit code 0 as it healed."""
    demo = _demo(tmp_path)
    assert demo.stdout is not None
    output = ""
    while "until Ctrl-C" not in output:
        line = demo.stdout.readline()
        assert line, output
        output += line
    _in_order(output, [*STORY, "service  http", "log  ", "audit  ", "events  ", "metrics  "])
    assert len(_left(tmp_path)) == 3, "the demo, the gateway and the service"
    demo.send_signal(signal.SIGTERM)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 0, output
    assert _left(tmp_path) == {}


def test_a_signal_in_the_middle_ends_everything(tmp_path: Path) -> None:
    """Ctrl-C before the story is told ends what was started, and the exit code tells of the signal."""
    demo = _demo(tmp_path)
    _gateway(tmp_path)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert _left(tmp_path) == {}


def test_a_gateway_that_dies_is_told(tmp_path: Path) -> None:
    """The exit code is 1, the reason is said, and the service is ended all the same."""
    demo = _demo(tmp_path)
    os.kill(_gateway(tmp_path), signal.SIGKILL)
    output, _ = demo.communicate(timeout=30)
    assert demo.returncode == 1, output
    assert "autoheal: the gateway exited with -9" in output
    assert _left(tmp_path) == {}


def test_a_reader_that_leaves_ends_everything(tmp_path: Path) -> None:
    """As in `autoheal demo | head`: no complaint, and nothing left."""
    demo = _demo(tmp_path)
    assert demo.stdout is not None
    demo.stdout.readline()
    demo.stdout.close()
    assert demo.wait(30) == 1
    assert _left(tmp_path) == {}


def test_a_service_that_stays_dead_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the rule's command does not bring the service back, the story says so and the exit code is 1."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("autoheal.demo._RULES", _RULES.replace("{argv}", "[/bin/false]"))
    assert main(once=True, port=free_port()) == 1
    told = capsys.readouterr()
    _in_order(told.out, ["action_fail +exit code 1", "heal_failed", "escalated"])
    assert "the service was not healed; the log tells why: " in told.err
    assert _left(tmp_path) == {}
