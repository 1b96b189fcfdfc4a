"""What Alertmanager itself says: whether open episodes still fire, whether suspects do, and what a group left out."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from autoheal.alertmanager import Alertmanager, Poll, matcher_filters
from autoheal.clock import Clock
from autoheal.engine.disputes import Disputes, asked_since
from autoheal.engine.verification import Standing
from autoheal.errors import JournalError
from autoheal.model import Alert, AlertStatus, Draft, Notification
from autoheal.state import State

OPEN_SECONDS = 300.0
"""How often open episodes and suspects are asked about."""
FRESH_SECONDS = 5.0
"""A poll this young answers for others too: a hundred runs under verification are one request."""
AT_ONCE = 100
"""Ends told before others on the event loop get their turn."""
REST_TRIES = 5
"""Tries to fetch what a truncated group left out; Alertmanager itself sends again every `repeat_interval`."""

_log = structlog.get_logger(__name__)

_Group = tuple[str, frozenset[tuple[str, str]]]
Begin = Callable[[Sequence[Alert], str | None], Awaitable[None]]
End = Callable[[Sequence[Alert]], None]
Note = Callable[[Sequence[Draft]], None]


class Watch:
    """Asks Alertmanager and hands what it learns on: alerts that fire to `begin`, with the correlation id of what they
    follow from, resolved ones to `end`, and what becomes of disputes to `note`.
    """

    def __init__(
        self, alertmanager: Alertmanager, clock: Clock, state: Callable[[], State], begin: Begin, end: End, note: Note
    ) -> None:
        self._alertmanager = alertmanager
        self._clock = clock
        self._state = state
        self._tell_begin = begin
        self._tell_end = end
        self._poll: asyncio.Future[Poll] | None = None
        self._polled_at = float("-inf")
        self._begun = 0.0
        self.disputes = Disputes(self._fresh, clock, state, end, note)
        """Ends that not all Alertmanagers agree on."""
        self._rests: dict[_Group, bool] = {}
        """Groups whose rest is being fetched, and whether it was cut again since that was asked."""

    async def standing(self, fingerprint: str, acted_at: float) -> Standing:
        """How the alert stands now, to whoever judges what was done at `acted_at` (epoch seconds); its end, once
        certain, is recorded before this returns.
        """
        episode = self._state().episodes.get(fingerprint)
        since = episode.opened_at if episode else 0.0
        if episode is not None and episode.dispute is not None:
            # An older answer cannot settle it. Clocks are set back: what is to come can be asked for by nobody.
            since = min(max(since, episode.dispute.since), self._clock.now())
        poll, begun = await self._fresh(since)
        if fingerprint in await self.disputes.settle(poll, begun):
            return "ended"
        standing = self.disputes.standing(fingerprint, poll, acted_at)
        if standing == "ended":
            await self._end([fingerprint], begun)
        return standing

    @property
    def several(self) -> bool:
        """Whether one Alertmanager may contradict another."""
        return self._alertmanager.several

    async def learn_ends(self, fingerprints: Sequence[str]) -> None:
        """Have the end of each of these recorded that fires no more, all by one answer."""
        poll, begun = await self._fresh(since=0.0)
        await self._end([f for f in fingerprints if poll.verdict(f) == "ended"], begun)

    async def now(self) -> tuple[Poll, float]:
        """What all alerts look like, as asked some seconds ago at most, and when (epoch seconds)."""
        return await self._fresh(since=0.0)

    async def catch_up(self) -> None:
        """At start: end what ended while nobody listened, before anything is decided on it."""
        if self._state().episodes:
            poll, begun = await self._fresh(since=self._clock.now())
            await self._end([f for f in self._state().episodes if poll.verdict(f) == "ended"], begun)

    async def suspects(self, fingerprints: Sequence[str]) -> None:
        """Settle suspects: open an episode for those that fire, forget those that do not, hold the rest."""
        await self._settle(*await self._fresh(since=self._clock.now()), fingerprints)

    async def rest(self, notification: Notification, correlation_id: str) -> None:
        """Fetch the alerts that `max_alerts` cut off a notification.

        One fetch a group at a time: whoever sends truncated notifications must not multiply them. What is sent while
        one is under way joins it, and at most one more follows for all that joined too late for its question.
        """
        group = (notification.receiver, frozenset(notification.group_labels.items()))
        under_way = group in self._rests
        self._rests[group] = True
        if under_way:
            return
        try:
            while self._rests[group]:
                await self._fetch(notification, correlation_id, group)
        finally:
            del self._rests[group]

    async def _fetch(self, notification: Notification, correlation_id: str, group: _Group) -> None:
        filters = matcher_filters(notification.group_labels)
        for attempt in range(REST_TRIES):
            self._rests[group] = False
            poll = await self._ask(filters=filters, receiver=notification.receiver or None)
            # Silenced and inhibited alerts would not have been notified.
            firing = [seen.alert for seen in poll.alerts.values() if not (seen.silenced or seen.inhibited)]
            if firing:
                await self._open(firing, correlation_id)
            if poll.answered:
                return
            _log.warning("truncated_group_not_fetched", errors=poll.errors, attempt=attempt + 1)
            await self._clock.sleep(2.0**attempt)
        _log.error("truncated_group_given_up", receiver=notification.receiver, left_out=notification.truncated)

    async def run(self) -> None:
        """Ask about every open episode and suspect every five minutes, until cancelled."""
        while True:
            await self._clock.sleep(OPEN_SECONDS)
            state = self._state()
            if not state.episodes and not state.suspects:
                continue
            poll, begun = await self._fresh(since=self._clock.now())
            if not poll.answered:
                _log.warning("alertmanager_did_not_answer", errors=poll.errors)
            # An episode younger than the poll's own reach may simply not be there yet.
            old = [e for e in self._state().episodes.values() if self._clock.now() - e.opened_at > OPEN_SECONDS]
            await self._end([e.fingerprint for e in old if poll.verdict(e.fingerprint) == "ended"], begun)
            await self._settle(poll, begun, list(self._state().suspects))

    async def _settle(self, poll: Poll, begun: float, fingerprints: Sequence[str]) -> None:
        suspects = self._state().suspects
        asked = [fingerprint for fingerprint in fingerprints if fingerprint in suspects]
        await self._open([poll.alerts[f].alert for f in asked if poll.verdict(f) in ("firing", "silenced")], None)
        await self._end([f for f in asked if poll.verdict(f) == "ended"], begun)

    async def _open(self, alerts: Sequence[Alert], correlation_id: str | None) -> None:
        if not alerts:
            return
        try:
            await self._tell_begin(alerts, correlation_id)
        except JournalError as error:
            # Nothing is lost: the next poll, or the sender's repeat, tells it again.
            _log.error("api_news_not_recorded", error=str(error))

    async def _end(self, fingerprints: Sequence[str], begun: float) -> None:
        """Tell the engine that these have ended, as a resolved alert would."""
        for first in range(0, len(fingerprints), AT_ONCE):
            if first:
                await asyncio.sleep(0)
            # Looked at and told in one breath: what comes in meanwhile is news, and an answer older than it is not.
            if ended := self._ended(fingerprints[first : first + AT_ONCE], begun):
                try:
                    self._tell_end(ended)
                except JournalError as error:
                    _log.error("api_news_not_recorded", error=str(error))

    def _ended(self, fingerprints: Sequence[str], begun: float) -> list[Alert]:
        """The ends of these. An answer says nothing of what was told after its question (`begun`): that may be the
        next firing.
        """
        state, now, ended = self._state(), self._clock.now(), []
        for fingerprint in fingerprints:
            episode, suspect = state.episodes.get(fingerprint), state.suspects.get(fingerprint)
            known = episode or suspect
            told = episode.opened_at if episode else suspect.seen_at if suspect else 0.0
            if known is not None and asked_since(told, begun, now):
                ended.append(
                    Alert(
                        AlertStatus.RESOLVED, fingerprint, known.labels, known.annotations, known.starts_at, ends_at=now
                    )
                )
        return ended

    async def _fresh(self, since: float) -> tuple[Poll, float]:
        """A poll that was begun at `since` (epoch seconds) or later, and when; shared by all whom it serves."""
        # One under way at a time: those who come too late for its question share the next, however many they are.
        while self._poll is not None and not self._poll.done() and self._begun < since:
            await asyncio.wait([self._poll])
        fresh = self._clock.monotonic() - self._polled_at <= FRESH_SECONDS
        under_way = self._poll is not None and not self._poll.done()
        if self._poll is None or self._begun < since or not (fresh or under_way) or self._poll.cancelled():
            self._begun, self._polled_at = self._clock.now(), self._clock.monotonic()
            self._poll = asyncio.ensure_future(self._ask())
        poll, begun = self._poll, self._begun
        return await asyncio.shield(poll), begun

    async def _ask(self, **about: Any) -> Poll:
        try:
            return await self._alertmanager.poll(**about)
        except Exception as error:  # noqa: BLE001 whatever an answer breaks here, it tells nothing: that is "unknown"
            where = traceback.format_tb(error.__traceback__)
            _log.error("poll_raised", error=type(error).__name__, where=where)
            return Poll(errors=(f"fault in reading the answer: {type(error).__name__}",))
