"""The self-test inside of the service, every few minutes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from autoheal.clock import Clock
from autoheal.metrics import Metrics
from autoheal.model import Draft
from autoheal.selftest.results import Result, passed, report

FIRST_SECONDS = 60.0
"""How long after the start the first one comes: what the service depends on may be starting as well."""

_log = structlog.get_logger(__name__)


class SelfTesting:
    """Has `test` made every `interval` seconds, and tells `record` what came of it."""

    def __init__(
        self,
        test: Callable[[], Awaitable[Sequence[Result]]],
        record: Callable[[Draft], Awaitable[None]],
        metrics: Metrics,
        clock: Clock,
        interval: float,
    ) -> None:
        self._test = test
        self._record = record
        self._metrics = metrics
        self._clock = clock
        self._interval = interval

    async def run(self) -> None:
        """Until cancelled."""
        await self._clock.sleep(min(FIRST_SECONDS, self._interval))
        while True:
            try:
                await self.once()
            except Exception as error:  # noqa: BLE001 the next one must come; that none succeeds is told by metrics
                _log.exception("selftest_broke", exc_info=error)
            await self._clock.sleep(self._interval)

    async def once(self) -> None:
        """Test, and tell of it."""
        results = await self._test()
        failed = [result for result in results if result.ok is False]
        for result in failed:
            self._metrics.selftest_failures.labels(result.check).inc()
        if not passed(results):
            _log.error("selftest_failed", **{result.check.value: result.text for result in failed})
        await self._record(report(results))
