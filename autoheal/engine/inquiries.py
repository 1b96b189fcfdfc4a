"""What decisions must know of the world beyond the log: asked beside them, so that others need not wait for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Protocol

from autoheal.engine.measurements import Measurements
from autoheal.engine.outlook import Outlook
from autoheal.model import Reason
from autoheal.rules import Rule
from autoheal.rules.decide import Decision
from autoheal.rules.guards import Facts
from autoheal.state import Episode, Run

_ALERTMANAGER = ""
"""Nobody's query."""


class Spawn(Protocol):
    """Runs work beside; `vital` work is what the engine cannot do without."""

    def __call__(self, work: Coroutine[object, object, None], *, vital: bool = False) -> None:
        """Begin it."""
        ...


class Inquiries:
    """Facts, and who waits for them: once they are there, `mark` has these decided on."""

    def __init__(
        self, outlook: Outlook, measurements: Measurements, spawn: Spawn, mark: Callable[[Iterable[str]], None]
    ) -> None:
        self._outlook = outlook
        self._measurements = measurements
        self._spawn = spawn
        self._mark = mark
        self._waiting: dict[str, dict[str, None]] = {}
        """By the query that is being asked, or by `_ALERTMANAGER`; who came first is decided on first."""

    def facts(self, rule: Rule, episode: Episode) -> Facts:
        """What a decision on `episode` by `rule` is to know, as far as it is known."""
        others, standing = self._outlook.facts(rule, episode)
        populations = {} if rule.fleet is None else self._measurements.populations()
        return Facts(others, standing, populations)

    def lacking(self, episode: Episode, decision: Decision) -> bool:
        """Whether `decision` rests on what was not asked yet. Then that is asked, and the episode decided on anew."""
        last = episode.decisions.get(decision.rule or "")
        # Who was seen to mind the alert may still do: without a look the next decision would not know.
        present = last is not None and last.reason is Reason.HUMAN_PRESENT
        if self._outlook.stale and decision.rule is not None and (present or decision.reason is Reason.UNLESS):
            self._ask(_ALERTMANAGER, self._outlook.look, episode)
            return True
        query = None if decision.plan is None else decision.plan.get("fleet")
        if query is None or decision.reason is not Reason.FLEET_GUARD or self._measurements.knows(query):
            return False
        self._ask(query, lambda: self._measurements.count(query), episode)
        return True

    async def look_for(self, run: Run) -> None:
        """Ask what is to be known before the guards are asked about `run`."""
        query = run.plan.get("fleet")
        if query is not None and run.step == 0:
            await self._measurements.count(query)
        # Last: that may have taken a while, and a person who came meanwhile must be seen.
        await self._outlook.look()

    def _ask(self, what: str, look: Callable[[], Awaitable[None]], episode: Episode) -> None:
        if what not in self._waiting:
            self._waiting[what] = {}
            self._spawn(self._look(what, look))
        self._waiting[what][episode.fingerprint] = None

    async def _look(self, what: str, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        finally:
            self._mark(self._waiting.pop(what))
