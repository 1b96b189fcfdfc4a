"""Decisions, and what becomes of runs, as records: what each guard looked at, enough to compute it again later."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from autoheal.model import Draft, Kind, Reason, rfc3339
from autoheal.rules.decide import Decision, Switches
from autoheal.rules.guards import Verdict
from autoheal.state import Episode, LastDecision, Run


def differs(decision: Decision, last: LastDecision | None) -> bool:
    """Whether the decision says something that the last one on this episode and rule did not."""
    return last is None or (decision.reason, decision.target, decision.mode, decision.plan_digest) != (
        last.reason,
        last.target,
        last.mode,
        last.plan_digest,
    )


def decision_draft(
    episode: Episode, decision: Decision, switches: Switches, rules_digest: str, run_id: str | None
) -> Draft:
    """The `decision` record; `run_id` is given when the decision begins a run."""
    detail: dict[str, Any] = {
        "now": rfc3339(decision.now),
        "guards": [
            {"guard": verdict.reason.value, "passed": verdict.passed, **verdict.saw} for verdict in decision.verdicts
        ],
        "settings": asdict(switches),
        "rules_digest": rules_digest,
    }
    if decision.ask_again is not None:
        detail["ask_again"] = _time(decision.ask_again)
    if decision.plan_digest is not None:
        detail["plan_digest"] = decision.plan_digest
    if run_id is not None:
        detail["plan"] = decision.plan
    return _draft(Kind.DECISION, episode, decision, run_id, detail)


def unrecordable(decision: Decision) -> Decision:
    """What stands in for a decision that no record can hold: what cannot be recorded must not be done."""
    error = f"the record of this decision ({decision.reason.value}) would not fit 64 KiB"
    return replace(
        decision,
        reason=Reason.BAD_TARGET,
        verdicts=(Verdict(Reason.BAD_TARGET, passed=False, saw={"error": error}),),
        plan=None,
        plan_digest=None,
        ask_again=None,
    )


def dry_run_draft(episode: Episode, decision: Decision, run_id: str | None) -> Draft:
    """The `action_dry_run` record: the very plan that live would execute."""
    assert decision.plan is not None, "only a rendered plan becomes a dry run"
    detail = {
        "action": decision.plan["steps"][0]["action"],
        "plan": decision.plan,
        "plan_digest": decision.plan_digest,
    }
    return _draft(Kind.ACTION_DRY_RUN, episode, decision, run_id, detail)


def run_draft(
    kind: Kind, run: Run, *, step: int | None = None, reason: str | None = None, actor: str = "system", **detail: object
) -> Draft:
    """A record of `run`; of its last step unless `step` says otherwise."""
    return Draft(
        kind=kind,
        alertname=run.alertname,
        fingerprint=run.fingerprint,
        episode=run.episode,
        rule=run.rule,
        target=run.target,
        run=run.id,
        step=(run.step or None) if step is None else step,
        mode=run.mode,
        reason=reason,
        actor=actor,
        correlation_id=run.correlation_id,
        detail=detail,
    )


def _draft(kind: Kind, episode: Episode, decision: Decision, run_id: str | None, detail: dict[str, Any]) -> Draft:
    return Draft(
        kind=kind,
        alertname=episode.alertname,
        fingerprint=episode.fingerprint,
        episode=episode.id,
        rule=decision.rule,
        target=decision.target,
        run=run_id,
        mode=decision.mode,
        reason=decision.reason.value,
        correlation_id=episode.correlation_id,
        detail=detail,
    )


def _time(ts: float) -> str | float:
    try:
        return rfc3339(ts)
    except (ValueError, OverflowError, OSError):
        return ts
