"""A world around one engine for games of chance: alerts that fire, people, a disk, a clock; a model watches it all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from autoheal.actions import Context, Outcome
from autoheal.engine import Ack, Word
from autoheal.engine.pauses import PAUSE_FILE
from autoheal.errors import AutohealError, ConfigError, Fault
from autoheal.journal.record import parse
from autoheal.model import Alert, AlertStatus, By, Kind, Notification, Reason, Record
from autoheal.rules import RuleSet
from autoheal.rules.decide import Switches, decide
from autoheal.state import Run, RunState, State, fold
from tests.support.engine import Api, FakeAction, Stage
from tests.support.journal import MemoryJournal
from tests.support.laws import BOOKS, MAX_RUNNING
from tests.support.still import StillClock, StillLoop
from tests.support.watchman import Watchman

BEGIN = 1_790_000_000.0
"""14:13:20 UTC on some day."""
ALERTS: Sequence[Mapping[str, str]] = (
    {"alertname": "Down", "on": "a"},
    {"alertname": "Down", "on": "a", "pod": "2"},
    {"alertname": "Down", "on": "b"},
    {"alertname": "Down", "on": "c"},
    {"alertname": "Down", "on": "d"},
    {"alertname": "Slow", "on": "a"},
    {"alertname": "Slow", "on": "b"},
    {"alertname": "Slow", "on": "c", "env": "sacred"},
)
SWITCHES = Switches(enabled=True, dry_run=False, max_running=MAX_RUNNING)
WAKING_SECONDS = 1.0
"""How late the engine may wake: it looks at a pause by file so often."""
BROKEN = len(BOOKS)
"""What the rules file may say beside `BOOKS`: nothing that is a rules file."""
_NEVER = frozenset(
    ("run_failed_here", "decision_failed", "task_failed", "run_task_failed", "poll_raised", "silences_not_looked_at")
)
"""Lines of the service's log that tell of a fault of its own."""


class SlowJournal(MemoryJournal):
    """Tells the model what becomes durable; the engine's next life may begin at the newest snapshot."""

    from_snapshot = False
    watchman: Watchman

    def release(self, until: Kind | None = None, count: int | None = None) -> None:
        known = len(self.records)
        super().release(until, count)
        self.watchman.read(self.records[known:])

    def replay(self) -> Iterator[Record]:
        whole = self.records
        rotated = [index for index, record in enumerate(whole) if record.kind is Kind.LOG_OPENED]
        if self.from_snapshot and rotated and fold(whole[rotated[-1] :]).founded:
            whole = whole[rotated[-1] :]
        return iter([parse(record.line) for record in whole])


class Deeds(FakeAction):
    """An action that does what `next` says, in its order: `ok`, `fail`, `raise`, or `hang` until it is let finish."""

    def __init__(self, watchman: Watchman) -> None:
        super().__init__()
        self.next: list[str] = []
        self.hanging: list[asyncio.Future[bool]] = []
        self._watchman = watchman

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        self._watchman.acts(context.run, context.step, params["do"])
        self.done.append((context.run, context.step, params["do"]))
        ok: bool | None = None
        try:
            how = self.next.pop(0) if self.next else "ok"
            if how == "hang":
                self.hanging.append(asyncio.get_running_loop().create_future())
                how = "ok" if await self.hanging[-1] else "fail"
            ok = how == "ok"
            if how == "raise":
                raise RuntimeError("a fault in the action")
            return Outcome(ok=ok)
        finally:
            self._watchman.acted(context.run, context.step, ok=ok)


