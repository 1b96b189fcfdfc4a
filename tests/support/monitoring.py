"""Real Prometheus and Alertmanager, a real service that they watch, and the gateway between them: all on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from ruamel.yaml import YAML

from autoheal.demo import service
from tests.support.components import require
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

ROOT = Path(__file__).parents[2]
ALERTMANAGER_EXAMPLE = ROOT / "deploy" / "alertmanager.yml"

ALERTS = """\
groups:
  - name: targets
    interval: 1s
    rules:
      - alert: TargetDown
        expr: up{job="target"} == 0
        labels: {severity: critical}
        annotations: {summary: '{{ $labels.instance }} is down'}
"""


def answers(url: str) -> bool:
    """Whether `url` is answered 200 now."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@dataclass(frozen=True)
class Target:
    """A daemon that Prometheus scrapes; the gateway's rule starts it by `argv` again."""

    port: int
    pidfile: Path

    @property
    def argv(self) -> list[str]:
        return [sys.executable, service.__file__, str(self.port), str(self.pidfile)]

    @property
    def pid(self) -> int | None:
        """Of the process that answers; None while it is dead."""
        return service.pid_at(self.port)

    def kill(self) -> None:
        """SIGKILL, and wait until nobody answers."""
        service.kill(self.port, self.pidfile)
        wait_until(lambda: self.pid is None, what="the target's death")


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    """A running target; whatever runs in its place at the end is killed."""
    made = Target(steady_port(), folder / "target.pid")
    subprocess.run(made.argv, check=True)
    try:
        yield made
    finally:
        service.kill(made.port, made.pidfile)


def steady_port() -> int:
    """A free port that the system lends to no client, as `free_port`'s are: the target is dead for a while."""
    for port in range(28080, 28280):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port of 127.0.0.1 from 28080 to 28279 is free")


