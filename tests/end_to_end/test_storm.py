"""A storm against the true gateway: 10,000 alerts in ten webhooks at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

ALERTS, WEBHOOKS = 10_000, 10
GROWN_MIB = 200
"""Twice what is promised: `make bench` measures that, here a program that measures coverage runs beside."""
RULES = """\
version: 1
rules:
  - name: restart
    match: 'alertname="Down"'
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/true, '{{ target }}']}}]
"""


def test_a_storm_is_taken_whole_held_and_told_of_once(tmp_path: Path) -> None:
    """Every webhook is accepted or refused whole, nothing acts, people are called once, and all the while the gateway
    answers that it lives.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    sent = [
        body(*(alert(f"{number:016x}", "it is down", instance=f"host-{number}") for number in numbers))
        for numbers in (range(first, ALERTS, WEBHOOKS) for first in range(WEBHOOKS))
    ]
    with gateway(tmp_path, port, RULES, {"AUTOHEAL_DRY_RUN": "false"}) as process:
        before = resident(process.pid, "VmRSS")
        with health(url) as answers, ThreadPoolExecutor(WEBHOOKS) as senders:
            assert list(senders.map(lambda each: post(url, each), sent)) == [ALERTS // WEBHOOKS] * WEBHOOKS
            log = tmp_path / "data" / "audit.jsonl"
            wait_until(
                lambda: log.read_bytes().count(b'"kind":"decision"') == ALERTS,
                seconds=90,
                what="a decision on each alert",
            )
        assert answers.keys() == {200}
        assert answers[200] >= WEBHOOKS
        assert resident(process.pid, "VmHWM") - before < GROWN_MIB
        once = told(tmp_path)
        # All of it again, as Alertmanager repeats it: that is no news.
        for each in sent:
            post(url, each)
        assert told(tmp_path)["alert_firing"] == ALERTS
    assert once["alert_firing"] == ALERTS
    assert once["storm_began"] == once["escalated storm"] == 1
    assert {kind for kind in once if kind.startswith(("decision", "action"))} == {"decision storm"}


def post(url: str, notification: dict[str, Any]) -> int:
    """Until it is taken, as Alertmanager does it; how many alerts were, at once."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        while (answer := client.post(f"{url}/alert", json=notification)).status_code == 503:
            assert answer.headers["retry-after"]
        return int(answer.raise_for_status().json()["accepted"])


@contextmanager
def health(url: str) -> Iterator[Counter[int]]:
    """/healthz is asked over and over while the block lasts; how often it answered what."""
    answers: Counter[int] = Counter()
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not ended.wait(0.01):
                answers[client.get(f"{url}/healthz").status_code] += 1

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield answers
        finally:
            ended.set()
            asking.result()


def resident(pid: int, name: str) -> float:
    """MiB: `VmRSS` is what is resident now, `VmHWM` the most that ever was."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def told(folder: Path) -> Counter[str]:
    """How many records of each kind and reason there are."""
    lines = (folder / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
    records = [orjson.loads(line) for line in lines]
    return Counter(f"{record['kind']} {record.get('reason', '')}".strip() for record in records)
