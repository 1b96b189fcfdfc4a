"""How much of a request's body is taken."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 * 1024 * 1024


class BodyLimit:
    """ASGI middleware that refuses a body when it is read: 415 when it is encoded, 413 when it is over 8 MiB.

    Counted as it streams, so neither a missing nor a lying Content-Length helps. An encoded body is refused because
    a few kilobytes of gzip may be gigabytes of JSON; Alertmanager never sends one. What is not read is discarded by
    the server as it comes in: closing the connection under a sender would lose the answer, and Alertmanager takes a
    lost answer for a reason to send again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with `receive` counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        total = 0

        async def counted() -> Message:
            nonlocal total
            if encoding not in ("", "identity"):
                raise HTTPException(415, "A body must not be compressed.", {"Accept-Encoding": "identity"})
            if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
                raise _too_large()
            message = await receive()
            total += len(message.get("body", b""))
            if total > MAX_BODY_BYTES:
                raise _too_large()
            return message

        await self.app(scope, counted, send)


def _too_large() -> HTTPException:
    return HTTPException(413, f"A body may have {MAX_BODY_BYTES} bytes.")
