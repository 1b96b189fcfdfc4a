"""Has Alertmanager know the alerts that autoheal raises: posted again and again while they stand, ended when they end.

Nothing waits for it, and what it cannot do now it does later. The log keeps one record of each alert that was taken,
and one of each that was not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from autoheal.alertmanager import Alertmanager, Post
from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.engine.own_alerts import CONCERN, OwnAlert
from autoheal.engine.waiting import event_or_time
from autoheal.errors import JournalUnavailable, UpstreamError
from autoheal.model import Draft, Kind, Record

REPEAT_SECONDS = 60.0
"""How often each is posted again."""
RETRY_SECONDS = 15.0
"""How soon after one that was not taken."""
GAP_SECONDS = 1.0
"""The least time between two looks: thousands of records at once are one."""
AT_ONCE = 500
"""Alerts in one request."""

_log = structlog.get_logger(__name__)

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Posted:
    """One that Alertmanager has taken, and when that was on the monotonic clock."""

    alert: OwnAlert
    at: float


class Poster:
    """Posts what `standing` names. Alertmanager knows alerts by their labels, so two that share all are one."""

    def __init__(
        self,
        ledger: Ledger,
        alertmanager: Alertmanager,
        clock: Clock,
        standing: Callable[[], Iterable[OwnAlert]],
    ) -> None:
        self.failing = False
        """Whether no Alertmanager took what was last posted."""
        self._ledger = ledger
        self._alertmanager = alertmanager
        self._clock = clock
        self._standing = standing
        self._posted: dict[Labels, _Posted] = {}
        self._due = asyncio.Event()

    def changed(self, record: Record) -> None:
        """Look anew where `record` may have changed what stands."""
        if record.kind in CONCERN:
            self._due.set()

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            self._due.clear()
            try:
                await self._look()
            except JournalUnavailable:
                pass  # the journal itself tells of its trouble; what was not recorded is the next time
            except Exception:  # noqa: BLE001 whatever it is, runs go on, and the next look tries again
                self.failing = True
                _log.exception("alerts_not_posted")
            await self._clock.sleep(GAP_SECONDS)
            await event_or_time(
                self._clock, self._due, (RETRY_SECONDS if self.failing else REPEAT_SECONDS) - GAP_SECONDS
            )

    async def _look(self) -> None:
        standing: dict[Labels, OwnAlert] = {}
        for alert in self._standing():
            standing.setdefault(_key(alert), alert)
        old = self._clock.monotonic() - REPEAT_SECONDS
        due = {
            key: alert for key, alert in standing.items() if (known := self._posted.get(key)) is None or known.at <= old
        }
        ended = {key: known.alert for key, known in self._posted.items() if key not in standing}
        now = self._clock.now()
        posts = {key: alert.end(now) for key, alert in ended.items()} | {key: one.post(now) for key, one in due.items()}
        taken = await self._post(posts)
        for key in taken & ended.keys():
            del self._posted[key]
        for key in taken & due.keys():
            self._posted[key] = _Posted(due[key], self._clock.monotonic())
        self._record(due, taken)

    async def _post(self, posts: Mapping[Labels, Post]) -> set[Labels]:
        """Which of `posts` an Alertmanager has taken."""
        taken: set[Labels] = set()
        keys = list(posts)
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            try:
                errors = await self._alertmanager.post([posts[key] for key in some])
            except UpstreamError as error:
                _log.error("alerts_not_posted", alerts=len(some), error=str(error))
                continue
            if errors:
                # Where they are no cluster, some people hear nothing of it.
                _log.warning("alerts_not_posted_everywhere", alerts=len(some), errors=errors)
            taken.update(some)
        if posts:
            self.failing = len(taken) < len(posts)
        return taken

    def _record(self, posted: Mapping[Labels, OwnAlert], taken: set[Labels]) -> None:
        """Tell once of each alert that it was not taken, and once that it was."""
        drafts: Sequence[Draft] = [
            Draft(kind=kind, **alert.about, detail={"channel": "alertmanager", "alert": alert.name})
            for key, alert in posted.items()
            for kind in (Kind.NOTIFIED if key in taken else Kind.NOTIFY_FAILED,)
            if alert.told is None or (alert.told == Kind.NOTIFY_FAILED and kind is Kind.NOTIFIED)
        ]
        if drafts:
            self._ledger.refresh()
            self._ledger.commit(drafts)


def _key(alert: OwnAlert) -> Labels:
    return tuple(sorted(alert.labels.items()))
