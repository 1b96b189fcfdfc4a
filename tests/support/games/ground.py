"""What all of a world's parts stand on: one gateway in several lives, its disk and its clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from autoheal.engine.pauses import PAUSE_FILE
from autoheal.errors import AutohealError, ConfigError, Fault
from autoheal.model import By
from autoheal.rules import RuleSet
from tests.support.engine import Stage
from tests.support.games.doubles import Counts, Deeds, SlowJournal
from tests.support.games.laws import BOOKS, MAX_RUNNING
from tests.support.games.still import StillClock, StillLoop
from tests.support.games.told import Truth
from tests.support.games.watchman import Watchman

BEGIN = 1_790_000_000.0
"""14:13:20 UTC on some day."""
BROKEN = len(BOOKS)
"""What the rules file may say beside `BOOKS`: nothing that is a rules file."""
MOMENT = 0.001
"""Seconds between any two things that happen: an answer must not seem as young as the question."""
WATCHDOG = {"alertname": "Watchdog"}
WATCHDOG_AFTER = 400.0


class Ground(Stage):
    """Everything happens at a call, and until nobody has anything left to do; whatever waits on the disk goes on
    waiting.
    """

    def __init__(self, folder: Path, truth: Truth) -> None:
        self.loop = StillLoop()
        clock: Any = StillClock(self.loop, BEGIN)
        super().__init__(
            folder,
            AUTOHEAL_MAX_RUNNING=str(MAX_RUNNING),
            AUTOHEAL_WATCHDOG='alertname="Watchdog"',
            AUTOHEAL_WATCHDOG_AFTER=f"{WATCHDOG_AFTER:g}s",
            AUTOHEAL_ESCALATE_TO_ALERTMANAGER="true",
        )
        self.clock = clock
        self.watchman = Watchman(truth)
        self.loop.set_exception_handler(self._unexpected)
        self.journal: SlowJournal = SlowJournal(clock)
        self.journal.watchman = self.watchman
        self.action: Deeds = Deeds(self.watchman, clock.monotonic)
        self.prometheus: Counts = Counts(clock.monotonic)
        self.book = 0
        self.pause_file = folder / PAUSE_FILE
        self.lines: list[Any] = []
        """What the service has logged."""
        self.clock_was_set = False
        """In this life."""
        self.booted_at = 0.0
        """On the monotonic clock."""
        self._under_way: set[asyncio.Task[None]] = set()
        self._open = ExitStack()
        self._requests = 0

    # The service

    def load_rules(self) -> RuleSet:
        if self.book == BROKEN:
            raise ConfigError([Fault("rules.yaml", "is no rules file")])
        return BOOKS[self.book].loaded

    def open(self) -> None:
        """Begin the first life."""
        self.lines = self._open.enter_context(capture_logs())
        self.boot()

    def boot(self) -> None:
        """Begin a life."""
        self.clock_was_set = False
        self.clock.boot()
        self.booted_at = self.clock.monotonic()
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

    # Requests

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work`, a moment after all that was; what it promises holds when it has ended."""
        self.clock.advance(MOMENT)
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
            self.watchman.fault(f"a request was answered by {error!r}")

    def _unexpected(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.watchman.fault(f"nobody expected {context.get('exception', context['message'])!r}")

    def _promised(self, what: str, *, kept: bool) -> None:
        # Where several wait together, one may have undone what another did.
        if len(self._under_way) == 1 and not kept:
            self.watchman.fault(f"answered, and not on record: {what}")

    def _request(self) -> str:
        self._requests += 1
        return f"c{self._requests}"

    def _by(self, who: str) -> By:
        return By(who, self._request())

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
        self.clock_was_set = True

    def finish(self, *, ok: bool) -> None:
        """All actions that hang end."""
        self.action.finish(ok=ok)
        self.loop.settle()
