"""Kill -9 before, within and after every record of a run: no action runs twice, no run is lost or left open, nothing
that was acknowledged is lost, and `autoheal audit verify` finds nothing wrong.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from autoheal.journal.reading import replay
from autoheal.model import Kind
from tests.support.commands import autoheal, environment
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

RULES = """\
version: 1
budget: [999999/1h]
storm: off
defaults: {mode: live, cooldown: 0s}
rules:
  - name: ladder
    match: do="ladder"
    target: '{{ labels.instance }}'
    steps:
      - command: {argv: [/bin/sh, %(script)s], env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/false]}, within: 1ms}}
      - command: {argv: [/bin/sh, %(script)s], env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/true]}}}
  - name: fail
    match: do="fail"
    target: '{{ labels.instance }}'
    steps:
      - command: {argv: [/bin/sh, %(script)s, exit, '1'], env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/false]}, within: 1ms}}
  - name: stay
    match: do="stay"
    target: '{{ labels.instance }}'
    steps:
      - command: {argv: [/bin/sh, %(script)s, sleep, '600'], timeout: 15m, env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/true]}}}
  - name: ask
    match: do=~"ask|refuse"
    target: '{{ labels.instance }}'
    mode: approve
    steps:
      - command: {argv: [/bin/sh, %(script)s], env: {EFFECTS: %(effects)s}}
        verify: {probe: {command: {argv: [/bin/true]}}}
