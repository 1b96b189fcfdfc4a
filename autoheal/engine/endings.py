"""How runs and their steps end, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoheal.engine.deciding import run_draft
from autoheal.model import Draft, Kind
from autoheal.state import Run, RunState


def not_run(run: Run, action: str, why: str) -> Sequence[Draft]:
    """Its intent is on disk, and it must not be carried out any more."""
    if run.state is not RunState.ACTING:
        return []
    if run.resolved is not None:
        return [run_draft(Kind.ACTION_CANCELLED, run, reason=why)]
    # The rule's one run on this episode is used up, and the alert still fires: people must know.
    return [
        run_draft(Kind.ACTION_INTERRUPTED, run, reason=why, action=action),
        run_draft(Kind.ESCALATED, run, reason=why),
    ]


def judged(run: Run, kind: Kind, reason: str, saw: Mapping[str, Any]) -> Sequence[Draft]:
    """A step's verdict, and the end of the run with the last step."""
    if run.state is not RunState.VERIFYING:
        return []
    drafts = [run_draft(kind, run, reason=reason, **saw)]
    if kind is Kind.HEAL_FAILED and run.step >= len(run.steps):
        drafts.append(run_draft(Kind.ESCALATED, run, reason="steps_exhausted"))
    elif kind is Kind.HEAL_INCONCLUSIVE:
        drafts.append(run_draft(Kind.ESCALATED, run, reason=reason))
    return drafts


def cancelled(run: Run) -> Sequence[Draft]:
    """What it did has been ended, because somebody said so."""
    # Of an action that had ended by itself there is a record already.
    cut = {"action": run.steps[run.step - 1]["action"]} if run.acted_at is None else {}
    return [run_draft(Kind.ACTION_CANCELLED, run, reason=run.reason, actor=run.ended_by or "system", **cut)]


def dry_run(run: Run, rehearsals: Sequence[Mapping[str, Any]]) -> Sequence[Draft]:
    """Its plan, and what the rehearsals answered."""
    if run.ended:
        return []
    detail = {"action": run.steps[0]["action"], "plan": run.plan, "plan_digest": run.plan_digest}
    if rehearsals:
        detail["rehearsals"] = rehearsals
    return [run_draft(Kind.ACTION_DRY_RUN, run, reason=run.reason, **detail)]


def escalated(run: Run, reason: str) -> Sequence[Draft]:
    """It is left to people."""
    return [] if run.ended else [run_draft(Kind.ESCALATED, run, reason=reason)]


def given_up(run: Run) -> Sequence[Draft]:
    """A fault of ours has come again and again."""
    cut = []
    if run.state is RunState.ACTING:
        action = run.steps[run.step - 1]["action"]
        cut = [run_draft(Kind.ACTION_INTERRUPTED, run, reason="internal_error", action=action)]
    return [*cut, *escalated(run, "internal_error")]
