"""The fold: whatever the log tells, state is a function of it alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from autoheal.journal.record import parse, seal
from autoheal.model import Draft, Kind, Mode, Reason, Record, rfc3339
from autoheal.state import CHARGES_KEPT, ENDED_RUNS_KEPT, RunState, State, fold

NOW = 1_790_000_000.0
ADAPTER = TypeAdapter(State)
PLAN: dict[str, Any] = {"steps": [{"action": "command"}, {"action": "command"}]}


def legal(state: State) -> list[Draft]:
    """Every record that the engine could write next, in a small world."""
    drafts: list[Draft] = []
    seq = state.head.seq + 1
    for fingerprint in ("f1", "f2", "f3"):
        episode = state.episodes.get(fingerprint)
        base: dict[str, Any] = {"fingerprint": fingerprint, "alertname": "Down", "labels": {"alertname": "Down"}}
        times = {"starts_at": rfc3339(NOW), "ends_at": rfc3339(NOW + seq), "how": "webhook"}
        if episode is None:
            drafts.append(Draft(kind=Kind.ALERT_FIRING, episode=f"e{seq}", detail=times, **base))
            drafts.append(Draft(kind=Kind.ALERT_SUSPECT, detail=times, **base))
            drafts.append(Draft(kind=Kind.ALERT_RESOLVED, detail=times, **base))
            continue
        base |= {"episode": episode.id}
        drafts.append(Draft(kind=Kind.ALERT_RESOLVED, detail=times, **base))
        drafts.append(Draft(kind=Kind.DECISION, rule="r", reason=Reason.COOLDOWN, target="t1", **base))
        for rule, target in (("r", "t1"), ("q", "t1"), ("q", "t2")):
            detail = {"plan": {**PLAN, "target": target}, "plan_digest": "d"}
            begun = base | {"rule": rule, "target": target, "run": f"r{seq}", "detail": detail}
            if rule not in episode.runs and rule not in episode.ran and target not in state.locks:
                drafts.append(Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, **begun))
    for run in state.runs.values():
        about: dict[str, Any] = {
            "fingerprint": run.fingerprint,
            "episode": run.episode,
            "rule": run.rule,
            "target": run.target,
            "run": run.id,
            "reason": "because",
        }
        if run.state is RunState.PLANNED:
            drafts.append(Draft(kind=Kind.ACTION_CANCELLED, **about))
            if run.step < 2:
                drafts.append(Draft(kind=Kind.ACTION_STARTED, step=run.step + 1, **about))
            else:
                drafts.append(Draft(kind=Kind.ESCALATED, **about))
        about["step"] = run.step or None
        if run.state is RunState.ACTING:
            drafts += [
                Draft(kind=kind, **about) for kind in (Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED)
            ]
        if run.state is RunState.VERIFYING:
            drafts += [
                Draft(kind=kind, **about) for kind in (Kind.HEAL_CONFIRMED, Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE)
            ]
        if run.state is RunState.ESCALATING:
            drafts.append(Draft(kind=Kind.ESCALATED, **about))
    return drafts


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    state, records, now = State(), [], NOW
    for _ in range(draw(st.integers(0, 60))):
        now += draw(st.sampled_from([0.0, 1.0, 3600.0, 86_400.0]))
        draft = draw(st.sampled_from(legal(state)))
        record = seal(draft, state.head, now)
        state.apply(record)
        records.append(record)
    return records


@given(logs(), st.integers(0, 60))
def test_folding_in_two_parts_is_folding_at_once(records: list[Record], cut: int) -> None:
    """fold(a + b) = fold(fold(a), b), also when fold(a) was written out as JSON and read back in between."""
    whole = fold(records)
    first = ADAPTER.validate_json(ADAPTER.dump_json(fold(records[:cut])))
    assert fold(records[cut:], first) == whole


@given(logs())
def test_a_replayed_line_folds_like_the_live_record(records: list[Record]) -> None:
    """The state after a restart, read from the bytes, is the state that ran."""
    assert fold(parse(record.line) for record in records) == fold(records)


@given(logs())
def test_invariants_hold_after_any_log(records: list[Record]) -> None:
    """One unfinished run per target; locks, waiting runs and episodes agree with the runs; charges are in order."""
    state = fold(records)
    live = {run.id: run for run in state.runs.values() if not run.ended}
    assert state.locks == {run.target: run.id for run in live.values()}
    assert len(state.locks) == len(live)
    assert set(state.waiting) == {run.id for run in live.values() if run.step == 0}
    for episode in state.episodes.values():
        assert episode.runs == {run.rule: run.id for run in live.values() if run.episode == episode.id}
    times = [charge.ts for charge in state.charges]
    assert times == sorted(times)
    for key, spent in state.spent.items():
        of = [charge for charge in state.charges if key in ("", charge.rule, f"{charge.rule}\0{charge.target}")]
        assert spent.times == [charge.ts for charge in of]
        assert spent.waiting == sum(
            key in ("", charge.rule, f"{charge.rule}\0{charge.target}") for charge in state.waiting.values()
        )
    assert ("" in state.spent) == bool(state.charges or state.waiting)


def test_ended_runs_are_bounded() -> None:
    """Only the last 1,000 ended runs are kept; unfinished ones always."""
    state = State()
    for number in range(ENDED_RUNS_KEPT + 5):
        state.apply(seal(legal(state)[0], state.head, NOW))
        episode = next(iter(state.episodes.values()))
        about: dict[str, Any] = {"fingerprint": "f1", "episode": episode.id, "rule": "r", "target": "t"}
        run = f"r{state.head.seq + 1}"
        detail = {"plan": {**PLAN, "target": "t"}, "plan_digest": "d"}
        for draft in (
            Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, run=run, detail=detail, **about),
            Draft(kind=Kind.ACTION_CANCELLED, run=run, reason="resolved", **about),
            Draft(
                kind=Kind.ALERT_RESOLVED,
                fingerprint="f1",
                episode=episode.id,
                detail={"how": "webhook", "ends_at": rfc3339(NOW)},
            ),
        ):
            state.apply(seal(draft, state.head, NOW + number))
    assert len(state.runs) == ENDED_RUNS_KEPT


def test_old_charges_are_forgotten() -> None:
    """Charges older than the longest budget window leave no trace, so memory is bounded by use."""
    state, now = State(), NOW
    for _ in range(3):
        state.apply(seal(legal(state)[0], state.head, now))
        episode = next(iter(state.episodes.values()))
        about: dict[str, Any] = {"fingerprint": "f1", "episode": episode.id, "rule": "r", "target": "t"}
        run = f"r{state.head.seq + 1}"
        detail = {"plan": {**PLAN, "target": "t"}, "plan_digest": "d"}
        for draft in (
            Draft(kind=Kind.DECISION, reason=Reason.ACT, mode=Mode.LIVE, run=run, detail=detail, **about),
            Draft(kind=Kind.ACTION_STARTED, run=run, step=1, **about),
            Draft(kind=Kind.ACTION_OK, run=run, step=1, **about),
            Draft(kind=Kind.HEAL_CONFIRMED, run=run, step=1, **about),
            Draft(
                kind=Kind.ALERT_RESOLVED,
                fingerprint="f1",
                episode=episode.id,
                detail={"how": "webhook", "ends_at": rfc3339(now)},
            ),
        ):
            state.apply(seal(draft, state.head, now))
        now += CHARGES_KEPT + 1
    assert len(state.charges) == 1
    assert len(state.spent_on("r").times) == 1
    assert len(state.spent_on("r", "t").times) == 1
