"""kill -9 under load at random moments: nothing acknowledged is lost, nothing runs twice, nothing stays open."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from autoheal.journal.reading import replay
from autoheal.model import Kind
from autoheal.state import State, fold
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

SAMPLE, WHOLE = 25, 200
RULES = """\
version: 1
budget: [999999/1h]
rules:
  - name: touch
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 0s
    steps:
      - command: {argv: [/bin/sh, %(script)s], env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/true]}, within: 5s}}
"""
SCRIPT = """\
echo "$AUTOHEAL_IDEMPOTENCY_KEY" >> "$EFFECTS"
sleep 0.0$(($$ % 10))
"""
TERMINAL = (Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED)


class Load:
    """Posts alerts, each of its own, until it is stopped; `acked` are those that were answered 200."""

    def __init__(self, url: str) -> None:
        self.acked: set[str] = set()
        self._url = url
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._post)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _post(self) -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            # Some 150 alerts a second: each becomes a process, and the machine is to keep up.
            while not self._stop.wait(0.02):
                fingerprints = [f"{self._number + i:016x}" for i in range(3)]
                self._number += 3
                alerts = [
                    {
                        "status": "firing",
                        "labels": {"alertname": "Down", "instance": f"host-{fingerprint}"},
                        "annotations": {},
                        "startsAt": "2026-11-21T05:00:00Z",
                        "endsAt": "0001-01-01T00:00:00Z",
                        "fingerprint": fingerprint,
                    }
                    for fingerprint in fingerprints
                ]
                try:
                    answer = client.post(self._url, json={"version": "4", "alerts": alerts})
                except httpx.TransportError:
                    continue  # between two lives there is nobody to answer
                if answer.status_code == 200:
                    self.acked.update(fingerprints)


@contextmanager
def gateway(folder: Path, port: int) -> Iterator[int]:
    """A life of the gateway; the block gets its pid, and may kill it."""
    environ = {
        "PATH": os.environ["PATH"],
        "AUTOHEAL_DRY_RUN": "false",
        "AUTOHEAL_PORT": str(port),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
    }

    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    argv = [sys.executable, "-m", "autoheal", "serve"]
    with running(argv, ready, folder / "gateway.log", env=environ) as process:
        yield process.pid


def log(folder: Path) -> State:
    return fold(replay(folder / "data" / "audit.jsonl"))


def kill_and_look(folder: Path, rounds: int, seed: int) -> None:
    effects, script, port = folder / "effects", folder / "effect.sh", free_port()
    effects.touch()
    script.write_text(SCRIPT)
    (folder / "rules.yaml").write_text(RULES % {"script": script, "effects": effects})
    chance = random.Random(seed)
    load = Load(f"http://127.0.0.1:{port}/alert")
    try:
        for _ in range(rounds):
            with gateway(folder, port) as pid:
                # A random moment is the point here, not a condition.
                time.sleep(chance.uniform(0.0, 0.35))
                os.kill(pid, signal.SIGKILL)
    finally:
        load.stop()
    with gateway(folder, port):
        wait_until(lambda: all(run.ended for run in log(folder).runs.values()), seconds=90, what="every run has ended")
    records = list(replay(folder / "data" / "audit.jsonl"))
    recorded = {record.fingerprint for record in records if record.kind is Kind.ALERT_FIRING}
    assert load.acked, "the load never got through"
    assert load.acked <= recorded
    keys = Counter(effects.read_text().split())
    assert keys
    assert max(keys.values()) == 1, [key for key, count in keys.items() if count > 1]
    started = Counter((record.run, record.step) for record in records if record.kind is Kind.ACTION_STARTED)
    ended = Counter((record.run, record.step) for record in records if record.kind in TERMINAL)
    assert max(started.values()) == 1
    assert started == ended
    interrupted = sum(record.kind is Kind.ACTION_INTERRUPTED for record in records)
    print(
        f"{rounds} kills: {len(load.acked)} alerts acknowledged and all recorded, {len(started)} actions started, "
        f"{len(keys)} seen to run, {interrupted} interrupted, none twice, none open; {len(records)} records"
    )


def test_kill_sample(tmp_path: Path) -> None:
    """25 kills: each alert answered 200 is in the log, no step starts twice, every started step is closed."""
    kill_and_look(tmp_path, SAMPLE, seed=1)


@pytest.mark.hammer
@pytest.mark.timeout(1800)
def test_kill_whole(tmp_path: Path) -> None:
    """200 kills, the same promises."""
    kill_and_look(tmp_path, WHOLE, seed=random.SystemRandom().randrange(2**32))
