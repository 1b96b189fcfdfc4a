"""How soon the gateway is ready again on a log of 100,000 records, killed over its last run.

    .venv/bin/python benchmarks/start.py [DIRECTORY]

The log is one file that was never rotated, written through the service's own journal and ending where the next
snapshot would come: as much as can be stands behind the last one. The same records without any snapshot are read
whole. DIRECTORY is where both are written (a temporary one when absent). Ready is the first 200 of /readyz, from the
start of the process on; the time on the processor is what of that does not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from statistics import median

from autoheal.actions import Command
from autoheal.engine.deciding import decision_draft, run_draft
from autoheal.engine.intake import take_in
from autoheal.engine.ledger import Ledger
from autoheal.journal import FileJournal, snapshots
from autoheal.journal.checkpoint import Signer
from autoheal.journal.files import FILE_NAME
from autoheal.model import Alert, AlertStatus, Draft, Kind, Record
from autoheal.rules import RuleSet, load
from autoheal.rules.decide import Switches, decide
from autoheal.state import State

RECORDS = 100_000
ROUNDS = 5
REACH = 2.0
"""Seconds within which it is to be ready."""
BEGIN = 1_790_000_000.0
SWITCHES = Switches(enabled=True, dry_run=False)
RULES = """\
version: 1
budget: [60/1h]
rules:
  - name: restart-web
    match: 'alertname="TcpEndpointDown", job="web"'
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 1m
    budget: [5/1h, 20/1d]
    breaker: {failures: 3, reset: 1h}
    steps:
      - command: {argv: [/bin/true, '{{ target }}']}
        verify: {resolved_within: 5m, probe: {tcp: '{{ labels.instance }}'}}
"""


class SetClock:
    """Stands where it was set."""

    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> float:
        """See `Clock.now`."""
        return self.time

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.time += seconds


def outages(ledger: Ledger, rules: RuleSet, clock: SetClock) -> Iterator[None]:
    """What the gateway writes where every two minutes one of a hundred endpoints goes down and is restarted."""

    def told(*drafts: Draft) -> None:
        ledger.refresh()
        ledger.commit(drafts)

    for number in count():
        now = clock.time = BEGIN + number * 120.0
        labels = {"alertname": "TcpEndpointDown", "job": "web", "instance": f"10.0.0.{number % 100}:8080"}
        told_of = {"summary": "The endpoint refuses connections.", "runbook_url": "https://runbooks.example/tcp"}
        alert = Alert(AlertStatus.FIRING, f"{number % 100:016x}", labels, told_of, now - 15.0)
        told(*take_in(ledger.state, [alert], now=now, how="webhook").drafts)
        episode = ledger.state.episodes[alert.fingerprint]
        decision = decide(ledger.state, episode, rules.rules[0], rules, SWITCHES, now)
        ledger.refresh()
        run_id = f"r{ledger.state.head.seq + 1}"
        told(decision_draft(episode, decision, SWITCHES, rules.digest, run_id))
        run = ledger.state.runs[run_id]
        step = run.steps[0]
        started = {"action": "command", "description": "/bin/true", "plan": step, "plan_digest": run.plan_digest}
        told(run_draft(Kind.ACTION_STARTED, run, step=1, **started))
        yield
        ended = {"action": "command", "exit_code": 0, "duration_ms": 1234, "stdout": "restarted\n"}
        clock.time = now + 1.0
        told(run_draft(Kind.ACTION_OK, run, **ended))
        clock.time = now + 60.0
        end = Alert(AlertStatus.RESOLVED, alert.fingerprint, labels, told_of, alert.starts_at, ends_at=now + 60.0)
        told(*take_in(ledger.state, [end], now=now + 60.0, how="webhook").drafts)
        told(run_draft(Kind.HEAL_CONFIRMED, run, reason="resolved", resolved="webhook"))


async def write(folder: Path, rules: RuleSet, every: int) -> int:
    """A log in `folder` with a snapshot after `every` records, that ends just before one is due; its last seq."""
    snapshots.EVERY = every
    clock, state = SetClock(), State()
    put_down = 0

    def changed(records: Sequence[Record]) -> None:
        nonlocal put_down
        put_down = max([put_down, *(record.seq for record in records if record.kind is Kind.SNAPSHOT)])

    signer = Signer.load(folder / "keys")
    journal = FileJournal.open(folder, clock, on_durable=lambda _: None, on_replay=state.apply)
    ledger = Ledger(journal, state, clock, changed=changed, refolded=lambda: None, sign=signer.draft)
    for _ in outages(ledger, rules, clock):
        await ledger.settle()
        if journal.head.seq >= RECORDS and journal.head.seq - put_down >= every - 10:
            break
    await journal.close()
    return journal.head.seq


def ready(folder: Path, data_dir: Path) -> tuple[float, float]:
    """Seconds from the start of a gateway over `data_dir` until it is ready, and those on the processor; then it is
    killed.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "AUTOHEAL_DRY_RUN": "false",
        "AUTOHEAL_PORT": str(port),
        "AUTOHEAL_DATA_DIR": str(data_dir),
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
    }
    begin = time.perf_counter()
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "autoheal", "serve"], env=environ, stdout=output, stderr=output
        )
    try:
        while process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return time.perf_counter() - begin, processor(process.pid)
            except urllib.error.URLError:
                time.sleep(0.005)
        raise SystemExit((folder / "output").read_text()[-2000:])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def processor(pid: int) -> float:
    """Seconds that a process has spent on the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(RULES)
        rules = load(folder / "rules.yaml", actions={Command.name: Command.Params})
        logs: dict[str, Path | None] = {"an empty log": None}
        for what, every in (("that log", snapshots.EVERY), ("read whole", RECORDS)):
            logs[what] = folder / what / FILE_NAME
            (folder / what).mkdir()
            records = asyncio.run(write(folder / what, rules, every))
            size = (folder / what / FILE_NAME).stat().st_size
            print(f"{what}: {records:,} records, {size / 1e6:.0f} MB")
        print(f"ready after (the median of {ROUNDS} starts)")
        for what, log in logs.items():
            seconds, busy = [], []
            for number in range(ROUNDS):
                data_dir = folder / f"{what}-{number}"
                data_dir.mkdir()
                if log is not None:
                    shutil.copyfile(log, data_dir / FILE_NAME)
                for times, spent in zip((seconds, busy), ready(folder, data_dir), strict=True):
                    times.append(spent)
            reach = f" (to reach: {REACH:g} s)" if what == "that log" else ""
            print(
                f"  {what:<13} {median(seconds):5.2f} s, at best {min(seconds):5.2f} s, at worst {max(seconds):5.2f} s;"
                f" on the processor {median(busy):5.2f} s{reach}"
            )


if __name__ == "__main__":
    main()
