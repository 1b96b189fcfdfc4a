"""Whether alerts still arrive: an alert that always fires must come again and again, and people hear when it does not.

A gateway that is told of nothing looks like one that has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.errors import JournalUnavailable
from autoheal.model import Alert, AlertStatus, Draft, Kind, rfc3339
from autoheal.rules import Matcher
from autoheal.rules.match import all_match
from autoheal.rules.silencing import notation

RETRY_SECONDS = 1.0
"""How soon a word that the log did not take is offered again."""

_log = structlog.get_logger(__name__)


class Watchdog:
    """Expects an alert for which `matchers` hold at least every `after` seconds, from the start of this process on.

    It is no episode: nobody decides on it, and its repeats leave no trace in the log.
    """

    def __init__(self, ledger: Ledger, clock: Clock, matchers: Sequence[Matcher], after: float) -> None:
        self.last_seen = 0.0
        """When it last came, epoch seconds; 0: not in this process's life."""
        self._ledger = ledger
        self._clock = clock
        self._matchers = matchers
        self._after = after
        self._since = clock.monotonic()

    @property
    def missing(self) -> bool:
        """Whether it has stayed away, and the log says so."""
        return self._ledger.state.watchdog_missing

    @property
    def trouble(self) -> str:
        """What people are to be told while it is missing."""
        since = f" since {rfc3339(self.last_seen)}" if self.last_seen else ""
        return (
            f"No alert for which {notation(self._matchers)} holds (AUTOHEAL_WATCHDOG) has come{since} for"
            f" {self._after:g} s: Prometheus or Alertmanager may be down, or send alerts elsewhere."
        )

    def among(self, alerts: Iterable[Alert]) -> frozenset[str]:
        """The fingerprints of those of `alerts` that are it."""
        return frozenset(alert.fingerprint for alert in alerts if all_match(self._matchers, alert.labels))

    def look(self, alerts: Iterable[Alert], actor: str) -> None:
        """Take note of what has come from `actor`; a log that says it is missing is told. Raises JournalUnavailable."""
        if not self.among(alert for alert in alerts if alert.status is AlertStatus.FIRING):
            return
        self.last_seen, self._since = self._clock.now(), self._clock.monotonic()
        if self.missing:
            self._ledger.commit([Draft(kind=Kind.WATCHDOG_BACK, actor=actor)])
            _log.info("watchdog_back")

    async def run(self) -> None:
        """Say once that it stays away, until cancelled."""
        while True:
            if (left := self._since + self._after - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)
                continue
            try:
                self._miss()
                await self._ledger.settle()
            except JournalUnavailable:
                # The journal itself tells of its trouble; this is told when that is over.
                await self._clock.sleep(RETRY_SECONDS)
            else:
                await self._clock.sleep(self._after)

    def _miss(self) -> None:
        self._ledger.refresh()
        if self.missing:
            return
        detail = {"matchers": notation(self._matchers), "after": self._after}
        if self.last_seen:
            detail["last_seen"] = rfc3339(self.last_seen)
        self._ledger.commit([Draft(kind=Kind.WATCHDOG_MISSING, detail=detail)])
        _log.error("watchdog_missing", **detail)
