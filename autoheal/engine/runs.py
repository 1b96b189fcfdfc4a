"""The life of a run: step by step from plan to verdict.

Each turn of `carry` looks at where the run stands in the folded state and does the one thing that comes next, so
that a restart needs no path of its own: the loop goes on where the log ends. An intent is durable before it is
carried out; an outcome is recorded however long the log refuses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from autoheal.actions import Action, Context, orphan_gone
from autoheal.actions import Outcome as ActionOutcome
from autoheal.actions.probes import probe
from autoheal.clock import Clock
from autoheal.engine import endings
from autoheal.engine.deciding import run_draft
from autoheal.engine.doing import Doing, act
from autoheal.engine.ledger import Ledger
from autoheal.engine.observation import observed
from autoheal.engine.obstacles import crowded, obstacle, overtaken
from autoheal.engine.promises import promise
from autoheal.engine.rehearsal import rehearse
from autoheal.engine.verification import Evidence, Outcome, verify
from autoheal.engine.waiting import event_or_time
from autoheal.engine.world import World
from autoheal.errors import JournalError, JournalUnavailable, RecordTooLarge
from autoheal.model import Draft, Kind, Mode, rfc3339
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
        self._doing = Doing()

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
                    await self._ledger.insist(lambda: endings.given_up(self.run))
                else:
                    await self._clock.sleep(FAULT_SECONDS * faults)

    def cut(self) -> None:
        """End what the run does now, its action or its verification; what follows from that stands in the state."""
        self._doing.cut()

    async def _turn(self) -> None:
        await self._until_alone()
        match self.run.state:
            case RunState.AWAITING_APPROVAL:
                await self._await_approval()
            case RunState.PLANNED if self.run.mode is Mode.DRY_RUN:
                # It is rehearsed, or a torn batch has its decision and not its `action_dry_run`. It must never act.
                await self._end_dry_run()
            case RunState.PLANNED if self.run.step >= len(self.run.steps):
                await self._ledger.insist(lambda: endings.escalated(self.run, "steps_exhausted"))
            case RunState.PLANNED:
                await self._next_step()
            case RunState.ACTING:
                await self._close_interrupted()
            case RunState.VERIFYING if self.run.action_ok is None and self.run.reason not in _CUT_SHORT:
                # A torn batch has its action's refusal, or our fault, and not its `escalated`.
                await self._ledger.insist(lambda: endings.escalated(self.run, self.run.reason or "inconclusive"))
            case RunState.VERIFYING:
                if not await self._run_again():
                    await self._verify()
            case RunState.CANCELLING:
                await self._ledger.insist(self._cancelled)
            case _:
                await self._ledger.insist(lambda: endings.escalated(self.run, self.run.reason or "inconclusive"))

    async def _next_step(self) -> None:
        now = await self._look_before_starting()
        run = self._standing_at(RunState.PLANNED)
        if run is None:
            return
        if crowded(self._world, run, self._clock.now()):
            self.changed.clear()
            await event_or_time(self._clock, self.changed, ROOM_SECONDS)
            return
        if obstacle(self._world, run, now=now) is not None:
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
        now = await self._look_before_starting()
        run = self._standing_at(RunState.VERIFYING)
        if run is None:
            return True  # people have spoken meanwhile
        # What has changed since people were asked is what the first start has done, or somebody: both are verified.
        if not self._may_run_again() or obstacle(self._world, run, run.step, now) is not None:
            return False
        await self._start(run, run.step)
        return True

    async def _observed_now(self) -> str | None:
        """How that is which people have approved to change, before the first step's action starts, or starts again;
        None where it is not known.
        """
        run = self._ledger.state.runs.get(self.run_id)
        if (
            run is None
            or (run.state, run.step) not in ((RunState.PLANNED, 0), (RunState.VERIFYING, 1))
            or run.approval is None
            or run.approval.observed is None
            or crowded(self._world, run, self._clock.now())
        ):
            return None
        return await observed(run.steps[0], self._world.actions, self._context("observation"))

    def _standing_at(self, state: RunState) -> Run | None:
        """The run, if it stands there still: people may have ended it, or the log given its decision up."""
        run = self._ledger.state.runs.get(self.run_id)
        return run if run is not None and run.state is state else None

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
        if crowded(self._world, run, self._clock.now()):
            return []  # who is approved waits for room, too
        if (drafts := obstacle(self._world, run)) is not None:
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
            await self._look_again()
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

    async def _look_again(self) -> None:
        """Look at the world once the intent is on disk; while the log does not take what is seen, nothing is done."""
        while True:
            try:
                return await self._world.look(self.run)
            except JournalUnavailable as error:
                _log.error("action_waits_for_the_log", run=self.run_id, error=str(error))
                await self._ledger.healthy()

    async def _tell(self, kind: Kind, action: str, detail: Mapping[str, Any]) -> None:
        # Whatever the keys of an action's detail are called, none becomes another field of the record.
        about = {"action": action} | {**detail, "action": action}

        def drafts() -> Sequence[Draft]:
            begun = self.run.state in (RunState.ACTING, RunState.CANCELLING)
            return [replace(self._draft(kind), detail=about)] if begun else []

        try:
            await self._ledger.insist(drafts)
        except JournalError as error:
            # An outcome that no record can hold must not leave the run open.
            _log.error("outcome_cannot_be_recorded", run=self.run_id, error=str(error))
            await self._tell(kind, action, {"error": "what the action answered does not fit a record"})

    def _stopped(self, now: str | None) -> Sequence[Draft]:
        run = self._standing_at(RunState.PLANNED)
        return [] if run is None else obstacle(self._world, run, now=now) or []

    async def _act(self, action: Action, params: Mapping[str, Any]) -> ActionOutcome | None:
        outcome = await self._doing.unless_cut(self._unless_overtaken(action, params))
        if isinstance(outcome, str):
            await self._ledger.insist(lambda: endings.not_run(self.run, action.name, outcome))
            return None
        if outcome is None and self.run.state is not RunState.CANCELLING:
            return ActionOutcome(ok=False, detail={"error": "fault in the action itself: it cancelled its own task"})
        return outcome

    async def _unless_overtaken(self, action: Action, params: Mapping[str, Any]) -> ActionOutcome | str:
        """What the action came to, or why it was not begun after all."""
        # Asked by the very task that acts: until that has its turn, people's word may still come in.
        why = overtaken(self._world, self.run)
        return await act(action, params, self._context("action")) if why is None else why

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
            await self._ledger.insist(lambda: endings.judged(self.run, Kind.HEAL_FAILED, "action_failed", {}))
            return
        # While nobody listened no resolution could arrive: after a restart the time runs anew.
        acted_at = max(run.created_at if run.acted_at is None else run.acted_at, self._world.began)
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
            ask=None if ask is None else (lambda: ask(run.fingerprint, acted_at)),
            probe=try_probe,
        )
        verdict = await self._doing.unless_cut(
            verify(run.steps[run.step - 1]["verify"], acted_at, evidence, self._clock)
        )
        if verdict is None:
            return
        await self._ledger.insist(
            lambda: endings.judged(self.run, _HEALS[verdict.outcome], verdict.reason, verdict.saw)
        )

    def _cancelled(self) -> Sequence[Draft]:
        run = self._standing_at(RunState.CANCELLING)
        return [] if run is None else endings.cancelled(run)

    async def _end_dry_run(self) -> None:
        async with self._world.rehearsal_slots:
            answers = await rehearse(self.run.steps, self._world.actions, self._context("rehearsal"))
        try:
            await self._ledger.insist(lambda: endings.dry_run(self.run, answers))
        except RecordTooLarge:
            unfit = [{"ok": False, "error": "what the rehearsals answered does not fit a record"}]
            await self._ledger.insist(lambda: endings.dry_run(self.run, unfit))

    def _draft(
        self, kind: Kind, *, step: int | None = None, reason: str | None = None, actor: str = "system", **detail: object
    ) -> Draft:
        return run_draft(kind, self.run, step=step, reason=reason, actor=actor, **detail)
