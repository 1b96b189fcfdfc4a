"""The engine's state: a pure fold of the log's records.

`State.apply` is the only thing that changes it, and looks at nothing but the record: no clock, no rules, no
settings. So the live state, the state after a restart and the state of a backtest are the same function of
the same lines: fold(a + b) = fold(fold(a), b). Every field is plain data that pydantic can write and read back.

A state is *founded* once it has seen the beginning of the log, or a whole snapshot: before that nothing is known
of what came earlier, and records only move its head.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from autoheal import snapshot
from autoheal.breaker import Breaker
from autoheal.errors import JournalDamaged
from autoheal.model import Draft, Head, Kind, Mode, OwnName, Reason, Record, parse_rfc3339
from autoheal.storm import Release, Storm

T = TypeVar("T")

ENDS_KEPT = 24 * 3600.0
"""How long the end of an episode is remembered to tell a stale firing from a new one, seconds."""
CHARGES_KEPT = 31 * 86400.0
"""How long budget charges are kept, seconds: no budget window may be longer."""
LAST_ACTIONS_KEPT = 366 * 86400.0
"""How long the last action on a target is kept, seconds: no cooldown may be longer."""
TARGETS_KEPT = 86400.0
"""How long it is kept that a rule's alert was about a target, seconds: no storm's window may be longer."""
CLOCK_SET_BACK = 86400.0
"""How far a machine's clock may have been set back before a start, seconds: until it has caught up, `ts` runs ahead of
the time by which decisions are made, and what seems to be over may last."""
ENDED_RUNS_KEPT = 1000
REMEMBERED = 100_000
"""How many ends, and how many targets of a rule, are kept at most, the newest: whoever makes up alerts must not fill
the memory.
"""


class RunState(StrEnum):
    """Where a run is. The last six are terminal."""

    AWAITING_APPROVAL = "awaiting_approval"
    PLANNED = "planned"
    """The next step (`step` + 1) waits to start."""
    ACTING = "acting"
    VERIFYING = "verifying"
    ESCALATING = "escalating"
    """No step may follow; only the `escalated` record is missing."""
    CANCELLING = "cancelling"
    """What it does is being ended; only the `action_cancelled` record is missing."""
    HEALED = "healed"
    ESCALATED = "escalated"
    CANCELLED = "cancelled"
    DENIED = "denied"
    EXPIRED = "expired"
    DRY_RUN = "dry_run"


TERMINAL = frozenset(
    {
        RunState.HEALED,
        RunState.ESCALATED,
        RunState.CANCELLED,
        RunState.DENIED,
        RunState.EXPIRED,
        RunState.DRY_RUN,
    }
)
CANCELLED_BY_PEOPLE = "cancelled"
"""The reason of a run's end that somebody asked for: such a run is not tried again on its episode."""


@dataclass(slots=True)
class LastDecision:
    """The newest decision on one episode and rule; a new one is recorded only when it differs."""

    reason: Reason
    target: str | None
    mode: Mode | None
    plan_digest: str | None


@dataclass(slots=True)
class Episode:
    """One firing period of one alert, from its first firing to its end. `decisions` is keyed by rule ("" is none)."""

    id: str
    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    opened_at: float
    correlation_id: str | None
    caused_by: str = "alertmanager"
    """The actor of its first firing."""
    decisions: dict[str, LastDecision] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    """Unfinished run by rule."""
    ran: list[str] = field(default_factory=list)
    """Rules whose run on this episode has ended: a rule has at most one, unless somebody asks for another."""
    released: dict[str, Release] = field(default_factory=dict)
    """By rule, of those whose storm does not hold it any more by somebody's word."""
    size: int = 0
    """Of the record of its first firing, bytes."""

    @property
    def alertname(self) -> str:
        """The `alertname` label; empty when there is none."""
        return self.labels.get("alertname", "")