class Firings(Api):
    """An Alertmanager that knows what fires."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.maintenance_since: float | None = None
        self.silences: list[Any] = []

    async def poll(self, **about: Any) -> Any:
        world = self._world
        alerts = [world.alert(number) for number in world.firing]
        if self.maintenance_since is not None:
            labels = {"alertname": "Maintenance"}
            alerts.append(Alert(AlertStatus.FIRING, "f" * 16, labels, {}, self.maintenance_since))
        self.listed = Api(*alerts).listed
        for each in self.listed.values():
            each.silenced = any(
                f"s{number}" not in self.ended
                and world.clock.now() < wanted.ends_at
                and all(matcher.matches(each.alert.labels) for matcher in wanted.matchers)
                for number, wanted in enumerate(self.silenced, 1)
            )
        return await super().poll(**about)


class World(Stage):
    """Everything happens at a call, and until nobody has anything left to do; whatever waits on the disk goes on
    waiting. `check` tells whether all is as it must be.
    """

    def __init__(self, folder: Path, *, with_api: bool) -> None:
        self.loop = StillLoop()
        clock: Any = StillClock(self.loop, BEGIN)
        super().__init__(folder, AUTOHEAL_MAX_RUNNING=str(MAX_RUNNING))
        self.clock = clock
        self.watchman = Watchman(clock.now, lambda: self.engine.rules.digest)
        self.watchman.outage_of = lambda fingerprint, starts_at: self._sent.get((fingerprint, starts_at))
        self.watchman.fires = lambda fingerprint: int(fingerprint, 16) in self.firing
        self.watchman.barred = self._barred
        self.journal: SlowJournal = SlowJournal(clock)
        self.journal.watchman = self.watchman
        self.action: Deeds = Deeds(self.watchman)
        self.alertmanager: Firings | None = Firings(self) if with_api else None
        self.firing: dict[int, float] = {}
        """When each alert that fires began."""
        self.book = 0
        self.pause_file = folder / PAUSE_FILE
        self._ended_at: dict[int, float] = {}
        self._sent: dict[tuple[str, float], int] = {}
        self._outages = 0
        self._under_way: set[asyncio.Task[None]] = set()
        self._told = self._shadow = 0
        self._state = State()
        self._open = ExitStack()
        self._lines = self._open.enter_context(capture_logs())
        self._requests = 0
        self._clock_was_set = False
        self.boot()

    # The service

    def load_rules(self) -> RuleSet:
        if self.book == BROKEN:
            raise ConfigError([Fault("rules.yaml", "is no rules file")])
        return BOOKS[self.book].loaded

    def boot(self) -> None:
        """Begin a life."""
        self._clock_was_set = False
        self.clock.boot()
        self.book = 0 if self.book == BROKEN else self.book
        self.engine = self.build()
        self._do(self._start())

    async def _start(self) -> None:
        await self.engine.start()

    def die(self, durable: int, *, from_snapshot: bool) -> None:
        """As kill -9 does, when the first `durable` of the records that wait on the disk are there; and a new life."""
        self.journal.release(count=durable)
        self.journal.held = True
        self.journal.fail()
        self._cancel_all()
        self.journal.held, self.journal.healthy = False, True
        self.journal.from_snapshot = from_snapshot
        self.action.hanging.clear()
        self.boot()

    def restart(self) -> None:
        """As a service manager does."""
        self.disk_works()
        self._do(self.engine.stop())
        self.clock.advance(10.0)
        self._cancel_all()
        self.action.hanging.clear()
        self.boot()

    def close(self) -> None:
        self.journal.held, self.journal.healthy = True, False
        self._cancel_all()
        self.loop.close()
        self._open.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work`; what it promises holds when it has ended."""
        task = self.loop.create_task(self._refusable(work))
        self._under_way.add(task)
        task.add_done_callback(self._done)
        self.loop.settle()

    async def _refusable(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(AutohealError):  # a clear refusal
            await work

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.watchman.faults.append(f"a request was answered by {error!r}")

    def _promised(self, what: str, *, kept: bool) -> None:
        # Where several wait together, one may have undone what another did.
        if len(self._under_way) == 1 and not kept:
            self.watchman.faults.append(f"answered, and not on record: {what}")

    # The monitoring

    def alert(self, number: int, *, skew: float = 0.0, starts_at: float | None = None) -> Alert:
        at = (self.firing[number] if starts_at is None else starts_at) + skew
        return Alert(AlertStatus.FIRING, f"{number:016x}", dict(ALERTS[number]), {}, at)

    def fire(self, numbers: Sequence[int], ago: float = 0.0) -> None:
        """These begin to fire, or are told of again."""
        for number in numbers:
            if number not in self.firing:
                self._begins(number, self.clock.wall // 1 - ago)
        self._do(self._post([self.alert(number) for number in numbers]))

    def fire_anew(self, number: int) -> None:
        """Its end was not told; at least a minute later it fires again."""
        if self.clock.wall - self.firing.get(number, BEGIN) > 62.0:
            self._begins(number, self.clock.wall // 1)
        self.fire([number])

    def fire_twice(self, number: int, skew: float) -> None:
        """The other one of a pair tells of it."""
        if number in self.firing:
            alert = self.alert(number, skew=skew)
            self._sent[alert.fingerprint, alert.starts_at] = self._outage(number)
            self._do(self._post([alert]))

    def fire_late(self, number: int) -> None:
        """A slow one tells of a firing that has ended."""
        if number in self._ended_at and number not in self.firing:
            alert = self.alert(number, starts_at=self._ended_at[number])
            # It is believed when it insists and nobody can be asked.
            self._sent.pop((alert.fingerprint, alert.starts_at), None)
            self._do(self._post([alert]))

    def resolve(self, numbers: Sequence[int], *, told: bool = True) -> None:
        """These end; `told` is False where a silence swallows that."""
        alerts = []
        for number in numbers:
            if number in self.firing:
                alert = self.alert(number)
                now = self.clock.wall
                alerts.append(
                    Alert(AlertStatus.RESOLVED, alert.fingerprint, alert.labels, {}, alert.starts_at, ends_at=now)
                )
                self._ended_at[number] = self.firing.pop(number)
        if told and alerts:
            self._do(self._post(alerts))

    def _begins(self, number: int, at: float) -> None:
        self._outages += 1
        self.firing[number] = at
        self._sent[f"{number:016x}", at] = self._outages

    def _outage(self, number: int) -> int:
        return self._sent.get((f"{number:016x}", self.firing[number]), 0)

    async def _post(self, alerts: Sequence[Alert]) -> None:
        await self.engine.receive(Notification(alerts=tuple(alerts)), self._request())
        for alert in alerts:
            known = self.watchman.episodes.get(alert.fingerprint)
            if alert.status is AlertStatus.FIRING and int(alert.fingerprint, 16) in self.firing:
                kept = known is not None or alert.fingerprint in self.watchman.suspects
                self._promised(f"firing {alert.fingerprint}", kept=kept)
            elif alert.status is AlertStatus.RESOLVED:
                kept = known is None or abs(known.starts_at - alert.starts_at) > 60.0
                self._promised(f"resolved {alert.fingerprint}", kept=kept)

    def _barred(self, unless: str | None) -> str | None:
        if self.pause_file.exists():
            return "paused by a file"
        if unless is None:
            return None
        api = self.alertmanager
        if api is None:
            return "nobody knows of other alerts"
        # What was asked is good for a quarter of a minute, and may have been some seconds old.
        since = api.maintenance_since
        return None if since is None or self.clock.wall - since <= 20.0 else "other alerts"

    # People

    def _request(self) -> str:
        self._requests += 1
        return f"c{self._requests}"

    def _by(self, who: str) -> By:
        return By(who, self._request())

    def runs(self) -> list[Run]:
        return [run for run in self.engine.state.runs.values() if not run.ended]

    def asked(self) -> list[Run]:
        return [run for run in self.runs() if run.state is RunState.AWAITING_APPROVAL]

    def approve(self, run: Run, who: str) -> None:
        self._do(self._approve(run.id, Word(self._by(who), plan_digest=run.plan_digest)))

    async def _approve(self, run_id: str, word: Word) -> None:
        await self.engine.control.approve(run_id, word)
        self._promised(f"approval of {run_id}", kept=self.watchman.runs[run_id].granted)

    def deny(self, run: Run, who: str) -> None:
        self._do(self._deny(run.id, who))

    async def _deny(self, run_id: str, who: str) -> None:
        await self.engine.control.deny(run_id, Word(self._by(who)))
        self._promised(f"denial of {run_id}", kept=self.watchman.runs[run_id].end is Kind.APPROVAL_DENIED)

    def cancel(self, run: Run, who: str) -> None:
        self._do(self._cancel(run.id, who))

    async def _cancel(self, run_id: str, who: str) -> None:
        await self.engine.control.cancel(run_id, Word(self._by(who)))
        seen = self.watchman.runs[run_id]
        self._promised(f"cancelling of {run_id}", kept=seen.unwanted or seen.end is not None)

    def pause(self, rule: str | None, seconds: float | None) -> None:
        self._do(self._pause(rule, seconds))

    async def _pause(self, rule: str | None, seconds: float | None) -> None:
        await self.engine.pause(rule, "by chance", seconds, self._by("ann"))
        self._promised("pause", kept=(rule, "api") in self.watchman.pauses)

    def resume(self, rule: str | None) -> None:
        self._do(self._resume(rule))

    async def _resume(self, rule: str | None) -> None:
        await self.engine.resume(rule, "by chance", self._by("bob"))
        until = self.watchman.pauses.get((rule, "api"), 0.0)
        self._promised("resume", kept=until <= self.clock.now())

    def ack(self, number: int, seconds: float) -> None:
        self._do(self._ack(f"{number:016x}", seconds))

    async def _ack(self, fingerprint: str, seconds: float) -> None:
        made = await self.engine.acknowledge(Ack(fingerprint, (), seconds, "by chance"), "ann", self._request())
        self._promised("ack", kept=made.silence_id in self.watchman.acks)

    def unack(self) -> None:
        """Somebody ends all silences in Alertmanager."""
        if self.alertmanager is not None:
            self.alertmanager.ended |= {f"s{number + 1}" for number in range(len(self.alertmanager.silenced))}

    def reload(self, book: int) -> None:
        self.book = book
        self._do(self.engine.reload(self._by("ann")))

    def reset(self, rule: str) -> None:
        self._do(self._reset(rule))

    async def _reset(self, rule: str) -> None:
        await self.engine.reset(rule, self._by("ann"))

    # The machine

    def disk_works(self) -> None:
        """Whatever was the matter with it."""
        self.journal.held, self.journal.healthy = False, True
        self.journal.release()
        self.loop.settle()

    def disk_takes(self, count: int) -> None:
        """So many of the records that wait for it."""
        self.journal.release(count=count)
        self.loop.settle()

    def disk_fails(self) -> None:
        self.journal.fail()
        self.loop.settle()

    def set_clock(self, seconds: float) -> None:
        """Forward or back by so much."""
        self.clock.wall += seconds
        self._clock_was_set = True

    def wait(self, seconds: float) -> None:
        """Let time pass; afterwards nothing waits that need not."""
        self.clock.advance(seconds)
        if self._clock_was_set or self.journal.held or not self.journal.healthy:
            return  # it may be waiting for that
        told = self.engine.state
        for episode in told.episodes.values():
            for rule in self.engine.rules.match(episode.labels):
                # What other alerts fire is asked every half minute only.
                if rule.name in episode.runs or rule.unless:
                    continue
                now = self.clock.now() - WAKING_SECONDS
                decision = decide(told, episode, rule, self.engine.rules, SWITCHES, now)
                if decision.reason in (Reason.ACT, Reason.AWAITING_APPROVAL):
                    self.watchman.faults.append(f"{rule.name} could act on {episode.fingerprint}, and does not")

    def finish(self, *, ok: bool) -> None:
        """All actions that hang end."""
        for future in self.action.hanging:
            if not future.done():
                future.set_result(ok)
        self.action.hanging.clear()
        self.loop.settle()

    # What must hold

    def check(self) -> None:
        """Raises AssertionError with every fault that has been seen."""
        self.watchman.faults += [f"the service logged {line}" for line in self._lines if line["event"] in _NEVER]
        if self.engine.failed.is_set():
            self.watchman.faults.append("vital work has died")
        del self._lines[:]
        new = self.journal.records[self._shadow :]
        self._state = fold([parse(record.line) for record in new], self._state)
        self._shadow += len(new)
        if self._state.head == self.engine.state.head:
            assert self._state == self.engine.state, "the fold of the log is not the live state"
            mine, told = self.watchman, self.engine.state
            assert mine.open_runs().keys() == {
                id_ for id_, run in told.runs.items() if not run.ended and run.mode != "dry_run"
            }
            assert {fingerprint: one.id for fingerprint, one in mine.episodes.items()} == {
                fingerprint: one.id for fingerprint, one in told.episodes.items()
            }
            assert [(one.ts, one.rule, one.target) for one in told.charges] == mine.charges
        assert not self.watchman.faults, self.watchman.faults

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
        if self.alertmanager is not None:
            self.alertmanager.answered, self.alertmanager.maintenance_since = True, None
        self.book = 0
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
        done = len(self.action.done)
        self.fire([4])
        self.clock.advance(30.0)
        assert "restart d" in [text for *_, text in self.action.done[done:]], "the engine does nothing any more"
        self.resolve([4])
        self.clock.advance(30.0)
        self.check()
        assert [run for run in self.watchman.runs.values() if run.target == "d"][-1].end is not None
