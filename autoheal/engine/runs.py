"""The life of a run: step by step from plan to verdict.

Each turn of `carry` looks at where the run stands in the folded state and does the one thing that comes next, so
that a restart needs no path of its own: the loop goes on where the log ends. An intent is durable before it is
carried out; an outcome is recorded however long the log refuses it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from autoheal.actions import Action, Context, orphan_gone
from autoheal.actions import Outcome as ActionOutcome
from autoheal.actions.probes import probe
from autoheal.clock import Clock
from autoheal.engine.deciding import run_draft
from autoheal.engine.ledger import Ledger
from autoheal.engine.observation import observed
from autoheal.engine.promises import promise
from autoheal.engine.rehearsal import rehearse
from autoheal.engine.verification import Evidence, Outcome, Standing, verify
from autoheal.engine.waiting import event_or_time
from autoheal.errors import JournalError, JournalUnavailable, RecordTooLarge
from autoheal.model import Draft, Kind, Mode, Reason, rfc3339
from autoheal.rules import RuleSet
from autoheal.rules.decide import Decision
from autoheal.state import Run, RunState

T = TypeVar("T")

ORPHAN_SECONDS = 0.2
"""How often recovery looks whether a command of the life before is gone."""
FAULTS_BORNE = 3
"""Unexpected exceptions after which a run is given up; before each new try it waits `FAULT_SECONDS` longer."""
FAULT_SECONDS = 5.0
ROOM_SECONDS = 1.0
"""How often a run that people have approved looks whether there is room for it."""

_log = structlog.get_logger(__name__)

_CUT_SHORT = ("gateway_died", "shutdown")
"""Reasons of `action_interrupted` after which nobody knows how far the action came."""
_HEALS: Mapping[Outcome, Kind] = {
    Outcome.CONFIRMED: Kind.HEAL_CONFIRMED,
    Outcome.FAILED: Kind.HEAL_FAILED,
    Outcome.INCONCLUSIVE: Kind.HEAL_INCONCLUSIVE,
}


@dataclass(slots=True)
class World:
    """What a run needs besides the ledger: how to decide again, act, and look."""

    rules: Callable[[], RuleSet]
    look: Callable[[Run], Awaitable[None]]
    """Asks the world what the guards must know of it before they are asked. Raises JournalUnavailable."""
    decide_again: Callable[[Run], Decision | None]
    """The guards asked at the moment of execution; None when the rule is gone."""
    decision: Callable[[Run, Decision], Draft]
    """The record of a decision that stopped a run."""
    actions: Mapping[str, Action]
    ask: Callable[[str], Awaitable[Standing]] | None
    measure: Callable[[str], Awaitable[tuple[bool | None, dict[str, Any]]]]
    """Whether a PromQL expression holds now, None where that cannot be known, and what was seen."""
    lock_dir: Path
    rehearsal_slots: asyncio.Semaphore
    """Bounds the rehearsals, which must not keep actions waiting."""
    winding_down: Callable[[], bool]
    """Whether the service was told to stop: no step begins any more."""
    began: float
    """When this process began to listen, epoch seconds: before that no resolution could arrive."""


class Runner:
    """Carries one run to its end."""

    def __init__(self, run_id: str, ledger: Ledger, world: World, clock: Clock) -> None:
        self.run_id = run_id
        self.changed = asyncio.Event()
        """Set by the engine when the run's episode ends, and when its waiting for people may be over."""
        self.idle = asyncio.Event()
        """Set unless an action is executing in this process now."""
        self.idle.set()
        self._ledger = ledger
        self._world = world
        self._clock = clock
        self._doing: asyncio.Future[Any] | None = None

    @property
    def run(self) -> Run:
        """The run as the state has it now: after a refold the old object is stale."""
        return self._ledger.state.runs[self.run_id]

    async def carry(self) -> None:
        """Do what comes next until the run has ended. A fault of ours is tried again; at last people are told."""
        faults = 0
        while self.run_id in self._ledger.state.runs and not self.run.ended:
            try:
                await self._turn()
            except JournalUnavailable as error:
                _log.error("run_waits_for_the_log", run=self.run_id, error=str(error))
                await self._ledger.healthy()
            except Exception:  # noqa: BLE001 whatever it is, a run must not stay open for it
                faults += 1
                _log.exception("run_failed_here", run=self.run_id, faults=faults)
                if faults > FAULTS_BORNE:
                    await self._ledger.insist(self._given_up)
                else:
                    await self._clock.sleep(FAULT_SECONDS * faults)

    def cut(self) -> None:
        """End what the run does now, its action or its verification; what follows from that stands in the state."""
        if self._doing is not None:
            self._doing.cancel()

    async def _turn(self) -> None:
        await self._until_alone()
        match self.run.state:
            case RunState.AWAITING_APPROVAL:
                await self._await_approval()
            case RunState.PLANNED if self.run.mode is Mode.DRY_RUN:
                # It is rehearsed, or a torn batch has its decision and not its `action_dry_run`. It must never act.
                await self._end_dry_run()
            case RunState.PLANNED if self.run.step >= len(self.run.steps):
                await self._ledger.insist(lambda: self._escalated("steps_exhausted"))
            case RunState.PLANNED:
                await self._next_step()
            case RunState.ACTING:
                await self._close_interrupted()
            case RunState.VERIFYING:
                if not await self._run_again():
                    await self._verify()
            case RunState.CANCELLING:
                await self._ledger.insist(self._cancelled)
            case _:
                await self._ledger.insist(lambda: self._escalated(self.run.reason or "inconclusive"))

    async def _next_step(self) -> None:
        now = await self._look_before_starting()
        run = self._standing_at(RunState.PLANNED)
        if run is None:
            return
        if self._crowded(run):
            self.changed.clear()
            await event_or_time(self._clock, self.changed, ROOM_SECONDS)
            return
        if self._obstacle(run, now=now) is not None:
            await self._ledger.insist(lambda: self._stopped(now))
            return
        await self._start(run, run.step + 1)

    async def _look_before_starting(self) -> str | None:
        await self._world.look(self.run)
        now = await self._observed_now()
        if self._world.winding_down():
            await asyncio.Event().wait()  # until `stop` ends this task; the next life goes on from here
        return now

    async def _start(self, run: Run, number: int) -> None:
        step = run.steps[number - 1]
        action = self._world.actions[step["action"]]
        started = self._draft(
            Kind.ACTION_STARTED,
            step=number,
            **promise(step, action),
            plan=step,
            plan_digest=run.plan_digest,
        )
        self.idle.clear()
        try:
            outcome = await self._begin(action, started, step["params"])
            if outcome is not None:
                await self._tell(Kind.ACTION_OK if outcome.ok else Kind.ACTION_FAIL, action.name, outcome.detail)
        finally:
            self.idle.set()

    def _may_run_again(self) -> bool:
        """Whether the gateway died over the last step's action, and its rule says that it may be started once more."""
        run = self.run
        if run.reason not in _CUT_SHORT or run.again:
            return False
        action = self._world.actions.get(run.steps[run.step - 1]["action"])
        said = any(rule.name == run.rule and rule.rerun_interrupted for rule in self._world.rules().rules)
        # The rule that said so was checked; this plan may have been made by another of that name.
        idempotent = action is not None and action.traits(run.steps[run.step - 1]["params"]).idempotent
        return said and idempotent

    async def _run_again(self) -> bool:
        """Start what was cut short once more, guards willing; False: it is to be verified as it is."""
        if not self._may_run_again():
            return False
        await self._look_before_starting()
        run = self._standing_at(RunState.VERIFYING)
        if run is None:
            return True  # people have spoken meanwhile
        if not self._may_run_again() or self._obstacle(run, run.step) is not None:
            return False
        await self._start(run, run.step)
        return True

    async def _observed_now(self) -> str | None:
        """How that is which people have approved to change, before the first step; None where it is not known."""
        run = self._standing_at(RunState.PLANNED)
        if run is None or run.step or run.approval is None or run.approval.observed is None or self._crowded(run):
            return None
        return await observed(run.steps[0], self._world.actions, self._context("observation"))

    def _standing_at(self, state: RunState) -> Run | None:
        """The run, if it stands there still: people may have ended it, or the log given its decision up."""
        run = self._ledger.state.runs.get(self.run_id)
        return run if run is not None and run.state is state else None

    def _crowded(self, run: Run) -> bool:
        """Whether only the want of room keeps a run from acting that people have approved: it waits for its turn."""
        # Not for ever: hours later nobody expects it any more. Then it ends, and people are asked anew in its time.
        if run.approval is None or run.resolved is not None or self._clock.now() >= run.approval.expires_at:
            return False
        decision = self._world.decide_again(run)
        return decision is not None and decision.reason in (Reason.CONCURRENCY, Reason.FLEET_GUARD)

    async def _await_approval(self) -> None:
        """Ask people, and wait until they have spoken, their time is over, or what they were asked about is no more."""
        self.changed.clear()
        await self._world.look(self.run)
        now = None
        if (run := self._standing_at(RunState.AWAITING_APPROVAL)) is not None and run.approval is None:
            now = await observed(run.steps[0], self._world.actions, self._context("observation"))
        await self._ledger.insist(lambda: self._asked_or_void(now))
        run = self._standing_at(RunState.AWAITING_APPROVAL)
        if run is not None and run.approval is not None:
            await event_or_time(self._clock, self.changed, run.approval.expires_at - self._clock.now())

    def _asked_or_void(self, now: str | None) -> Sequence[Draft]:
        run = self._standing_at(RunState.AWAITING_APPROVAL)
        if run is None:
            return []
        if (drafts := self._obstacle(run)) is not None:
            return drafts
        if run.approval is None:
            return self._request(run, now)
        if self._clock.now() >= run.approval.expires_at:
            return [self._draft(Kind.APPROVAL_EXPIRED, reason="expired")]
        return []

    def _request(self, run: Run, now: str | None) -> Sequence[Draft]:
        decision = self._world.decide_again(run)
        assert decision is not None, "nothing stands in the way, so there is a rule"
        assert decision.approval_seconds is not None, "and what it says of approvals"
        asked = self._draft(
            Kind.APPROVAL_REQUESTED,
            plan=run.plan,
            plan_digest=run.plan_digest,
            rule_digest=decision.rule_digest,
            expires_at=rfc3339(self._clock.now() + decision.approval_seconds),
        )
        return [asked if now is None else replace(asked, detail={**asked.detail, "observed": now})]

    async def _begin(self, action: Action, started: Draft, params: Mapping[str, Any]) -> ActionOutcome | None:
        try:
            record = self._ledger.commit([started])[-1]
            # No record, no action.
            await self._ledger.journal.wait(record.seq)
            await self._world.look(self.run)
            if (why := self._overtaken()) is not None:
                await self._ledger.insist(lambda: self._not_run(action.name, why))
                return None
            return await self._act(action, params)
        except JournalUnavailable as error:
            _log.error("action_not_started", run=self.run_id, error=str(error))
            self.idle.set()
            await self._ledger.healthy()
            return None
        except asyncio.CancelledError:
            # The service stops and the grace is over: the action was cut, and this is its terminal record.
            self._interrupted(action.name)
            raise

    def _overtaken(self) -> str | None:
        """Why the action must not run after all: on a slow disk the world may change while the intent is written."""
        run = self.run
        if run.state is not RunState.ACTING:
            return "cancelled"
        if run.resolved is not None:
            return "resolved"
        decision = self._world.decide_again(run)
        if decision is None:
            return "rule_removed"
        if decision.reason is not Reason.ACT:
            return decision.reason.value
        return None if decision.plan_digest == run.plan_digest else "plan_changed"

    def _not_run(self, action: str, why: str) -> Sequence[Draft]:
        if self.run.state is not RunState.ACTING:
            return []
        if self.run.resolved is not None:
            return [self._draft(Kind.ACTION_CANCELLED, reason=why)]
        # The rule's one run on this episode is used up, and the alert still fires: people must know.
        return [
            self._draft(Kind.ACTION_INTERRUPTED, reason=why, action=action),
            self._draft(Kind.ESCALATED, reason=why),
        ]

    async def _tell(self, kind: Kind, action: str, detail: Mapping[str, Any]) -> None:
        def drafts() -> Sequence[Draft]:
            begun = self.run.state in (RunState.ACTING, RunState.CANCELLING)
            return [self._draft(kind, action=action, **detail)] if begun else []

        try:
            await self._ledger.insist(drafts)
        except JournalError as error:
            # An outcome that no record can hold must not leave the run open.
            _log.error("outcome_cannot_be_recorded", run=self.run_id, error=str(error))
            await self._tell(kind, action, {"error": "what the action answered does not fit a record"})

    def _stopped(self, now: str | None) -> Sequence[Draft]:
        run = self._standing_at(RunState.PLANNED)
        return [] if run is None else self._obstacle(run, now=now) or []

    def _obstacle(self, run: Run, number: int | None = None, now: str | None = None) -> Sequence[Draft] | None:
        """The records that end the run instead of step `number` (None: the next), or None when nothing stands in the
        way. `now` is how that is which an approved run is about to change, where it is known.
        """
        if run.resolved == "superseded" and run.step:
            # Its ladder ends, but not well: else an alert that comes and goes would never open the rule's breaker.
            return [self._draft(Kind.ESCALATED, reason="fired_anew", resolved=run.resolved)]
        if run.resolved is not None:
            return [self._draft(Kind.ACTION_CANCELLED, reason="resolved", resolved=run.resolved)]
        # After a step that did not help, an alert that still fires is not left in silence.
        ends = Kind.ESCALATED if run.step else Kind.ACTION_CANCELLED
        decision = self._world.decide_again(run)
        if decision is None:
            return [self._draft(ends, reason="rule_removed")]
        due = Reason.AWAITING_APPROVAL if run.state is RunState.AWAITING_APPROVAL else Reason.ACT
        if decision.reason is not due:
            return [self._world.decision(run, decision), self._draft(ends, reason=_why_stopped(run, decision))]
        if decision.plan_digest != run.plan_digest:
            return [self._draft(ends, reason="plan_changed", plan_digest=decision.plan_digest)]
        if run.approval is not None and decision.rule_digest != run.approval.rule_digest:
            # What people approve is the rule as they saw it, its guards and verification included.
            return [self._draft(ends, reason="rule_changed", rule_digest=decision.rule_digest)]
        if run.approval is not None and now is not None and now != run.approval.observed:
            return [self._draft(ends, reason="human_present", approved=run.approval.observed, observed=now)]
        if run.steps[run.step if number is None else number - 1]["action"] not in self._world.actions:
            return [self._draft(ends, reason="unknown_action")]
        return None

    async def _unless_cut(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` comes to; None when it was cut."""
        self._doing = doing = asyncio.ensure_future(work)
        try:
            return await doing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return None
        finally:
            self._doing = None

    async def _act(self, action: Action, params: Mapping[str, Any]) -> ActionOutcome | None:
        """What the action came to; None when it was cut because the run is to end."""
        try:
            outcome = await self._unless_cut(action.run(params, self._context("action")))
        except Exception as error:  # noqa: BLE001 an action that breaks its promise must not leave a run open
            # Where, but not its text: that may quote a secret.
            where = traceback.format_tb(error.__traceback__)
            _log.error("action_raised", run=self.run_id, action=action.name, error=type(error).__name__, where=where)
            return ActionOutcome(ok=False, detail={"error": f"fault in the action itself: {type(error).__name__}"})
        if outcome is None and self.run.state is not RunState.CANCELLING:
            return ActionOutcome(ok=False, detail={"error": "fault in the action itself: it cancelled its own task"})
        return outcome

    def _context(self, purpose: str) -> Context:
        run = self.run
        return Context(
            run=run.id,
            step=run.step,
            idempotency_key=f"{self._ledger.journal.log_id}-{run.id}-{run.step}-{purpose}",
            secrets=self._world.rules().secrets,
            lock_dir=self._world.lock_dir,
            clock=self._clock,
        )

    def _interrupted(self, action: str) -> None:
        if self.run.state is not RunState.ACTING:
            return
        try:
            self._ledger.commit([self._draft(Kind.ACTION_INTERRUPTED, reason="shutdown", action=action)])
        except JournalUnavailable as error:
            # Recovery writes it at the next start: the log says started and nothing after.
            _log.error("interruption_not_recorded", run=self.run_id, error=str(error))

    async def _close_interrupted(self) -> None:
        """The log says started, and this process did not start it: the gateway died in between."""
        run = self.run
        name = run.steps[run.step - 1]["action"]
        await self._ledger.insist(
            lambda: (
                [self._draft(Kind.ACTION_INTERRUPTED, reason="gateway_died", action=name)]
                if self.run.state is RunState.ACTING
                else []
            )
        )

    async def _until_alone(self) -> None:
        """Wait until nothing of the last step's command is left: the target stays locked so long.

        The gateway may have died over it, or a process outlived SIGKILL in the kernel.
        """
        run, told = self.run, ""
        while run.step:
            try:
                if orphan_gone(self._world.lock_dir, run.id, run.step):
                    return
            except OSError as error:
                # Unknown is not gone: the target stays locked, and people are told why, once.
                if told != str(error):
                    _log.error("cannot_tell_whether_a_command_still_runs", run=run.id, error=str(error))
                told = str(error)
            await self._clock.sleep(ORPHAN_SECONDS)

    async def _verify(self) -> None:
        run = self.run
        if run.action_ok is False:
            await self._ledger.insist(lambda: self._judged(Kind.HEAL_FAILED, "action_failed", {}))
            return
        ask = self._world.ask
        context = self._context("probe")

        async def try_probe(spec: Mapping[str, Any]) -> tuple[bool | None, dict[str, Any]]:
            if "promql" in spec:
                return await self._world.measure(spec["promql"])
            try:
                result = await probe(spec, context)
            except Exception as error:  # noqa: BLE001 a probe that breaks must not leave a run open
                _log.error("probe_raised", run=run.id, error=type(error).__name__)
                return False, {"error": f"fault in the probe itself: {type(error).__name__}"}
            return result.ok, dict(result.detail)

        evidence = Evidence(
            resolution=lambda: self.run.resolved,
            changed=self.changed,
            ask=None if ask is None else (lambda: ask(run.fingerprint)),
            probe=try_probe,
        )
        # While nobody listened no resolution could arrive: after a restart the time runs anew.
        acted_at = max(run.created_at if run.acted_at is None else run.acted_at, self._world.began)
        verdict = await self._unless_cut(verify(run.steps[run.step - 1]["verify"], acted_at, evidence, self._clock))
        if verdict is None:
            return
        await self._ledger.insist(lambda: self._judged(_HEALS[verdict.outcome], verdict.reason, verdict.saw))

    def _judged(self, kind: Kind, reason: str, saw: Mapping[str, Any]) -> Sequence[Draft]:
        if self.run.state is not RunState.VERIFYING:
            return []
        drafts = [self._draft(kind, reason=reason, **saw)]
        if kind is Kind.HEAL_FAILED and self.run.step >= len(self.run.steps):
            drafts.append(self._draft(Kind.ESCALATED, reason="steps_exhausted"))
        elif kind is Kind.HEAL_INCONCLUSIVE:
            drafts.append(self._draft(Kind.ESCALATED, reason=reason))
        return drafts

    def _cancelled(self) -> Sequence[Draft]:
        run = self._standing_at(RunState.CANCELLING)
        if run is None:
            return []
        # Of an action that had ended by itself there is a record already.
        cut = {"action": run.steps[run.step - 1]["action"]} if run.acted_at is None else {}
        return [self._draft(Kind.ACTION_CANCELLED, reason=run.reason, actor=run.ended_by or "system", **cut)]

    async def _end_dry_run(self) -> None:
        async with self._world.rehearsal_slots:
            answers = await rehearse(self.run.steps, self._world.actions, self._context("rehearsal"))
        try:
            await self._ledger.insist(lambda: self._dry_run(answers))
        except RecordTooLarge:
            unfit = [{"ok": False, "error": "what the rehearsals answered does not fit a record"}]
            await self._ledger.insist(lambda: self._dry_run(unfit))

    def _dry_run(self, rehearsals: Sequence[Mapping[str, Any]]) -> Sequence[Draft]:
        run = self.run
        action = run.steps[0]["action"]
        detail = {"action": action, "plan": run.plan, "plan_digest": run.plan_digest}
        if rehearsals:
            detail["rehearsals"] = rehearsals
        return [] if run.ended else [self._draft(Kind.ACTION_DRY_RUN, reason=run.reason, **detail)]

    def _given_up(self) -> Sequence[Draft]:
        run, reason = self.run, "internal_error"
        if run.ended:
            return []
        drafts = [self._draft(Kind.ESCALATED, reason=reason)]
        if run.state is RunState.ACTING:
            drafts.insert(
                0, self._draft(Kind.ACTION_INTERRUPTED, reason=reason, action=run.steps[run.step - 1]["action"])
            )
        return drafts

    def _escalated(self, reason: str) -> Sequence[Draft]:
        return [] if self.run.ended else [self._draft(Kind.ESCALATED, reason=reason)]

    def _draft(
        self, kind: Kind, *, step: int | None = None, reason: str | None = None, actor: str = "system", **detail: object
    ) -> Draft:
        return run_draft(kind, self.run, step=step, reason=reason, actor=actor, **detail)


def _why_stopped(run: Run, decision: Decision) -> str:
    """The reason of an end that `decision` brings, which is not the one that is due."""
    if decision.reason not in (Reason.ACT, Reason.AWAITING_APPROVAL):
        return decision.reason.value
    # No guard says no: the rule asks people now, or no longer, or their word has become too old.
    asked = None if run.approval is None else run.approval.rule_digest
    return "expired" if (run.state, asked) == (RunState.PLANNED, decision.rule_digest) else "rule_changed"
