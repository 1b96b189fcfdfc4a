"""What records of decisions and runs change: how far each run has come, what it holds, and the breaker of its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from autoheal.breaker import Breaker
from autoheal.model import Kind, Mode, OwnName, Reason, Record, parse_rfc3339
from autoheal.state.entities import CANCELLED_BY_PEOPLE, Approval, Charge, Episode, LastDecision, Run, RunState
from autoheal.state.keeping import ENDED_RUNS_KEPT, LAST_ACTIONS_KEPT, REMEMBERED, TARGETS_KEPT, forget, given
from autoheal.state.people import left_to_people, tried_again

if TYPE_CHECKING:
    from autoheal.state.whole import State


def _decision(state: State, record: Record) -> None:
    reason = Reason(given(record.reason))
    episode = state.episodes.get(given(record.fingerprint))
    if episode is None or episode.id != record.episode:
        return
    rule = record.rule or ""
    episode.decisions[rule] = LastDecision(reason, record.target, record.mode, record.detail.get("plan_digest"))
    if record.target is not None:
        _named(state, rule, record.target, episode, record.ts)
    if record.run is None or record.mode is None:
        return
    state.runs[record.run] = run = Run(
        id=record.run,
        episode=episode.id,
        fingerprint=episode.fingerprint,
        alertname=episode.alertname,
        rule=rule,
        target=given(record.target),
        mode=record.mode,
        plan=dict(record.detail["plan"]),
        plan_digest=record.detail["plan_digest"],
        created_at=record.ts,
        correlation_id=record.correlation_id,
        caused_by=episode.caused_by,
        asked_by=episode.asked_by.get(rule),
        reason=reason,
    )
    if reason is Reason.AWAITING_APPROVAL:
        run.state = RunState.AWAITING_APPROVAL
    if reason in (Reason.ACT, Reason.AWAITING_APPROVAL):
        episode.runs[rule] = run.id
        state.locks[run.target] = run.id
        tried_again(state, run)
        if reason is Reason.ACT:
            state.working[run.id] = rule
            if run.mode is Mode.APPROVE and (release := episode.released.get(rule)) is not None:
                word = release.rule_digest, release.ts, release.ts, release.by
                run.approval = Approval(*word, observed=release.observed)
        state.reserve(run.id, Charge(record.ts, rule, run.target))


def _named(state: State, rule: str, target: str, episode: Episode, now: float) -> None:
    """An alert of `rule` is about `target`: since it began, however often that is decided on."""
    targets = state.targets.setdefault(rule, {})
    since = max(targets.pop(target, episode.opened_at), episode.opened_at)
    targets[target] = since
    forget(targets, now, float, TARGETS_KEPT, REMEMBERED)
    if (storm := state.storms.get(rule)) is not None and not storm.over and rule not in episode.released:
        storm.held[episode.fingerprint] = target


def _approval_requested(state: State, record: Record) -> None:
    detail = record.detail
    expires_at, observed = parse_rfc3339(detail["expires_at"]), detail.get("observed")
    asked = Approval(detail["rule_digest"], record.ts, expires_at, observed=observed)
    state.runs[given(record.run)].approval = asked


def _approval_granted(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    assert run.approval is not None, "nobody approves what was not asked for"
    run.state, run.reason, run.approval.by = RunState.PLANNED, None, record.actor


def _cancel_requested(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    run.state, run.reason, run.ended_by = RunState.CANCELLING, record.reason, record.actor


def _action_started(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    run.again = record.step == run.step
    run.state, run.step, run.acted_at, run.action_ok = RunState.ACTING, record.step or 1, None, None
    run.reason = None
    run.began_at = record.ts if run.began_at is None else run.began_at
    state.working[run.id] = run.rule
    last = state.last_action.setdefault(run.rule, {})
    last.pop(run.target, None)
    last[run.target] = record.ts
    forget(last, record.ts, float, LAST_ACTIONS_KEPT)
    if state.release(run.id) is not None:
        state.charge(Charge(record.ts, run.rule, run.target))


def _action_ended(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    run.acted_at, run.action_ok = record.ts, {Kind.ACTION_OK: True, Kind.ACTION_FAIL: False}.get(record.kind)
    if run.state is not RunState.CANCELLING:
        run.state, run.reason = RunState.VERIFYING, record.reason


def _heal_failed(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    run.state, run.reason = RunState.PLANNED, record.reason


def _heal_inconclusive(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    run.state, run.reason = RunState.ESCALATING, record.reason


def _ends(terminal: RunState) -> Callable[[State, Record], None]:
    def change(state: State, record: Record) -> None:
        run = state.runs[given(record.run)]
        run.state, run.ended_at, run.reason = terminal, record.ts, record.reason
        run.ended_by = None if record.actor == "system" else record.actor
        state.release(run.id)
        state.working.pop(run.id, None)
        if state.locks.get(run.target) == run.id:
            del state.locks[run.target]
        episode = state.episodes.get(run.fingerprint)
        if episode is not None and episode.runs.get(run.rule) == run.id:
            del episode.runs[run.rule]
            # A run that a guard stopped before it began leaves the rule free to try this episode again.
            if run.step or terminal is not RunState.CANCELLED or record.reason == CANCELLED_BY_PEOPLE:
                episode.ran.append(run.rule)
        if run.alertname == OwnName.SELFTEST:
            # It comes every few minutes: in a week no other run would be among the last ones.
            del state.runs[run.id]
            return
        state.ended_runs.append(run.id)
        if len(state.ended_runs) > ENDED_RUNS_KEPT:
            del state.runs[state.ended_runs.pop(0)]

    return change


def _action_cancelled(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    episode = state.episodes.get(run.fingerprint)
    release = None if episode is None or episode.id != run.episode else episode.released.get(run.rule)
    # Only an end by which what was approved had changed says what that was.
    if episode is not None and release is not None and "approved" in record.detail:
        episode.released[run.rule] = replace(release, void=True)
    _ends(RunState.CANCELLED)(state, record)


def _heal_confirmed(state: State, record: Record) -> None:
    run = state.runs[given(record.run)]
    if (breaker := state.breakers.get(run.rule)) is not None:
        breaker.heal()
        if breaker.at_rest:
            del state.breakers[run.rule]
    _ends(RunState.HEALED)(state, record)


def _approval_expired(state: State, record: Record) -> None:
    left_to_people(state, state.runs[given(record.run)], record)
    _ends(RunState.EXPIRED)(state, record)


def _escalated(state: State, record: Record) -> None:
    if record.run is None:
        if (storm := state.storms.get(given(record.rule))) is not None:
            storm.escalated_at = record.ts
        return
    run = state.runs[given(record.run)]
    # One that was judged: a run that was stopped before its action, or by a fault of ours, tells nothing of its rule.
    if run.step and run.state in (RunState.PLANNED, RunState.ESCALATING):
        state.breakers.setdefault(run.rule, Breaker()).fail(run.created_at, record.ts)
    left_to_people(state, run, record)
    _ends(RunState.ESCALATED)(state, record)


def _rerun_requested(state: State, record: Record) -> None:
    episode = state.episodes[given(record.fingerprint)]
    episode.ran.remove(given(record.rule))
    episode.asked_by[given(record.rule)] = record.actor
    # What a storm's batch was let go for is done.
    episode.released.pop(given(record.rule), None)


RUNS: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.DECISION: _decision,
    Kind.APPROVAL_REQUESTED: _approval_requested,
    Kind.APPROVAL_GRANTED: _approval_granted,
    Kind.APPROVAL_DENIED: _ends(RunState.DENIED),
    Kind.APPROVAL_EXPIRED: _approval_expired,
    Kind.CANCEL_REQUESTED: _cancel_requested,
    Kind.ACTION_STARTED: _action_started,
    Kind.ACTION_OK: _action_ended,
    Kind.ACTION_FAIL: _action_ended,
    Kind.ACTION_INTERRUPTED: _action_ended,
    Kind.ACTION_DRY_RUN: _ends(RunState.DRY_RUN),
    Kind.ACTION_CANCELLED: _action_cancelled,
    Kind.HEAL_CONFIRMED: _heal_confirmed,
    Kind.HEAL_FAILED: _heal_failed,
    Kind.HEAL_INCONCLUSIVE: _heal_inconclusive,
    Kind.ESCALATED: _escalated,
    Kind.RERUN_REQUESTED: _rerun_requested,
}