@dataclass(slots=True)
class Approval:
    """What a run asked people for, and what came of it.

    `rule_digest` is that of the rule as it stood, `expires_at` is in epoch seconds, `by` whoever has approved.
    `observed` is how that was which the first step would change, where its action could tell.
    """

    rule_digest: str
    requested_at: float
    expires_at: float
    by: str | None = None
    observed: str | None = None


@dataclass(slots=True)
class Run:
    """One try to heal one episode by one rule: its plan and how far it has come.

    `step` counts from 1 and is the last one started (0: none yet).
    """

    id: str
    episode: str
    fingerprint: str
    alertname: str
    rule: str
    target: str
    mode: Mode
    plan: dict[str, Any]
    plan_digest: str
    created_at: float
    correlation_id: str | None
    caused_by: str = "alertmanager"
    """The actor of the firing that it is about."""
    state: RunState = RunState.PLANNED
    approval: Approval | None = None
    """Of a rule with `mode: approve`, once it was asked for."""
    step: int = 0
    began_at: float | None = None
    """When its first action began."""
    acted_at: float | None = None
    """When the last step's action ended."""
    action_ok: bool | None = None
    again: bool = False
    """Whether the last step's action was started a second time, after the gateway had died over it."""
    resolved: str | None = None
    """How the alert's episode ended, once it has: `webhook`, `api` or `superseded`."""
    reason: str | None = None
    """Why it stands where it stands, as far as a record said."""
    ended_at: float | None = None
    ended_by: str | None = None
    """Who asked for its end, where somebody did."""
    hold_told: str | None = None
    """The kind of the last record that tells whether Alertmanager has taken the alert that it is at work."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in TERMINAL

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The ladder as planned."""
        steps: list[dict[str, Any]] = self.plan["steps"]
        return steps


@dataclass(slots=True)
class Failure:
    """A run that was left to people, while its alert still fires.

    `severity` is the alert's label of that name. `told` is the kind of the last record that tells whether Alertmanager
    has taken the alert that says so.
    """

    run: str
    episode: str
    fingerprint: str
    alertname: str
    severity: str
    rule: str
    target: str
    mode: Mode
    reason: str
    failed_at: float
    correlation_id: str | None
    told: str | None = None


@dataclass(slots=True)
class Suspect:
    """A firing that may be stale: its `startsAt` is not after the last end known of that fingerprint."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    seen_at: float
    correlation_id: str | None
    size: int = 0
    """Of the record that tells of it, bytes."""


@dataclass(slots=True)
class Charge:
    """One run's first action: what budgets count."""

    ts: float
    rule: str
    target: str


@dataclass(slots=True)
class Spent:
    """What one budget has spent: the times of its charges, ascending, and how many runs wait to be charged."""

    times: list[float] = field(default_factory=list)
    waiting: int = 0

    def since(self, ts: float) -> int:
        """Index in `times` of the first charge after `ts`."""
        return bisect_right(self.times, ts)

    def used(self, window: float, now: float) -> int:
        """How much of it falls in the last `window` seconds. What waits counts as charged `now`."""
        return len(self.times) - self.since(now - window) + self.waiting


@dataclass(slots=True)
class Silence:
    """An operator's acknowledgement and the silence in Alertmanager that stands for it: until `ends_at` (epoch
    seconds) what it covers is acknowledged. The silence itself is shorter, and extended. `matchers` are in
    Alertmanager's notation.
    """

    id: str
    matchers: str
    actor: str
    ends_at: float
    comment: str = ""
    made_at: float = 0.0
    reminded_at: float = 0.0
    """When people were last reminded of it; when it was made, before that."""
    ahead: bool = False
    """Whether nothing that it covers fired when it was made: then no end of an alert ends it."""


@dataclass(slots=True)
class Pause:
    """A word by which no run begins, of one rule or (`rule` None) of all.

    `how` it came is `api` or `file`. `reason` is in people's words; `until` (epoch seconds) is None where it lasts
    until it is taken back.
    """

    rule: str | None
    how: str
    actor: str
    reason: str
    since: float
    until: float | None

    def lasts(self, now: float) -> bool:
        """Whether its end, if it has one, is yet to come at `now`."""
        return self.until is None or now < self.until


