"""The main job on a real Docker Engine: a service in a container crashes, and the gateway has it restarted; and what
people are told when it cannot.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.components import require
from tests.support.dockers import DockerEngine, docker_engine
from tests.support.monitoring import SERVE, alertmanager, answers, gateway, prometheus, steady_port
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart-container
    match: 'alertname="TargetDown"'
    target: '{{ labels.job }}'
    allow_target: 'target'
    mode: live
    steps:
      - docker: {restart: '{{ target }}', stop_timeout: 5s}
        verify: {resolved_within: 60s, probe: {http: 'http://{{ labels.instance }}/'}}
"""


def test_a_crashed_container_is_back_and_the_log_tells_how(docker: DockerEngine, tmp_path: Path) -> None:
    """From the crash on nobody lends a hand: Prometheus sees it, Alertmanager tells, the Engine restarts it."""
    served, gateway_port, alertmanager_port = steady_port(), free_port(), free_port()
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("here I am\n")
    (site / "metrics").write_text("alive 1\n")
    httpd = ("httpd", "-f", "-p", f"127.0.0.1:{served}", "-h", "/site")
    container = docker.start("target", *httpd, mounts={site: "/site"})
    wait_until(lambda: answers(f"http://127.0.0.1:{served}/"), what="the service in the container")
    env = {
        "AUTOHEAL_DRY_RUN": "false",
        "AUTOHEAL_DOCKER_HOST": docker.host,
        "ALERTMANAGER_URL": f"http://127.0.0.1:{alertmanager_port}",
    }
    with ExitStack() as stack:
        stack.enter_context(gateway(tmp_path, gateway_port, RULES, env))
        stack.enter_context(alertmanager(tmp_path, alertmanager_port, f"http://127.0.0.1:{gateway_port}/alert"))
        stack.enter_context(prometheus(tmp_path, free_port(), alertmanager_port, {"target": served}))
        os.kill(docker.state("target")["Pid"], signal.SIGKILL)
        wait_until(lambda: "heal_confirmed" in _told(tmp_path), seconds=90, what="heal_confirmed in the log")
        assert answers(f"http://127.0.0.1:{served}/")
    told = _told(tmp_path)
    assert list(told) == ["alert_firing", "decision", "action_started", "action_ok", "alert_resolved", "heal_confirmed"]
    started, ok = told["action_started"], told["action_ok"]["detail"]
    assert started["detail"]["description"] == "docker restart --time 5 target"
    assert (started["detail"]["idempotent"], started["detail"]["reversible"]) == (True, False)
    assert ok["container"] == container
    assert (ok["before"]["status"], ok["before"]["exit_code"], ok["after"]["status"]) == ("exited", 137, "running")


HELPLESS = """\
version: 1
rules:
  - name: restart-container
    match: 'alertname="Down"'
    target: '{{ labels.container }}'
    mode: live
    steps: [{docker: {restart: '{{ target }}', stop_timeout: 60s, timeout: 3s}}]
"""


@dataclass(frozen=True)
class Fault:
    """`injected` is the fault for as long as its block lasts, and gives where the Engine is said to listen.

    `error` is what the failed action tells.
    """

    injected: Callable[[DockerEngine], AbstractContextManager[str]]
    error: str
    argv: Sequence[str] = SERVE


@contextmanager
def unknown(docker: DockerEngine) -> Iterator[str]:
    """Only others are there."""
    docker.start("target-2")
    yield docker.host


@contextmanager
def stopped(docker: DockerEngine) -> Iterator[str]:
    """It ran a moment ago, and was ended in good order."""
    # A test's own folder is too deep: containerd's sockets in it would have names that are too long.
    with tempfile.TemporaryDirectory() as short:
        with docker_engine(Path(short)) as another:
            assert another.ask("GET", "/_ping") == "OK"
        yield another.host


@contextmanager
def slow(docker: DockerEngine) -> Iterator[str]:
    """The container minds no SIGTERM."""
    docker.start("target", "sh", "-c", "trap '' TERM; while :; do busybox sleep 0.1; done")
    yield docker.host


@contextmanager
def forbidden(docker: DockerEngine) -> Iterator[str]:
    """Nobody may write to the socket but who is above permissions, as the gateway is not then."""
    docker.start("target")
    socket = Path(docker.host.removeprefix("unix://"))
    mode = socket.stat().st_mode
    socket.chmod(0)
    try:
        yield docker.host
    finally:
        socket.chmod(mode)


FAULTS = {
    "unknown container": Fault(unknown, "there is no container 'target'"),
    "stopped daemon": Fault(stopped, r"no Docker Engine listens at unix://.*docker\.sock: is it running\?"),
    "slow stop": Fault(slow, "not finished after 3 s; the Docker Engine may still carry it out"),
    "permission denied": Fault(
        forbidden,
        r"permission denied at unix://.*docker\.sock: the service's user must be allowed to write to that socket",
        ("setpriv", "--bounding-set=-dac_override", *SERVE),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_the_engine_cannot_do_is_told_and_escalated(docker: DockerEngine, tmp_path: Path, fault: Fault) -> None:
    """The action fails with what people need to know, nothing is tried again, and they are called."""
    require(fault.argv[0])
    port = free_port()
    with fault.injected(docker) as host:
        env = {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_DOCKER_HOST": host}
        with gateway(tmp_path, port, HELPLESS, env, fault.argv):
            down = body(alert("0" * 16, container="target"))
            httpx.post(f"http://127.0.0.1:{port}/alert", json=down, trust_env=False).raise_for_status()
            wait_until(lambda: "escalated" in _told(tmp_path), what="the escalation")
    told = _told(tmp_path)
    assert list(told) == ["alert_firing", "decision", "action_started", "action_fail", "heal_failed", "escalated"]
    assert re.fullmatch(fault.error, told["action_fail"]["detail"]["error"])
    assert told["escalated"]["reason"] == "steps_exhausted"
    assert {record["run"] for kind, record in told.items() if kind != "alert_firing"} == {told["decision"]["run"]}
    said = [orjson.loads(line) for line in (tmp_path / "gateway.log").read_bytes().splitlines()]
    assert [line["event"] for line in said if line["level"] == "error"] == ["escalated"]


def _told(folder: Path) -> dict[str, dict[str, Any]]:
    """What the log tells of alerts and of what was done about them, by kind and in its order."""
    lines = (folder / "data" / "audit.jsonl").read_bytes().splitlines()
    records = [orjson.loads(line) for line in lines if line.endswith(b"}")]
    return {record["kind"]: record for record in records if "alertname" in record}
