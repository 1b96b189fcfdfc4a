"""A world around one engine for games of chance: alerts that fire, people, a disk, a clock; a model watches it all."""

from __future__ import annotations

from pathlib import Path

from autoheal.journal.record import parse
from autoheal.model import Kind
from autoheal.state import State, fold
from tests.support.games.ground import BEGIN, WATCHDOG_AFTER
from tests.support.games.laws import ALERTS, BOOKS, Law, Laws
from tests.support.games.objections import UNAPPROVED, forbidden, objections
from tests.support.games.people import People
from tests.support.games.told import Seen

WAKING_SECONDS = 1.0
"""How late the engine may wake: it looks at a pause by file so often."""
ASKING_SECONDS = 60.0
"""Within so long it hears what Alertmanager and Prometheus tell."""
ENDING_SECONDS = 65.0
"""Within so long it hears that people have ended a silence there."""
SETTLING_SECONDS = 80.0
"""Within so long it shows whether an alert fires: it is heard of each minute, and asked about each quarter."""
TELLING_SECONDS = 20.0
"""Within so long people hear of what is left to them."""
_NEVER = frozenset(
    (
        *("run_failed_here", "decision_failed", "task_failed", "run_task_failed", "poll_raised", "query_raised"),
        "silences_not_looked_at",
    )
)
"""Lines of the service's log that tell of a fault of its own."""