@dataclass(slots=True)
class End:
    """When a fingerprint's last episode ended, as told (`ends_at`) and as recorded (`ts`)."""

    ends_at: float
    ts: float


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
    waiting: dict[str, Charge] = field(default_factory=dict)
    """Runs decided but not begun: budgets count them as spent."""
    last_action: dict[str, dict[str, float]] = field(default_factory=dict)
    """Start of the last action by rule and target: what cooldowns count from."""
    charges: list[Charge] = field(default_factory=list)
    spent: dict[str, Spent] = field(default_factory=dict)
    """`charges` and `waiting` by `budget_key`, so that a decision costs the same however many there are."""

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
            change = _CHANGES.get(record.kind)
            if change is not None:
                change(self, record)

    def snapshot(self) -> list[Draft]:
        """The records from which a state that knows nothing becomes this one. Call it for a founded state only."""
        known = {name: getattr(self, name) for name in _SNAPSHOT_FIELDS}
        return snapshot.drafts(orjson.dumps(known))

    def _collect(self, record: Record) -> None:
        self.snapshot_parts, whole = snapshot.collect(self.snapshot_parts, record.detail)
        if not whole:
            return
        try:
            known = _adapter().validate_python(orjson.loads(snapshot.text(self.snapshot_parts)))
        except (orjson.JSONDecodeError, ValidationError):
            # pydantic's text would quote labels.
            raise JournalDamaged(f"the snapshot that ends with seq {record.seq} is no state") from None
        for name in _SNAPSHOT_FIELDS:
            setattr(self, name, getattr(known, name))
        self.founded, self.snapshot_parts = True, []

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
        for spent in self._budgets(charge):
            spent.waiting += 1

    def release(self, run_id: str) -> Charge | None:
        """A decided run begins or ends: what it reserved, if it still did."""
        charge = self.waiting.pop(run_id, None)
        if charge is not None:
            for spent in self._budgets(charge):
                spent.waiting -= 1
            self._drop_empty(charge)
        return charge

    def charge(self, charge: Charge) -> None:
        """A run's first action begins; charges that no budget can ask for any more are forgotten."""
        self.charges.append(charge)
        for spent in self._budgets(charge):
            spent.times.append(charge.ts)
        while charge.ts - self.charges[0].ts > CHARGES_KEPT:
            oldest = self.charges.pop(0)
            for spent in self._budgets(oldest):
                spent.times.pop(0)
            self._drop_empty(oldest)

    def _budgets(self, charge: Charge) -> list[Spent]:
        return [self.spent.setdefault(key, Spent()) for key in _budget_keys(charge)]

    def _drop_empty(self, charge: Charge) -> None:
        for key in _budget_keys(charge):
            if self.spent.get(key, _NOTHING) == _NOTHING:
                self.spent.pop(key, None)


_NOTHING = Spent()


def budget_key(rule: str | None, target: str | None) -> str:
    """The key in `State.spent` of a rule's target, of a rule (`target` None) or of all rules (both None)."""
    # No rule's name and no target holds a NUL.
    return "\0".join(part for part in (rule, target) if part is not None)


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


def _space(*, low: bool) -> Callable[[State, Record], None]:
    def change(state: State, _: Record) -> None:
        state.space_low = low

    return change


def _watchdog(*, missing: bool) -> Callable[[State, Record], None]:
    def change(state: State, _: Record) -> None:
        state.watchdog_missing = missing

    return change


def _alert_firing(state: State, record: Record) -> None:
    fingerprint = _given(record.fingerprint)
    _close(state, fingerprint)
    state.open_bytes += len(record.line)
    state.episodes[fingerprint] = Episode(
        id=_given(record.episode),
        fingerprint=fingerprint,
        labels=dict(record.labels or {}),
        annotations=dict(record.annotations or {}),
        starts_at=parse_rfc3339(record.detail["starts_at"]),
        opened_at=record.ts,
        correlation_id=record.correlation_id,
        caused_by=record.actor,
        size=len(record.line),
    )


