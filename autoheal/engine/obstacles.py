"""What stands in a run's way at the moments when its guards are asked again. Nothing here acts or waits."""

from __future__ import annotations

from collections.abc import Sequence

from autoheal.engine.deciding import run_draft
from autoheal.engine.world import World
from autoheal.model import Draft, Kind, Reason
from autoheal.rules.decide import Decision
from autoheal.state import Run, RunState


def obstacle(world: World, run: Run, number: int | None = None, now: str | None = None) -> Sequence[Draft] | None:
    """The records that end the run instead of step `number` (None: the next), or None when nothing stands in the way.

    `now` is how that is which an approved run is about to change, where it is known.
    """
    if run.resolved == "superseded" and run.step:
        # Its ladder ends, but not well: else an alert that comes and goes would never open the rule's breaker.
        return [run_draft(Kind.ESCALATED, run, reason="fired_anew", resolved=run.resolved)]
    if run.resolved is not None:
        return [run_draft(Kind.ACTION_CANCELLED, run, reason="resolved", resolved=run.resolved)]
    # After a step that did not help, an alert that still fires is not left in silence.
    ends = Kind.ESCALATED if run.step else Kind.ACTION_CANCELLED
    decision = world.decide_again(run)
    if decision is None:
        return [run_draft(ends, run, reason="rule_removed")]
    due = Reason.AWAITING_APPROVAL if run.state is RunState.AWAITING_APPROVAL else Reason.ACT
    if decision.reason is not due:
        return [world.decision(run, decision), run_draft(ends, run, reason=_why_stopped(run, decision))]
    if decision.plan_digest != run.plan_digest:
        return [run_draft(ends, run, reason="plan_changed", plan_digest=decision.plan_digest)]
    if _another_rule(run, decision):
        return [run_draft(ends, run, reason="rule_changed", rule_digest=decision.rule_digest)]
    if run.approval is not None and now is not None and now != run.approval.observed:
        return [run_draft(ends, run, reason="human_present", approved=run.approval.observed, observed=now)]
    if run.steps[run.step if number is None else number - 1]["action"] not in world.actions:
        return [run_draft(ends, run, reason="unknown_action")]
    return None


def overtaken(world: World, run: Run) -> str | None:
    """Why an action whose intent is on disk must not run after all: on a slow one the world may change meanwhile."""
    if run.state is not RunState.ACTING:
        return "cancelled"
    if run.resolved is not None:
        return "resolved"
    decision = world.decide_again(run)
    if decision is None:
        return "rule_removed"
    if decision.reason is not Reason.ACT:
        return _why_stopped(run, decision)
    if decision.plan_digest != run.plan_digest:
        return "plan_changed"
    return "rule_changed" if _another_rule(run, decision) else None


def _another_rule(run: Run, decision: Decision) -> bool:
    # What people approve is the rule as they saw it, its guards and verification included.
    return run.approval is not None and run.approval.rule_digest != decision.rule_digest


def crowded(world: World, run: Run, now: float) -> bool:
    """Whether only the want of room keeps a run from acting that people have approved, or may yet: it waits."""
    # Not for ever: hours later nobody expects it any more. Then it ends, and people are asked anew in its time.
    if run.approval is None or run.resolved is not None or now >= run.approval.expires_at:
        return False
    decision = world.decide_again(run)
    return (
        decision is not None
        and decision.reason in (Reason.CONCURRENCY, Reason.FLEET_GUARD)
        and decision.plan_digest == run.plan_digest
        and not _another_rule(run, decision)
    )


def _why_stopped(run: Run, decision: Decision) -> str:
    """The reason of an end that `decision` brings, which is not the one that is due."""
    if decision.reason not in (Reason.ACT, Reason.AWAITING_APPROVAL):
        return decision.reason.value
    # No guard says no: the rule asks people now, or no longer, or their word has become too old.
    asked = None if run.approval is None else run.approval.rule_digest
    waits = run.state is RunState.AWAITING_APPROVAL
    return "expired" if asked == decision.rule_digest and not waits else "rule_changed"