class World(People):
    """`check` tells whether all is as it must be."""

    def __init__(self, folder: Path, *, alertmanagers: int) -> None:
        super().__init__(folder, alertmanagers=alertmanagers)
        self._shadow = 0
        self._state = State()
        self.open()

    def wait(self, seconds: float) -> None:
        """Let time pass; afterwards nothing waits that need not."""
        withdrawn = {id_ for id_ in self.watchman.acks if self.withdrawn(id_)}
        left = set(self.watchman.left.values())
        self.clock.advance(seconds)
        if self.clock_was_set or self.journal.held or not self.journal.healthy:
            return  # it may be waiting for that
        self._expect_begun()
        self._expect_told(seconds)
        self._expect_settled(seconds)
        if seconds > ENDING_SECONDS:
            self._expect_ended(withdrawn)
        if seconds > TELLING_SECONDS:
            self._expect_raised(left & set(self.watchman.left.values()))

    def _expect_begun(self) -> None:
        """What nothing forbids is done, or people are asked."""
        mine = self.watchman
        book = next(book for book in BOOKS if book.loaded.digest == self.in_force())
        for fingerprint, firing in mine.episodes.items():
            for law in book.laws:
                if firing.labels["alertname"] not in law.alertnames or mine.begun(law.name, firing.id):
                    continue
                run = Seen(law.name, firing.target, law.mode, fingerprint, firing.id, "")
                if self._could_know(run, law) and not self._hindered(run, law, book):
                    mine.fault(f"{law.name} could act on {firing.id}, and does not")

    def _could_know(self, run: Seen, law: Law) -> bool:
        """Whether all that is asked of others has been so for long enough, and is what they tell."""
        api = self.alertmanager
        if api is None:
            return law.fleet is None or self.clock.monotonic() - self.stirred_at > ASKING_SECONDS
        listed = api.telling_since is not None and self.fires(run.fingerprint)
        # Who was seen there is taken to be there until something else is known.
        gone = listed or not self.watchman.seen_minded(run.fingerprint, run.rule)
        nobody = gone and int(run.fingerprint, 16) not in api.minded
        certain = law.unless is None or api.certain
        return nobody and certain and self.clock.monotonic() - self.stirred_at > ASKING_SECONDS

    def _hindered(self, run: Seen, law: Law, book: Laws) -> bool:
        # What forbids it now, or did until a moment ago.
        for now in (self.clock.now(), self.clock.now() - WAKING_SECONDS):
            if forbidden(self.watchman, run, 1, law.text(1, run.target), book, now) not in (None, UNAPPROVED):
                return True
            if any(objections(self.watchman, run, law, book, now, self.prometheus.count or 0.0)):
                return True
        return any(other.target == run.target for other in self.watchman.open_runs().values())

    def _expect_told(self, seconds: float) -> None:
        since = max(self.heartbeat_at, self.booted_at)
        late = self.clock.monotonic() - since > WATCHDOG_AFTER + 2 * WAKING_SECONDS
        if late and seconds > 2 * WAKING_SECONDS and not self.watchman.watchdog_missing:
            self.watchman.fault("the alert that always fires stays away, and nobody says so")

    def _expect_settled(self, seconds: float) -> None:
        for fingerprint, firing in self.watchman.episodes.items():
            if firing.disputed and min(seconds, self.agreed_for(fingerprint)) > SETTLING_SECONDS:
                self.watchman.fault(f"{firing.id} is disputed, and nothing is in the way of settling that")

    def _expect_ended(self, withdrawn: set[str]) -> None:
        """That people have ended these silences has been heard."""
        for id_ in withdrawn & self.watchman.acks.keys():
            if self.clock.now() < self.watchman.acks[id_][1]:
                self.watchman.fault(f"the acknowledgement {id_} stands, whose silence people have ended")

    def _expect_raised(self, left: set[tuple[str, str, str, str]]) -> None:
        """People have been told that these (rule, target, cause) are left to them, each by one run all the time."""
        api = self.alertmanager
        if api is not None and api.refusal is None:
            for *words, _ in left:
                about = tuple(words)
                if api.raised.get(about, 0.0) <= self.clock.now():
                    self.watchman.fault(f"{about} is left to people, who do not hear of it")

    # What must hold

    def check(self) -> None:
        """Raises AssertionError with every fault that has been seen."""
        self.watchman.faults += [f"the service logged {line}" for line in self.lines if line["event"] in _NEVER]
        if self.engine.failed.is_set():
            self.watchman.fault("vital work has died")
        del self.lines[:]
        new = self.journal.records[self._shadow :]
        self._state = fold([parse(record.line) for record in new], self._state)
        self._shadow += len(new)
        if self._state.head == self.engine.state.head:
            assert self._state == self.engine.state, "the fold of the log is not the live state"
            self._compare()
        assert not self.watchman.faults, self.watchman.faults

    def _compare(self) -> None:
        """The model and the gateway have understood the same."""
        mine, told = self.watchman, self.engine.state
        assert mine.open_runs().keys() == {
            id_ for id_, run in told.runs.items() if not run.ended and run.mode != "dry_run"
        }
        assert {fingerprint: one.id for fingerprint, one in mine.episodes.items()} == {
            fingerprint: one.id for fingerprint, one in told.episodes.items()
        }
        assert [(one.ts, one.rule, one.target) for one in told.charges] == mine.charges
        open_ = {episode.id: episode for episode in told.episodes.values()}
        assert {key for key in mine.released if key[1] in open_} == {
            (rule, id_) for id_, episode in open_.items() for rule in episode.released
        }
        assert {key for key in mine.ran if key[1] in open_} == {
            (rule, id_) for id_, episode in open_.items() for rule in episode.ran
        }
        assert mine.watchdog_missing == told.watchdog_missing

    def check_folds(self) -> None:
        """The whole log, and what stands in it from each snapshot on, fold to the same state."""
        lines = [parse(record.line) for record in self.journal.records]
        for index, record in enumerate(lines):
            if record.kind is Kind.LOG_OPENED:
                found = fold(lines[index:])
                assert not found.founded or found == self._state, f"the snapshot behind {record.seq}"

    def calm_down(self) -> None:
        """Everything that hinders ends, and all that was begun with it."""
        self.disk_works()
        self.finish(ok=True)
        self.journal.free_bytes = 2**40
        self.pause_file.unlink(missing_ok=True)
        self.action.next.clear()
        self.answers("all", 3600.0, maintenance=False)
        self.remember()
        self.forget_stale()
        self.takes(anything=True)
        for number in range(len(ALERTS)):
            self.mind(number, there=False)
        self.population(8.0)
        self.book = 0
        # A clock that was set back is right again: what ends has not ended before it began.
        self.clock.wall = max(self.clock.wall, self.journal.records[-1].ts)
        self.die(0, from_snapshot=True)
        self.firing.update({number: self._ended_at.get(number, BEGIN) for number in range(len(ALERTS))} | self.firing)
        self.resolve(list(self.firing))
        for rule in (None, *(law.name for book in BOOKS for law in book.laws)):
            self.resume(rule)
            if rule is not None:
                self.reset(rule)
        # Approvals expire.
        self.clock.advance(1000.0)
        self.check()
        for id_, run in self.watchman.runs.items():
            assert run.end is not None, f"{id_} has no end: {run}"
            assert run.step == 0 or run.outcome is not None or run.end is Kind.ACTION_CANCELLED, f"{id_}: {run}"

    def check_alive(self) -> None:
        """After all that, the next outage is healed: nothing is left that stands in the way for ever."""
        # Another day, at five: no budget, no freeze and no silence reaches so far.
        self.clock.wall += 86400.0 * 2 - (self.clock.wall % 86400.0) + 5 * 3600.0
        self.die(0, from_snapshot=False)
        # Ends that were heard of at the start are not of the same moment.
        self.clock.advance(1.0)
        done = len(self.action.done)
        self.fire([4])
        self.clock.advance(30.0)
        assert "restart d" in [text for *_, text in self.action.done[done:]], "the engine does nothing any more"
        self.resolve([4])
        self.clock.advance(30.0)
        self.check()
        assert [run for run in self.watchman.runs.values() if run.target == "d"][-1].end is not None
