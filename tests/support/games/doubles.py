"""What stands in for the disk, the actions, Alertmanager and Prometheus in games of chance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoheal.actions import Context, Outcome
from autoheal.alertmanager import SETTLED_SECONDS, Post, Silenced, Wanted
from autoheal.errors import UpstreamError
from autoheal.journal.record import parse
from autoheal.model import Alert, AlertStatus, Draft, Head, Kind, Record
from autoheal.prometheus import Answer
from autoheal.state import fold
from tests.support.engine import Api, FakeAction
from tests.support.games.laws import POPULATION
from tests.support.games.watchman import Watchman
from tests.support.journal import MemoryJournal

if TYPE_CHECKING:
    from tests.support.games.outages import Outages

FOREIGN = "theirs-"
"""Begins the ids of silences that were not made through the gateway."""


class SlowJournal(MemoryJournal):
    """Tells the model what becomes durable; the engine's next life may begin at the newest snapshot."""

    from_snapshot = False
    watchman: Watchman

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.made: dict[int, float] = {}
        """When each record was, by seq, on the monotonic clock."""

    def append(self, drafts: Sequence[Draft], expected: Head) -> tuple[Record, ...]:
        sealed = super().append(drafts, expected)
        self.made |= dict.fromkeys((record.seq for record in sealed), self._clock.monotonic())
        return sealed

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
    """An action that does what `next` says, in its order: `ok`, `fail`, `raise`, or `hang` until it is let finish.

    It can tell how a target is: each action on it that was not cut, and whoever else changes it, makes it another.
    """

    def __init__(self, watchman: Watchman, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._states: dict[str, tuple[str, float]] = {}
        """How each target is that was changed, and since when, on the monotonic clock."""
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
            self.change(_target(params))
            if how == "raise":
                raise RuntimeError("a fault in the action")
            return Outcome(ok=ok)
        finally:
            self._watchman.acted(context.run, context.step, ok=ok)

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        return self.state(_target(params))[0]

    def state(self, target: str) -> tuple[str, float]:
        """How it is, and since when."""
        return self._states.get(target, ("as it was made", 0.0))

    def change(self, target: str) -> None:
        self._states[target] = f"changed at {self._monotonic()}", self._monotonic()

    def finish(self, *, ok: bool) -> None:
        """All that hang end."""
        for future in self.hanging:
            if not future.done():
                future.set_result(ok)
        self.hanging.clear()


def _target(params: Mapping[str, Any]) -> str:
    return str(params["do"]).rpartition(" ")[2]


class Firings(Api):
    """An Alertmanager that knows what fires, and what is silenced by whom."""

    def __init__(self, world: Outages, count: int) -> None:
        super().__init__()
        self._world = world
        self.several = count > 1
        self.forgotten: set[int] = set()
        """What fires, and one of several does not list."""
        self.stale: dict[int, tuple[float, float]] = {}
        """What has ended, and one of several lists: when it began, and when it was last heard of."""
        self.maintenance_since: float | None = None
        """On the machine's clock, as alerts tell it."""
        self.maintained_since = 0.0
        """On the monotonic clock."""
        self.telling_since: float | None = world.clock.monotonic()
        """Since when it tells which alerts fire, on the monotonic clock; None while it does not."""
        self.silent_since = 0.0
        self.standing: dict[str, Wanted] = {}
        """The silences that were made through the gateway, by id."""
        self.minded: dict[int, float] = {}
        """Numbers of alerts that somebody else has silenced, and since when, on the monotonic clock."""
        self.listed_since: dict[int, float] = {}
        self.raised: dict[tuple[str | None, ...], float] = {}
        """Rule, target and cause of the alerts that say that people are needed, and when each ends."""

    @property
    def settled(self) -> bool:
        """Whether it has been up for long enough to know what fires."""
        return self.uptime >= SETTLED_SECONDS

    @property
    def certain(self) -> bool:
        """Whether what it does not list does not fire."""
        return self.answered and self.settled

    def tell(self, *, telling: bool) -> None:
        """Begin or cease to tell what fires."""
        if telling == (self.telling_since is None):
            now = self._world.clock.monotonic()
            self.telling_since, self.silent_since = (now, 0.0) if telling else (None, now)

    def end_silences(self) -> None:
        """Somebody ends all that were made through the gateway."""
        self.ended |= self.standing.keys()
        self.standing.clear()

    def lose_silences(self) -> None:
        """It forgets them."""
        self.standing.clear()

    async def silence(self, wanted: Wanted) -> Silenced:
        made = await super().silence(wanted)
        self.standing.pop(made.replaced or "", None)
        self.standing[made.id] = wanted
        return made

    async def extend(self, known: str, wanted: Wanted) -> Silenced | None:
        over = known not in self.standing or self.standing[known].ends_at <= self._world.clock.now()
        if over and self.refusal is None:
            self.lost[known] = f"{known}+"
        made = await super().extend(known, wanted)
        if made is not None:
            self.standing.pop(known, None)
            self.standing[made.id] = wanted
        return made

    async def expire(self, known: str) -> None:
        await super().expire(known)
        self.standing.pop(known, None)

    async def post(self, alerts: Sequence[Post]) -> Sequence[str]:
        unwell = await super().post(alerts)
        for alert in alerts:
            about = tuple(alert.labels.get(name) for name in ("rule", "target", "cause"))
            self.raised[about] = alert.ends_at
        return unwell

    def covering(self, number: int) -> frozenset[str]:
        """The ids of the silences that cover that alert."""
        labels, now = self._world.alert(number, starts_at=0.0).labels, self._world.clock.now()
        own = {
            id_
            for id_, wanted in self.standing.items()
            if now < wanted.ends_at and all(matcher.matches(labels) for matcher in wanted.matchers)
        }
        return frozenset(own | ({f"{FOREIGN}{number}"} if number in self.minded else set()))

    def heard_at(self) -> float:
        """When what fires was last heard of, by its own clock: each minute."""
        return self._world.clock.monotonic() // 60.0 * 60.0

    async def poll(self, **about: Any) -> Any:
        world = self._world
        telling = self.telling_since is not None
        alerts = [world.alert(number) for number in world.firing] if telling else []
        if telling and self.maintenance_since is not None:
            labels = {"alertname": "Maintenance"}
            alerts.append(Alert(AlertStatus.FIRING, "f" * 16, labels, {}, self.maintenance_since))
        stale = self.stale if telling else {}
        alerts += [world.alert(number, starts_at=starts_at) for number, (starts_at, _) in stale.items()]
        self.listed = Api(*alerts).listed
        for seen in self.listed.values():
            seen.heard_at = self.heard_at()
        for number, (_, heard_at) in stale.items():
            self.listed[f"{number:016x}"].heard_at = heard_at
        self.denied = {f"{number:016x}" for number in self.forgotten | stale.keys()} if self.settled else set()
        for number in world.firing if telling else ():
            each = self.listed[f"{number:016x}"]
            each.silenced_by = self.covering(number)
            each.silenced = bool(each.silenced_by)
        return await super().poll(**about)


class Counts:
    """A Prometheus that counts the population as it is and, for a while, as it was."""

    def __init__(self, monotonic: Any) -> None:
        self._monotonic = monotonic
        self._told: list[tuple[float, float | None]] = [(0.0, 8.0)]

    @property
    def count(self) -> float | None:
        """What it says; None where it does not answer."""
        return self._told[-1][1]

    def becomes(self, count: float | None) -> None:
        self._told.append((self._monotonic(), count))

    def most(self, since: float, until: float) -> float:
        """The greatest that it said between these times of the monotonic clock; 0 where it did not answer."""
        ends = [at for at, _ in self._told[1:]] + [float("inf")]
        return max(
            (count or 0.0 for (at, count), end in zip(self._told, ends, strict=True) if at <= until and end >= since),
            default=0.0,
        )

    async def query(self, expression: str) -> Answer:
        if self.count is None or expression != POPULATION:
            raise UpstreamError("Prometheus does not answer")
        return Answer((self.count,))
