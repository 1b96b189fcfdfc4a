"""The console's state: the same function of the log as the service's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson

from autoheal.journal.record import seal
from autoheal.model import Draft, Kind, Mode, Reason, Record, rfc3339
from autoheal.state import State
from autoheal.state import whole as service
from autoheal.state.selftests import SELFTESTS
from autoheal.web.state import ENDED_SHOWN, page
from tests.support.components import require
from tests.support.engine import Api, Stage
from tests.test_state import NOW, PLAN, legal

FOLDING = Path(__file__).parent / "folding.mjs"
LOGS = 300


def case(records: Sequence[Record], cuts: Callable[[int], bool] = lambda _: True) -> bytes:
    """The log and what `GET /state` answers after the records at `cuts`, as a line for the other language."""
    state, answers = State(), []
    for count, record in enumerate(records, 1):
        state.apply(record)
        if cuts(count) or count == len(records):
            head = {"seq": state.head.seq, "ts": state.head.ts, "log": records[0].hash[:16]}
            answers.append((count, orjson.loads(orjson.dumps({"head": head, "state": page(state)}))))
    return orjson.dumps({"records": [orjson.loads(record.line) for record in records], "answers": answers})


def compared(tmp_path: Path, cases: Sequence[bytes]) -> list[str]:
    """The kinds that the console folds, once it has made the same of all `cases`."""
    file = tmp_path / "cases.jsonl"
    file.write_bytes(b"\n".join(cases))
    done = subprocess.run([require("node"), FOLDING, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    kinds: list[str] = orjson.loads(done.stdout)
    return kinds


def random_log(seed: int) -> list[Record]:
    """Records that the engine could write, as test_state.py makes them, some twice as long."""
    random = Random(seed)
    state, now = State(), NOW
    records: list[Record] = []
    for _ in range(random.choice([10, 30, 60, 120])):
        now += random.choice([0.0, 0.000001, 1.5, 3600.0, 86_400.0])
        draft = random.choice(legal(state))
        records.append(seal(draft, state.head, now))
        state.apply(records[-1])
    return records


def test_random_logs_fold_alike(tmp_path: Path) -> None:
    """Some hundred logs of everything that the engine could write: from the beginning to any record, and from the
    service's own answer at any record to the end, in one go and one by one; and both fold the same kinds.
    """
    logs = [random_log(seed) for seed in range(LOGS)]
    kinds = compared(tmp_path, [case(log, lambda count: count % 7 == 1) for log in logs])
    # How self-tests went no page shows.
    assert kinds == sorted(service.CHANGES.keys() - SELFTESTS.keys())
    seen = {record.kind for log in logs for record in log}
    never = set(service.CHANGES) - seen
    assert never <= {Kind.SPACE_LOW, Kind.SPACE_OK}, "legal() does not make these"


def test_only_the_newest_ended_runs_are_kept(tmp_path: Path) -> None:
    """As many as the service shows; of those no plan."""
    state = State()
    records: list[Record] = []

    def write(draft: Draft) -> None:
        records.append(seal(draft, state.head, NOW + len(records)))
        state.apply(records[-1])

    for _ in range(ENDED_SHOWN + 3):
        write(legal(state)[0])
        about: dict[str, Any] = {"fingerprint": "f1", "episode": state.episodes["f1"].id, "rule": "r", "target": "t"}
        run = f"r{state.head.seq + 1}"
        detail = {"plan": {**PLAN, "target": "t"}, "plan_digest": "d"}
        write(Draft(kind=Kind.DECISION, reason=Reason.DRY_RUN, mode=Mode.DRY_RUN, run=run, detail=detail, **about))
        write(Draft(kind=Kind.ACTION_DRY_RUN, run=run, **about))
        ends = {"how": "webhook", "ends_at": rfc3339(NOW)}
        write(Draft(kind=Kind.ALERT_RESOLVED, fingerprint="f1", episode=about["episode"], detail=ends))
        write(Draft(kind=Kind.SPACE_LOW if state.head.seq % 2 else Kind.SPACE_OK))
    compared(tmp_path, [case(records, lambda count: count % 101 == 0)])
    shown = page(state)
    assert list(shown["runs"]) == shown["ended_runs"] == state.ended_runs[-ENDED_SHOWN:]
    assert {run["plan"] for run in shown["runs"].values()} == {None}


RULES = """
version: 1
rules:
  - {name: asks, match: 'ask="yes"', target: '{{ labels.instance }}', mode: approve, steps: [{fake: {do: x}}]}
  - name: stormy
    match: storm="yes"
    target: '{{ labels.instance }}'
    mode: live
    storm: 2/10m
    steps: [{fake: {do: x}}]
  - name: restart
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{fake: {do: 'restart {{ target }}'}}, {fake: {do: replace}}]
"""


async def test_a_real_log_folds_alike(tmp_path: Path) -> None:
    """What the engine itself writes: runs, a storm, an approval that nobody gives, a silence."""
    stage = Stage(tmp_path, RULES)
    stage.alertmanager = Api()
    engine = await stage.start()
    await stage.tell(stage.alert("a", ask="yes"), stage.alert("b"))
    await stage.tell(*(stage.alert(f"s{number}", storm="yes") for number in range(4)))
    await stage.tell(stage.alert("b", resolved=True), stage.alert("s1", storm="yes", resolved=True))
    await engine.stop()
    kinds = {record.kind for record in stage.journal.records}
    assert {Kind.APPROVAL_REQUESTED, Kind.STORM_BEGAN, Kind.ACTION_OK, Kind.HEAL_CONFIRMED} <= kinds
    compared(tmp_path, [case(stage.journal.records)])
