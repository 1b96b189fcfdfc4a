"""A model of what the gateway may do, small and made from the documentation alone: it reads the durable log, watches
the actions, and tells every fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from autoheal.model import Kind, Reason, Record, parse_rfc3339
from tests.support.games.objections import approved, forbidden, objections
from tests.support.games.told import Seen, Told, Truth

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
VERDICTS = frozenset((Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE, Kind.HEAL_CONFIRMED))


class Watchman(Told):
    """Reads what becomes durable, and is told when an action begins and ends."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(truth)
        self.charges: list[tuple[float, str, str]] = []
        self.last_action: dict[tuple[str, str], float] = {}
        self.executing: dict[tuple[str, int], str] = {}
        self.results: dict[tuple[str, int, bool], bool | None] = {}
        """Of each action, by run, step and whether it was done again: whether it went well; None while it runs, or if
        it was cut.
        """
        self.tried: Counter[tuple[str, str, int]] = Counter()
        self.may_try: Counter[tuple[str, str, int]] = Counter()
        """How often people have asked for another run in one outage."""

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

    def _decision(self, record: Record) -> None:
        rule, target, fingerprint = str(record.rule), str(record.target), str(record.fingerprint)
        if record.run is not None:
            run = Seen(rule, target, str(record.mode), fingerprint, str(record.episode), record.detail["plan_digest"])
            run.asks = record.reason == Reason.AWAITING_APPROVAL
            self._planned(record, record.run, run)
        self.keep(record)

    def _planned(self, record: Record, id_: str, run: Seen) -> None:
        if id_ in self.runs:
            self.fault(f"two runs are called {id_}")
        self.runs[id_] = run
        if record.reason == Reason.HOLD_OUT and run.mode != "dry_run":
            self.fault(f"{id_} of {run.rule} is held out and no dry run")
        if run.mode == "dry_run":
            return
        self.left.pop((run.fingerprint, run.rule), None)
        others = [other for other, on in self.open_runs().items() if on.target == run.target and other != id_]
        if others:
            self.fault(f"{id_} was begun on {run.target} beside {others}")
        if (run.rule, run.episode) in self.ran:
            self.fault(f"{id_} is another run of {run.rule} on {run.episode}, and nobody has asked for it")
        if self.seen_minded(run.fingerprint, run.rule) and self.truth.untold(record):
            self.fault(f"{id_} was begun on {run.fingerprint}, which somebody minded when that was last known")
        if run.mode == "approve" and not run.asks:
            run.observed = self.observed.get((run.rule, run.episode))

    def _of_a_run(self, record: Record, run: Seen) -> None:
        id_, kind = str(record.run), record.kind
        if kind is Kind.RERUN_REQUESTED:
            self._asked_again(record, run)
            return
        if run.end is not None:
            self.fault(f"{kind} of {id_}, which had ended with {run.end}")
        if kind is Kind.APPROVAL_REQUESTED:
            law = self.law(run.rule)
            # A machine whose clock was set back begins a life behind its log.
            behind = 0.0 if law is None else record.ts + law.approval
            run.asked_until = max(parse_rfc3339(record.detail["expires_at"]), behind)
            run.observed = record.detail.get("observed")
        elif kind is Kind.APPROVAL_GRANTED:
            in_time = run.asked_until is not None and record.ts < run.asked_until
            if run.granted or not in_time or record.detail["plan_digest"] != run.digest or record.actor == "system":
                self.fault(f"the approval of {id_} is not good")
            if record.actor == self.asked_by.get((run.rule, run.episode)):
                self.fault(f"{record.actor} has approved {id_}, and had asked for it")
            run.granted = True
        elif kind is Kind.CANCEL_REQUESTED:
            run.unwanted = True
        elif kind is Kind.ACTION_STARTED:
            self._started(record, run)
        elif kind in OUTCOMES:
            self._outcome(record, run)
        elif kind in VERDICTS:
            if run.outcome is None:
                self.fault(f"{kind} of {id_} before its action has an end")
            if self.truth.taken_for_firing(record):
                self.fault(f"{id_} is judged by an Alertmanager that lists what has ended")
            run.verdict = kind
        if kind in TERMINAL:
            self._ended(record, run)

    def _asked_again(self, record: Record, run: Seen) -> None:
        key = run.rule, run.episode
        if key not in self.ran:
            self.fault(f"{record.run} of {run.rule} was asked for again, which was not over")
        self.ran.discard(key)
        self.released.pop(key, None)
        self.asked_by[key] = record.actor
        if (outage := self.outages.get(run.episode)) is not None:
            self.may_try[run.rule, run.fingerprint, outage] += 1

    def _started(self, record: Record, run: Seen) -> None:
        if run.mode == "dry_run":
            self.fault(f"{record.run} began to act, and was a dry run")
        run.again = record.step == run.step
        if run.again:
            self._started_again(record, run)
        elif run.step and run.verdict is not Kind.HEAL_FAILED:
            self.fault(f"{record.run} took another step after {run.outcome}, {run.verdict}")
        if record.step == 2 and run.outcome is Kind.ACTION_INTERRUPTED and not run.again:
            self._after_a_cut(record, run)
        if record.step != run.step + (not run.again):
            self.fault(f"{record.run} took step {record.step} after {run.step}")
        if record.step == 1 and run.observed is not None and self.truth.changed(run.target, run.observed, record):
            self.fault(f"{record.run} began on {run.target}, which has changed since people gave their word on it")
        if record.step == 1 and not run.again:
            population = self.truth.counted(record)
            said = [
                list(objections(self, run, law, book, record.ts, population))
                for book in self.books()
                if (law := book.named(run.rule)) is not None
            ]
            run.objections = min(said, key=len, default=[])
            self.charges.append((record.ts, run.rule, run.target))
        run.step, run.outcome, run.verdict = record.step or 0, None, None
        self.last_action[run.rule, run.target] = record.ts

    def _after_a_cut(self, record: Record, run: Seen) -> None:
        """Of a first step that was cut short nobody knows that it has begun."""
        laws = [(book, law) for book in self.books() if (law := book.named(run.rule)) is not None]
        if run.granted and not any(approved(self, run, law, book, record.ts) for book, law in laws):
            self.fault(f"{record.run} took step 2 after a first step that was cut short, by an approval of long ago")

    def _started_again(self, record: Record, run: Seen) -> None:
        laws = [book.named(run.rule) for book in self.books()]
        if not any(law is not None and law.rerun_interrupted for law in laws):
            self.fault(f"{record.run} began step {record.step} again, and {run.rule} does not say so")
        if not run.cut_short or run.verdict is not None:
            self.fault(f"{record.run} began step {record.step} again after {run.outcome}, {run.verdict}")

    def _outcome(self, record: Record, run: Seen) -> None:
        if run.outcome is not None or run.step == 0:
            self.fault(f"{record.kind} of {record.run} ends nothing")
        run.outcome = record.kind
        # Once is enough: what was done again and cut short again is judged as it is.
        cut = record.kind is Kind.ACTION_INTERRUPTED and record.reason in ("gateway_died", "shutdown")
        run.cut_short = cut and not run.again
        found = self.results.get((str(record.run), run.step, run.again))
        if record.kind is not Kind.ACTION_INTERRUPTED and found is not (record.kind is Kind.ACTION_OK):
            self.fault(f"{record.kind} of {record.run}, and the action itself said {found}")

    def _ended(self, record: Record, run: Seen) -> None:
        cut = record.kind is Kind.ACTION_CANCELLED
        if run.step and run.outcome is None and not cut:
            self.fault(f"{record.run} ended with {record.kind} while its action had no end")
        if record.kind is Kind.HEAL_CONFIRMED:
            open_ = self.episodes.get(run.fingerprint)
            if open_ is not None and open_.id == run.episode and self.truth.fires(run.fingerprint):
                self.fault(f"{record.run} is said to have healed an alert that fires")
            self.failures.pop(run.rule, None)
        if record.kind is Kind.ESCALATED and run.verdict in (Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE):
            self.failures[run.rule] += 1
            self.failed_at[run.rule] = record.ts
        if record.kind in (Kind.ESCALATED, Kind.APPROVAL_EXPIRED) and (open_ := self.episodes.get(run.fingerprint)):
            about = run.rule, run.target, open_.labels["alertname"], str(record.run)
            self.left[run.fingerprint, run.rule] = about
        if cut and "approved" in record.detail:
            if run.observed is None or not self.truth.changed(run.target, run.observed, record, by_then=True):
                self.fault(f"{record.run} ended because {run.target} had changed, which it had not")
            self.void.add((run.rule, run.episode))
        # One that a guard stopped before it began may be tried again.
        if run.mode != "dry_run" and (run.step or not cut or record.reason == "cancelled"):
            self.ran.add((run.rule, run.episode))
        run.end = record.kind

    # What is done

    def acts(self, id_: str, step: int, text: str) -> None:
        """An action begins to be executed."""
        run = self.runs.get(id_)
        if run is None or run.step != step:
            self.fault(f"{id_} executed step {step}, of which there is no record")
            return
        if (id_, step, run.again) in self.results:
            self.fault(f"{id_} executed step {step} twice")
        if run.target in self.executing.values():
            self.fault(f"{id_} acts on {run.target}, on which another does")
        self.executing[id_, step], self.results[id_, step, run.again] = run.target, None
        # To the microsecond, as records tell times.
        now = round(self.truth.now(), 6)
        why = [forbidden(self, run, step, text, book, now) for book in self.books()]
        if None not in why:
            self.fault(f"{id_} executed {text!r} of {run.rule}: {' / '.join(map(str, why))}")
        if step > 1 or run.again:
            return
        for objection in run.objections:
            self.fault(f"{id_} of {run.rule} acted on {run.target} against {objection}")
        if (outage := self.outages.get(run.episode)) is not None:
            key = run.rule, run.fingerprint, outage
            self.tried[key] += 1
            if self.tried[key] > 1 + self.may_try[key]:
                self.fault(f"{run.rule} acted {self.tried[key]} times in one outage of {run.fingerprint}")

    def acted(self, id_: str, step: int, *, ok: bool | None) -> None:
        """It has ended; `ok` is None where it was cut."""
        self.executing.pop((id_, step), None)
        if (run := self.runs.get(id_)) is not None:
            self.results[id_, step, run.again] = ok
