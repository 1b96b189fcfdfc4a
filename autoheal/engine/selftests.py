"""Self-tests as the log knows them: how they went, and that none leaves its alert open."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind, OwnName, Record, rfc3339
from autoheal.state import SELFTESTS_KEPT, Episode, SelfTest

LONGEST_SECONDS = 60.0
"""How long a self-test may leave its alert open; after that whoever sent it has died."""
TICK_SECONDS = 10.0

_log = structlog.get_logger(__name__)


class SelfTests:
    """Keeps what came of them, and ends the alerts of those that cannot any more."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._open: dict[str, str] = {}
        """Episodes by fingerprint."""
        self._untold: list[SelfTest] = []

    @property
    def recent(self) -> list[SelfTest]:
        """The last ones, oldest first; those too that the log did not take."""
        return [*self._ledger.state.selftests, *self._untold][-SELFTESTS_KEPT:]

    async def tell(self, draft: Draft) -> None:
        """Record how one went; a log that does not take it must not make it look better than it was."""
        try:
            self._ledger.refresh()
            self._ledger.commit([draft])
            await self._ledger.settle()
        except JournalUnavailable as error:
            failed = [name for name, result in draft.detail["checks"].items() if result["ok"] is False]
            self._untold = [*self._untold, SelfTest(self._clock.now(), failed)][-SELFTESTS_KEPT:]
            _log.error("selftest_not_recorded", kind=draft.kind.value, error=str(error))
        else:
            self._untold = []

    def changed(self, record: Record) -> None:
        """Take note of what was folded."""
        if record.alertname != OwnName.SELFTEST or record.fingerprint is None:
            return
        if record.kind is Kind.ALERT_FIRING:
            self._open[record.fingerprint] = str(record.episode)
        elif record.kind is Kind.ALERT_RESOLVED:
            self._open.pop(record.fingerprint, None)

    def take_up(self) -> None:
        """Look at all that is open: at start, and when the state was folded anew."""
        self._open = {
            episode.fingerprint: episode.id
            for episode in self._ledger.state.episodes.values()
            if episode.alertname == OwnName.SELFTEST
        }

    async def run(self) -> None:
        """End what was left open, until cancelled."""
        while True:
            await self._clock.sleep(TICK_SECONDS)
            try:
                self._ledger.refresh()
                self._end(self._left())
            except JournalUnavailable:
                # The journal itself tells of its trouble; what is left open stays so.
                continue

    def _left(self) -> Iterable[Episode]:
        now = self._clock.now()
        known = (self._ledger.state.episodes.get(fingerprint) for fingerprint in self._open)
        return [episode for episode in known if episode and now - episode.opened_at > LONGEST_SECONDS]

    def _end(self, left: Iterable[Episode]) -> None:
        drafts = [
            Draft(
                kind=Kind.ALERT_RESOLVED,
                alertname=episode.alertname,
                fingerprint=episode.fingerprint,
                episode=episode.id,
                correlation_id=episode.correlation_id,
                labels=episode.labels,
                annotations=episode.annotations,
                detail={"how": "abandoned", "ends_at": rfc3339(self._clock.now())},
            )
            for episode in left
        ]
        if drafts:
            self._ledger.commit(drafts)
