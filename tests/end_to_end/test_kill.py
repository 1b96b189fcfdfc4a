"""kill -9 under load at random moments: nothing acknowledged is lost, nothing runs twice, nothing stays open,
and `autoheal audit verify` finds nothing wrong.
"""

from __future__ import annotations

import os
import random
import signal
import sys
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
from tests.support.commands import autoheal
from tests.support.ports import free_port
from tests.support.posting import Load
from tests.support.processes import running, wait_until

SAMPLE, WHOLE = 25, 200
RULES = """\
version: 1
budget: [999999/1h]
storm: off
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
    printed = folder / "checkpoints.jsonl"
    with running(argv, ready, folder / "gateway.log", env=environ, printed=printed) as process:
        yield process.pid


def log(folder: Path) -> State:
    return fold(replay(folder / "data" / "audit.jsonl"))


def kill_and_look(folder: Path, rounds: int, seed: int) -> None:
    effects, script, port = folder / "effects", folder / "effect.sh", free_port()
    effects.touch()
    script.write_text(SCRIPT)
    (folder / "rules.yaml").write_text(RULES % {"script": script, "effects": effects})
    chance = random.Random(seed)
    # Some 150 alerts a second: each becomes a process, and the machine is to keep up.
    with Load(f"http://127.0.0.1:{port}") as load:
        for _ in range(rounds):
            with gateway(folder, port) as pid:
                # A random moment is the point here, not a condition.
                time.sleep(chance.uniform(0.0, 0.35))
                os.kill(pid, signal.SIGKILL)
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
    done = autoheal("audit", "verify", folder / "data", "--checkpoint", folder / "checkpoints.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    interrupted = sum(record.kind is Kind.ACTION_INTERRUPTED for record in records)
    print(
        f"{rounds} kills: {len(load.acked)} alerts acknowledged and all recorded, {len(started)} actions started, "
        f"{len(keys)} seen to run, {interrupted} interrupted, none twice, none open; {len(records)} records"
    )


def test_kill_sample(tmp_path: Path) -> None:
    """25 kills: each alert answered 200 is in the log, no step starts twice, every started step is closed; the log
    verifies, also against the checkpoints that left the service.
    """
    kill_and_look(tmp_path, SAMPLE, seed=1)


@pytest.mark.hammer
@pytest.mark.timeout(1800)
def test_kill_whole(tmp_path: Path) -> None:
    """200 kills, the same promises."""
    kill_and_look(tmp_path, WHOLE, seed=random.SystemRandom().randrange(2**32))
