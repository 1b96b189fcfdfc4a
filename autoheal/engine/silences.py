"""How the silence of an acknowledgement goes on: short, extended while it is needed, and ended when all is well.

A silence hides its alert from everybody, so it must not outlive whoever watches over it: when the gateway dies, the
silence runs out within minutes and people are called again. Alertmanager tells nobody of the end of a silenced alert,
so it is asked, and an acknowledgement of which nothing is left ends before its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from autoheal.alertmanager import Alertmanager, Poll, Wanted
from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.engine.watch import Watch
from autoheal.errors import JournalUnavailable, UpstreamError
from autoheal.model import Draft, Kind, rfc3339
from autoheal.rules.silencing import covered, parsed
from autoheal.state import Silence

SILENCE_SECONDS = 300.0
"""How far ahead a silence reaches; that of an acknowledgement with less time left ends with it."""
LOOK_SECONDS = 60.0
"""How often acknowledgements are looked at."""
MARGIN_SECONDS = 200.0
"""A silence that lasts less is extended: three looks may go wrong before it runs out."""
OLD_SECONDS = 3600.0
"""After so long people are reminded of an acknowledgement, and so long after each reminder."""

_log = structlog.get_logger(__name__)


class Silences:
    """Looks after the silences of acknowledgements, each in its `turn`, as a new acknowledgement has one."""

    def __init__(
        self, ledger: Ledger, alertmanager: Alertmanager, watch: Watch, clock: Clock, turn: asyncio.Lock
    ) -> None:
        self._ledger = ledger
        self._alertmanager = alertmanager
        self._watch = watch
        self._clock = clock
        self._turn = turn
        self._lasts: dict[str, float] = {}
        """Until when each is known to last in Alertmanager, by id."""

    async def run(self) -> None:
        """Look once a minute, and first of all at the start, until cancelled."""
        while True:
            try:
                await self._look()
            except JournalUnavailable:
                pass  # the journal itself tells of its trouble; the next look finds the same
            except Exception:  # noqa: BLE001 whatever an answer breaks here, it ends no silence
                _log.exception("silences_not_looked_at")
            await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        lasting = {each.id for each in self._in_force()}
        self._lasts = {known: until for known, until in self._lasts.items() if known in lasting}
        if not lasting:
            return
        withdrawn = await self._alertmanager.withdrawn(lasting)
        await self._learn_ends()
        poll, _ = await self._watch.now()
        for known in sorted(lasting):
            # Whoever acknowledges meanwhile waits for one of them, not for all.
            async with self._turn:
                self._ledger.refresh()
                if (silence := self._ledger.state.silences.get(known)) is not None:
                    await self._look_at(silence, poll, withdrawn=known in withdrawn)
            await asyncio.sleep(0)

    async def _look_at(self, silence: Silence, poll: Poll, *, withdrawn: bool) -> None:
        if withdrawn:
            self._record_end(silence, actor="alertmanager", reason="withdrawn")
        elif self._is_over(silence, poll):
            await self._end(silence)
        else:
            await self._extend(silence)
            if silence.id in self._ledger.state.silences:
                self._remind(silence)

    def _in_force(self) -> Sequence[Silence]:
        return [each for each in self._ledger.state.silences.values() if each.ends_at > self._clock.now()]

    async def _learn_ends(self) -> None:
        """Have the end of each alert recorded that is covered and fires no more."""
        fingerprints: dict[str, None] = {}
        for silence in self._in_force():
            episodes = covered(parsed(silence.matchers), self._ledger.state.episodes.values())
            fingerprints.update((episode.fingerprint, None) for episode in episodes)
            await asyncio.sleep(0)
        # One question for all: an Alertmanager that hangs must not cost its time once for each alert, while silences
        # run out.
        await self._watch.learn_ends(list(fingerprints))

    def _is_over(self, silence: Silence, poll: Poll) -> bool:
        """Whether it is certain that nothing fires any more for which it was made."""
        matchers, episodes = parsed(silence.matchers), self._ledger.state.episodes.values()
        if silence.ahead or not poll.complete or covered(matchers, episodes):
            return False
        # Of an alert that was silenced from its very beginning nobody here was told.
        return not covered(matchers, [seen.alert for seen in poll.alerts.values()])

    async def _end(self, silence: Silence) -> None:
        try:
            await self._alertmanager.expire(silence.id)
        except UpstreamError as error:
            _log.warning("silence_not_ended", silence_id=silence.id, error=str(error))
        else:
            self._record_end(silence, actor="system", reason="resolved")

    def _record_end(self, silence: Silence, *, actor: str, reason: str) -> None:
        about = {"silence_id": silence.id, "matchers": silence.matchers}
        self._ledger.commit([Draft(kind=Kind.SILENCE_EXPIRED, actor=actor, reason=reason, detail=about)])

    async def _extend(self, silence: Silence) -> None:
        now = self._clock.now()
        until = min(silence.ends_at, now + SILENCE_SECONDS)
        if self._lasts.get(silence.id, 0.0) >= min(silence.ends_at, now + MARGIN_SECONDS):
            return
        wanted = Wanted(parsed(silence.matchers), now, until, silence.actor, silence.comment)
        try:
            made = await self._alertmanager.extend(silence.id, wanted)
        except UpstreamError as error:
            _log.warning("silence_not_extended", silence_id=silence.id, error=str(error))
            return
        if made is None:
            # Since the look: what a person has taken back must not come again.
            self._record_end(silence, actor="alertmanager", reason="withdrawn")
            return
        if made.id != silence.id:
            # In place it is the same silence, of which the log has told; that it goes on is what was asked for.
            about = {"silence_id": made.id, "replaces": silence.id, "matchers": silence.matchers}
            detail = {**about, "silenced_until": rfc3339(until), "alertmanager": made.by}
            self._ledger.commit([Draft(kind=Kind.SILENCE_EXTENDED, detail=detail)])
        self._lasts[made.id] = until

    def _remind(self, silence: Silence) -> None:
        if self._clock.now() - silence.reminded_at < OLD_SECONDS:
            return
        about = {
            "silence_id": silence.id,
            "matchers": silence.matchers,
            "by": silence.actor,
            "since": rfc3339(silence.made_at),
            "ends_at": rfc3339(silence.ends_at),
        }
        self._ledger.commit([Draft(kind=Kind.ACK_OLD, detail=about)])
        _log.warning("ack_old", **about)