def _close(state: State, fingerprint: str) -> Episode | None:
    """Nothing is open about that alert any more: the episode that was."""
    episode, suspect = state.episodes.pop(fingerprint, None), state.suspects.pop(fingerprint, None)
    state.open_bytes -= sum(known.size for known in (episode, suspect) if known is not None)
    return episode


def _alert_resolved(state: State, record: Record) -> None:
    fingerprint = _given(record.fingerprint)
    state.failures.pop(fingerprint, None)
    episode = _close(state, fingerprint)
    if episode is not None:
        for run_id in episode.runs.values():
            state.runs[run_id].resolved = record.detail["how"]
    for rule, storm in list(state.storms.items()):
        if storm.held.pop(fingerprint, None) is not None and storm.over and not storm.held:
            del state.storms[rule]
    known = state.ends.pop(fingerprint, None)
    ends_at = parse_rfc3339(record.detail["ends_at"])
    state.ends[fingerprint] = End(max(ends_at, known.ends_at) if known else ends_at, record.ts)
    _forget(state.ends, record.ts, lambda end: end.ts, at_most=REMEMBERED)


def _alert_suspect(state: State, record: Record) -> None:
    fingerprint = _given(record.fingerprint)
    if (known := state.suspects.pop(fingerprint, None)) is not None:
        state.open_bytes -= known.size
    state.open_bytes += len(record.line)
    state.suspects[fingerprint] = Suspect(
        labels=dict(record.labels or {}),
        annotations=dict(record.annotations or {}),
        starts_at=parse_rfc3339(record.detail["starts_at"]),
        seen_at=record.ts,
        correlation_id=record.correlation_id,
        size=len(record.line),
    )
    state.open_bytes -= sum(
        suspect.size for suspect in _forget(state.suspects, record.ts, lambda suspect: suspect.seen_at)
    )


def _decision(state: State, record: Record) -> None:
    reason = Reason(_given(record.reason))
    episode = state.episodes.get(_given(record.fingerprint))
    if episode is None or episode.id != record.episode:
        return
    rule = record.rule or ""
    episode.decisions[rule] = LastDecision(reason, record.target, record.mode, record.detail.get("plan_digest"))
    if record.target is not None:
        _named(state, rule, record.target, episode, record.ts)
    if record.run is None or record.mode is None:
        return
    state.runs[record.run] = run = Run(
        id=record.run,
        episode=episode.id,
        fingerprint=episode.fingerprint,
        alertname=episode.alertname,
        rule=rule,
        target=_given(record.target),
        mode=record.mode,
        plan=dict(record.detail["plan"]),
        plan_digest=record.detail["plan_digest"],
        created_at=record.ts,
        correlation_id=record.correlation_id,
        caused_by=episode.caused_by,
        reason=reason,
    )
    if reason is Reason.AWAITING_APPROVAL:
        run.state = RunState.AWAITING_APPROVAL
    if reason in (Reason.ACT, Reason.AWAITING_APPROVAL):
        episode.runs[rule] = run.id
        state.locks[run.target] = run.id
        _tried_again(state, run)
        if reason is Reason.ACT:
            state.working[run.id] = rule
            if run.mode is Mode.APPROVE and (release := episode.released.get(rule)) is not None:
                run.approval = Approval(release.rule_digest, release.ts, release.ts, release.by)
        state.reserve(run.id, Charge(record.ts, rule, run.target))


def _named(state: State, rule: str, target: str, episode: Episode, now: float) -> None:
    """An alert of `rule` is about `target`: since it began, however often that is decided on."""
    targets = state.targets.setdefault(rule, {})
    since = max(targets.pop(target, episode.opened_at), episode.opened_at)
    targets[target] = since
    _forget(targets, now, float, TARGETS_KEPT, REMEMBERED)
    if (storm := state.storms.get(rule)) is not None and not storm.over and rule not in episode.released:
        storm.held[episode.fingerprint] = target


