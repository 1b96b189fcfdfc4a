"""What the log needs from time to time: a fresh file after rotation, a signed head, a warning while there is room."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind

TICK_SECONDS = 1.0
"""How often the log is looked at while nothing is written to it."""
CHECKPOINT_SECONDS = 300.0
"""Time between two checkpoints, also while nothing happens: a log that was cut back shows by what left the host."""
ENOUGH = 1.25
"""How many times the minimum must be free before a warning is taken back: it must not flicker."""

_log = structlog.get_logger(__name__)


class Upkeep:
    """Keeps one log. `min_free` is in bytes; `look` takes note of what else may be told without anybody's asking."""

    def __init__(self, ledger: Ledger, clock: Clock, min_free: int, look: Callable[[], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._min_free = min_free
        self._look = look
        self._due = clock.monotonic() + CHECKPOINT_SECONDS

    async def run(self) -> None:
        """Look after the log once a second, until cancelled."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            try:
                self._ledger.refresh()
                self.look_at_space()
                self._look()
                if self._clock.monotonic() >= self._due:
                    self.checkpoint()
            except JournalUnavailable:
                # The journal itself tells of its trouble; what is due stays due.
                continue

    def checkpoint(self) -> None:
        """Sign the head as it is now. Raises JournalUnavailable."""
        self._ledger.checkpoint()
        self._due = self._clock.monotonic() + CHECKPOINT_SECONDS

    def look_at_space(self) -> None:
        """Record that space runs out, or that there is enough again. Raises JournalUnavailable."""
        free = self._ledger.journal.free()
        low = self._ledger.state.space_low
        if free is None or (free >= self._min_free if not low else free < self._min_free * ENOUGH):
            return
        kind = Kind.SPACE_OK if low else Kind.SPACE_LOW
        self._ledger.commit([Draft(kind=kind, detail={"free_bytes": free, "min_free_bytes": self._min_free})])
        if low:
            _log.info("space_ok", free_bytes=free)
        else:
            _log.error("space_low", free_bytes=free, min_free_bytes=self._min_free, stopped="new live actions")
