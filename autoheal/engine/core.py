"""The engine: takes alerts in, decides, carries runs; it alone makes records of decisions and actions of records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

import structlog

from autoheal import __version__
from autoheal.actions import Action
from autoheal.alertmanager import Alertmanager
from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine.acknowledge import Ack, Acknowledged, Acknowledgements, unanswered
from autoheal.engine.control import Control
from autoheal.engine.deciding import decision_draft, differs, dry_run_draft, unrecordable
from autoheal.engine.intake import batches, hide, rejections, take_in
from autoheal.engine.ledger import Journal, Ledger
from autoheal.engine.pauses import PAUSE_FILE, Pauses
from autoheal.engine.runs import Runner, World
from autoheal.engine.texts import keep_texts, loaded, rejected
from autoheal.engine.upkeep import Upkeep
from autoheal.engine.waiting import Alarms
from autoheal.engine.watch import Watch
from autoheal.errors import ConfigError, JournalUnavailable, NoRule, RecordTooLarge
from autoheal.model import Alert, AlertStatus, By, Draft, Head, Kind, Notification, Reason, Receipt, Record
from autoheal.redaction import Redaction
from autoheal.rules import Rule, RuleSet
from autoheal.rules.decide import Decision, Switches, decide
from autoheal.state import TERMINAL, Episode, Pause, Run, RunState, State

STOP_SECONDS = 10.0
"""How long running actions may go on after SIGTERM."""
ACTIONS_AT_ONCE = 32
"""Actions that execute at the same time; further runs wait, and ask the guards again when it is their turn."""
AT_ONCE = 50
"""Decisions made before others on the event loop get their turn."""

_UNBEGUN_ENDS = (Kind.ACTION_CANCELLED, Kind.APPROVAL_DENIED, Kind.APPROVAL_EXPIRED)
"""Ends of runs that may never have begun."""

_log = structlog.get_logger(__name__)


class Engine:
    """One per process. `state` is the fold of everything handed to `journal`; nothing else is remembered.

    `sign` makes a checkpoint of a log id and a head.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        state: State,
        load_rules: Callable[[], RuleSet],
        actions: Mapping[str, Action],
        alertmanager: Alertmanager | None,
        redaction: Redaction,
        sign: Callable[[str, Head], Draft],
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.rules = load_rules()
        self.started_at = clock.now()
        self._load_rules = load_rules
        self._actions = actions
        self._redaction = redaction
        self._clock = clock
        self._ledger = Ledger(journal, state, clock, changed=self._changed, refolded=self._take_up, sign=sign)
        self._pauses = Pauses(self._ledger, clock, settings.data_dir / PAUSE_FILE)
        self._upkeep = Upkeep(self._ledger, clock, settings.audit_min_free, self._pauses.look_at_file)
        self._acks = Acknowledgements(self._ledger, alertmanager, redaction, clock, self._spawn)
        self.control = Control(self._ledger, clock, self._expect_running)
        """People's word on single runs."""
        self._dirty: dict[str, None] = {}
        self._work = asyncio.Event()
        self._alarms = Alarms(clock, self._ask_again)
        self._blocked: dict[str, set[str]] = {}
        self._starved: set[str] = set()
        self._runners: dict[str, Runner] = {}
        self._run_tasks: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._slots = asyncio.Semaphore(ACTIONS_AT_ONCE)
        self._running = False
        self._winding_down = False
        self.failed = asyncio.Event()
        """Set when work that the engine cannot do without has died: the process is to end, and to be started anew."""
        self._watch: Watch | None = None
        if alertmanager is not None:
            self._watch = Watch(alertmanager, clock, lambda: self.state, self._take_from_api)

    @property
    def state(self) -> State:
        """The fold of the log up to now, batches included that are not durable yet. Read only."""
        return self._ledger.state

    @property
    def ready(self) -> bool:
        """Whether an alert would be accepted durably now."""
        return self._running and self._ledger.journal.healthy

    @property
    def free_bytes(self) -> int | None:
        """What the log's disk has left; None when it is not this machine's to know."""
        return self._ledger.journal.free()

    async def start(self) -> None:
        """Say so in the log, take up what the log left open, and begin to decide."""
        self._running = True
        # The log may have been rotated while nobody wrote to it.
        self._ledger.refresh()
        self._ledger.commit(
            [
                Draft(
                    kind=Kind.SERVICE_STARTED,
                    detail={
                        "version": __version__,
                        "pid": os.getpid(),
                        "enabled": self.settings.enabled,
                        "dry_run": self.settings.dry_run,
                    },
                ),
                loaded(self.rules, None),
                *unanswered(self.state),
            ]
        )
        self._upkeep.look_at_space()
        self._pauses.look_at_file()
        await self._ledger.settle()
        self._keep_texts()
        self._spawn(self._upkeep.run(), vital=True)
        self._spawn(self._alarms.run(), vital=True)
        self._spawn(self._decide_forever(), vital=True)
        self._spawn(self._acks.run(), vital=True)
        if self._watch is not None:
            await self._watch.catch_up()
            self._spawn(self._watch.run(), vital=True)
        self._take_up()

    def wind_down(self) -> None:
        """Begin no step any more, from now on; alerts are still taken in until `stop`."""
        self._winding_down = True

    async def stop(self) -> None:
        """Stop deciding; give running actions up to ten seconds, then cut them and record that."""
        self._running = False
        self.wind_down()
        for task in self._tasks:
            task.cancel()
        for run_id, task in list(self._run_tasks.items()):
            if self._runners[run_id].idle.is_set():
                task.cancel()
        # Each action has its own deadline too, whichever is earlier.
        waits = [asyncio.ensure_future(self._until_idle()), asyncio.ensure_future(self._clock.sleep(STOP_SECONDS))]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for unfinished in (*waits, *self._run_tasks.values()):
            unfinished.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.gather(*self._tasks, *self._run_tasks.values(), return_exceptions=True)
        try:
            self._ledger.refresh()
            self._ledger.commit([Draft(kind=Kind.SERVICE_STOPPED)])
            self._upkeep.checkpoint()
            await self._ledger.settle()
        except JournalUnavailable as error:
            _log.error("stop_not_recorded", error=str(error))

    async def receive(self, notification: Notification, correlation_id: str) -> Receipt:
        """Take a notification in; returns once what it changed is durable.

        Raises JournalUnavailable when it is not: the sender is to try again, and repeats change nothing.
        """
        self._expect_running()
        asked = notification
        notification = hide(notification, self._redaction)
        self._ledger.refresh()
        if drafts := rejections(notification.rejected, correlation_id):
            self._ledger.commit(drafts)
        opened: list[str] = []
        suspects: list[str] = []
        try:
            for batch in batches(notification.alerts):
                intake = take_in(
                    self.state,
                    batch,
                    now=self._clock.now(),
                    how="webhook",
                    correlation_id=correlation_id,
                    can_ask=self._watch is not None,
                )
                if intake.drafts:
                    self._ledger.commit(intake.drafts)
                opened += intake.opened
                suspects += intake.suspects
        finally:
            # All alerts of a body are in before any is decided; when the log refuses half-way, those that are in count.
            self._mark(opened)
        await self._ledger.settle()
        if self._watch is not None and self._running:
            if suspects:
                self._spawn(self._watch.suspects(suspects))
            if notification.truncated > 0:
                self._spawn(self._watch.rest(asked, correlation_id))
        elif self._watch is None and notification.truncated > 0:
            _log.warning("truncated_group", left_out=notification.truncated, remedy="set ALERTMANAGER_URL")
        firing = sum(alert.status is AlertStatus.FIRING for alert in notification.alerts)
        return Receipt(
            accepted=len(notification.alerts),
            firing=firing,
            resolved=len(notification.alerts) - firing,
            rejected=len(notification.rejected),
        )

    async def note(self, draft: Draft) -> None:
        """Record what somebody did who is no part of the engine; durable on return. Raises JournalUnavailable."""
        self._expect_running()
        self._ledger.refresh()
        self._ledger.commit([draft])
        await self._ledger.settle()

    async def acknowledge(self, ack: Ack, actor: str, correlation_id: str) -> Acknowledged:
        """Silence in Alertmanager, in the name of `actor`, what `ack` says; what it covers is `acked` for so long.

        The last word counts: the silence takes the place of one with the same matchers by the same actor.
        Raises NoEpisode, CannotSilence, UpstreamError when no Alertmanager has made it, JournalUnavailable when
        nothing was done, and NotRecordedYet when it was made. To ask again is safe after each of them.
        """
        self._expect_running()
        return await self._acks.make(ack, actor, correlation_id)

    def paused(self) -> list[Pause]:
        """The pauses that last now, the oldest first."""
        return self.state.paused(self._clock.now())

    async def pause(self, rule: str | None, reason: str, duration: float | None, by: By) -> None:
        """Begin no run by `rule` (None: by any) for `duration` seconds, or until `resume`; durable on return.

        It takes the place of an earlier pause of the same rule, or of all. Raises NoRule and JournalUnavailable.
        """
        if rule is not None and all(known.name != rule for known in self.rules.rules):
            raise NoRule(f"no rule {rule!r} is in force")
        self._expect_running()
        await self._pauses.pause(rule, reason, duration, by)

    async def resume(self, rule: str | None, reason: str, by: By) -> None:
        """Take the pause of `rule`, or of all, back; other pauses stay. Durable on return.

        Raises NoRule when such a rule is neither in force nor paused, and JournalUnavailable.
        """
        known = {known.name for known in self.rules.rules} | {pause.rule for pause in self.state.pauses}
        if rule is not None and rule not in known:
            raise NoRule(f"no rule {rule!r} is in force, or paused")
        self._expect_running()
        await self._pauses.resume(rule, reason, by)

    async def reload(self, by: By | None = None) -> None:
        """Load the rules anew: the whole set or nothing. Raises ConfigError when the old rules stay.

        `by` is whoever asked for it, where that is known.
        """
        async with self._reloading:
            try:
                # A second for a thousand rules: not on the event loop.
                rules = await asyncio.to_thread(self._load_rules)
            except ConfigError as error:
                refusal = rejected(error, by)
                await self._ledger.insist(lambda: [refusal])
                raise
            self.rules = rules
            await self._ledger.insist(lambda: [loaded(rules, by)])
            self._keep_texts()
            self._mark(self.state.episodes)

    def _expect_running(self) -> None:
        if not self._running:
            raise JournalUnavailable("the service is stopping")

    # Deciding

    async def _decide_forever(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._decide_all()
            except JournalUnavailable as error:
                _log.error("decisions_wait_for_the_log", error=str(error))
                await self._ledger.healthy()
                self._take_up()

    async def _decide_all(self) -> None:
        self._ledger.refresh()
        self._pauses.look_at_file()
        done = 0
        while self._dirty:
            fingerprint = next(iter(self._dirty))
            try:
                self._decide_episode(fingerprint)
            except JournalUnavailable:
                raise
            except Exception:  # noqa: BLE001 one alert that trips a fault of ours must not stop decisions on all others
                _log.exception("decision_failed", fingerprint=fingerprint)
            del self._dirty[fingerprint]
            done += 1
            if done % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _decide_episode(self, fingerprint: str) -> None:
        episode = self.state.episodes.get(fingerprint)
        if episode is None:
            return
        rules: Sequence[Rule | None] = self.rules.match(episode.labels) if self.settings.enabled else ()
        for rule in rules or (None,):
            if rule is None or rule.name not in episode.runs:
                self._decide_by(episode, rule)

    def _decide_by(self, episode: Episode, rule: Rule | None) -> None:
        decision = self._decide(episode, rule)
        try:
            self._follow(episode, decision)
        except RecordTooLarge as error:
            _log.error("decision_does_not_fit", fingerprint=episode.fingerprint, rule=decision.rule, error=str(error))
            self._follow(episode, unrecordable(decision))

    def _follow(self, episode: Episode, decision: Decision) -> None:
        """Record the decision if it is news, and do what it says."""
        if decision.ask_again is not None:
            self._alarms.set(episode.fingerprint, decision.ask_again)
        if decision.reason is Reason.IN_PROGRESS and decision.target is not None:
            self._blocked.setdefault(decision.target, set()).add(episode.fingerprint)
        if decision.reason is Reason.BUDGET:
            self._starved.add(episode.fingerprint)
        begins = decision.reason in (Reason.ACT, Reason.AWAITING_APPROVAL)
        # One that says nothing new follows one whose run was cancelled before it began: it is due again.
        if not begins and not differs(decision, episode.decisions.get(decision.rule or "")):
            return
        run_id = None
        if begins or decision.reason is Reason.DRY_RUN:
            run_id = f"r{self.state.head.seq + 1}"
        drafts = [decision_draft(episode, decision, self._switches(), self.rules.digest, run_id)]
        if decision.reason is Reason.DRY_RUN:
            drafts.append(dry_run_draft(episode, decision, run_id))
        self._ledger.commit(drafts)
        if begins and run_id is not None:
            self._carry(run_id)

    def _decide(self, episode: Episode, rule: Rule | None, run: Run | None = None) -> Decision:
        return decide(self.state, episode, rule, self.rules, self._switches(), self._clock.now(), run)

    def _switches(self) -> Switches:
        return Switches(enabled=self.settings.enabled, dry_run=self.settings.dry_run)

    def _mark(self, fingerprints: Sequence[str] | Mapping[str, object] | set[str]) -> None:
        self._dirty.update(dict.fromkeys(fingerprints))
        if self._dirty:
            self._work.set()

    def _ask_again(self, fingerprint: str) -> None:
        self._mark([fingerprint])

    def _changed(self, records: Sequence[Record]) -> None:
        """React to what was folded: wake whom it concerns, and ask again where something was in the way."""
        for record in records:
            if record.kind in (Kind.SPACE_OK, Kind.SILENCE_CREATED, Kind.SILENCE_EXPIRED, Kind.RESUMED):
                self._mark(self.state.episodes)
            if record.kind in (Kind.PAUSED, Kind.SILENCE_CREATED, Kind.CONFIG_LOADED, Kind.SPACE_LOW):
                # People are not asked to approve what the guards would refuse.
                self._wake(run for run in self.state.runs.values() if run.state is RunState.AWAITING_APPROVAL)
            elif record.kind is Kind.ALERT_RESOLVED:
                self._resolved(str(record.fingerprint))
            elif record.run is not None and record.run in self.state.runs:
                self._moved(self.state.runs[record.run], record)

    def _wake(self, runs: Iterable[Run]) -> None:
        for run in runs:
            if run.id in self._runners:
                self._runners[run.id].changed.set()

    def _resolved(self, fingerprint: str) -> None:
        self._starved.discard(fingerprint)
        ended = [run for run in map(self.state.runs.get, self._runners) if run and run.fingerprint == fingerprint]
        self._wake(ended)
        for run in ended:
            said = any(rule.name == run.rule and rule.cancel_on_resolve for rule in self.rules.rules)
            if run.state is RunState.ACTING and said:
                self._spawn(self.control.end_resolved(run.id))

    def _moved(self, run: Run, record: Record) -> None:
        if record.kind is Kind.ESCALATED:
            _log.error("escalated", rule=run.rule, target=run.target, run=run.id, reason=record.reason)
        elif record.kind is Kind.APPROVAL_EXPIRED:
            _log.error("approval_expired", rule=run.rule, target=run.target, run=run.id)
        elif record.kind is Kind.CANCEL_REQUESTED:
            self._spawn(self._cut(run.id, record.seq))
        if record.kind in (Kind.APPROVAL_GRANTED, *_UNBEGUN_ENDS):
            self._wake([run])
        if run.state in TERMINAL:
            self._mark(self._blocked.pop(run.target, set()))
            if record.kind in _UNBEGUN_ENDS:
                # What it would have spent is free, and its episode may be decided on anew.
                self._mark(self._starved | {run.fingerprint})
                self._starved = set()

    async def _cut(self, run_id: str, seq: int) -> None:
        """End what the run does, once the record that says so is durable."""
        try:
            await self._ledger.journal.wait(seq)
        except JournalUnavailable:
            return  # whoever asked for it is told
        if (runner := self._runners.get(run_id)) is not None:
            runner.cut()

    # Runs

    def _carry(self, run_id: str) -> None:
        if run_id in self._run_tasks or not self._running:
            return
        world = World(
            rules=lambda: self.rules,
            look=self._pauses.look_at_file,
            decide_again=self._decide_again,
            decision=self._decision_of_run,
            actions=self._actions,
            ask=None if self._watch is None else self._watch.standing,
            lock_dir=self.settings.data_dir / "running",
            slots=self._slots,
            winding_down=lambda: self._winding_down,
            began=self.started_at,
        )
        runner = Runner(run_id, self._ledger, world, self._clock)
        task = asyncio.get_running_loop().create_task(runner.carry(), name=f"run {run_id}")
        self._runners[run_id], self._run_tasks[run_id] = runner, task
        task.add_done_callback(lambda done: self._carried(run_id, done))

    def _carried(self, run_id: str, task: asyncio.Task[None]) -> None:
        self._runners.pop(run_id, None)
        self._run_tasks.pop(run_id, None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # Not even its last word could be recorded: it stays open, and its target locked, until a person looks.
            _log.error("run_task_failed", run=run_id, exc_info=error)
        elif run_id in self.state.runs and not self.state.runs[run_id].ended:
            # A batch was given up and its seq, hence this id, was given to another run meanwhile.
            self._carry(run_id)

    def _take_up(self) -> None:
        """Go on with every run that the log left open, and decide on every open episode.

        At start, and whenever the log gave up what was folded already: what it lost is decided again.
        """
        for run in list(self.state.runs.values()):
            if not run.ended:
                self._carry(run.id)
        self._mark(self.state.episodes)

    def _decide_again(self, run: Run) -> Decision | None:
        episode = self.state.episodes.get(run.fingerprint)
        # Matched anew: a reload may have narrowed the rule, or put another one before it.
        matched = self.rules.match(episode.labels) if episode is not None else []
        rule = next((rule for rule in matched if rule.name == run.rule), None)
        if episode is None or rule is None:
            return None
        return self._decide(episode, rule, run)

    def _decision_of_run(self, run: Run, decision: Decision) -> Draft:
        return decision_draft(self.state.episodes[run.fingerprint], decision, self._switches(), self.rules.digest, None)

    async def _until_idle(self) -> None:
        for runner in list(self._runners.values()):
            await runner.idle.wait()

    # The rest

    def _take_from_api(self, alerts: Sequence[Alert], correlation_id: str | None) -> None:
        self._ledger.refresh()
        told = hide(Notification(alerts=tuple(alerts)), self._redaction)
        if told.rejected:
            _log.error("api_alerts_too_large", alerts=[one.fingerprint for one in told.rejected[:20]])
        intake = take_in(
            self.state,
            told.alerts,
            now=self._clock.now(),
            how="api",
            correlation_id=correlation_id,
            confirmed=True,
        )
        if intake.drafts:
            self._ledger.commit(intake.drafts)
        self._mark(intake.opened)

    def _keep_texts(self) -> None:
        try:
            keep_texts(self.settings.data_dir / "rules", self.rules)
        except OSError as error:
            # The log does not depend on it; explaining old decisions will.
            _log.error("rules_text_not_kept", digest=self.rules.digest, error=str(error))

    def _spawn(self, work: Coroutine[object, object, None], *, vital: bool = False) -> None:
        """Run `work` beside; an engine whose vital work has failed takes nothing in any more, and says so."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("task_failed", vital=vital, exc_info=error)
                if vital:
                    self._running = False
                    self.failed.set()

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
