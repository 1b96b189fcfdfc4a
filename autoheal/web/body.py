"""How much of a request's body is taken, and how long it may take to come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoheal.web.errors import RETRY_AFTER_SECONDS

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_BODIES_BYTES = 64 * 1024 * 1024
"""Of all bodies together, each from its first byte until its request is answered."""
RESERVED_BYTES = 16 * 1024 * 1024
"""Of these, what bodies that have grown over `SMALL_BYTES` leave to the others: a few senders of large bodies that drip
must not keep a notification of some alerts out."""
SMALL_BYTES = 256 * 1024
BODY_SECONDS = 30.0
"""From the moment when a body is first asked for to its end."""


class BodyLimit:
    """ASGI middleware that refuses a body when it is read.

    | the body … | answer |
    |---|---|
    | is encoded | 415: a few kilobytes of gzip may be gigabytes of JSON; Alertmanager never sends one |
    | is over 8 MiB | 413: counted as it streams, so neither a missing nor a lying Content-Length helps |
    | is not whole after 30 s | 503, and the connection ends: at a 408 Alertmanager would drop the alerts for good |
    | brings all that are held to over 64 MiB, or the large ones to over 48 | 503: patient senders get their turn |

    What is not read is discarded by the server as it comes in: closing the connection under a sender would lose the
    answer, and Alertmanager takes a lost answer for a reason to send again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._held = 0
        self._large = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with `receive` counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, self._hold)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._held -= body.held
            self._large -= body.held if body.large else 0

    def _hold(self, size: int, large: int) -> None:
        """Count `size` more bytes, and `large` more of bodies that are no longer small."""
        self._held += size
        self._large += large
        if self._held > MAX_BODIES_BYTES or (large and self._large > MAX_BODIES_BYTES - RESERVED_BYTES):
            raise HTTPException(
                503, "Too many bodies are being received at once. Try again.", {"Retry-After": str(RETRY_AFTER_SECONDS)}
            )


class _Body:
    """The body of one request. `held` is how much of it counts among all that are held, `large` whether among those
    that are over `SMALL_BYTES`.
    """

    def __init__(self, scope: Scope, receive: Receive, hold: Callable[[int, int], None]) -> None:
        headers = Headers(scope=scope)
        self.held = 0
        self.large = False
        self._receive = receive
        self._hold = hold
        # Only POST keeps what comes: a stream of events throws a body away, and must not hold its share for days.
        self._kept = scope["method"] == "POST"
        self._length = headers.get("content-length", "")
        self._encoding = headers.get("content-encoding", "identity").strip().lower()
        self._taken = 0
        self._deadline: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """The next message. Raises HTTPException when the body is refused."""
        if self._whole:
            # Whoever asks again waits for the connection's end.
            return await self._receive()
        if self._encoding not in ("", "identity"):
            raise HTTPException(415, "A body must not be compressed.", {"Accept-Encoding": "identity"})
        if self._length.isdecimal() and int(self._length[:20]) > MAX_BODY_BYTES:
            raise _too_large()
        message = await self._in_time()
        self._whole = not message.get("more_body", False)
        self._take(len(message.get("body", b"")))
        return message

    async def _in_time(self) -> Message:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            if not self._kept:
                return {"type": "http.disconnect"}
            raise HTTPException(
                503,
                f"The body was not whole after {BODY_SECONDS:g} s. Try again.",
                {"Connection": "close", "Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from None

    def _take(self, size: int) -> None:
        self._taken += size
        if self._taken > MAX_BODY_BYTES:
            raise _too_large()
        if self._kept:
            self.held += size
            before, self.large = self.large, self.held > SMALL_BYTES
            self._hold(size, 0 if not self.large else size if before else self.held)


def _too_large() -> HTTPException:
    return HTTPException(413, f"A body may have {MAX_BODY_BYTES} bytes.")
