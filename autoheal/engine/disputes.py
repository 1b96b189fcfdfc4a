"""Ends that one Alertmanager tells and another contradicts: until it shows who is right, the alert's state is unknown.

The members of a cluster hear of alerts each by itself. One that Prometheus does not reach takes what fires for resolved
some minutes later; one that does not hear of an end goes on to list the alert for as long. It shows by itself: what
fires is heard of anew by whoever lists it, and what has ended is listed by nobody in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import structlog

from autoheal.alertmanager import SETTLED_SECONDS, Poll
from autoheal.clock import Clock
from autoheal.engine.intake import told_end
from autoheal.engine.verification import Standing
from autoheal.errors import JournalError
from autoheal.model import Alert, AlertStatus, Draft, Kind, rfc3339
from autoheal.state import Dispute, Episode, State

ASK_SECONDS = 15.0
"""How often Alertmanager is asked about what is disputed."""
LAPSE_SECONDS = 300.0
"""After so long without an answer the word of one that cannot be asked any more counts no longer: by itself, an
Alertmanager forgets what it is not told again after four times Prometheus' `--rules.alert.resend-delay`, four minutes.
"""
SLACK_SECONDS = 10.0
"""An answer may be five seconds older than its question where our clock was set back; and clocks differ in pace."""
AT_ONCE = 100
"""Settled before others on the event loop get their turn."""

_log = structlog.get_logger(__name__)


class Disputes:
    """`ask` gives an answer to a question that was put at a time (epoch seconds) or later, and when that was. `end` is
    told of resolved alerts, and `note` records.
    """

    def __init__(
        self,
        ask: Callable[[float], Awaitable[tuple[Poll, float]]],
        clock: Clock,
        state: Callable[[], State],
        end: Callable[[Sequence[Alert]], None],
        note: Callable[[Sequence[Draft]], None],
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._state = state
        self._tell_end = end
        self._note = note
        self._heard: dict[str, tuple[float, float]] = {}
        """Of those that one lists and another does not: when they had been heard of as that was first seen, and when
        that was (both epoch seconds, the first by the Alertmanager's own clock).
        """
        self._known: dict[str, float] = {}
        """Of those whose end was contradicted by all but the one that told it: when others were asked about it, on the
        monotonic clock.
        """
        self._unlisted: dict[str, float] = {}
        """Since when nobody who answers lists what is disputed, on the monotonic clock, by episode."""

    async def contradicted(self, ends: Sequence[Alert]) -> Mapping[str, float]:
        """Those of the resolved alerts `ends` that an Alertmanager contradicts, by fingerprint, and when it had heard
        of each: it lists the alert, or has listed it and may do so still. One that does not answer contradicts nothing
        that it has not contradicted before.
        """
        now, asked_at = self._clock.now(), self._clock.monotonic()
        poll, _ = await self._ask(now)
        found: dict[str, float] = {}
        for end in ends:
            fingerprint = end.fingerprint
            episode = self._state().episodes.get(fingerprint)
            if _listed(poll, fingerprint, told_end(end, now)):
                found[fingerprint] = poll.alerts[fingerprint].heard_at
                if fingerprint not in poll.missed and episode is not None and episode.dispute is None:
                    self._known[fingerprint] = asked_at
            elif episode is not None and episode.dispute is not None and not self._over(episode, poll):
                found[fingerprint] = episode.dispute.heard_at
        if found:
            _log.warning("end_disputed", alerts=len(found), fingerprints=sorted(found)[:20])
        return found

    async def run(self) -> None:
        """Ask about what is disputed for as long as it is, until cancelled."""
        while True:
            await self._clock.sleep(ASK_SECONDS)
            self._heard = {known: at for known, at in self._heard.items() if known in self._state().episodes}
            self._known = {known: at for known, at in self._known.items() if known in self._state().episodes}
            disputed = {episode.id for episode in self._open()}
            self._unlisted = {known: at for known, at in self._unlisted.items() if known in disputed}
            if disputed:
                await self.settle(*await self._ask(self._clock.now()))

    async def settle(self, poll: Poll, begun: float) -> frozenset[str]:
        """Record what an answer, asked for at `begun`, says of what is disputed; the fingerprints that have ended."""
        ended: set[str] = set()
        now = self._clock.now()
        asked = [one for one in self._open() if one.dispute is not None and asked_since(one.dispute.since, begun, now)]
        for first in range(0, len(asked), AT_ONCE):
            if first:
                await asyncio.sleep(0)
            ended |= self._settle([one for one in asked[first : first + AT_ONCE] if self._stands(one)], poll)
        return frozenset(ended)

    def standing(self, fingerprint: str, poll: Poll, acted_at: float) -> Standing:
        """How the alert stands by what all of them say, to whoever judges what was done at `acted_at` (epoch seconds).

        That it was heard of before that, or one knows that it has ended and then does not answer, proves no firing.
        """
        episode = self._state().episodes.get(fingerprint)
        if episode is not None and episode.dispute is not None:
            return "disputed"
        verdict = poll.verdict(fingerprint)
        known = self._heard.get(fingerprint)
        if known is not None and known[1] < acted_at:
            known = None
        denied = fingerprint in poll.denied or (known is not None and not poll.answered)
        if verdict != "firing" or not denied:
            if poll.answered:
                self._heard.pop(fingerprint, None)
            return verdict
        heard_at = poll.alerts[fingerprint].heard_at
        before, _ = self._heard[fingerprint] = known or (heard_at, self._clock.now())
        return "firing" if heard_at > before else "disputed"

    def _open(self) -> Iterator[Episode]:
        return (episode for episode in self._state().episodes.values() if episode.dispute is not None)

    def _stands(self, episode: Episode) -> bool:
        """Whether nothing was folded meanwhile that settles it."""
        return self._state().episodes.get(episode.fingerprint) is episode and episode.dispute is not None

    def _settle(self, episodes: Sequence[Episode], poll: Poll) -> set[str]:
        ended: list[Alert] = []
        fires: list[Draft] = []
        for episode in episodes:
            dispute, fingerprint = episode.dispute, episode.fingerprint
            assert dispute is not None, "only disputed ones are settled"
            if _listed(poll, fingerprint, dispute.ends_at):
                self._unlisted.pop(episode.id, None)
                if (heard_at := poll.alerts[fingerprint].heard_at) > dispute.heard_at:
                    self._heard[fingerprint] = dispute.heard_at, dispute.since
                    fires.append(_fires(episode, heard_at))
            elif self._over(episode, poll):
                ended.append(told(episode, dispute))
        try:
            if fires:
                self._note(fires)
            if ended:
                self._tell_end(ended)
        except JournalError as error:
            # Nothing is lost: the next answer tells it again.
            _log.error("api_news_not_recorded", error=str(error))
            return set()
        return {alert.fingerprint for alert in ended}

    def _over(self, episode: Episode, poll: Poll) -> bool:
        """Whether a disputed firing that nobody lists is over: all say so, or one has been away for too long."""
        assert episode.dispute is not None, "only disputed ones are over"
        settled = SETTLED_SECONDS
        if (asked_at := self._known.get(episode.fingerprint)) is not None:
            # Who has been up since before the question has listed it, or told its end, and has forgotten nothing.
            # Wall clocks are set back, and the monotonic one stands still while the machine sleeps: the longer counts.
            lasted = max(self._clock.monotonic() - asked_at, self._clock.now() - episode.dispute.since)
            settled = min(SETTLED_SECONDS, lasted + SLACK_SECONDS)
        if episode.fingerprint in poll.alerts or poll.verdict(episode.fingerprint, settled) == "ended":
            return True  # what is listed is the next firing
        if episode.fingerprint in poll.unreadable:
            self._unlisted.pop(episode.id, None)
            return False
        now = self._clock.monotonic()
        return now - self._unlisted.setdefault(episode.id, now) > LAPSE_SECONDS


def asked_since(told: float, begun: float, now: float) -> bool:
    """Whether a question of `begun` was asked after something was told at `told`: only then its answer tells of that.

    What was told in what is the future `now` was told before the clock was set back, in an earlier life.
    """
    return told <= begun or told > now


def _listed(poll: Poll, fingerprint: str, ends_at: float) -> bool:
    """Whether anyone lists the firing that is told to have ended at `ends_at`: one that began later is another."""
    seen = poll.alerts.get(fingerprint)
    return seen is not None and seen.alert.starts_at <= ends_at


def told(episode: Episode, dispute: Dispute) -> Alert:
    """The end of `episode` as one Alertmanager has told it."""
    known = episode.labels, episode.annotations, episode.starts_at
    return Alert(AlertStatus.RESOLVED, episode.fingerprint, *known, ends_at=dispute.ends_at)


def _fires(episode: Episode, heard_at: float) -> Draft:
    return Draft(
        kind=Kind.ALERT_UNDISPUTED,
        alertname=episode.alertname,
        fingerprint=episode.fingerprint,
        episode=episode.id,
        labels=episode.labels,
        detail={"heard_at": rfc3339(heard_at)},
    )