@contextmanager
def alertmanager(
    folder: Path,
    port: int,
    receiver: str,
    cluster: Sequence[str] = ("--cluster.listen-address=",),
    *,
    people: str | None = None,
) -> Iterator[None]:
    """Alertmanager as deploy/alertmanager.yml configures it, but posting to `receiver`, and in seconds; alone unless
    `cluster`, options of its command line, say otherwise.

    `people` is where the webhook of those stands whom it calls; by default nobody is called.
    """
    yaml = YAML(typ="safe")
    config = yaml.load(ALERTMANAGER_EXAMPLE)
    soon = {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "1s"}
    config["route"] |= soon
    config["route"]["routes"][0] |= soon
    config["route"]["routes"][-1] |= soon
    config["route"]["routes"][1] |= {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1s"}
    config["receivers"][0]["webhook_configs"][0]["url"] = receiver
    if people is not None:
        config["receivers"][1]["webhook_configs"] = [{"url": people}]
    file = folder / "alertmanager.yml"
    yaml.dump(config, file)
    argv = [
        require("prometheus-alertmanager"),
        f"--config.file={file}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *cluster,
    ]
    with running(argv, lambda: answers(f"http://127.0.0.1:{port}/-/ready"), folder / "alertmanager.log"):
        yield


@contextmanager
def prometheus(
    folder: Path, port: int, alertmanager_port: int, jobs: Mapping[str, int], *others: int, resend: int = 1
) -> Iterator[None]:
    """Prometheus scraping each of `jobs` (a name and a port), with one alert: TargetDown for the job `target`.

    It tells the Alertmanager at `alertmanager_port`, and those at the ports `others`, every `resend` seconds.
    """
    (folder / "alerts.yml").write_text(ALERTS)
    config = {
        # With one second, a busy machine makes a living target look dead.
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "alerts.yml")],
        "alerting": {
            "alertmanagers": [
                {"static_configs": [{"targets": [f"127.0.0.1:{each}" for each in (alertmanager_port, *others)]}]}
            ]
        },
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}
            for name, scraped in jobs.items()
        ],
    }
    file = folder / "prometheus.yml"
    YAML(typ="safe").dump(config, file)
    argv = [
        require("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--rules.alert.resend-delay={resend}s",
    ]
    with running(argv, lambda: answers(f"http://127.0.0.1:{port}/-/ready"), folder / "prometheus.log"):
        yield


SERVE = (sys.executable, "-m", "autoheal", "serve")


@contextmanager
def gateway(
    folder: Path, port: int, rules: str, env: Mapping[str, str], argv: Sequence[str] = SERVE
) -> Iterator[subprocess.Popen[bytes]]:
    """`autoheal serve` on `port`, its data in FOLDER/data; at the end it must stop in good order.

    What it prints, checkpoints, is in FOLDER/checkpoints.jsonl.
    """
    with doomed(folder, port, rules, env, argv) as process:
        yield process
    assert process.returncode == 0, (folder / "gateway.log").read_text()


@contextmanager
def doomed(
    folder: Path, port: int, rules: str, env: Mapping[str, str], argv: Sequence[str] = SERVE
) -> Iterator[subprocess.Popen[bytes]]:
    """As `gateway`, for one that is killed meanwhile."""
    (folder / "rules.yaml").write_text(rules)
    settings = {
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_PORT": str(port),
        # Tests say what the log tells; those of the self-test ask for it.
        "AUTOHEAL_SELFTEST_INTERVAL": "off",
        **env,
    }
    ready, log, printed = f"http://127.0.0.1:{port}/readyz", folder / "gateway.log", folder / "checkpoints.jsonl"
    environ = {**os.environ, **settings}
    with running(argv, lambda: answers(ready), log, env=environ, printed=printed) as process:
        yield process


@dataclass(frozen=True)
class World:
    """All of it, running."""

    target: Target
    prometheus: str
    alertmanager: str
    gateway: str
    log: Path

    def records(self) -> list[dict[str, Any]]:
        """The audit log, record by record."""
        return [orjson.loads(line) for line in self.log.read_bytes().rpartition(b"\n")[0].splitlines()]

    def kinds(self) -> list[str]:
        """What the log tells of alerts and of what was done about them, in its order."""
        return [record["kind"] for record in self.records() if "alertname" in record]

    def measured(self, query: str) -> float | None:
        """Prometheus's own answer to `query`: the only sample's value, or None when there is none."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": query}, timeout=5, trust_env=False)
        result = answer.raise_for_status().json()["data"]["result"]
        assert len(result) <= 1, f"{query} has more than one sample"
        return float(result[0]["value"][1]) if result else None


@contextmanager
def world(folder: Path, rules: str, *, dry_run: bool) -> Iterator[World]:
    """Everything started, and the target seen alive by Prometheus. In `rules`, ARGV is what starts the target."""
    prometheus_port, alertmanager_port, gateway_port = free_port(), free_port(), free_port()
    env = {
        "AUTOHEAL_DRY_RUN": "true" if dry_run else "false",
        "ALERTMANAGER_URL": f"http://127.0.0.1:{alertmanager_port}",
        "PROMETHEUS_URL": f"http://127.0.0.1:{prometheus_port}",
    }
    with ExitStack() as stack:
        watched = stack.enter_context(target(folder))
        rules = rules.replace("ARGV", orjson.dumps(watched.argv).decode())
        stack.enter_context(gateway(folder, gateway_port, rules, env))
        stack.enter_context(alertmanager(folder, alertmanager_port, f"http://127.0.0.1:{gateway_port}/alert"))
        jobs = {"target": watched.port, "autoheal": gateway_port}
        stack.enter_context(prometheus(folder, prometheus_port, alertmanager_port, jobs))
        made = World(
            target=watched,
            prometheus=f"http://127.0.0.1:{prometheus_port}",
            alertmanager=f"http://127.0.0.1:{alertmanager_port}",
            gateway=f"http://127.0.0.1:{gateway_port}",
            log=folder / "data" / "audit.jsonl",
        )
        wait_until(lambda: made.measured('up{job="target"}') == 1, seconds=30, what="a scrape of the target")
        yield made
