"""The domain's words: alerts, plans, decisions, records.

Times are seconds since the Unix epoch as floats (UTC), durations are seconds: hostile dates cannot overflow
them. `rfc3339` and `parse_rfc3339` are the only ways in and out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from math import modf
from typing import Any, NamedTuple

import orjson

MAX_RECORD_BYTES = 64 * 1024
ZERO_HASH = "0" * 64


class Kind(StrEnum):
    """What a record tells. The vocabulary is closed: docs/audit-log.md explains each."""

    LOG_CREATED = "log_created"
    LOG_REPAIRED = "log_repaired"
    LOG_OPENED = "log_opened"
    SNAPSHOT = "snapshot"
    CHECKPOINT = "checkpoint"
    SPACE_LOW = "space_low"
    SPACE_OK = "space_ok"
    SERVICE_STARTED = "service_started"
    SERVICE_STOPPED = "service_stopped"
    CONFIG_LOADED = "config_loaded"
    CONFIG_REJECTED = "config_rejected"
    ALERT_FIRING = "alert_firing"
    ALERT_RESOLVED = "alert_resolved"
    ALERT_DISPUTED = "alert_disputed"
    ALERT_UNDISPUTED = "alert_undisputed"
    ALERT_SUSPECT = "alert_suspect"
    ALERT_REJECTED = "alert_rejected"
    DECISION = "decision"
    APPROVAL_REQUESTED = "approval_requested"
    APPROVAL_GRANTED = "approval_granted"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    ACTION_STARTED = "action_started"
    ACTION_OK = "action_ok"
    ACTION_FAIL = "action_fail"
    ACTION_DRY_RUN = "action_dry_run"
    ACTION_INTERRUPTED = "action_interrupted"
    CANCEL_REQUESTED = "cancel_requested"
    ACTION_CANCELLED = "action_cancelled"
    HEAL_CONFIRMED = "heal_confirmed"
    HEAL_FAILED = "heal_failed"
    HEAL_INCONCLUSIVE = "heal_inconclusive"
    ESCALATED = "escalated"
    NOTIFIED = "notified"
    NOTIFY_FAILED = "notify_failed"
    RERUN_REQUESTED = "rerun_requested"
    BREAKER_OPENED = "breaker_opened"
    BREAKER_CLOSED = "breaker_closed"
    RULE_DEMOTED = "rule_demoted"
    STORM_BEGAN = "storm_began"
    STORM_RELEASED = "storm_released"
    STORM_OBSERVED = "storm_observed"
    STORM_ENDED = "storm_ended"
    SILENCE_REQUESTED = "silence_requested"
    SILENCE_CREATED = "silence_created"
    SILENCE_FAILED = "silence_failed"
    SILENCE_EXTENDED = "silence_extended"
    SILENCE_EXPIRED = "silence_expired"
    ACK_OLD = "ack_old"
    WATCHDOG_MISSING = "watchdog_missing"
    WATCHDOG_BACK = "watchdog_back"
    PAUSED = "paused"
    RESUMED = "resumed"
    KEYS_FAILED = "keys_failed"
    KEYS_BACK = "keys_back"
    LOGIN = "login"
    LOGOUT = "logout"
    AUTH_FAILED = "auth_failed"
    SELFTEST_OK = "selftest_ok"
    SELFTEST_FAIL = "selftest_fail"


class Reason(StrEnum):
    """Why a decision is what it is, in the order in which `decide` asks."""

    DISABLED = "disabled"
    NO_RULE = "no_rule"
    PAUSED = "paused"
    PROTECTED = "protected"
    BAD_TARGET = "bad_target"
    RULE_OFF = "rule_off"
    NOT_YET = "not_yet"
    RUN_ENDED = "run_ended"
    IN_PROGRESS = "in_progress"
    DISPUTED = "disputed"
    ACKED = "acked"
    HUMAN_PRESENT = "human_present"
    FROZEN = "frozen"
    UNLESS = "unless"
    COOLDOWN = "cooldown"
    BUDGET = "budget"
    BREAKER_OPEN = "breaker_open"
    STORM = "storm"
    FLEET_GUARD = "fleet_guard"
    CONCURRENCY = "concurrency"
    LOW_SPACE = "low_space"
    DRY_RUN = "dry_run"
    HOLD_OUT = "hold_out"
    AWAITING_APPROVAL = "awaiting_approval"
    ACT = "act"


class Mode(StrEnum):
    """How far a rule may go."""

    OFF = "off"
    DRY_RUN = "dry_run"
    APPROVE = "approve"
    LIVE = "live"


OWN_ALERTS = "Autoheal"
"""How the names of alerts about autoheal itself begin, its own and those that Prometheus raises about it: no rule acts
on them.
"""


class OwnName(StrEnum):
    """The names of the alerts that it raises itself."""

    FAILED = "AutohealFailed"
    ACTIVE = "AutohealActive"
    SELFTEST = "AutohealSelfTest"
    """Of its self-test, sent to itself: no rule of people's sees it, and it counts as no word of Alertmanager's."""


class Check(StrEnum):
    """What a self-test looks at, in the order in which it tells of it."""

    ALERT = "alert"
    EVENTS = "events"
    ACCESS = "access"
    TOKEN = "token"  # noqa: S105 a check's name
    AUDIT = "audit"
    KEYS = "keys"
    ALERTMANAGER = "alertmanager"
    CLOCK = "clock"
    DISK = "disk"


CHANNELS = ("slack", "pagerduty", "webhook", "apprise")
"""Names of the ways to people (docs/notifications.md), as rules, records and metrics have them."""


class AlertStatus(StrEnum):
    """Alertmanager's two states of an alert in a notification."""

    FIRING = "firing"
    RESOLVED = "resolved"


