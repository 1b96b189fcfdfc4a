"""What the log tells of alerts, people and rules, as a model reads it; runs are the watchman's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from autoheal.model import Kind, Reason, Record, parse_rfc3339
from tests.support.games.laws import BOOKS, Law, Laws

FOREVER = float("inf")


class Truth(Protocol):
    """What no record tells."""

    def now(self) -> float:
        """The gateway's clock."""
        ...

    def in_force(self) -> str:
        """The digest of the rules that the gateway goes by."""
        ...

    def outage(self, fingerprint: str, starts_at: float) -> int | None:
        """Which one a firing is of, where that is certain."""
        ...

    def fires(self, fingerprint: str) -> bool:
        """Whether an alert does."""
        ...

    def barred(self, unless: str | None) -> str | None:
        """What stands in the way of acting: a file, other alerts."""
        ...

    def minded(self, fingerprint: str) -> bool:
        """Whether a silence of somebody else's covers an alert, and the gateway must know by now."""
        ...

    def untold(self, record: Record) -> bool:
        """Whether nobody could say how alerts stand when `record` was made."""
        ...

    def counted(self, record: Record) -> float:
        """The greatest population that the gateway may have known of when `record` was made; 0 for none."""
        ...

    def changed(self, target: str, observed: str, before: Record, *, by_then: bool = False) -> bool:
        """Whether a target was not as it was `observed` before that record was made, or `by_then` at least."""
        ...

    def withdrawn(self, silence: str) -> bool:
        """Whether people have ended that silence in Alertmanager."""
        ...

    def fires_on(self, fingerprint: str, starts_at: float) -> bool:
        """Whether a firing goes on that one of two Alertmanagers takes for resolved, and the other lists."""
        ...

    def taken_for_firing(self, record: Record) -> bool:
        """Whether a verdict rests on one of two Alertmanagers alone, which lists what has ended."""
        ...

    def heartbeat_late(self, record: Record) -> bool:
        """Whether the alert that always fires had stayed away for long when `record` was made."""
        ...


@dataclass
class Firing:
    """An open episode."""

    id: str
    labels: Mapping[str, str]
    starts_at: float
    opened_at: float
    disputed: bool = False
    """Whether one Alertmanager has told its end, and another still lists it."""

    @property
    def target(self) -> str:
        return self.labels["on"]


@dataclass
class Seen:
    """A run, as the log has told of it so far."""

    rule: str
    target: str
    mode: str
    fingerprint: str
    episode: str
    digest: str
    asks: bool = False
    """Whether it was to wait for people from the first."""
    asked_until: float | None = None
    granted: bool = False
    observed: str | None = None
    """How its target was when people gave their word, or were asked for it."""
    step: int = 0
    again: bool = False
    """Whether its last step was begun a second time."""
    outcome: Kind | None = None
    cut_short: bool = False
    """Whether the gateway died over its last step's action."""
    verdict: Kind | None = None
    end: Kind | None = None
    unwanted: bool = False
    """Somebody asked for its end."""
    objections: list[str] = field(default_factory=list)
    """What forbade its first action where that was written down."""

    @property
    def open(self) -> bool:
        return self.end is None

    @property
    def at_work(self) -> bool:
        return self.open and self.mode != "dry_run" and (self.step > 0 or not self.asks)


