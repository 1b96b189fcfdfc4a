"""The production stack, built and brought up as docs/deployment.md says, on a real Docker Engine without a network.

The bases of the two images are made of this machine's programs, as are the images of others (tests/support/compose.py).
What is heard and done is real: Prometheus scrapes, Alertmanager posts, autoheal asks the Engine through the proxy.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from ruamel.yaml import YAML

from autoheal import __version__
from tests.support import images
from tests.support.compose import NOBODY, Stack, compose, load_stand_ins
from tests.support.dockers import docker_engine
from tests.support.processes import wait_until
from tests.support.tools import checked

pytestmark = [pytest.mark.component, pytest.mark.timeout(400)]

ENVIRONMENT = {
    "AUTOHEAL_BASE": "python:test",
    "LOGROTATE_BASE": "alpine:test",
    "AUTOHEAL_DRY_RUN": "false",
    "COMPOSE_PROFILES": "docker-socket-proxy",
    "AUTOHEAL_DOCKER_HOST": "tcp://docker-socket-proxy:2375",
}
RULES = """\
version: 1
rules:
  - name: restart-container
    match: alertname="TargetDown", job="shop"
    target: '{{ labels.job }}'
    allow_target: shop
    mode: live
    steps:
      - docker: {restart: '{{ target }}', stop_timeout: 1s}
        verify: {resolved_within: 2m}
"""
ALERTS = """\
groups:
  - name: shop
    rules:
      - {alert: TargetDown, expr: 'up{job="shop"} == 0'}
"""
SCRAPED = """\
  - job_name: shop
    metrics_path: /metrics.txt
    static_configs:
      - targets: [shop:8080]
"""
OVERRIDE = """\
# No network for builds; checks each second, so that nothing waits for ten; and something that can crash.
services:
  autoheal: {build: {network: none, args: {PIP_NO_INDEX: "1", REVISION: 4f2a}}, healthcheck: {interval: 1s}}
  autoheal-logrotate: {build: {network: none}}
  prometheus: {healthcheck: {interval: 1s}}
  alertmanager: {healthcheck: {interval: 1s}}
  grafana: {healthcheck: {interval: 1s}}
  docker-socket-proxy:
    volumes: [{type: bind, source: "SOCKET", target: /var/run/docker.sock}]
  shop:
    image: busybox:test
    container_name: shop
    command: [/bin/busybox, httpd, -f, -p, "8080", -h, /srv]
    volumes: ["./shop:/srv:ro"]
    networks: [monitoring]
"""
YESTERDAY = 'logrotate state -- version 2\n"/var/lib/autoheal/audit.jsonl" 2026-1-1-0:0:0\n'
FIVE_CAPABILITIES = "00000000000000cb"  # CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID: bits 0, 1, 3, 6, 7


def fill_in(folder: Path, socket: str) -> dict[str, Any]:
    """What docs/deployment.md asks for in a fresh checkout; and no wait is long: rotation comes each minute.

    The services of the stack are returned.
    """
    example = (folder / ".env.example").read_text()
    for name, value in ENVIRONMENT.items():
        example, found = re.subn(rf"^{name}=.*$", f"{name}={value}", example, flags=re.MULTILINE)
        assert found == 1, name
    (folder / ".env").write_text(f"{example}COMPOSE_FILE=docker-compose.prod.yml:test.yml\n")
    for file, text in {
        "rules/rules.yaml": RULES,
        "secrets/oidc_client_secret": "a client's secret",
        "secrets/grafana_admin_password": "a password\n",
        "shop/metrics.txt": "shop_open 1\n",
        "deploy/prometheus/shop.rules.yml": ALERTS,
        "test.yml": OVERRIDE.replace("SOCKET", socket),
    }.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(text)
    (folder / "secrets").chmod(0o700)
    for file, slow, fast, more in [
        ("deploy/compose/prometheus.yml", "15s", "1s", SCRAPED),
        ("deploy/compose/alertmanager.yml", "group_wait: 5s", "group_wait: 1s", ""),
        ("deploy/compose/alertmanager.yml", "group_interval: 10s", "group_interval: 2s", ""),
        ("logrotate/crontab", "\n10 2 * * *", "\n* * * * *", ""),
    ]:
        text = (folder / file).read_text()
        assert slow in text, file
        (folder / file).write_text(text.replace(slow, fast) + more)
    services: dict[str, Any] = YAML(typ="safe").load(folder / "docker-compose.prod.yml")["services"]
    return services


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One that is up, and whose log was last rotated long ago."""
    argv, folder = compose(), tmp_path_factory.mktemp("stack")
    (folder / "engine").mkdir()
    checkout = folder / "checkout"
    checkout.mkdir()
    images.checkout(checkout)
    images.wheels(checkout / "wheels")
    with docker_engine(folder / "engine", builds=True, apart=True) as engine:
        services = fill_in(checkout, engine.host.removeprefix("unix://"))
        load_stand_ins(engine, services, folder / "proxy")
        made = Stack(engine, checkout, tuple(argv))
        made("up", "-d", "--build", "--wait", seconds=300)
        made.run("autoheal-logrotate", "sh", "-c", f"echo '{YESTERDAY}' >/var/lib/autoheal/logrotate.status")
        yield made


