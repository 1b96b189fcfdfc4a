"""A model of what the gateway may do, small and made from the documentation alone: it reads the durable log, watches
the actions, and tells every fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from autoheal.model import Kind, Record, parse_rfc3339
from tests.support.laws import BOOKS, FREEZE, MAX_RUNNING, Budget, Law, Laws

TERMINAL = frozenset(
    (
        Kind.HEAL_CONFIRMED,
        Kind.ESCALATED,
        Kind.ACTION_CANCELLED,
        Kind.APPROVAL_DENIED,
        Kind.APPROVAL_EXPIRED,
        Kind.ACTION_DRY_RUN,
    )
)
OUTCOMES = frozenset((Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED))
FOREVER = float("inf")


@dataclass
class Firing:
    """An open episode."""

    id: str
    alertname: str
    target: str
    sacred: bool
    starts_at: float
    opened_at: float


@dataclass
class Seen:
    """A run, as the log has told of it so far."""

    rule: str
    target: str
    mode: str
    fingerprint: str
    episode: str
    digest: str
    asked_until: float | None = None
    granted: bool = False
    step: int = 0
    outcome: Kind | None = None
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
        return self.open and self.step > 0


class Watchman:
    """`faults` must stay empty. `now` is the gateway's clock, `in_force` the rules that it goes by."""

    def __init__(self, now: Callable[[], float], in_force: Callable[[], str]) -> None:
        self.faults: list[str] = []
        self.pauses: dict[tuple[str | None, str], float] = {}
        self.acks: dict[str, tuple[str, float]] = {}
        self.episodes: dict[str, Firing] = {}
        self.suspects: set[str] = set()
        self.runs: dict[str, Seen] = {}
        self.charges: list[tuple[float, str, str]] = []
        self.last_action: dict[tuple[str, str], float] = {}
        self.failures: Counter[str] = Counter()
        self.failed_at: dict[str, float] = {}
        self.demoted: set[str] = set()
        self.storms: dict[str, set[str]] = {}
        """Fingerprints that storms hold, by rule."""
        self.storming: set[str] = set()
        self.space_low = False
        self.digest = ""
        self.executing: dict[tuple[str, int], str] = {}
        self.results: dict[tuple[str, int], bool | None] = {}
        """Of each action: whether it went well; None while it runs, or if it was cut."""
        self.tried: set[tuple[str, str, int]] = set()
        self.outages: dict[str, int] = {}
        """The outage that each episode is of."""
        self.outage_of: Callable[[str, float], int | None] = lambda fingerprint, starts_at: None
        self.fires: Callable[[str], bool] = lambda fingerprint: True
        """Whether an alert does, in truth."""
        self.barred: Callable[[str | None], str | None] = lambda unless: None
        """What stands in the way of acting that no record tells of: a file, other alerts."""
        self._now = now
        self._in_force = in_force

    # What the log tells

    def read(self, records: Iterable[Record]) -> None:
        for record in records:
            told = getattr(self, f"_{record.kind.value}", None)
            if record.kind in (Kind.NOTIFIED, Kind.NOTIFY_FAILED):
                continue  # what people hear of a run comes after its end, and changes nothing
            if record.run is not None and record.kind is not Kind.DECISION:
                self._of_a_run(record, self.runs[record.run])
            elif told is not None:
                told(record)

    def _fault(self, text: str) -> None:
        self.faults.append(text)

    def _config_loaded(self, record: Record) -> None:
        self.digest = record.detail["rules_digest"]

    def _space_low(self, record: Record) -> None:
        self.space_low = True

    def _space_ok(self, record: Record) -> None:
        self.space_low = False

    def _paused(self, record: Record) -> None:
        until = record.detail.get("until")
        self.pauses[record.rule, record.detail["how"]] = FOREVER if until is None else parse_rfc3339(until)

    def _resumed(self, record: Record) -> None:
        self.pauses.pop((record.rule, record.detail["how"]), None)

    def _silence_created(self, record: Record) -> None:
        self.acks.pop(record.detail.get("replaces", ""), None)
        until = parse_rfc3339(record.detail["ends_at"])
        self.acks[record.detail["silence_id"]] = (str(record.fingerprint), until)

    def _silence_expired(self, record: Record) -> None:
        self.acks.pop(record.detail["silence_id"], None)

    def _alert_suspect(self, record: Record) -> None:
        self.suspects.add(str(record.fingerprint))

    def _alert_firing(self, record: Record) -> None:
        fingerprint, labels = str(record.fingerprint), record.labels or {}
        self.suspects.discard(fingerprint)
        if fingerprint in self.episodes:
            self._fault(f"{record.episode} began while {self.episodes[fingerprint].id} was open")
        starts_at = parse_rfc3339(record.detail["starts_at"])
        self.episodes[fingerprint] = Firing(
            str(record.episode), labels["alertname"], labels["on"], "env" in labels, starts_at, record.ts
        )
        if (outage := self.outage_of(fingerprint, starts_at)) is not None:
            self.outages[str(record.episode)] = outage

    def _alert_resolved(self, record: Record) -> None:
        fingerprint = str(record.fingerprint)
        self.suspects.discard(fingerprint)
        self.episodes.pop(fingerprint, None)
        for held in self.storms.values():
            held.discard(fingerprint)

    def _hold(self, rule: str, fingerprint: str) -> None:
        law = self._law(rule)
        if law is not None and self.episodes[fingerprint].alertname in law.alertnames:
            self.storms[rule].add(fingerprint)

    def _storm_began(self, record: Record) -> None:
        rule = str(record.rule)
        self.storming.add(rule)
        self.storms.setdefault(rule, set())
        for fingerprint in self.episodes:
            self._hold(rule, fingerprint)

    def _storm_ended(self, record: Record) -> None:
        self.storming.discard(str(record.rule))

    def _breaker_closed(self, record: Record) -> None:
        self.failures.pop(str(record.rule), None)
        self.demoted.discard(str(record.rule))

    def _rule_demoted(self, record: Record) -> None:
        self.demoted.add(str(record.rule))

    def _decision(self, record: Record) -> None:
        if record.rule in self.storming:
            self._hold(record.rule, str(record.fingerprint))
        if record.run is None:
            return
        rule, target, fingerprint = str(record.rule), str(record.target), str(record.fingerprint)
        run = Seen(rule, target, str(record.mode), fingerprint, str(record.episode), record.detail["plan_digest"])
        if record.run in self.runs:
            self._fault(f"two runs are called {record.run}")
        if run.mode != "dry_run":
            others = [id_ for id_, other in self.open_runs().items() if other.target == target]
            if others:
                self._fault(f"{record.run} was begun on {target} beside {others}")
        self.runs[record.run] = run

    def _of_a_run(self, record: Record, run: Seen) -> None:
        id_, kind = str(record.run), record.kind
        if run.end is not None:
            self._fault(f"{kind} of {id_}, which had ended with {run.end}")
        if kind is Kind.APPROVAL_REQUESTED:
            law = self._law(run.rule)
            # A machine whose clock was set back begins a life behind its log.
            behind = 0.0 if law is None else record.ts + law.approval
            run.asked_until = max(parse_rfc3339(record.detail["expires_at"]), behind)
        elif kind is Kind.APPROVAL_GRANTED:
            in_time = run.asked_until is not None and record.ts < run.asked_until
            if run.granted or not in_time or record.detail["plan_digest"] != run.digest or record.actor == "system":
                self._fault(f"the approval of {id_} is not good")
            run.granted = True
        elif kind is Kind.CANCEL_REQUESTED:
            run.unwanted = True
        elif kind is Kind.ACTION_STARTED:
            self._started(record, run)
        elif kind in OUTCOMES:
            self._outcome(record, run)
        elif kind in (Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE, Kind.HEAL_CONFIRMED):
            if run.outcome is None:
                self._fault(f"{kind} of {id_} before its action has an end")
            run.verdict = kind
        if kind in TERMINAL:
            self._ended(record, run)

    def _started(self, record: Record, run: Seen) -> None:
        if run.step and run.verdict is not Kind.HEAL_FAILED:
            self._fault(f"{record.run} took another step after {run.outcome}, {run.verdict}")
        if record.step != run.step + 1:
            self._fault(f"{record.run} took step {record.step} after {run.step}")
        law = self._law(run.rule)
        if record.step == 1:
            run.objections = [] if law is None else list(self._objections(record, run, law))
            self.charges.append((record.ts, run.rule, run.target))
        run.step, run.outcome, run.verdict = record.step or 0, None, None
        self.last_action[run.rule, run.target] = record.ts

    def _outcome(self, record: Record, run: Seen) -> None:
        if run.outcome is not None or run.step == 0:
            self._fault(f"{record.kind} of {record.run} ends nothing")
        run.outcome = record.kind
        found = self.results.get((str(record.run), run.step))
        if record.kind is not Kind.ACTION_INTERRUPTED and found is not (record.kind is Kind.ACTION_OK):
            self._fault(f"{record.kind} of {record.run}, and the action itself said {found}")

    def _ended(self, record: Record, run: Seen) -> None:
        cut = record.kind is Kind.ACTION_CANCELLED
        if run.step and run.outcome is None and not cut:
            self._fault(f"{record.run} ended with {record.kind} while its action had no end")
        if record.kind is Kind.HEAL_CONFIRMED:
            open_ = self.episodes.get(run.fingerprint)
            if open_ is not None and open_.id == run.episode and self.fires(run.fingerprint):
                self._fault(f"{record.run} is said to have healed an alert that fires")
            self.failures.pop(run.rule, None)
        if record.kind is Kind.ESCALATED and run.verdict in (Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE):
            self.failures[run.rule] += 1
            self.failed_at[run.rule] = record.ts
        run.end = record.kind

    def open_runs(self) -> dict[str, Seen]:
        """Those that have begun and not ended, dry runs aside."""
        return {id_: run for id_, run in self.runs.items() if run.open and run.mode != "dry_run"}

    def _law(self, rule: str) -> Law | None:
        return next((law for book in BOOKS if book.loaded.digest == self.digest if (law := book.named(rule))), None)

    def _objections(self, record: Record, run: Seen, law: Law) -> Iterable[str]:
        """What is asked of a run's first action alone, where it was written down."""
        now = record.ts
        book = next(book for book in BOOKS if book.loaded.digest == self.digest)
        last = self.last_action.get((run.rule, run.target))
        if last is not None and now < last + law.cooldown:
            yield "cooldown"
        scopes: list[tuple[str, tuple[Budget, ...], list[float]]] = [
            ("all", book.budget, [ts for ts, _, _ in self.charges]),
            ("rule", law.per_rule, [ts for ts, rule, _ in self.charges if rule == run.rule]),
            ("target", law.per_target, [ts for ts, *on in self.charges if on == [run.rule, run.target]]),
        ]
        for scope, budgets, times in scopes:
            for count, seconds in budgets:
                if sum(ts > now - seconds for ts in times) >= count:
                    yield f"budget of {scope}: {count} in {seconds:g} s"
        others = [other for other in self.runs.values() if other.at_work and other is not run]
        mine = [other for other in others if other.rule == run.rule]
        if len(others) >= MAX_RUNNING or (law.concurrency is not None and len(mine) >= law.concurrency):
            yield "concurrency"
        if law.breaker is not None and self.failures[run.rule] >= law.breaker[0]:
            if now < self.failed_at[run.rule] + law.breaker[1]:
                yield "breaker"
            if mine:
                yield "breaker: a second trial"
        if law.storm is not None and (run.rule in self.storming or run.fingerprint in self.storms.get(run.rule, ())):
            yield "storm"
        firing = self.episodes.get(run.fingerprint)
        if firing is not None and now < min(firing.starts_at, firing.opened_at) + law.wait:
            yield "for"
        if self.space_low:
            yield "space"

    # What is done

    def acts(self, id_: str, step: int, text: str) -> None:
        """An action begins to be executed."""
        run = self.runs.get(id_)
        if run is None or run.step != step:
            self._fault(f"{id_} executed step {step}, of which there is no record")
            return
        if (id_, step) in self.results:
            self._fault(f"{id_} executed step {step} twice")
        if run.target in self.executing.values():
            self._fault(f"{id_} acts on {run.target}, on which another does")
        self.executing[id_, step], self.results[id_, step] = run.target, None
        # While a reload is not durable yet, both the old rules and the new ones may be gone by.
        known = {self.digest, self._in_force()}
        why = [self._forbidden(run, step, text, book) for book in BOOKS if book.loaded.digest in known]
        if None not in why:
            self._fault(f"{id_} executed {text!r} of {run.rule}: {' / '.join(map(str, why))}")
        for objection in run.objections if step == 1 else ():
            self._fault(f"{id_} of {run.rule} acted on {run.target} against {objection}")
        outage = self.outages.get(run.episode)
        if step == 1 and outage is not None:
            if (run.rule, run.fingerprint, outage) in self.tried:
                self._fault(f"{run.rule} acted twice in one outage of {run.fingerprint}")
            self.tried.add((run.rule, run.fingerprint, outage))

    def acted(self, id_: str, step: int, *, ok: bool | None) -> None:
        """It has ended; `ok` is None where it was cut."""
        self.executing.pop((id_, step), None)
        self.results[id_, step] = ok

    def _forbidden(self, run: Seen, step: int, text: str, book: Laws) -> str | None:
        # To the microsecond, as records tell times.
        now, law = round(self._now(), 6), book.named(run.rule)
        if law is None or law.mode not in ("live", "approve"):
            return "no such rule"
        if step > len(law.does) or text != law.text(step, run.target):
            return "another plan"
        if run.end is not None or run.unwanted or run.outcome is not None:
            return "the run was to end"
        firing = self.episodes.get(run.fingerprint)
        if firing is None or firing.id != run.episode:
            return "the alert has ended"
        if firing.sacred:
            return "protected"
        if law.mode == "approve" and not run.granted:
            return "nobody has approved it"
        if any(rule in (None, run.rule) and now < until for (rule, _), until in self.pauses.items()):
            return "paused"
        if any(fingerprint == run.fingerprint and now < until for fingerprint, until in self.acks.values()):
            return "acknowledged"
        if FREEZE[0] <= now % 86400 < FREEZE[1]:
            return "frozen"
        if run.rule in self.demoted:
            return "demoted"
        return self.barred(law.unless)
