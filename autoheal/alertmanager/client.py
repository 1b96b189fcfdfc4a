"""All Alertmanagers together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import httpx

from autoheal.alertmanager import silences
from autoheal.alertmanager.poll import Poll, ask, together
from autoheal.alertmanager.post import Post
from autoheal.alertmanager.silences import Silenced, Wanted
from autoheal.clock import Clock
from autoheal.errors import UpstreamError
from autoheal.peer import Peer, Unusable

T = TypeVar("T")

TIMEOUT_SECONDS = 4.0
"""From a request to the last byte of its answer: a server that drips its answer is cut as well. A webhook may have to
wait for two of them, and Alertmanager gives it ten seconds.
"""
MAX_BODY_BYTES = 32 * 1024 * 1024
API = "api/v2"


class Alertmanager:
    """The Alertmanagers at `urls`, asked through `client`.

    A URL may carry a path prefix and `user:password@`, which no error and no log line repeats.
    """

    def __init__(
        self,
        urls: Sequence[str],
        client: httpx.AsyncClient,
        *,
        clock: Clock,
        timeout: float = TIMEOUT_SECONDS,
        max_body: int = MAX_BODY_BYTES,
    ) -> None:
        self._clock = clock
        self._peers = [Peer(url, client, timeout, max_body, API) for url in urls]
        self._silencing = list(self._peers)
        """In the order in which they are asked for silences."""

    @property
    def several(self) -> bool:
        """Whether there is more than one to ask."""
        return len(self._peers) > 1

    async def poll(self, *, filters: Sequence[str] = (), receiver: str | None = None) -> Poll:
        """Ask all of them at once for what fires, silenced and inhibited alerts included.

        `filters` are matchers (see `matcher_filters`), all of which must hold; `receiver` is a regular expression,
        anchored by Alertmanager, as a notification's `receiver` is. Raises for no answer: what is wrong is in `errors`.
        """
        return together(await asyncio.gather(*(ask(peer, self._clock, filters, receiver) for peer in self._peers)))

    async def silence(self, wanted: Wanted) -> Silenced:
        """Make a silence, at the first that answers: the members of a cluster tell it to one another.

        Raises UpstreamError with what each of them said when none has made it. One that did not answer in time may
        have made it all the same; then there are two for a while.
        """
        return await self._at_the_first(lambda peer: silences.make(peer, wanted), "made the silence")

    async def extend(self, known: str, wanted: Wanted) -> Silenced | None:
        """See to it that the silence `known`, or one like it, lasts until `wanted.ends_at`, at the first that answers.

        It has another id where it had run out, or been lost; None where somebody has ended it. Raises UpstreamError.
        """
        return await self._at_the_first(lambda peer: silences.extend(peer, known, wanted), "extended the silence")

    async def expire(self, known: str) -> None:
        """End the silence `known` wherever it stands. Raises UpstreamError when none of them answers."""
        await self._at_all(lambda peer: silences.expire(peer, known), "silences", "ended the silence")

    async def post(self, alerts: Sequence[Post]) -> Sequence[str]:
        """Have all of them know these alerts: none tells the others. What was wrong with those who did not take them.

        Raises UpstreamError when nobody has taken them.
        """
        sent = [post.body() for post in alerts]
        return await self._at_all(lambda peer: peer.send("alerts", sent), "alerts", "took the alerts")

    async def withdrawn(self, ids: Collection[str]) -> frozenset[str]:
        """Those of the silences `ids` that somebody has ended before their time, according to any of them.

        One that does not answer tells of none.
        """
        return frozenset().union(*await asyncio.gather(*(silences.withdrawn(peer, ids) for peer in self._peers)))

    async def _at_all(self, ask: Callable[[Peer], Awaitable[None]], where: str, what: str) -> Sequence[str]:
        async def error_of(peer: Peer) -> str | None:
            try:
                await ask(peer)
            except Unusable as error:
                return f"{peer.name} ({where}): {error}"
            return None

        answers = await asyncio.gather(*map(error_of, self._peers))
        errors = [error for error in answers if error is not None]
        if len(errors) == len(answers):
            raise UpstreamError(f"no Alertmanager {what}: {'; '.join(errors)}")
        return errors

    async def _at_the_first(self, ask: Callable[[Peer], Awaitable[T]], what: str) -> T:
        errors: list[str] = []
        for peer in list(self._silencing):
            try:
                return await ask(peer)
            except Unusable as error:
                errors.append(f"{peer.name} (silences): {error}")
                # One that hangs must not cost its time for each of many silences, while they run out.
                self._silencing.remove(peer)
                self._silencing.append(peer)
        raise UpstreamError(f"no Alertmanager {what}: {'; '.join(errors)}")