"""
SCRIPT = 'echo "$AUTOHEAL_IDEMPOTENCY_KEY" >> "$EFFECTS"\n"${@:-true}"\n'
DOINGS = ("ladder", "fail", "stay", "ask", "refuse")
Point = tuple[Kind, str, int]
"""Die at the n-th record of a kind in a life: before it, within it, or after it is durable."""
RECORDS = (
    (Kind.ALERT_FIRING, 1),
    (Kind.DECISION, 1),
    (Kind.ACTION_STARTED, 1),
    # Of two runs that begin together the first is begun by then: the next life finds it so.
    (Kind.ACTION_STARTED, 2),
    (Kind.ACTION_INTERRUPTED, 1),
    (Kind.ACTION_OK, 1),
    (Kind.HEAL_FAILED, 1),
    (Kind.ACTION_STARTED, 4),
    (Kind.ACTION_OK, 2),
    (Kind.HEAL_CONFIRMED, 1),
    (Kind.ACTION_FAIL, 1),
    (Kind.ESCALATED, 1),
    (Kind.APPROVAL_REQUESTED, 1),
    (Kind.APPROVAL_GRANTED, 1),
    (Kind.APPROVAL_DENIED, 1),
    (Kind.CANCEL_REQUESTED, 1),
    (Kind.ACTION_CANCELLED, 1),
    (Kind.SNAPSHOT, 1),
)
WHEN = ("after", "within", "before")
ENDS = (Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED)
LAST = (Kind.HEAL_CONFIRMED, Kind.ESCALATED, Kind.ACTION_CANCELLED, Kind.APPROVAL_DENIED)
SAMPLE, WHOLE = 1, 18
"""Kills at each record."""


class Operated:
    """A gateway that lives again and again over one log, and those who post alerts to it and answer what it asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "data" / "audit.jsonl"
        self.effects = folder / "effects"
        self.acked: set[str] = set()
        self.granted: set[str] = set()
        """Runs whose approval was answered 200."""
        self._lives = itertools.count(1)
        self._port = free_port()
        self.effects.touch()
        (folder / "effect.sh").write_text(SCRIPT)
        (folder / "rules.yaml").write_text(RULES % {"script": folder / "effect.sh", "effects": self.effects})

    @contextlib.contextmanager
    def life(self, *argv: object) -> Iterator[subprocess.Popen[bytes]]:
        environ = environment(
            {
                "AUTOHEAL_DRY_RUN": "false",
                "AUTOHEAL_PORT": str(self._port),
                "AUTOHEAL_DATA_DIR": str(self.log.parent),
                "AUTOHEAL_RULES": str(self.folder / "rules.yaml"),
                # Its runs end otherwise.
                "AUTOHEAL_SELFTEST_INTERVAL": "off",
            }
        )
        # Behind what is torn there: a line of the life before may have been cut.
        with (self.folder / "log").open("ab") as said, (self.folder / "checkpoints.jsonl").open("ab") as printed:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, argv)],
                env=environ,
                stdout=printed,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def die_at(self, point: Point) -> None:
        """One life, at whose end it is at that point: everything that a run may come to is asked of it."""
        number = next(self._lives)
        new = {f"{number:08x}{index:08x}": do for index, do in enumerate(DOINGS)}
        with self.life("tests.support.doomed_gateway", *point) as process:
            wait_until(lambda: self._is_over(process, new), seconds=30, what=f"{point} comes to pass")
            assert process.returncode == -signal.SIGKILL, (self.folder / "log").read_text()[-4000:]

    def _is_over(self, process: subprocess.Popen[bytes], new: dict[str, str]) -> bool:
        with contextlib.suppress(httpx.TransportError):
            self._operate(new)
        return process.poll() is not None

    def _operate(self, new: dict[str, str]) -> None:
        """Post what is new, and answer every run that waits for people; those who cancel look for a moment first."""
        url = f"http://127.0.0.1:{self._port}"
        with httpx.Client(base_url=url, trust_env=False, timeout=5) as http:
            if not self.acked.issuperset(new):
                alerts = [alert(one, do=do, instance=f"{do}-{one}") for one, do in new.items()]
                if http.post("/alert", json=body(*alerts)).status_code == 200:
                    self.acked |= set(new)
            # By their state: one that waits since many lives ago is no longer among the newest.
            open_runs = [
                run
                for state in ("awaiting_approval", "acting")
                for run in http.get("/runs", params={"state": state, "n": 1000}).json()["runs"]
            ]
            for run in open_runs:
                path = f"/runs/{run['id']}"
                if run["state"] == "awaiting_approval" and run["target"].startswith("ask"):
                    if http.post(f"{path}/approve", json={"plan_digest": run["plan_digest"]}).status_code == 200:
                        self.granted.add(run["id"])
                elif run["state"] == "awaiting_approval":
                    http.post(f"{path}/deny", json={})
                elif run["state"] == "acting" and run["rule"] == "stay":
                    http.post(f"{path}/cancel", json={})

    def acting(self) -> bool:
        """Whether the last life left an action that had begun and not ended: what the next one calls interrupted."""
        records = list(replay(self.log))
        begun = {(one.run, one.step) for one in records if one.kind is Kind.ACTION_STARTED}
        return bool(begun - {(one.run, one.step) for one in records if one.kind in (*ENDS, Kind.ACTION_CANCELLED)})

    def judge(self) -> str:
        """A last life in which all comes to its end; then the log and the effects are compared. What was found."""
        with self.life("autoheal", "serve") as process:

            def ended() -> bool:
                self._is_over(process, {})
                begun, over = self._runs()
                return self._served() and begun == set(over)

            wait_until(ended, seconds=60, what="every run has ended")
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        records = list(replay(self.log))
        firing = {str(record.fingerprint) for record in records if record.kind is Kind.ALERT_FIRING}
        assert self.acked <= firing, "an alert was acknowledged and is lost"
        begun, over = self._runs()
        assert begun == set(over)
        assert set(over.values()) == {1}, [run for run, count in over.items() if count > 1]
        aims = {str(record.fingerprint) for record in records if record.kind is Kind.DECISION and record.run}
        assert firing == aims, "an alert was never acted on"
        assert self.granted <= {str(record.run) for record in records if record.kind is Kind.APPROVAL_GRANTED}
        keys = Counter(self.effects.read_text().split())
        assert max(keys.values()) == 1, [key for key, count in keys.items() if count > 1]
        started = Counter((record.run, record.step) for record in records if record.kind is Kind.ACTION_STARTED)
        assert max(started.values()) == 1
        assert len(keys) <= len(started)
        ends = Counter((record.run, record.step) for record in records if record.kind in ENDS)
        cut = {(one.run, one.step) for one in records if one.kind is Kind.ACTION_CANCELLED and "action" in one.detail}
        assert set(ends) | cut == set(started)
        assert max(ends.values()) == 1
        done = autoheal("audit", "verify", self.log.parent, "--checkpoint", self.folder / "checkpoints.jsonl")
        assert done.returncode == 0, done.stdout + done.stderr
        return f"{len(begun)} runs, {len(started)} actions started, {len(keys)} executed, {len(records)} records"

    def _served(self) -> bool:
        """Whether the log's last life got so far as to take up what was left."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _runs(self) -> tuple[set[str], Counter[str]]:
        """Runs that were begun, and how many ends each has."""
        records = list(replay(self.log))
        begun = {str(record.run) for record in records if record.kind is Kind.DECISION and record.run is not None}
        return begun, Counter(str(record.run) for record in records if record.kind in LAST and record.run is not None)


def kill_and_judge(folder: Path, times: int) -> None:
    world = Operated(folder)
    points = [
        (kind, WHEN[(index + time) % 3], nth) for time in range(times) for index, (kind, nth) in enumerate(RECORDS)
    ]
    for point in points:
        if point[0] is Kind.ACTION_INTERRUPTED and not world.acting():
            world.die_at((Kind.ACTION_STARTED, "after", 2))
        world.die_at(point)
    print(f"{len(points)} kills: {world.judge()}")


def test_kill_at_records(tmp_path: Path) -> None:
    """Once at every record of a run: before, within or after it."""
    kill_and_judge(tmp_path, SAMPLE)


@pytest.mark.hammer
@pytest.mark.timeout(3600)
def test_kill_at_records_whole(tmp_path: Path) -> None:
    """Before, within and after every record of a run, again and again."""
    kill_and_judge(tmp_path, WHOLE)
