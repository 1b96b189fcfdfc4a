"""What a storm does to the gateway: 10,000 distinct alerts in ten webhooks at once, against the true process.

    .venv/bin/python benchmarks/storm.py [ALERTS [WEBHOOKS]]

All webhooks are posted at the same moment, and posted again after a 503 as Alertmanager would. Meanwhile /healthz is
asked over and over on a connection of its own; `quiet` is what it took before. The storm is over when every alert has
its decision in the log. Memory is the highest resident size less that before the storm. It fails when an alert is
lost, when people are told more or less than once, when /healthz takes 100 ms, or at 100 MiB more.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

ALERTS, WEBHOOKS = 10_000, 10
HEALTHZ_SECONDS = 0.1
RSS_MIB = 100
QUIET_SECONDS = 2.0
PAUSE_SECONDS = 0.002
RULES = """\
version: 1
rules:
  - name: restart-pod
    match: 'alertname="KubePodCrashLooping"'
    target: '{{ labels.namespace }}/{{ labels.pod }}'
    mode: live
    steps: [{command: {argv: [/bin/true, '{{ target }}']}}]
"""


def alert(number: int) -> dict[str, Any]:
    """As kube-prometheus sends it."""
    pod = f"payments-api-5d9c7b6f4d-{number:05x}"
    return {
        "status": "firing",
        "labels": {
            "alertname": "KubePodCrashLooping",
            "cluster": "eu-west-1",
            "container": "payments-api",
            "instance": "10.42.7.131:8080",
            "job": "kube-state-metrics",
            "namespace": "payments",
            "pod": pod,
            "severity": "critical",
            "uid": f"4b1c4f4e-6c5b-4f0e-9d0f-{number:012x}",
        },
        "annotations": {
            "summary": f"Pod payments/{pod} is crash looping.",
            "description": f"Pod payments/{pod} is in waiting state (CrashLoopBackOff).",
            "runbook_url": "https://runbooks.prometheus-operator.dev/runbooks/kubernetes/kubepodcrashlooping",
        },
        "startsAt": "2026-11-21T11:47:29.123456Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.monitoring.svc:9090/graph?g0.expr=max_over_time%28kube_pod_container_status_waiting_reason%5B5m%5D%29+%3E%3D+1",
        "fingerprint": f"{number:016x}",
    }


def bodies(alerts: int, webhooks: int) -> list[bytes]:
    """The alerts, shared out evenly."""
    about = {"version": "4", "status": "firing", "receiver": "autoheal", "groupLabels": {}}
    return [
        orjson.dumps({**about, "alerts": [alert(number) for number in range(first, alerts, webhooks)]})
        for first in range(webhooks)
    ]


@dataclass
class Health:
    """Asks /healthz until it is stopped; `took` are the seconds of each answer."""

    port: int
    took: list[float] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Until `stopped` is set."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stopped.wait(PAUSE_SECONDS):
            begin = time.perf_counter()
            line.request("GET", "/healthz")
            answer = line.getresponse()
            answer.read()
            if answer.status != 200:
                raise AssertionError(f"/healthz answered {answer.status}")
            self.took.append(time.perf_counter() - begin)
        line.close()


@contextmanager
def asked(port: int) -> Iterator[Health]:
    """/healthz is asked while the block lasts."""
    health = Health(port)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(health.ask)
        try:
            yield health
        finally:
            health.stopped.set()
            asking.result()


def post(port: int, body: bytes) -> int:
    """Until it is taken; how often it was refused before."""
    refused = 0
    while True:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        line.request("POST", "/alert", body, {"Content-Type": "application/json"})
        answer = line.getresponse()
        text = answer.read()
        line.close()
        if answer.status == 200:
            return refused
        if answer.status != 503:
            raise AssertionError(f"/alert answered {answer.status}: {text!r}")
        refused += 1
        time.sleep(0.1)


def memory(pid: int, name: str) -> float:
    """MiB: `VmRSS` is what is resident now, `VmHWM` the most that ever was."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def told(log: Path) -> Counter[str]:
    """How many records of each kind, decisions by their reason."""
    found: Counter[str] = Counter()
    for line in log.read_bytes().rpartition(b"\n")[0].splitlines():
        record = orjson.loads(line)
        found[" ".join(filter(None, (record["kind"], record.get("reason"))))] += 1
    return found


def answers(port: int) -> bool:
    """Whether the gateway is ready."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", "/readyz")
        return line.getresponse().status == 200
    except OSError:
        return False
    finally:
        line.close()


@contextmanager
def gateway(folder: Path) -> Iterator[tuple[int, int]]:
    """`autoheal serve`, ready: its port and its process id."""
    (folder / "rules.yaml").write_text(RULES)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_PORT": str(port),
        "AUTOHEAL_DRY_RUN": "false",
    }
    with (folder / "log").open("wb") as log:
        argv = [sys.executable, "-m", "autoheal", "serve"]
        process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
    try:
        while not answers(port):
            if process.poll() is not None:
                raise AssertionError((folder / "log").read_text())
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(60)


def measure(folder: Path, alerts: int, webhooks: int) -> bool:
    """Print a storm's figures; whether they are good enough."""
    with gateway(folder) as (port, pid):
        with asked(port) as quiet:
            time.sleep(QUIET_SECONDS)
        before, sent = memory(pid, "VmRSS"), bodies(alerts, webhooks)
        log = folder / "data" / "audit.jsonl"
        with asked(port) as health, ThreadPoolExecutor(webhooks) as senders:
            begin = time.perf_counter()
            refused = sum(senders.map(lambda body: post(port, body), sent))
            accepted = time.perf_counter() - begin
            while (size := log.read_bytes().count(b'"kind":"decision"')) < alerts:
                if time.perf_counter() - begin > 120:
                    raise AssertionError(f"only {size} of {alerts} alerts were decided on in two minutes")
                time.sleep(0.2)
            decided = time.perf_counter() - begin
        grown = memory(pid, "VmHWM") - before
        found = told(log)
    worst = max(health.took)
    print(f"accepted whole    {accepted:6.2f} s  ({webhooks} webhooks, {alerts:,} alerts, {refused} times 503)")
    print(f"decided           {decided:6.2f} s  ({found['decision storm']:,} held, {found['decision act']} acted on)")
    print(f"/healthz, worst   {worst * 1000:6.1f} ms (of {len(health.took):,}; quiet {max(quiet.took) * 1000:.1f} ms)")
    print(f"memory            {grown:6.1f} MiB more than {before:.0f}")
    print(f"escalations       {found['escalated storm']:6}")
    whole = found["alert_firing"] == alerts and found["escalated storm"] == found["storm_began"] == 1
    return whole and worst < HEALTHZ_SECONDS and grown < RSS_MIB


def main() -> int:
    """Exit 1 when a figure is worse than is promised."""
    given = [int(text) for text in sys.argv[1:3]]
    alerts, webhooks = (*given, *(ALERTS, WEBHOOKS)[len(given) :])
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(Path(folder), alerts, webhooks) else 1


if __name__ == "__main__":
    sys.exit(main())
