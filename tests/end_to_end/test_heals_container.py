"""The main job on a real Docker Engine: a service in a container crashes, and the gateway has it restarted."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.dockers import DockerEngine
from tests.support.monitoring import alertmanager, answers, gateway, prometheus, steady_port
from tests.support.ports import free_port
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


def _told(folder: Path) -> dict[str, dict[str, Any]]:
    """What the log tells of alerts and of what was done about them, by kind and in its order."""
    lines = (folder / "data" / "audit.jsonl").read_bytes().splitlines()
    records = [orjson.loads(line) for line in lines if line.endswith(b"}")]
    return {record["kind"]: record for record in records if "alertname" in record}
