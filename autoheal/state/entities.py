"""What the state is made of: plain data that pydantic can write and read back."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autoheal.model import Mode, Reason
from autoheal.storm import Release


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
class Dispute:
    """One Alertmanager has told that the alert ended at `ends_at`, and at `since` another still listed it as firing.

    `heard_at` is when that other one had last heard of it, by its own clock. All are epoch seconds.
    """

    since: float
    ends_at: float
    heard_at: float


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
    asked_by: dict[str, str] = field(default_factory=dict)
    """Who asked last for another run, by rule."""
    size: int = 0
    """Of the record of its first firing, bytes."""
    dispute: Dispute | None = None
    """While it stands, nobody knows whether the alert fires."""

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
    asked_by: str | None = None
    """Who asked for it, where it is another run on its episode."""
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
    def about_to_begin(self) -> bool:
        """Whether it acts as soon as the guards have been asked again, and nothing was asked of people."""
        return self.state is RunState.PLANNED and self.reason == Reason.ACT

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
class Incident:
    """Something that people were told of and that has not ended: since the record `seq`, on the channels `to`.

    `kind` is that of the last record that told of it. `severity` is a word of PagerDuty's; `facts` are by their names.
    """

    seq: int
    kind: str
    severity: str
    to: list[str]
    acknowledged: bool = False
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Owed:
    """One thing of which the channels `to` are yet to be told.

    `id` names it for ever; `key` is the seq of the record with which its incident began, and `what` becomes of that:
    `trigger`, `acknowledge` or `resolve`. `kind` and `facts` are those of the record that triggered it.
    """

    id: str
    incident: str
    key: int
    what: str
    severity: str
    kind: str
    ts: float
    to: list[str]
    facts: dict[str, str] = field(default_factory=dict)
    by: str | None = None
    """Who did what it tells of, where somebody did."""


@dataclass(slots=True)
class SelfTest:
    """How one went that was over at `ts`: the names of the checks that failed, none where it was well."""

    ts: float
    failed: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed
