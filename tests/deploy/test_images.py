"""The two images, built as people build them, on a real Docker Engine, from bases made of this machine's programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoheal import __version__
from tests.support import images
from tests.support.dockers import DockerEngine, docker_engine
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until
from tests.support.tools import checked

pytestmark = [pytest.mark.component, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--network", "host")
SIDECAR = ("--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE", "--cap-add=FOWNER", "--cap-add=SETGID", "--cap-add=SETUID")
RULES = """\
version: 1
rules:
  - name: say
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    steps:
      - command: {argv: [/bin/sh, -c, 'echo healed > /tmp/healed']}
        verify: {probe: {command: {argv: [/bin/true]}, within: 5s}}
"""


@dataclass(frozen=True)
class Docker:
    """The client that people use, on a private Engine."""

    engine: DockerEngine

    def __call__(self, *arguments: str | Path) -> str:
        return checked("docker", *arguments, env={"DOCKER_HOST": self.engine.host}).strip()

    def logs(self, container: str) -> str:
        """All that it said."""
        return self.engine.ask("GET", f"/containers/{container}/logs", params={"stdout": "true", "stderr": "true"})

    def state(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("inspect", "--format", "{{json .State}}", container))
        return found


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """An Engine that has built both images."""
    folder, context = tmp_path_factory.mktemp("engine"), images.checkout(tmp_path_factory.mktemp("checkout"))
    images.wheels(context / "wheels")
    with docker_engine(folder, builds=True) as engine:
        images.load(engine, "python:test", images.python_base())
        images.load(engine, "alpine:test", images.alpine_base())
        images.build(engine, "autoheal:test", context, BASE="python:test", PIP_NO_INDEX="1", REVISION="4f2a")
        images.build(engine, "autoheal-logrotate:test", context / "logrotate", BASE="alpine:test")
        yield Docker(engine)


@dataclass(frozen=True)
class Running:
    """A container of the gateway with named volumes, and where it answers."""

    docker: Docker
    name: str
    url: str

    def alive(self) -> bool:
        return bool(self.docker.state(self.name)["Running"])

    def run(self, *argv: str) -> str:
        """Run a program in it."""
        return self.docker("exec", self.name, *argv)


@pytest.fixture
def gateway(docker: Docker, tmp_path: Path) -> Iterator[Running]:
    """One that runs hardened, as the stack runs it; its volumes are gone afterwards."""
    port = free_port()
    # Not the test's own folder, which only root may enter.
    rules = tmp_path / "rules"
    rules.mkdir(mode=0o755)
    (rules / "rules.yaml").write_text(RULES)
    settings = {"AUTOHEAL_HOST": "127.0.0.1", "AUTOHEAL_PORT": str(port), "AUTOHEAL_DRY_RUN": "false"}
    environment = [f"--env={name}={value}" for name, value in settings.items()]
    volumes = [
        "-v",
        "data:/var/lib/autoheal",
        "-v",
        "keys:/var/lib/autoheal-keys",
        "-v",
        f"{rules}:/etc/autoheal:ro",
    ]
    docker("run", "-d", "--name", "gateway", "--tmpfs", "/tmp", *HARDENED, *environment, *volumes, "autoheal:test")
    running = Running(docker, "gateway", f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: answers(f"{running.url}/readyz") or not running.alive(), what="an answer of the container")
        assert running.alive(), docker.logs("gateway")
        yield running
    finally:
        docker.engine.clear()
        docker("volume", "rm", "data", "keys")


def test_it_heals_hardened_and_stops_in_good_order(gateway: Running) -> None:
    """Nobody's user, no capability, nothing to write but its volumes: healthy, acts, and ends with 0 on SIGTERM."""
    posted = httpx.post(f"{gateway.url}/alert", json=body(alert("a" * 16, instance="web")), trust_env=False)
    assert posted.status_code == 200
    wait_until(lambda: "heal_confirmed" in gateway.run("cat", "/var/lib/autoheal/audit.jsonl"), what="a heal")
    assert gateway.run("cat", "/tmp/healed") == "healed"
    assert gateway.run("id", "-u") == "10001"
    assert "CapEff:\t0000000000000000" in gateway.run("cat", "/proc/1/status")
    with pytest.raises(AssertionError, match="Read-only file system"):
        gateway.run("touch", "/opt/autoheal/there")
    wait_until(lambda: gateway.docker.state("gateway")["Health"]["Status"] == "healthy", what="health")
    gateway.docker("stop", "--time", "30", "gateway")
    assert gateway.docker.state("gateway")["ExitCode"] == 0


def test_it_comes_back_after_a_kill(gateway: Running) -> None:
    """What it knew is in its volumes: the log goes on and is whole."""
    gateway.docker("kill", "gateway")
    gateway.docker("start", "gateway")
    wait_until(lambda: answers(f"{gateway.url}/readyz"), what="an answer after the kill")
    assert "service_started" in gateway.run("autoheal", "audit", "query", "kind=service_started")
    gateway.run("autoheal", "audit", "verify")


def test_the_sidecar_rotates_and_sees_no_key(gateway: Running) -> None:
    """What the crontab runs, with the sidecar's rights: the log is put away, nothing is lost, and no key is there."""
    docker = gateway.docker
    docker(
        "run", "-d", "--name", "sidecar", *HARDENED, *SIDECAR, "-v", "data:/var/lib/autoheal", "autoheal-logrotate:test"
    )
    command = (ROOT / "logrotate" / "crontab").read_text().splitlines()[-1].split(maxsplit=5)[5]
    for number in (1, 2):
        # By name, a file is put away once a second at most.
        second = docker("exec", "sidecar", "date", "+%s")
        wait_until(lambda before=second: docker("exec", "sidecar", "date", "+%s") != before, what="the next second")
        # Nothing of the log is old enough yet.
        docker("exec", "sidecar", *shlex.split(command), "--force")
        told = body(alert(f"{number:016x}", instance="db"))
        assert httpx.post(f"{gateway.url}/alert", json=told, trust_env=False).status_code == 200
        wait_until(lambda: "log_opened" in gateway.run("cat", "/var/lib/autoheal/audit.jsonl"), what="a fresh file")
    put_away = gateway.run("sh", "-c", "ls /var/lib/autoheal/").split()
    assert any(name.startswith("audit.jsonl-") and name.endswith(".gz") for name in put_away)
    gateway.run("autoheal", "audit", "verify")
    assert "checkpoint.pem" in gateway.run("ls", "/var/lib/autoheal-keys")
    assert (
        docker("exec", "sidecar", "find", "/", "-xdev", "-name", "checkpoint*.pem", "-not", "-name", "*.pub.pem") == ""
    )
    assert docker.state("sidecar")["Running"]


def test_the_image_has_what_it_needs_and_no_more(docker: Docker) -> None:
    """The console, the encryption and the right version; no pip of ours, no source tree, no secrets of the context."""
    run = ("run", "--rm", "--network", "none", "--entrypoint")
    assert docker(*run, "autoheal", "autoheal:test", "--version") == f"autoheal {__version__}"
    listed = docker(*run, "find", "autoheal:test", "/opt", "/etc/autoheal", "-type", "f").splitlines()
    assert "build" not in docker(*run, "ls", "autoheal:test", "/").split()
    assert any(name.endswith("/autoheal/_console/index.html") for name in listed)
    assert any(name.endswith("/pyrage/__init__.py") for name in listed)
    assert not [name for name in listed if "/pip/" in name or name.startswith("/etc/autoheal/")]
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", "autoheal:test"))
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == "4f2a"