def _storm_began(state: State, record: Record) -> None:
    rule = _given(record.rule)
    known = state.storms.get(rule)
    storm = state.storms[rule] = Storm(record.ts, held={} if known is None else known.held)
    for episode in state.episodes.values():
        decision = episode.decisions.get(rule)
        if decision is not None and decision.target is not None and rule not in episode.released:
            storm.held[episode.fingerprint] = decision.target


def _storm_released(state: State, record: Record) -> None:
    rule, digest = _given(record.rule), record.detail["rule_digest"]
    storm = state.storms[rule]
    # Not listed in the record, which could not hold ten thousand: it was made from this very state.
    for episode in state.batch(rule):
        plan = _given(episode.decisions[rule].plan_digest)
        episode.released[rule] = Release(plan, digest, record.ts, record.actor)
        del storm.held[episode.fingerprint]
    if storm.over and not storm.held:
        del state.storms[rule]


def _storm_ended(state: State, record: Record) -> None:
    storm = state.storms[_given(record.rule)]
    storm.over = True
    if not storm.held:
        del state.storms[_given(record.rule)]


def _approval_requested(state: State, record: Record) -> None:
    detail = record.detail
    expires_at, observed = parse_rfc3339(detail["expires_at"]), detail.get("observed")
    asked = Approval(detail["rule_digest"], record.ts, expires_at, observed=observed)
    state.runs[_given(record.run)].approval = asked


