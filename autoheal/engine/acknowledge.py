"""An operator's word that somebody minds an alert: a silence in Alertmanager, and no new run for as long as it lasts.

The request for a silence is durable before Alertmanager is asked, and what came of it is recorded afterwards. What an
acknowledgement does to runs is `decide`'s business alone: it looks at the silences in the folded state. How its silence
goes on is that of `silences`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from autoheal.alertmanager import Alertmanager, Silenced, Wanted
from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.engine.silences import SILENCE_SECONDS
from autoheal.errors import CannotSilence, JournalUnavailable, NoEpisode, NotRecordedYet, UpstreamError
from autoheal.model import Draft, Kind, rfc3339
from autoheal.redaction import Redaction
from autoheal.rules import Matcher
from autoheal.rules.match import matches_everything
from autoheal.rules.silencing import covered, exactly, notation
from autoheal.state import Episode, State

MAX_MATCHERS_BYTES = 32 * 1024
"""What the matchers may take as JSON, so that every record that tells of the silence fits into 64 KiB."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ack:
    """What an operator acknowledges, for `duration` seconds: the alert with `fingerprint`, or, where that is None,
    all that `matchers` cover.
    """

    fingerprint: str | None
    matchers: Sequence[Matcher]
    duration: float
    comment: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The silence that stands for it in Alertmanager, and when the acknowledgement ends (epoch seconds)."""

    silence_id: str
    until: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is on its way: its record's seq, and what all records of it say."""

    seq: int
    about: dict[str, Any]
    detail: dict[str, Any]

    def draft(self, kind: Kind, **detail: object) -> Draft:
        return Draft(kind=kind, **self.about, detail={"request": self.seq, **self.detail, **detail})


class Acknowledgements:
    """Makes silences, each in its `turn`: a request that comes twice at once must not make two.

    `later` runs work beside.
    """

    def __init__(
        self,
        ledger: Ledger,
        alertmanager: Alertmanager | None,
        redaction: Redaction,
        clock: Clock,
        later: Callable[[Coroutine[object, object, None]], None],
        turn: asyncio.Lock,
    ) -> None:
        self._ledger = ledger
        self._alertmanager = alertmanager
        self._redaction = redaction
        self._clock = clock
        self._later = later
        self._turn = turn

    async def make(self, ack: Ack, actor: str, correlation_id: str) -> Acknowledged:
        """See `Engine.acknowledge`."""
        async with self._turn:
            self._ledger.refresh()
            episode, matchers = self._covered(ack)
            if self._alertmanager is None:
                raise UpstreamError("ALERTMANAGER_URL is not set: there is no Alertmanager to make a silence")
            now = self._clock.now()
            until = now + ack.duration
            wanted = Wanted(matchers, now, min(until, now + SILENCE_SECONDS), actor, ack.comment)
            asked = await self._ask(wanted, until, episode, correlation_id)
            try:
                made = await self._alertmanager.silence(wanted)
            except Exception as error:
                # The text of a fault of ours may quote anything.
                what = str(error) if isinstance(error, UpstreamError) else f"fault here: {type(error).__name__}"
                await self._tell(asked, asked.draft(Kind.SILENCE_FAILED, error=what))
                raise
            if not await self._tell(asked, self._created(asked, made, wanted)):
                raise NotRecordedYet(
                    f"Alertmanager has made the silence {made.id}, and the log does not take the record of it now"
                )
            return Acknowledged(made.id, until)

    def _covered(self, ack: Ack) -> tuple[Episode | None, Sequence[Matcher]]:
        if ack.fingerprint is None:
            return None, ack.matchers
        episode = self._ledger.state.episodes.get(ack.fingerprint)
        if episode is None:
            raise NoEpisode(f"no alert with the fingerprint {ack.fingerprint} fires here")
        # A label without a name is none that Alertmanager has, or a matcher can tell.
        shown = {name for name, value in episode.labels.items() if name and self._redaction.shows(name, value)}
        matchers = exactly(episode.labels, shown)
        hidden = episode.labels.keys() - shown
        if matches_everything(matchers) or (hidden and shown <= {"alertname"}):
            raise CannotSilence(
                "what is left of the alert's labels without those that are hidden here (AUTOHEAL_REDACT,"
                " credentials in URLs) would silence others too: say what to silence by matchers"
            )
        if len(orjson.dumps(notation(matchers))) > MAX_MATCHERS_BYTES:
            raise CannotSilence("the alert's labels are too long for a silence: say what to silence by matchers")
        return episode, matchers

    async def _ask(self, wanted: Wanted, until: float, episode: Episode | None, correlation_id: str) -> _Asked:
        """Make the request durable: no record, no silence."""
        about: dict[str, Any] = {"actor": wanted.created_by, "correlation_id": correlation_id}
        if episode is not None:
            about |= {"alertname": episode.alertname, "fingerprint": episode.fingerprint, "episode": episode.id}
        detail = {
            "matchers": notation(wanted.matchers),
            "ends_at": rfc3339(until),
            "comment": wanted.comment,
        }
        (record,) = self._ledger.commit([Draft(kind=Kind.SILENCE_REQUESTED, **about, detail=detail)])
        await self._ledger.journal.wait(record.seq)
        return _Asked(record.seq, about, detail)

    async def _tell(self, asked: _Asked, outcome: Draft) -> bool:
        """Record what has happened. False when the log refuses it now: then it is offered until it is taken."""

        def unless_told() -> Sequence[Draft]:
            return [outcome] if asked.seq in self._ledger.state.silence_requests else []

        try:
            self._ledger.refresh()
            self._ledger.commit([outcome])
            await self._ledger.settle()
        except JournalUnavailable as error:
            _log.error("outcome_of_a_silence_not_recorded_yet", kind=outcome.kind, error=str(error), **outcome.detail)
            self._later(self._ledger.insist(unless_told))
            return False
        return True

    def _created(self, asked: _Asked, made: Silenced, wanted: Wanted) -> Draft:
        replaced = {} if made.replaced is None else {"replaces": made.replaced}
        return asked.draft(
            Kind.SILENCE_CREATED,
            silence_id=made.id,
            silenced_until=rfc3339(wanted.ends_at),
            alertmanager=made.by,
            covers=len(covered(wanted.matchers, self._ledger.state.episodes.values())),
            **replaced,
        )


def unanswered(state: State) -> list[Draft]:
    """At start: the end of requests that the life before left open. Whether they came to anything is not known here;
    the same request made again takes the place of the silence that may stand.
    """
    error = "the gateway ended before Alertmanager's answer was recorded: a silence may stand there"
    return [Draft(kind=Kind.SILENCE_FAILED, detail={"request": seq, "error": error}) for seq in state.silence_requests]