class Told:
    """`faults` must stay empty."""

    def __init__(self, truth: Truth) -> None:
        self.faults: list[str] = []
        self.truth = truth
        self.pauses: dict[tuple[str | None, str], float] = {}
        self.acks: dict[str, tuple[str, float]] = {}
        """Fingerprint and end of each, by the id of its silence."""
        self.episodes: dict[str, Firing] = {}
        self.suspects: set[str] = set()
        self.runs: dict[str, Seen] = {}
        self.ran: set[tuple[str, str]] = set()
        """Rules and the episodes on which they have had their run."""
        self.failures: Counter[str] = Counter()
        self.failed_at: dict[str, float] = {}
        self.demoted: dict[str, str] = {}
        """How far rules may go that failed too often."""
        self.storming: set[str] = set()
        self.storms: dict[str, set[str]] = {}
        """Fingerprints that storms hold, by rule."""
        self.released: dict[tuple[str, str], tuple[str, str, float]] = {}
        """The digests of plan and rule with which people let go what a storm held, and when, by rule and episode."""
        self.observed: dict[tuple[str, str], str] = {}
        """How the targets of those were, where that is told."""
        self.void: set[tuple[str, str]] = set()
        """Those whose targets have changed since."""
        self.asked_by: dict[tuple[str, str], str] = {}
        """Who asked last for another run, by rule and episode."""
        self.decided: dict[tuple[str, str], Record] = {}
        """The last decision on each open episode, by fingerprint and rule."""
        self.left: dict[tuple[str, str], tuple[str, str, str, str]] = {}
        """Rule, target, alertname and run of what is left to people and still fires, by fingerprint and rule."""
        self.places: dict[tuple[str, str, float], float] = {}
        """Where in the rollout of a rule each firing has its place, in percent."""
        self.space_low = False
        self.watchdog_missing = False
        self.digest = ""
        self.outages: dict[str, int] = {}
        """The outage that each episode is of."""

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def law(self, rule: str) -> Law | None:
        return next((law for book in BOOKS if book.loaded.digest == self.digest if (law := book.named(rule))), None)

    def books(self) -> list[Laws]:
        """Those that may be gone by: while a reload is not durable yet, the old rules and the new ones."""
        known = {self.digest, self.truth.in_force()}
        return [book for book in BOOKS if book.loaded.digest in known]

    # The service and its rules

    def _config_loaded(self, record: Record) -> None:
        self.digest = record.detail["rules_digest"]

    def _space_low(self, record: Record) -> None:
        self.space_low = True

    def _space_ok(self, record: Record) -> None:
        self.space_low = False

    def _watchdog_missing(self, record: Record) -> None:
        if self.watchdog_missing or not self.truth.heartbeat_late(record):
            self.fault("the alert that always fires is said to be missing, and is not, or was already")
        self.watchdog_missing = True

    def _watchdog_back(self, record: Record) -> None:
        if not self.watchdog_missing:
            self.fault("the alert that always fires is back, and was not away")
        self.watchdog_missing = False

    def _breaker_opened(self, record: Record) -> None:
        self.failed_at[str(record.rule)] = record.ts

    def _breaker_closed(self, record: Record) -> None:
        self.failures.pop(str(record.rule), None)
        self.demoted.pop(str(record.rule), None)

    def _rule_demoted(self, record: Record) -> None:
        self.demoted[str(record.rule)] = record.detail["to"]

    # People

    def _paused(self, record: Record) -> None:
        until = record.detail.get("until")
        self.pauses[record.rule, record.detail["how"]] = FOREVER if until is None else parse_rfc3339(until)

    def _resumed(self, record: Record) -> None:
        self.pauses.pop((record.rule, record.detail["how"]), None)

    def _silence_created(self, record: Record) -> None:
        self.acks.pop(record.detail.get("replaces", ""), None)
        until = parse_rfc3339(record.detail["ends_at"])
        self.acks[record.detail["silence_id"]] = (str(record.fingerprint), until)

    def _silence_extended(self, record: Record) -> None:
        self.acks[record.detail["silence_id"]] = self.acks.pop(record.detail["replaces"])

    def _silence_expired(self, record: Record) -> None:
        silence = record.detail["silence_id"]
        fingerprint, _ = self.acks.pop(silence)
        if record.reason == "resolved" and fingerprint in self.episodes:
            self.fault(f"the acknowledgement of {fingerprint} ended as resolved, which is open")
        if record.reason == "withdrawn" and not self.truth.withdrawn(silence):
            self.fault(f"the silence {silence} is said to be withdrawn, and nobody did that")

    # Alerts

    def _alert_suspect(self, record: Record) -> None:
        self.suspects.add(str(record.fingerprint))

    def _alert_firing(self, record: Record) -> None:
        fingerprint = str(record.fingerprint)
        self.suspects.discard(fingerprint)
        if fingerprint in self.episodes:
            self.fault(f"{record.episode} began while {self.episodes[fingerprint].id} was open")
        starts_at = parse_rfc3339(record.detail["starts_at"])
        self.episodes[fingerprint] = Firing(str(record.episode), record.labels or {}, starts_at, record.ts)
        if (outage := self.truth.outage(fingerprint, starts_at)) is not None:
            self.outages[str(record.episode)] = outage

    def _alert_disputed(self, record: Record) -> None:
        self.episodes[str(record.fingerprint)].disputed = True

    def _alert_undisputed(self, record: Record) -> None:
        self.episodes[str(record.fingerprint)].disputed = False

    def _alert_resolved(self, record: Record) -> None:
        fingerprint = str(record.fingerprint)
        self.suspects.discard(fingerprint)
        known = self.episodes.pop(fingerprint, None)
        if known is not None and self.truth.fires_on(fingerprint, known.starts_at):
            self.fault(f"{known.id} is said to have ended by one Alertmanager, and another lists it")
        for known in (self.decided, self.left):
            for key in [key for key in known if key[0] == fingerprint]:
                del known[key]
        for held in self.storms.values():
            held.discard(fingerprint)

    # Decisions, and what storms hold

    def keep(self, record: Record) -> None:
        """What a decision tells beside its run."""
        fingerprint, rule = str(record.fingerprint), str(record.rule)
        firing = self.episodes.get(fingerprint)
        if firing is None or firing.id != record.episode:
            return
        self.decided[fingerprint, rule] = record
        if rule in self.storming:
            self._hold(rule, fingerprint)
        for place in _places(record):
            if self.places.setdefault((rule, fingerprint, firing.starts_at), place) != place:
                self.fault(f"{firing.id} has another place in the rollout of {rule} than before")

    def seen_minded(self, fingerprint: str, rule: str) -> bool:
        """Whether the last decision says that a person minds the alert."""
        last = self.decided.get((fingerprint, rule))
        return last is not None and last.reason == Reason.HUMAN_PRESENT

    def _hold(self, rule: str, fingerprint: str) -> None:
        last = self.decided.get((fingerprint, rule))
        let_go = (rule, self.episodes[fingerprint].id) in self.released
        if last is not None and last.target is not None and not let_go:
            self.storms[rule].add(fingerprint)

    def _storm_began(self, record: Record) -> None:
        rule = str(record.rule)
        self.storming.add(rule)
        self.storms.setdefault(rule, set())
        for fingerprint in self.episodes:
            self._hold(rule, fingerprint)

    def _storm_released(self, record: Record) -> None:
        rule = str(record.rule)
        batch = [one for one in self.storms.get(rule, ()) if not self.begun(rule, self.episodes[one].id)]
        plans = {one: self.decided[one, rule].detail.get("plan_digest") for one in batch}
        batch = [one for one in batch if plans[one] is not None]
        if len(batch) != record.detail["alerts"]:
            self.fault(f"{record.detail['alerts']} alerts of {rule} were let go, and held are {batch}")
        for fingerprint in batch:
            key = rule, self.episodes[fingerprint].id
            if self.asked_by.get(key) == record.actor:
                self.fault(f"{record.actor} has let {key} go, and had asked for it")
            self.storms[rule].discard(fingerprint)
            self.released[key] = plans[fingerprint], record.detail["rule_digest"], record.ts
            self.observed.pop(key, None)
            self.void.discard(key)

    def _storm_observed(self, record: Record) -> None:
        rule = str(record.rule)
        for fingerprint, text in record.detail["observed"].items():
            key = rule, self.episodes[fingerprint].id
            known = [run for run in self.open_runs().values() if (run.rule, run.episode) == key]
            if key not in self.released or key in self.ran or any(run.step for run in known):
                self.fault(f"{key} is told of as let go, and is not, or has begun")
            self.observed[key] = text
            for run in known:
                run.observed = text

    def _storm_ended(self, record: Record) -> None:
        self.storming.discard(str(record.rule))

    def begun(self, rule: str, episode: str) -> bool:
        """Whether a run of the rule on that episode goes on, or was the one that it may have."""
        goes_on = any((run.rule, run.episode) == (rule, episode) for run in self.open_runs().values())
        return goes_on or (rule, episode) in self.ran

    def open_runs(self) -> dict[str, Seen]:
        """Those that have begun and not ended, dry runs aside."""
        return {id_: run for id_, run in self.runs.items() if run.open and run.mode != "dry_run"}


def _places(record: Record) -> Iterator[float]:
    return (guard["place"] for guard in record.detail["guards"] if guard["guard"] == Reason.HOLD_OUT)