def status(stack: Stack, method: str, path: str) -> int:
    """What somebody on the stack's machine is answered at the port that is opened there."""
    network = f"--net=/proc/{stack.pid}/ns/net"
    asks = f"import httpx; print(httpx.request('{method}', 'http://127.0.0.1:9009{path}', trust_env=False).status_code)"
    return int(checked("nsenter", network, sys.executable, "-c", asks))


def raise_alert(stack: Stack, name: str) -> None:
    """Tell Alertmanager of an alert that no rule is for."""
    stack.run("alertmanager", "amtool", "alert", "add", name, "--alertmanager.url=http://127.0.0.1:9093")


def heard(stack: Stack, name: str) -> bool:
    """Whether autoheal has recorded that alert."""
    return any(f'"kind":"alert_firing","alertname":"{name}"' in text for text in stack.log_files().values())


def assert_whole(stack: Stack) -> None:
    """The chain is unbroken over all files, and no number is missing."""
    stack.run("autoheal", "autoheal", "audit", "verify")
    numbers = [record["seq"] for record in stack.records()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_it_comes_up_in_order(stack: Stack) -> None:
    """Each service begins when those are healthy that it asks."""
    begun = {
        name: stack.told(name)["State"]["StartedAt"] for name in ("autoheal", "alertmanager", "prometheus", "grafana")
    }
    assert list(begun) == sorted(begun, key=begun.__getitem__)
    for name in begun:
        assert stack.told(name)["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize(
    ("service", "user", "capabilities"),
    [
        ("autoheal", 10001, "0" * 16),
        ("autoheal-logrotate", 0, FIVE_CAPABILITIES),
        ("prometheus", NOBODY, "0" * 16),
        ("alertmanager", NOBODY, "0" * 16),
        ("grafana", 472, "0" * 16),
        ("docker-socket-proxy", 0, "0" * 16),
    ],
)
def test_services_run_hardened(stack: Stack, service: str, user: int, capabilities: str) -> None:
    """As the kernel sees them: whose they are, what they may, and that they cannot write where they come from."""
    told = stack.told(service)
    process = dict(
        re.findall(r"^(\w+):\t(.*)$", Path(f"/proc/{told['State']['Pid']}/status").read_text(), re.MULTILINE)
    )
    assert process["Uid"].split() == [str(user)] * 4
    assert (process["CapEff"], process["CapBnd"]) == (capabilities, capabilities)
    assert process["NoNewPrivs"] == "1"
    with pytest.raises(AssertionError, match="Read-only file system"):
        stack.run(service, "touch", "/bin/there")
    volumes = {mount["Destination"] for mount in told["Mounts"] if mount["RW"]}
    assert ("/var/lib/autoheal-keys" in volumes) is (service == "autoheal")


def test_alerts_are_taken_from_alertmanager_alone(stack: Stack) -> None:
    """Whoever comes through the opened port sees that it is ready, and can neither post an alert nor read the log."""
    assert status(stack, "GET", "/readyz") == 200
    assert status(stack, "POST", "/alert") == 403
    assert status(stack, "GET", "/audit") == 401


def test_it_can_test_itself_and_be_looked_into(stack: Stack) -> None:
    """Behind its allowlist, and without a token, an alert gets all the way through; and what a restart would wipe out
    can be gathered, though the file system is read-only and all rights are gone.
    """
    told = orjson.loads(stack.run("autoheal", "sh", "-c", "autoheal selftest --json || true"))
    found = {check["check"]: (check["ok"], check["text"]) for check in told["checks"]}
    assert found["alert"] == (True, "alert_firing, decision, action_dry_run")
    assert found["alertmanager"] == (True, "it answered")
    assert {name for name, (ok, _) in found.items() if ok is False} <= {"keys"}, found  # there is no provider
    gathered = stack.run("autoheal", "autoheal", "incident", "/var/lib/autoheal/incident-1")
    for part in ("threads", "process", "settings", "verify", "records"):
        assert re.search(rf"^ok +{part} ", gathered, re.MULTILINE), gathered
    bundle = stack.run("autoheal", "sh", "-c", "cd /var/lib/autoheal && cat incident-1/* && rm -r incident-1*")
    assert "of the running service, pid " in bundle
    assert "a client's secret" not in bundle


def test_a_crashed_container_is_healed(stack: Stack) -> None:
    """Prometheus misses it, Alertmanager tells, autoheal restarts it through the proxy, and sees the alert go away."""
    crashed = stack.told("shop")
    os.kill(crashed["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: '"kind":"heal_confirmed"' in "".join(stack.log_files().values()), seconds=90, what="a heal")
    healed = stack.told("shop")
    assert (healed["Id"], healed["State"]["Running"]) == (crashed["Id"], True)
    assert healed["State"]["StartedAt"] > crashed["State"]["StartedAt"]
    (done,) = stack.records("kind=action_ok")
    assert (done["target"], done["detail"]["before"]["exit_code"]) == ("shop", 137)


def test_kills_lose_nothing(stack: Stack) -> None:
    """After a crash the Engine begins it anew, after `docker kill` a person does; what came meanwhile is in the log."""
    raise_alert(stack, "BeforeTheCrash")
    wait_until(lambda: heard(stack, "BeforeTheCrash"), seconds=60, what="the first alert")
    os.kill(stack.told("autoheal")["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: stack.told("autoheal")["RestartCount"] == 1, what="the Engine's restart")
    stack("kill", "autoheal")
    assert stack.told("autoheal")["State"]["ExitCode"] == 128 + signal.SIGKILL
    raise_alert(stack, "WhileItIsDead")
    stack("up", "-d", "--wait", "autoheal")
    wait_until(lambda: heard(stack, "WhileItIsDead"), seconds=60, what="the second alert")
    assert heard(stack, "BeforeTheCrash")
    assert len(stack.records("kind=service_started")) >= 2
    assert_whole(stack)


def test_it_stops_in_good_order(stack: Stack) -> None:
    """It ends with 0 on SIGTERM, before anybody loses patience, and the log says so last."""
    stack("stop", "autoheal")
    assert stack.told("autoheal")["State"]["ExitCode"] == 0
    stack("up", "-d", "--wait", "autoheal")
    # Rotation may have had its turn meanwhile.
    kinds = [record["kind"] for record in stack.records("NOT kind IN (checkpoint, log_opened, snapshot)")]
    assert kinds[: kinds.index("service_stopped") + 2][-2:] == ["service_stopped", "service_started"]


def test_rotation_loses_nothing(stack: Stack) -> None:
    """Crond's turn puts the log away and a second one compresses that; autoheal goes on in a fresh file."""

    def files(pattern: str) -> list[str]:
        return [name for name in stack.log_files() if re.fullmatch(pattern, name)]

    wait_until(lambda: bool(files(r"audit\.jsonl-\d{8}-\d+")), seconds=90, what="rotation")
    raise_alert(stack, "AfterTheRotation")
    wait_until(lambda: heard(stack, "AfterTheRotation"), seconds=60, what="an alert in the next file")
    crontab = (stack.folder / "logrotate" / "crontab").read_text()
    stack.run("autoheal-logrotate", *shlex.split(crontab.splitlines()[-1].split(maxsplit=5)[5]), "--force")
    assert files(r"audit\.jsonl-\d{8}-\d+\.gz")
    wait_until(lambda: bool(files(r"audit\.jsonl")), what="the third file")
    assert_whole(stack)
    assert heard(stack, "AfterTheRotation")


def test_rotation_cannot_read_the_signing_keys(stack: Stack) -> None:
    """They are there for autoheal; all of the sidecar's files have none."""
    assert "checkpoint.pem" in stack.run("autoheal", "ls", "/var/lib/autoheal-keys").split()
    search = (
        "find",
        "/",
        "(",
        "-path",
        "/proc",
        "-o",
        "-path",
        "/sys",
        ")",
        "-prune",
        "-o",
        "-name",
        "*.pem",
        "-print",
    )
    found = stack.run("autoheal-logrotate", *search).splitlines()
    assert not [name for name in found if not name.endswith(".pub.pem")]


def test_the_image_has_what_it_needs_and_no_more(stack: Stack) -> None:
    """The console, the encryption and the right version; nothing of how it was built, no secrets of the context."""
    assert stack.run("autoheal", "autoheal", "--version") == f"autoheal {__version__}"
    assert "build" not in stack.run("autoheal", "ls", "/").split()
    listed = stack.run("autoheal", "find", "/opt", "/etc/autoheal", "-type", "f").splitlines()
    assert any(name.endswith("/autoheal/_console/index.html") for name in listed)
    assert any(name.endswith("/pyrage/__init__.py") for name in listed)
    assert not [name for name in listed if re.search("/(pip|hatchling|setuptools)/", name)]
    assert [name for name in listed if name.startswith("/etc/")] == ["/etc/autoheal/rules.yaml"]
    labels = stack.engine.ask("GET", f"/images/autoheal:{__version__}/json")["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == "4f2a"
