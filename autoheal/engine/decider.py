"""Whom a decision is due on, who waits for what, and what a decision leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from autoheal.actions import Action
from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine.deciding import decision_draft, differs, dry_run_draft, unrecordable
from autoheal.engine.guards import Survey, breakers_due, storms_due
from autoheal.engine.inquiries import Inquiries, Spawn
from autoheal.engine.ledger import Ledger
from autoheal.engine.measurements import Measurements
from autoheal.engine.outlook import Outlook
from autoheal.engine.rehearsal import can_rehearse
from autoheal.engine.waiting import Alarms, Lines
from autoheal.errors import JournalUnavailable, RecordTooLarge
from autoheal.model import Draft, Kind, Reason, Record, parse_rfc3339
from autoheal.rules import Rule, RuleSet
from autoheal.rules.decide import Decision, Switches, decide
from autoheal.rules.guards import NO_FACTS
from autoheal.state import TERMINAL, Episode, Run, State

AT_ONCE = 20
"""Decisions made before others on the event loop get their turn."""

_CONCERN_ALL = frozenset(
    (
        Kind.SPACE_OK,
        Kind.SILENCE_CREATED,
        Kind.SILENCE_EXPIRED,
        Kind.RESUMED,
        Kind.BREAKER_CLOSED,
        Kind.RULE_DEMOTED,
    )
)
"""Kinds of records after which every open episode is decided on anew."""
_NOT_LIVE = (Reason.DRY_RUN, Reason.HOLD_OUT)
"""Reasons for which the plan is made and not carried out."""
_UNBEGUN_ENDS = (Kind.ACTION_CANCELLED, Kind.APPROVAL_DENIED, Kind.APPROVAL_EXPIRED)
"""Ends of runs that may never have begun."""
_STORMS = ""
"""Nobody's fingerprint: the alarm by which time ends storms."""
_PAUSES = "pauses"
"""Nobody's either: the alarm by which time ends pauses."""

_log = structlog.get_logger(__name__)


