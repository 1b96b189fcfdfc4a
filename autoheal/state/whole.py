"""The state as a whole: its tables, its snapshots, and the fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache

import orjson
from pydantic import TypeAdapter, ValidationError

from autoheal import snapshot
from autoheal.breaker import Breaker
from autoheal.errors import JournalDamaged
from autoheal.model import Draft, Head, Kind, Record
from autoheal.state.alerts import ALERTS
from autoheal.state.entities import (
    Charge,
    End,
    Episode,
    Failure,
    Incident,
    Owed,
    Pause,
    Run,
    SelfTest,
    Silence,
    Spent,
    Suspect,
)
from autoheal.state.guards import GUARDS
from autoheal.state.keeping import CHARGES_KEPT
from autoheal.state.notices import owe
from autoheal.state.people import PEOPLE
from autoheal.state.runs import RUNS
from autoheal.state.selftests import SELFTESTS
from autoheal.storm import Storm

LARGE_OPEN, LARGE_ENDED = 2_000, 25_000
"""Alerts that fire, and ends that are remembered, up to which a snapshot holds up nobody for long (10 and 35 ms)."""
LARGE_BYTES = 6_000_000
"""Of the text, whatever it is made of: 30 ms to make, compress and seal; 65 ms of what repeats nothing."""

CHANGES: Mapping[Kind, Callable[[State, Record], None]] = {**ALERTS, **RUNS, **GUARDS, **PEOPLE, **SELFTESTS}
"""What each kind changes; one that is not here only moves the head."""


@dataclass(slots=True)
class State:
    """All that decisions depend on, apart from rules, settings and the time."""

    head: Head = field(default_factory=Head)
    founded: bool = False
    snapshot_parts: list[str] = field(default_factory=list)
    """Of a snapshot that is not complete yet; only while nothing founds the state."""
    episodes: dict[str, Episode] = field(default_factory=dict)
    """Open episodes by fingerprint."""
    ends: dict[str, End] = field(default_factory=dict)
    suspects: dict[str, Suspect] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    """All unfinished runs and the last 1,000 ended, oldest first."""
    open_bytes: int = 0
    """The sizes of all episodes and suspects together: the memory that they take is some times as much."""
    ended_runs: list[str] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    """The unfinished run of each target."""
    working: dict[str, str] = field(default_factory=dict)
    """The rules of the live runs at work: what concurrency counts. One that needs approval is, once it has begun."""
    space_low: bool = False
    """Whether the log's disk has less left than it should: no live run begins."""
    watchdog_missing: bool = False
    """Whether the alert that always fires has stayed away."""
    breakers: dict[str, Breaker] = field(default_factory=dict)
    """By rule, of those whose last run failed, or whose breaker is open."""
    targets: dict[str, dict[str, float]] = field(default_factory=dict)
    """When the last alert on each target began, by rule and target: what storms are told by."""
    storms: dict[str, Storm] = field(default_factory=dict)
    """By rule. One that is over stays for as long as it holds an alert."""
    failures: dict[str, dict[str, Failure]] = field(default_factory=dict)
    """Runs that were left to people, by the fingerprint of their alert, which still fires, and by rule."""
    pauses: list[Pause] = field(default_factory=list)
    """At most one for each rule, or for all, and way. One whose time is long over stays until the next is made."""
    silences: dict[str, Silence] = field(default_factory=dict)
    """By id. One whose time is long over stays until the next is made."""
    silence_requests: list[int] = field(default_factory=list)
    """Seqs of the requests for a silence of which no outcome is recorded yet."""
    incidents: dict[str, Incident] = field(default_factory=dict)
    """What people were told of and has not ended, by what it is about."""
    owed: dict[str, Owed] = field(default_factory=dict)
    """What is yet to be told, by id, the oldest first."""
    sent: dict[str, list[float]] = field(default_factory=dict)
    """When each channel took a message, in the hour before its last one."""
    unsaid: dict[str, int] = field(default_factory=dict)
    """How much was left out for each channel since it was last told so."""
    waiting: dict[str, Charge] = field(default_factory=dict)
    """Runs decided but not begun: budgets count them as spent."""
    last_action: dict[str, dict[str, float]] = field(default_factory=dict)
    """Start of the last action by rule and target: what cooldowns count from."""
    charges: list[Charge] = field(default_factory=list)
    spent: dict[str, Spent] = field(default_factory=dict)
    """`charges` and `waiting` by `budget_key`, so that a decision costs the same however many there are."""
    selftests: list[SelfTest] = field(default_factory=list)
    """The last 20, oldest first."""

    def apply(self, record: Record) -> None:
        """Fold one record. A kind that changes nothing here only moves the head.

        Raises JournalDamaged for a snapshot that this version cannot read although it says it can.
        """
        self.head = record.head
        if not self.founded:
            self.founded = record.seq == 1
            if record.kind is Kind.SNAPSHOT:
                self._collect(record)
        if self.founded:
            if "tell" in record.detail:
                owe(self, record)
            change = CHANGES.get(record.kind)
            if change is not None:
                change(self, record)

    @property
    def large(self) -> bool:
        """Whether a snapshot would take longer than others should wait on the event loop without need."""
        return len(self.episodes) + len(self.suspects) > LARGE_OPEN or len(self.ends) > LARGE_ENDED

    def snapshot(self) -> list[Draft]:
        """The records from which a state that knows nothing becomes this one. Call it for a founded state only."""
        return snapshot.drafts(self._text())

    def small_snapshot(self) -> list[Draft]:
        """`snapshot`, or nothing where its text is so long that others would wait for it."""
        text = self._text()
        return [] if len(text) > LARGE_BYTES else snapshot.drafts(text)

    def _text(self) -> bytes:
        return orjson.dumps({name: getattr(self, name) for name in _SNAPSHOT_FIELDS})

    def _collect(self, record: Record) -> None:
        self.snapshot_parts, whole = snapshot.collect(self.snapshot_parts, record.detail)
        if whole:
            self.restore(self.snapshot_parts)
            self.snapshot_parts = []

    def restore(self, parts: Sequence[str]) -> None:
        """Become what a whole snapshot's `parts` say; the head stays. Raises JournalDamaged for what is no state."""
        try:
            known = _adapter().validate_python(orjson.loads(snapshot.text(parts)))
        except (orjson.JSONDecodeError, ValidationError):
            # pydantic's text would quote labels.
            raise JournalDamaged("a snapshot is no state") from None
        for name in _SNAPSHOT_FIELDS:
            setattr(self, name, getattr(known, name))
        self.founded = True

    def at_work(self, rule: str | None = None) -> set[str]:
        """The live runs that have not ended, of all rules or of one; without those that people have not let begin."""
        return {run for run, of in self.working.items() if rule in (None, of)}

    def batch(self, rule: str) -> list[Episode]:
        """What a storm of `rule` holds and people may let go: alerts with a plan, on which the rule has not begun."""
        storm = self.storms.get(rule)
        held = [] if storm is None else [self.episodes[fingerprint] for fingerprint in storm.held]
        return [
            episode
            for episode in held
            if rule not in episode.runs
            and rule not in episode.ran
            and (decision := episode.decisions.get(rule)) is not None
            and decision.plan_digest is not None
        ]

    def paused(self, now: float) -> list[Pause]:
        """The pauses that last at `now` (epoch seconds), the oldest first."""
        return [pause for pause in self.pauses if pause.lasts(now)]

    def spent_on(self, rule: str | None = None, target: str | None = None) -> Spent:
        """What has been spent on a rule's target, on a rule, or on all rules. Read only."""
        return self.spent.get(budget_key(rule, target), _NOTHING)

    def spent_by_target(self) -> dict[str, dict[str, Spent]]:
        """What has been spent on each target, by rule. Read only."""
        found: dict[str, dict[str, Spent]] = {}
        for key, spent in self.spent.items():
            rule, _, target = key.partition("\0")
            if target:
                found.setdefault(rule, {})[target] = spent
        return found

    def reserve(self, run_id: str, charge: Charge) -> None:
        """A run was decided: until it begins or ends it counts as spent."""
        self.waiting[run_id] = charge
        for key in _budget_keys(charge):
            self._budget(key).waiting += 1

    def release(self, run_id: str) -> Charge | None:
        """A decided run begins or ends: what it reserved, if it still did."""
        charge = self.waiting.pop(run_id, None)
        if charge is not None:
            for key in _budget_keys(charge):
                self._budget(key).waiting -= 1
                self._drop_empty(key)
        return charge

    def charge(self, charge: Charge) -> None:
        """A run's first action begins; charges that no budget can ask for any more are forgotten."""
        self.charges.append(charge)
        for key in _budget_keys(charge):
            self._budget(key).times.append(charge.ts)
        while charge.ts - self.charges[0].ts > CHARGES_KEPT:
            for key in _budget_keys(self.charges.pop(0)):
                self._budget(key).times.pop(0)
                self._drop_empty(key)

    def _budget(self, key: str) -> Spent:
        spent = self.spent.get(key)
        if spent is None:
            spent = self.spent[key] = Spent()
        return spent

    def _drop_empty(self, key: str) -> None:
        spent = self.spent[key]
        if not spent.waiting and not spent.times:
            del self.spent[key]


_NOTHING = Spent()


def budget_key(rule: str | None, target: str | None) -> str:
    """The key in `State.spent` of a rule's target, of a rule (`target` None) or of all rules (both None)."""
    # No rule's name and no target holds a NUL.
    return (rule or "") if target is None else f"{rule}\0{target}"


def _budget_keys(charge: Charge) -> tuple[str, str, str]:
    return budget_key(None, None), budget_key(charge.rule, None), budget_key(charge.rule, charge.target)


_SNAPSHOT_FIELDS = [each.name for each in fields(State) if each.name not in ("head", "founded", "snapshot_parts")]


@cache
def _adapter() -> TypeAdapter[State]:
    # Made when a snapshot is first read: most runs never do.
    return TypeAdapter(State)


def fold(records: Iterable[Record], state: State | None = None) -> State:
    """The state after `records`, from `state` (changed in place) or from the beginning."""
    state = State() if state is None else state
    for record in records:
        state.apply(record)
    return state
