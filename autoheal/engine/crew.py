"""The runs under way: one task each, woken when what they wait for may have come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context

import structlog
from structlog.contextvars import bind_contextvars

from autoheal.clock import Clock
from autoheal.engine.control import Control
from autoheal.engine.inquiries import Spawn
from autoheal.engine.ledger import Ledger
from autoheal.engine.runs import Runner
from autoheal.engine.world import World
from autoheal.errors import JournalUnavailable
from autoheal.model import Kind, Record
from autoheal.state import Run, RunState

STOP_SECONDS = 10.0
"""How long running actions may go on after SIGTERM."""

_VOIDING = frozenset(
    (
        Kind.PAUSED,
        Kind.SILENCE_CREATED,
        Kind.CONFIG_LOADED,
        Kind.SPACE_LOW,
        Kind.BREAKER_OPENED,
        Kind.BREAKER_CLOSED,
        Kind.RULE_DEMOTED,
        Kind.STORM_BEGAN,
    )
)
"""Kinds after which runs that wait for people ask the guards again: nobody is to approve what those refuse, or answer
what need not be asked any more.
"""

_log = structlog.get_logger(__name__)


class Crew:
    """Carries the runs that it is told to, while the engine is `running`."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        control: Control,
        world: World,
        *,
        running: Callable[[], bool],
        spawn: Spawn,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._control = control
        self._world = world
        self._running = running
        self._spawn = spawn
        self._runners: dict[str, Runner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def carry(self, run_id: str) -> None:
        """Carry that run to its end, beside; does nothing when it is under way, or the service stops."""
        if run_id in self._tasks or not self._running():
            return
        runner = Runner(run_id, self._ledger, self._world, self._clock)
        # What it logs follows from its webhook, not from the request in whose course it happens to begin.
        context = Context()
        if (run := self._ledger.state.runs.get(run_id)) is not None and run.correlation_id is not None:
            context.run(bind_contextvars, correlation_id=run.correlation_id)
        task = asyncio.get_running_loop().create_task(runner.carry(), name=f"run {run_id}", context=context)
        self._runners[run_id], self._tasks[run_id] = runner, task
        task.add_done_callback(lambda done: self._carried(run_id, done))

    def take_up(self) -> None:
        """Carry every run that the log has left open."""
        for run in list(self._ledger.state.runs.values()):
            if not run.ended:
                self.carry(run.id)

    def changed(self, record: Record) -> None:
        """Wake whom it concerns that `record` was folded."""
        runs = self._ledger.state.runs
        asked = (run for run in runs.values() if run.state is RunState.AWAITING_APPROVAL)
        if record.kind in _VOIDING:
            self._wake(asked)
        elif record.kind is Kind.ALERT_DISPUTED:
            self._wake(run for run in asked if run.fingerprint == record.fingerprint)
        elif record.kind is Kind.ALERT_RESOLVED:
            self._resolved(str(record.fingerprint))
        elif record.run is not None and record.run in runs:
            self._moved(runs[record.run], record)

    async def stop(self) -> None:
        """Give running actions up to ten seconds, then cut them; every run says in the log how it was left."""
        for run_id, task in list(self._tasks.items()):
            if self._runners[run_id].idle.is_set():
                task.cancel()
        # Each action has its own deadline too, whichever is earlier.
        waits = [asyncio.ensure_future(self._until_idle()), asyncio.ensure_future(self._clock.sleep(STOP_SECONDS))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for unfinished in (*waits, *self._tasks.values()):
            unfinished.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _until_idle(self) -> None:
        for runner in list(self._runners.values()):
            await runner.idle.wait()

    def _carried(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._runners.pop(run_id, None)
        self._tasks.pop(run_id, None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # Not even its last word could be recorded: it stays open, and its target locked, until a person looks.
            _log.error("run_task_failed", run=run_id, exc_info=error)
        elif run_id in self._ledger.state.runs and not self._ledger.state.runs[run_id].ended:
            # A batch was given up and its seq, hence this id, was given to another run meanwhile.
            self.carry(run_id)

    def _wake(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.id in self._runners:
                self._runners[run.id].changed.set()

    def _resolved(self, fingerprint: str) -> None:
        known = self._ledger.state.runs
        ended = [run for run in map(known.get, self._runners) if run and run.fingerprint == fingerprint]
        self._wake(ended)
        for run in ended:
            said = any(rule.name == run.rule and rule.cancel_on_resolve for rule in self._world.rules().rules)
            if run.state is RunState.ACTING and said:
                self._spawn(self._control.end_resolved(run.id))

    def _moved(self, run: Run, record: Record) -> None:
        if record.kind is Kind.ESCALATED:
            _log.error("escalated", rule=run.rule, target=run.target, run=run.id, reason=record.reason)
        elif record.kind is Kind.APPROVAL_EXPIRED:
            _log.error("approval_expired", rule=run.rule, target=run.target, run=run.id)
        elif record.kind is Kind.CANCEL_REQUESTED:
            self._spawn(self._cut(run.id, record.seq))
        if record.kind is Kind.APPROVAL_GRANTED or run.ended:
            self._wake([run])

    async def _cut(self, run_id: str, seq: int) -> None:
        """End what the run does, once the record that says so is durable."""
        try:
            await self._ledger.journal.wait(seq)
        except JournalUnavailable:
            return  # whoever asked for it is told
        if (runner := self._runners.get(run_id)) is not None:
            runner.cut()
