"""Carries each signed head of the log off this host: whoever rewrites the file here cannot rewrite what has left.

A checkpoint goes to standard output, one record a line, exactly as it stands in the log, where the platform's own
log collection takes it; and, when an address is configured, to that as a POST.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import httpx
import structlog

from autoheal.clock import Clock
from autoheal.model import Kind, Record

TRIES = 5
"""Of one checkpoint; the next one vouches for all that this one did."""
FIRST_PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
KEPT = 100
"""Checkpoints that wait for an address which does not answer: some eight hours of them."""

_log = structlog.get_logger(__name__)


class Witness:
    """Tells `write` (one line, newline included; may raise OSError) and `url` (may be None) of each checkpoint.

    `url` may carry `user:password@` and a query, which no log line repeats.
    """

    def __init__(
        self, write: Callable[[bytes], object], url: str | None, client: httpx.AsyncClient, clock: Clock
    ) -> None:
        self._write = write
        self._url = httpx.URL(url) if url is not None else None
        self._client = client
        self._clock = clock
        self._waiting: deque[bytes] = deque(maxlen=KEPT)
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def tell(self, records: Sequence[Record]) -> None:
        """Take the checkpoints among durable `records`."""
        for record in records:
            if record.kind is not Kind.CHECKPOINT:
                continue
            try:
                self._write(record.line + b"\n")
            except OSError as error:
                _log.error("checkpoint_not_printed", seq=record.seq, error=str(error))
            if self._url is not None:
                self._waiting.append(record.line)
                self._idle.clear()
                self._news.set()

    async def run(self) -> None:
        """Post what waits, oldest first, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                await self._deliver(self._waiting.popleft())
            self._idle.set()

    async def told(self) -> None:
        """Return when nothing waits any more."""
        await self._idle.wait()

    async def _deliver(self, line: bytes) -> None:
        assert self._url is not None, "nothing waits without an address"
        to = str(self._url.copy_with(userinfo=b"", query=None))
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, TRIES + 1):
            try:
                response = await self._client.post(
                    self._url,
                    content=line,
                    headers={"Content-Type": "application/json"},
                    timeout=TIMEOUT_SECONDS,
                    follow_redirects=False,
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                what = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return
                what = f"answered {response.status_code}"
            _log.warning("checkpoint_not_delivered", to=to, attempt=attempt, of=TRIES, error=what)
            if attempt < TRIES:
                await self._clock.sleep(pause)
                pause *= 2
        _log.error("checkpoint_given_up", to=to)