class Decider:
    """Decides on every episode that is due, records what is news, and has `begin` carry the runs that follow.

    `look` takes note of what may have been said outside of the log, and raises JournalUnavailable. `turn` is held by
    whoever takes a notification in.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        rules: Callable[[], RuleSet],
        actions: Mapping[str, Action],
        outlook: Outlook,
        measurements: Measurements,
        clock: Clock,
        turn: asyncio.Lock,
        look: Callable[[], None],
        begin: Callable[[str], None],
        spawn: Spawn,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._rules = rules
        self._actions = actions
        self._clock = clock
        self._turn = turn
        self._look = look
        self._begin = begin
        self._spawn = spawn
        self._dirty: dict[str, None] = {}
        self._work = asyncio.Event()
        self._alarms = Alarms(clock, self._ask_again)
        self._blocked: dict[str, set[str]] = {}
        """Who waits for a target."""
        self._starved: set[str] = set()
        """Who waits for what budgets count."""
        self._behind: dict[str, set[str]] = {}
        """Who waits for a run of a rule to end, whatever its target."""
        self._lines = Lines()
        self._stale = True
        """Whether something happened since the guards were last asked what they have to tell."""
        self._survey = Survey()
        self._inquiries = Inquiries(outlook, measurements, spawn, self.mark)

    def start(self) -> None:
        """Begin to decide."""
        self._spawn(self._alarms.run(), vital=True)
        self._spawn(self._run(), vital=True)

    def mark(self, fingerprints: Iterable[str]) -> None:
        """A decision is due on these."""
        due = dict.fromkeys(fingerprints)
        self._survey.add(due)
        self._dirty.update(due)
        if self._dirty:
            self._work.set()

    def mark_all(self) -> None:
        """A decision is due on every open episode, and guards may have something to tell."""
        self.mark(self._state.episodes)
        # Also where no episode is open: after a restart a storm may be over.
        self._look_at_guards()

    def changed(self, record: Record) -> None:
        """Ask again where what was folded with `record` was, or is now, in the way."""
        run = None if record.run is None else self._state.runs.get(record.run)
        if record.kind in _CONCERN_ALL:
            self.mark(self._state.episodes)
        elif record.kind is Kind.PAUSED:
            # It may take the place of one that lasts longer, whose end all that it holds would wait for.
            if (until := record.detail.get("until")) is not None:
                self._alarms.set(_PAUSES, parse_rfc3339(until))
        elif record.kind is Kind.CONFIG_LOADED:
            self._stale = True
        elif record.kind is Kind.STORM_RELEASED:
            rule = str(record.rule)
            self.mark([one.fingerprint for one in self._state.episodes.values() if rule in one.released])
            self._look_at_guards()
        elif record.kind in (Kind.RERUN_REQUESTED, Kind.ALERT_UNDISPUTED):
            self.mark([str(record.fingerprint)])
        elif record.kind is Kind.ALERT_RESOLVED:
            for waiting in (self._starved, *self._behind.values()):
                waiting.discard(str(record.fingerprint))
            if self._state.storms:
                self._look_at_guards()
        elif run is not None and run.state in TERMINAL:
            self.mark(self._blocked.pop(run.target, set()) | self._behind.pop(run.rule, set()))
            self._look_at_guards()
            if record.kind in _UNBEGUN_ENDS:
                # What it would have spent is free, and its episode may be decided on anew.
                self.mark(self._starved | {run.fingerprint})
                self._starved = set()

    async def look_for(self, run: Run) -> None:
        """Ask the world what the guards must know of it before they are asked again about `run`.

        Raises JournalUnavailable.
        """
        await self._inquiries.look_for(run)
        self._ledger.refresh()
        self._look()

    def decide_again(self, run: Run) -> Decision | None:
        """The guards asked once more, at the moment of execution; None when the rule is gone."""
        episode = self._state.episodes.get(run.fingerprint)
        # Matched anew: a reload may have narrowed the rule, or put another one before it.
        matched = self._rules().match(episode.labels) if episode is not None else []
        rule = next((rule for rule in matched if rule.name == run.rule), None)
        if episode is None or rule is None:
            return None
        return self.decide_now(episode, rule, run)

    def decide_now(self, episode: Episode, rule: Rule | None, run: Run | None = None) -> Decision:
        """What the guards say now, with what is known; records nothing."""
        facts = NO_FACTS if rule is None else self._inquiries.facts(rule, episode)
        return decide(self._state, episode, rule, self._rules(), self._switches(), self._clock.now(), run, facts)

    def record_of(self, run: Run, decision: Decision) -> Draft:
        """The record of a decision that stopped `run`."""
        episode = self._state.episodes[run.fingerprint]
        return decision_draft(episode, decision, self._switches(), self._rules().digest, None)

    @property
    def _state(self) -> State:
        return self._ledger.state

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._decide_all()
            except JournalUnavailable as error:
                _log.error("decisions_wait_for_the_log", error=str(error))
                await self._ledger.healthy()
                self.mark_all()

    async def _decide_all(self) -> None:
        due = True
        while due:
            # In between is the moment for a notification: it must be whole before anything is decided on it.
            async with self._turn:
                due = await self._decide_some()
            await asyncio.sleep(0)

    async def _decide_some(self) -> bool:
        """Make the next decisions; whether more are due."""
        self._ledger.refresh()
        self._look()
        for _ in range(AT_ONCE):
            if not await self._look_ahead():
                # By now there are decisions that tell of all of them.
                self._survey.named.clear()
                return False
            fingerprint = next(iter(self._dirty))
            try:
                self._decide_episode(fingerprint)
            except JournalUnavailable:
                raise
            except Exception:  # noqa: BLE001 one alert that trips a fault of ours must not stop decisions on all others
                _log.exception("decision_failed", fingerprint=fingerprint)
            del self._dirty[fingerprint]
        return True

    async def _look_ahead(self) -> bool:
        """Look at all that has arrived, record what guards have to tell, and say whether a decision is due."""
        while not self._survey.done:
            self._stale |= self._survey.look(self._state, self._rules(), AT_ONCE)
            if not self._survey.done:
                await asyncio.sleep(0)
        rules = {rule.name: rule for rule in self._rules().rules} if self._stale else {}
        while self._stale:
            drafts, again = storms_due(self._state, rules, self._survey.named, self._switches(), self._clock.now())
            drafts += breakers_due(self._state, rules)
            if drafts:
                self._ledger.commit(drafts)
                continue  # one may call for the next
            if again is not None:
                self._alarms.set(_STORMS, again)
            self._stale = False
        return bool(self._dirty) or self._next_in_line()

    def _next_in_line(self) -> bool:
        """Have the next of those who wait for room decided on, if there is room; False: nobody is."""
        first = self._lines.first(self._room)
        self.mark(() if first is None else (first,))
        return first is not None

    def _room(self, rule: str | None) -> bool:
        limits = [each.concurrency for each in self._rules().rules if each.name == rule]
        limit = self._settings.max_running if rule is None else next(iter(limits), None)
        return limit is None or len(self._state.at_work(rule)) < limit

    def _decide_episode(self, fingerprint: str) -> None:
        episode = self._state.episodes.get(fingerprint)
        if episode is None:
            return
        rules: Sequence[Rule | None] = self._rules().match(episode.labels) if self._settings.enabled else ()
        lacking = False
        for rule in rules or (None,):
            if rule is None or rule.name not in episode.runs:
                decision = self.decide_now(episode, rule)
                lacking |= self._inquiries.lacking(episode, decision)
                # Nor by the rules below one that lacks facts: they could take the target from it.
                if not lacking:
                    self._record(episode, decision)

    def _record(self, episode: Episode, decision: Decision) -> None:
        try:
            self._follow(episode, decision)
        except RecordTooLarge as error:
            _log.error("decision_does_not_fit", fingerprint=episode.fingerprint, rule=decision.rule, error=str(error))
            self._follow(episode, unrecordable(decision))

    def _follow(self, episode: Episode, decision: Decision) -> None:
        """Record the decision if it is news, and do what it says."""
        self._wait(episode, decision)
        begins = decision.reason in (Reason.ACT, Reason.AWAITING_APPROVAL)
        # One that says nothing new follows one whose run was cancelled before it began: it is due again.
        if not begins and not differs(decision, episode.decisions.get(decision.rule or "")):
            return
        run_id = None
        if begins or decision.reason in _NOT_LIVE:
            run_id = f"r{self._state.head.seq + 1}"
        drafts = [decision_draft(episode, decision, self._switches(), self._rules().digest, run_id)]
        carried = begins
        if decision.reason in _NOT_LIVE and decision.plan is not None:
            carried = can_rehearse(decision.plan, self._actions)
            if not carried:
                drafts.append(dry_run_draft(episode, decision, run_id))
        self._ledger.commit(drafts)
        if carried and run_id is not None:
            self._begin(run_id)

    def _wait(self, episode: Episode, decision: Decision) -> None:
        """See to it that what stands in the way is asked about again when it may be gone."""
        if decision.ask_again is not None:
            self._alarms.set(episode.fingerprint, decision.ask_again)
        if decision.reason is Reason.IN_PROGRESS and decision.target is not None:
            self._blocked.setdefault(decision.target, set()).add(episode.fingerprint)
        if decision.reason in (Reason.BREAKER_OPEN, Reason.FLEET_GUARD) and decision.rule is not None:
            self._behind.setdefault(decision.rule, set()).add(episode.fingerprint)
        if decision.reason is Reason.CONCURRENCY and decision.rule is not None:
            own = decision.verdicts[-1].saw["scope"] == "rule"
            self._lines.join(decision.rule if own else None, episode.fingerprint)
        if decision.reason is Reason.BUDGET:
            self._starved.add(episode.fingerprint)

    def _switches(self) -> Switches:
        settings = self._settings
        return Switches(enabled=settings.enabled, dry_run=settings.dry_run, max_running=settings.max_running)

    def _ask_again(self, key: str) -> None:
        if key == _STORMS:
            self._look_at_guards()
        elif key == _PAUSES:
            self.mark(self._state.episodes)
        else:
            self.mark([key])

    def _look_at_guards(self) -> None:
        self._stale = True
        self._work.set()