ALERTMANAGER = "alertmanager"
"""The actor of alerts whose sender nobody has asked who it is."""
RESERVED_ACTORS = frozenset(("system", ALERTMANAGER, "local"))
"""Actors of records that are no identity: nobody may come in under such a name."""


class Role(IntEnum):
    """What a person or a program may do; each role includes those below it."""

    SENDER = 1
    VIEWER = 2
    OPERATOR = 3
    APPROVER = 4
    ADMIN = 5

    @property
    def label(self) -> str:
        """The name as settings, answers and the console spell it, in lower case."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks. `subject` is the `actor` of the records that follow: 1 to 255 printable ASCII characters.

    `role` is None for somebody who is known and may do nothing. `name` is for people to read and proves nothing;
    `client` is the program that the identity provider gave the token to.
    """

    subject: str
    role: Role | None
    name: str | None
    client: str | None

    @property
    def reads(self) -> bool:
        """Whether they may read the log: programs that only send alerts may not."""
        return self.role is not None and self.role >= Role.VIEWER


@dataclass(frozen=True, slots=True)
class By:
    """Whose word something is: the `actor` of what follows from it, and the correlation id of all of that."""

    actor: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a notification or of Alertmanager's API.

    `fingerprint` is Alertmanager's hash of the full label set and identifies the alert over its whole life.
    `ends_at` is None while it fires (on the wire `0001-01-01T00:00:00Z`).
    """

    status: AlertStatus
    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float | None = None
    generator_url: str = ""

    @property
    def alertname(self) -> str:
        """The `alertname` label; empty when the sender set none."""
        return self.labels.get("alertname", "")


def plan_digest(plan: Mapping[str, Any]) -> str:
    """The SHA-256 of a plan's canonical JSON (sorted keys): what approvals and dry runs are compared by."""
    return hashlib.sha256(orjson.dumps(plan, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Head(NamedTuple):
    """The end of the log: the last record's seq, hash and time. `Head()` is the end of an empty log."""

    seq: int = 0
    hash: str = ZERO_HASH
    ts: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A record before it has a place in the log: what happened, to what, and because of whom.

    `detail` is an object specific to the kind. `actor` is `system`, `alertmanager`, `local` or an identity.
    """

    kind: Kind
    alertname: str | None = None
    fingerprint: str | None = None
    episode: str | None = None
    rule: str | None = None
    target: str | None = None
    run: str | None = None
    step: int | None = None
    mode: Mode | None = None
    reason: str | None = None
    actor: str = "system"
    correlation_id: str | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record(Draft):
    """One line of the log. `line` is its exact bytes without the newline, hash included."""

    seq: int
    ts: float
    prev: str
    hash: str
    line: bytes

    @property
    def head(self) -> Head:
        """The log's end when this record is its last."""
        return Head(self.seq, self.hash, self.ts)


def rfc3339(ts: float) -> str:
    """`ts` as RFC 3339 in UTC with microseconds, as in every record."""
    fraction, second = modf(ts)
    microseconds = round(fraction * 1e6)
    if 0 <= microseconds < 1_000_000:
        return f"{_to_the_second(second)}.{microseconds:06d}Z"
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@lru_cache(maxsize=64)
def _to_the_second(ts: float) -> str:
    # Thousands of records share a second, and this is what takes the time.
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="seconds")[:19]


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; digits beyond microseconds are cut.

    Raises ValueError for anything else, a time without an offset included (RFC 3339 section 5.6 demands one).
    """
    if len(text) < 20 or text[10] not in "Tt ":
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 time")
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no UTC offset")
    return parsed.timestamp()


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alert of a notification that cannot be taken: which one, every bad field, and what it seems to be."""

    index: int
    faults: tuple[str, ...]
    alertname: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One webhook request of Alertmanager (version 4), decoded.

    `truncated` is `truncatedAlerts`: how many alerts of the group the sender left out (`max_alerts`).
    `receiver` is a regular expression already: Alertmanager sends it through `regexp.QuoteMeta`.
    """

    alerts: tuple[Alert, ...]
    rejected: tuple[Rejected, ...] = ()
    truncated: int = 0
    receiver: str = ""
    group_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a notification; repeats count as accepted. `selftest`: it was autoheal's own, sent to itself."""

    accepted: int
    firing: int
    resolved: int
    rejected: int
    selftest: bool = False
