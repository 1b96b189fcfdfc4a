"""All Alertmanagers together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import httpx

from autoheal.alertmanager import silences
from autoheal.alertmanager.poll import Poll, ask, together
from autoheal.alertmanager.silences import Silenced, Wanted
from autoheal.clock import Clock
from autoheal.errors import UpstreamError
from autoheal.peer import Peer, Unusable

TIMEOUT_SECONDS = 5.0
"""From a request to the last byte of its answer: a server that drips its answer is cut as well."""
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
        errors: list[str] = []
        for peer in self._peers:
            try:
                return await silences.make(peer, wanted)
            except Unusable as error:
                errors.append(f"{peer.name} (silences): {error}")
        raise UpstreamError(f"no Alertmanager made the silence: {'; '.join(errors)}")

    async def expired(self, ids: Collection[str]) -> frozenset[str]:
        """Those of the silences `ids` that have ended, according to any of them: an end is never taken back.

        One that does not answer tells of none.
        """
        return frozenset().union(*await asyncio.gather(*(silences.expired(peer, ids) for peer in self._peers)))