def _approval_granted(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    assert run.approval is not None, "nobody approves what was not asked for"
    run.state, run.reason, run.approval.by = RunState.PLANNED, None, record.actor


def _cancel_requested(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    run.state, run.reason, run.ended_by = RunState.CANCELLING, record.reason, record.actor


def _action_started(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    run.again = record.step == run.step
    run.state, run.step, run.acted_at, run.action_ok = RunState.ACTING, record.step or 1, None, None
    run.reason = None
    run.began_at = record.ts if run.began_at is None else run.began_at
    state.working[run.id] = run.rule
    last = state.last_action.setdefault(run.rule, {})
    last.pop(run.target, None)
    last[run.target] = record.ts
    _forget(last, record.ts, float, LAST_ACTIONS_KEPT)
    if state.release(run.id) is not None:
        state.charge(Charge(record.ts, run.rule, run.target))


def _action_ended(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    run.acted_at, run.action_ok = record.ts, {Kind.ACTION_OK: True, Kind.ACTION_FAIL: False}.get(record.kind)
    if run.state is not RunState.CANCELLING:
        run.state, run.reason = RunState.VERIFYING, record.reason


def _heal_failed(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    run.state, run.reason = RunState.PLANNED, record.reason


def _heal_inconclusive(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    run.state, run.reason = RunState.ESCALATING, record.reason


def _ends(terminal: RunState) -> Callable[[State, Record], None]:
    def change(state: State, record: Record) -> None:
        run = state.runs[_given(record.run)]
        run.state, run.ended_at, run.reason = terminal, record.ts, record.reason
        run.ended_by = None if record.actor == "system" else record.actor
        state.release(run.id)
        state.working.pop(run.id, None)
        if state.locks.get(run.target) == run.id:
            del state.locks[run.target]
        episode = state.episodes.get(run.fingerprint)
        if episode is not None and episode.runs.get(run.rule) == run.id:
            del episode.runs[run.rule]
            # A run that a guard stopped before it began leaves the rule free to try this episode again.
            if run.step or terminal is not RunState.CANCELLED or record.reason == CANCELLED_BY_PEOPLE:
                episode.ran.append(run.rule)
        state.ended_runs.append(run.id)
        if len(state.ended_runs) > ENDED_RUNS_KEPT:
            del state.runs[state.ended_runs.pop(0)]

    return change


def _heal_confirmed(state: State, record: Record) -> None:
    run = state.runs[_given(record.run)]
    if (breaker := state.breakers.get(run.rule)) is not None:
        breaker.heal()
        if breaker.at_rest:
            del state.breakers[run.rule]
    _ends(RunState.HEALED)(state, record)


def _left_to_people(state: State, run: Run, record: Record) -> None:
    """Keep that for as long as the alert fires."""
    episode = state.episodes.get(run.fingerprint)
    if episode is None or episode.id != run.episode:
        return
    state.failures.setdefault(run.fingerprint, {})[run.rule] = Failure(
        run=run.id,
        episode=run.episode,
        fingerprint=run.fingerprint,
        alertname=run.alertname,
        severity=episode.labels.get("severity", ""),
        rule=run.rule,
        target=run.target,
        mode=run.mode,
        reason=record.reason or "",
        failed_at=record.ts,
        correlation_id=run.correlation_id,
    )


def _tried_again(state: State, run: Run) -> None:
    """A new run on the same alert: people have asked for it, and know."""
    failures = state.failures.get(run.fingerprint, {})
    failures.pop(run.rule, None)
    if not failures:
        state.failures.pop(run.fingerprint, None)


def _approval_expired(state: State, record: Record) -> None:
    _left_to_people(state, state.runs[_given(record.run)], record)
    _ends(RunState.EXPIRED)(state, record)


def _notified(state: State, record: Record) -> None:
    told, run = record.kind.value, state.runs.get(record.run or "")
    if record.detail.get("alert") == OwnName.ACTIVE:
        if run is not None:
            run.hold_told = told
    elif record.run is None:
        if (storm := state.storms.get(_given(record.rule))) is not None:
            storm.told = told
    else:
        failure = state.failures.get(_given(record.fingerprint), {}).get(_given(record.rule))
        if failure is not None and failure.run == record.run:
            failure.told = told


def _escalated(state: State, record: Record) -> None:
    if record.run is None:
        if (storm := state.storms.get(_given(record.rule))) is not None:
            storm.escalated_at = record.ts
        return
    run = state.runs[_given(record.run)]
    # One that was judged: a run that was stopped before its action, or by a fault of ours, tells nothing of its rule.
    if run.step and run.state in (RunState.PLANNED, RunState.ESCALATING):
        state.breakers.setdefault(run.rule, Breaker()).fail(run.created_at, record.ts)
    _left_to_people(state, run, record)
    _ends(RunState.ESCALATED)(state, record)


def _rerun_requested(state: State, record: Record) -> None:
    episode = state.episodes[_given(record.fingerprint)]
    episode.ran.remove(_given(record.rule))
    # What a storm's batch was let go for is done.
    episode.released.pop(_given(record.rule), None)


def _breaker_opened(state: State, record: Record) -> None:
    state.breakers.setdefault(_given(record.rule), Breaker()).open(record.detail["rule_digest"], record.ts)


def _rule_demoted(state: State, record: Record) -> None:
    state.breakers[_given(record.rule)].demoted = True


def _breaker_closed(state: State, record: Record) -> None:
    state.breakers.pop(_given(record.rule), None)


def _silence_requested(state: State, record: Record) -> None:
    state.silence_requests.append(record.seq)


def _silence_created(state: State, record: Record) -> None:
    _silence_failed(state, record)
    known, detail = state.silences, record.detail
    known.pop(detail.get("replaces", ""), None)
    for silence in [silence for silence in known.values() if silence.ends_at <= record.ts - CLOCK_SET_BACK]:
        del known[silence.id]
    made = Silence(
        id=detail["silence_id"],
        matchers=detail["matchers"],
        actor=record.actor,
        ends_at=parse_rfc3339(detail["ends_at"]),
        comment=detail.get("comment", ""),
        made_at=record.ts,
        reminded_at=record.ts,
        ahead=record.fingerprint is None and detail.get("covers") == 0,
    )
    known[made.id] = made


def _silence_failed(state: State, record: Record) -> None:
    if record.detail["request"] in state.silence_requests:
        state.silence_requests.remove(record.detail["request"])


def _silence_extended(state: State, record: Record) -> None:
    silence = state.silences.pop(record.detail["replaces"], None)
    if silence is not None:
        silence.id = record.detail["silence_id"]
        state.silences[silence.id] = silence


def _ack_old(state: State, record: Record) -> None:
    if (silence := state.silences.get(record.detail["silence_id"])) is not None:
        silence.reminded_at = record.ts


def _silence_expired(state: State, record: Record) -> None:
    state.silences.pop(record.detail["silence_id"], None)


def _paused(state: State, record: Record) -> None:
    _resumed(state, record)
    detail = record.detail
    until = parse_rfc3339(detail["until"]) if "until" in detail else None
    state.pauses = [pause for pause in state.pauses if pause.lasts(record.ts - CLOCK_SET_BACK)]
    state.pauses.append(Pause(record.rule, detail["how"], record.actor, detail["reason"], record.ts, until))


def _resumed(state: State, record: Record) -> None:
    which = record.rule, record.detail["how"]
    state.pauses = [pause for pause in state.pauses if (pause.rule, pause.how) != which]


_CHANGES: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.SPACE_LOW: _space(low=True),
    Kind.SPACE_OK: _space(low=False),
    Kind.ALERT_FIRING: _alert_firing,
    Kind.ALERT_RESOLVED: _alert_resolved,
    Kind.ALERT_SUSPECT: _alert_suspect,
    Kind.DECISION: _decision,
    Kind.APPROVAL_REQUESTED: _approval_requested,
    Kind.APPROVAL_GRANTED: _approval_granted,
    Kind.APPROVAL_DENIED: _ends(RunState.DENIED),
    Kind.APPROVAL_EXPIRED: _approval_expired,
    Kind.CANCEL_REQUESTED: _cancel_requested,
    Kind.ACTION_STARTED: _action_started,
    Kind.ACTION_OK: _action_ended,
    Kind.ACTION_FAIL: _action_ended,
    Kind.ACTION_INTERRUPTED: _action_ended,
    Kind.ACTION_DRY_RUN: _ends(RunState.DRY_RUN),
    Kind.ACTION_CANCELLED: _ends(RunState.CANCELLED),
    Kind.HEAL_CONFIRMED: _heal_confirmed,
    Kind.HEAL_FAILED: _heal_failed,
    Kind.HEAL_INCONCLUSIVE: _heal_inconclusive,
    Kind.ESCALATED: _escalated,
    Kind.RERUN_REQUESTED: _rerun_requested,
    Kind.BREAKER_OPENED: _breaker_opened,
    Kind.BREAKER_CLOSED: _breaker_closed,
    Kind.RULE_DEMOTED: _rule_demoted,
    Kind.STORM_BEGAN: _storm_began,
    Kind.STORM_RELEASED: _storm_released,
    Kind.STORM_ENDED: _storm_ended,
    Kind.SILENCE_REQUESTED: _silence_requested,
    Kind.SILENCE_CREATED: _silence_created,
    Kind.SILENCE_FAILED: _silence_failed,
    Kind.SILENCE_EXTENDED: _silence_extended,
    Kind.SILENCE_EXPIRED: _silence_expired,
    Kind.ACK_OLD: _ack_old,
    Kind.WATCHDOG_MISSING: _watchdog(missing=True),
    Kind.WATCHDOG_BACK: _watchdog(missing=False),
    Kind.NOTIFIED: _notified,
    Kind.NOTIFY_FAILED: _notified,
    Kind.PAUSED: _paused,
    Kind.RESUMED: _resumed,
}


def _given(value: T | None) -> T:
    assert value is not None, "the log's writer always sets this field"
    return value


def _forget(
    entries: dict[str, T],
    now: float,
    since: Callable[[T], float],
    kept: float = ENDS_KEPT,
    at_most: float = float("inf"),
) -> list[T]:
    """Drop the entries that are older than `kept` seconds, and the oldest beyond `at_most`; those that were dropped."""
    # Entries are in the order of their times (ts never decreases), so the old ones stand first.
    dropped: list[T] = []
    while entries:
        oldest = next(iter(entries))
        if now - since(entries[oldest]) <= kept and len(entries) <= at_most:
            break
        dropped.append(entries.pop(oldest))
    return dropped
