"""The engine: takes alerts in, decides, carries runs; it alone makes records of decisions and actions of records."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from random import SystemRandom
from typing import Any

import structlog

from autoheal import __version__
from autoheal.actions import Action
from autoheal.alertmanager import Alertmanager
from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine.acknowledge import Ack, Acknowledged, Acknowledgements, unanswered
from autoheal.engine.addressing import Addressing
from autoheal.engine.batch_observation import BatchObservation
from autoheal.engine.control import Control
from autoheal.engine.crew import Crew
from autoheal.engine.decider import Decider
from autoheal.engine.ledger import Journal, Ledger
from autoheal.engine.measurements import Measurements
from autoheal.engine.notifier import Notifier
from autoheal.engine.outlook import Outlook
from autoheal.engine.own_alerts import OwnAlert, standing
from autoheal.engine.pauses import PAUSE_FILE, Pauses
from autoheal.engine.poster import Poster
from autoheal.engine.promises import promises
from autoheal.engine.reception import Reception
from autoheal.engine.release import Releases
from autoheal.engine.selftests import SelfTests
from autoheal.engine.silences import Silences
from autoheal.engine.texts import keep_texts, loaded, rejected
from autoheal.engine.upkeep import Upkeep
from autoheal.engine.watchdog import Watchdog
from autoheal.engine.world import World
from autoheal.errors import ConfigError, JournalUnavailable, NoRule
from autoheal.model import ALERTMANAGER, By, Draft, Head, Kind, Notification, Receipt, Record
from autoheal.notify import Channel
from autoheal.prometheus import Prometheus
from autoheal.redaction import Redaction
from autoheal.rules import RuleSet
from autoheal.slices import Slices
from autoheal.state import Pause, Run, State

REHEARSALS_AT_ONCE = 8
"""Dry runs that ask whether they would be accepted at the same time."""

_random = SystemRandom().random
_log = structlog.get_logger(__name__)


class Engine:
    """One per process. `state` is the fold of everything handed to `journal`; nothing else is remembered.

    `sign` makes a checkpoint of a log id and a head. `random` gives numbers from 0 up to 1, by which attempts to reach
    `channels` are spread.
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
        prometheus: Prometheus | None,
        redaction: Redaction,
        sign: Callable[[str, Head], Draft],
        clock: Clock,
        channels: Sequence[Channel] = (),
        random: Callable[[], float] = _random,
    ) -> None:
        self.settings = settings
        self.rules = load_rules()
        self.started_at = clock.now()
        self._load_rules = load_rules
        self._actions = actions
        self._clock = clock
        self._running = False
        self._winding_down = False
        self.failed = asyncio.Event()
        """Set when work that the engine cannot do without has died: the process is to end, and to be started anew."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._ledger = Ledger(
            journal,
            state,
            clock,
            changed=self._changed,
            refolded=self._take_up,
            sign=sign,
            address=Addressing(channels, lambda: self.rules, key_errors=settings.notify_key_errors),
        )
        self._notifier = Notifier(
            self._ledger,
            channels,
            clock,
            public_url=settings.public_url,
            random=random,
            tell_retries=settings.notify_retries,
        )
        self._pauses = Pauses(self._ledger, clock, settings.data_dir / PAUSE_FILE)
        self._upkeep = Upkeep(self._ledger, clock, settings.audit_min_free, self._pauses.look_at_file)
        self.watchdog: Watchdog | None = None
        """What tells whether alerts still arrive; None where nobody asks for it."""
        if settings.watchdog:
            self.watchdog = Watchdog(self._ledger, clock, settings.watchdog, settings.watchdog_after)
        self.selftests = SelfTests(self._ledger, clock)
        """How the last self-tests went."""
        self.control = Control(self._ledger, clock, lambda: self.rules, self._expect_running)
        """People's word on single runs."""
        turn = asyncio.Lock()
        self._reception = Reception(
            ledger=self._ledger,
            alertmanager=alertmanager,
            watchdog=self.watchdog,
            redaction=redaction,
            clock=clock,
            turn=turn,
            mark=self._due,
            spawn=self._spawn,
            running=lambda: self._running,
        )
        watch = self._watch = self._reception.watch
        self._silences: Silences | None = None
        self._poster: Poster | None = None
        silencing = asyncio.Lock()
        self._acks = Acknowledgements(self._ledger, alertmanager, redaction, clock, self._spawn, silencing)
        if alertmanager is not None and watch is not None:
            self._silences = Silences(self._ledger, alertmanager, watch, clock, silencing)
            self._poster = Poster(self._ledger, alertmanager, clock, self._own_alerts)
        measurements = Measurements(prometheus, clock)
        self._decider = Decider(
            settings=settings,
            ledger=self._ledger,
            rules=lambda: self.rules,
            actions=actions,
            outlook=Outlook(watch, redaction, clock),
            measurements=measurements,
            clock=clock,
            turn=turn,
            look=self._pauses.look_at_file,
            begin=self._begin,
            spawn=self._spawn,
        )
        world = World(
            rules=lambda: self.rules,
            look=self._decider.look_for,
            decide_again=self._decider.decide_again,
            decision=self._decider.record_of,
            actions=actions,
            ask=None if watch is None else watch.standing,
            measure=measurements.holds,
            lock_dir=settings.data_dir / "running",
            rehearsal_slots=asyncio.Semaphore(REHEARSALS_AT_ONCE),
            winding_down=lambda: self._winding_down,
            began=self.started_at,
        )
        batches = BatchObservation(self._ledger, self._decider.decide_now, world, clock)
        self.releases = Releases(
            self._ledger,
            lambda: self.rules,
            self._expect_running,
            observe=lambda *about: self._spawn(batches.record(*about)),
        )
        """People's word on what storms hold."""
        self._crew = Crew(self._ledger, clock, self.control, world, running=lambda: self._running, spawn=self._spawn)

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

    @property
    def posting_fails(self) -> bool:
        """Whether no Alertmanager took the alerts of our own that were last posted."""
        return self._poster is not None and self._poster.failing

    @property
    def notices_waiting(self) -> Mapping[str, int]:
        """How much is yet to be told, by channel."""
        return self._notifier.waiting

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
        self._reception.end_disputed()
        self._upkeep.look_at_space()
        self._pauses.look_at_file()
        # With the start itself: a life that nobody signed must look strange, however short it was.
        self._upkeep.checkpoint()
        await self._ledger.settle()
        self._keep_texts()
        self._spawn(self._upkeep.run(), vital=True)
        self._decider.start()
        if self.watchdog is not None:
            self._spawn(self.watchdog.run(), vital=True)
        self._spawn(self.selftests.run(), vital=True)
        if self._watch is not None:
            await self._watch.catch_up()
            self._spawn(self._watch.run(), vital=True)
            self._spawn(self._watch.disputes.run(), vital=True)
        if self._silences is not None:
            self._spawn(self._silences.run(), vital=True)
        if self._poster is not None:
            self._spawn(self._poster.run(), vital=True)
        self._spawn(self._notifier.run(), vital=True)
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
        await self._crew.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            self._ledger.refresh()
            self._ledger.commit([Draft(kind=Kind.SERVICE_STOPPED)])
            self._upkeep.checkpoint()
            await self._ledger.settle()
        except JournalUnavailable as error:
            _log.error("stop_not_recorded", error=str(error))

    async def receive(
        self, sent: Notification | Slices[Notification], correlation_id: str, actor: str = ALERTMANAGER
    ) -> Receipt:
        """Take a notification by `actor` in, as `Reception.receive` says."""
        return await self._reception.receive(sent, correlation_id, actor)

    async def note(self, draft: Draft) -> None:
        """Record what somebody did who is no part of the engine; durable on return. Raises JournalUnavailable."""
        self._expect_running()
        self._ledger.refresh()
        self._ledger.commit([draft])
        await self._ledger.settle()

    async def selftested(self, draft: Draft) -> None:
        """Record how a self-test went; one that is over only after the service has stopped is left out."""
        if self._running:
            await self.selftests.tell(draft)

    async def acknowledge(self, ack: Ack, actor: str, correlation_id: str) -> Acknowledged:
        """Silence in Alertmanager, in the name of `actor`, what `ack` says; what it covers is `acked` for so long.

        The last word counts: the silence takes the place of one with the same matchers by the same actor.
        Raises NoEpisode, CannotSilence, UpstreamError when no Alertmanager has made it, JournalUnavailable when
        nothing was done, and NotRecordedYet when it was made. To ask again is safe after each of them.
        """
        self._expect_running()
        return await self._acks.make(ack, actor, correlation_id)

    async def reset(self, rule: str, by: By) -> bool:
        """Close the breaker of `rule` by an operator's word, and lift its demotion; durable on return.

        False when there was nothing to forget. Raises JournalUnavailable.
        """
        self._expect_running()
        self._ledger.refresh()
        if rule not in self.state.breakers:
            # It may have been closed a moment ago, and that may not be durable yet.
            await self._ledger.settle()
            return False
        about = Draft(
            kind=Kind.BREAKER_CLOSED,
            rule=rule,
            reason="operator",
            actor=by.actor,
            correlation_id=by.correlation_id,
        )
        self._ledger.commit([about])
        await self._ledger.settle()
        return True

    def promises(self, run: Run) -> list[dict[str, Any]]:
        """What each step of the run's plan would do, in words, and whether that is idempotent and reversible."""
        return promises(run.steps, self._actions)

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
            # Before the log tells of them: where it refuses for a while, decisions by them may be in it first.
            self._keep_texts()
            await self._ledger.insist(lambda: [loaded(rules, by)])
            self._decider.mark_all()

    def _expect_running(self) -> None:
        if not self._running:
            raise JournalUnavailable("the service is stopping")

    # What follows from records

    def _changed(self, records: Sequence[Record]) -> None:
        """React to what was folded."""
        for record in records:
            if record.kind is Kind.STORM_BEGAN:
                _log.error("storm_began", rule=record.rule, **record.detail)
            self._crew.changed(record)
            self.selftests.changed(record)
            self._decider.changed(record)
            if self._poster is not None:
                self._poster.changed(record)
        self._notifier.changed(records)

    def _own_alerts(self) -> Iterator[OwnAlert]:
        return standing(
            self.state,
            {rule.name: rule for rule in self.rules.rules},
            self._clock.now(),
            escalate=self.settings.escalate_to_alertmanager,
            public_url=self.settings.public_url,
        )

    def _due(self, fingerprints: Sequence[str]) -> None:
        self._decider.mark(fingerprints)

    def _begin(self, run_id: str) -> None:
        self._crew.carry(run_id)

    def _take_up(self) -> None:
        """Go on with every run that the log left open, and decide on every open episode.

        At start, and whenever the log gave up what was folded already: what it lost is decided again.
        """
        self._crew.take_up()
        self.selftests.take_up()
        self._decider.mark_all()
        self._notifier.look()

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
