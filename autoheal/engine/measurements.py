"""What Prometheus says: whether a probe holds, and how many there are of what a rule treats."""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import structlog

from autoheal.clock import Clock
from autoheal.errors import UpstreamError
from autoheal.prometheus import Answer, Prometheus
from autoheal.rules.guards import TEXT_SHOWN, Population

KEPT_SECONDS = 15.0
"""How long an answer about a population is good for."""
FRESH_SECONDS = 5.0
"""An answer this young is not asked for again: a hundred runs of one population are one query."""
QUERIES_AT_ONCE = 16
MOST_COUNTED = 2.0**53
"""Beyond it floats do not count any more."""

_log = structlog.get_logger(__name__)


class Measurements:
    """Prometheus, asked for the engine. Where none is set (None) nothing is known, and errors say so."""

    def __init__(self, prometheus: Prometheus | None, clock: Clock) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._slots = asyncio.Semaphore(QUERIES_AT_ONCE)
        self._populations: dict[str, Population] = {}
        self._told_at: dict[str, float] = {}
        """On the monotonic clock, the oldest first."""
        self._asking: dict[str, asyncio.Future[None]] = {}

    async def holds(self, query: str) -> tuple[bool | None, dict[str, Any]]:
        """Whether `query` holds now, None where that cannot be known, and what was seen."""
        saw: dict[str, Any] = {"promql": query[:TEXT_SHOWN]}
        try:
            answer = await self._ask(query)
        except UpstreamError as error:
            return None, saw | {"error": str(error)[:TEXT_SHOWN]}
        return answer.holds, saw | {"values": len(answer.values), "held": answer.held}

    def populations(self) -> Mapping[str, Population]:
        """What is known now, by query. To be read at once: it changes."""
        oldest = self._clock.monotonic() - KEPT_SECONDS
        while self._told_at and self._told_at[query := next(iter(self._told_at))] < oldest:
            del self._told_at[query], self._populations[query]
        return MappingProxyType(self._populations)

    def knows(self, query: str) -> bool:
        """Whether `populations` has what `query` counts; that nobody could tell is known too."""
        return query in self.populations()

    async def count(self, query: str) -> None:
        """Have `populations` know what `query` counts, unless it has just been asked."""
        if self._clock.monotonic() - self._told_at.get(query, -math.inf) <= FRESH_SECONDS:
            return
        if query not in self._asking:
            self._asking[query] = asking = asyncio.ensure_future(self._count(query))
            asking.add_done_callback(lambda _: self._asking.pop(query))
        await asyncio.shield(self._asking[query])

    async def _count(self, query: str) -> None:
        asked_at = self._clock.now()
        try:
            population = _population(asked_at, await self._ask(query))
        except UpstreamError as error:
            population = Population(asked_at, None, str(error)[:TEXT_SHOWN])
        self._told_at.pop(query, None)
        self._told_at[query], self._populations[query] = self._clock.monotonic(), population

    async def _ask(self, query: str) -> Answer:
        if self._prometheus is None:
            raise UpstreamError("PROMETHEUS_URL is not set")
        try:
            async with self._slots:
                return await self._prometheus.query(query)
        except UpstreamError:
            raise
        except Exception as error:  # noqa: BLE001 whatever an answer breaks here, it tells nothing
            where = traceback.format_tb(error.__traceback__)
            _log.error("query_raised", error=type(error).__name__, where=where)
            raise UpstreamError(f"fault in reading the answer: {type(error).__name__}") from None


def _population(asked_at: float, answer: Answer) -> Population:
    if len(answer.values) != 1:
        many = f"{len(answer.values)} values" if answer.values else "nothing"
        return Population(asked_at, None, f"the query came to {many} and not to one number")
    (count,) = answer.values
    if not abs(count) <= MOST_COUNTED:
        return Population(asked_at, None, f"the query came to {count}, which is no number of anything")
    return Population(asked_at, count, None)
