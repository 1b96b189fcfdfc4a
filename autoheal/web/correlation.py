"""One id for all that follows from one request: in the answer, in the service's log, in the records."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

_KEY = "autoheal.correlation_id"
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def new_id() -> str:
    """32 random hex digits."""
    return uuid4().hex


def correlation_id(scope: Scope) -> str:
    """The id that `Correlation` gave to this request."""
    found: str = scope[_KEY]
    return found


def trace_of(scope: Scope) -> dict[str, str]:
    """`trace_id` and `span_id` of the caller, as its `traceparent` tells; nothing when it is not there, or not good.

    W3C Trace Context section 3.2: two of them are none, and a later version may have more behind what is known.
    """
    given = Headers(scope=scope).getlist("traceparent")
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if found is None or (found[1] == "00" and found[4]):
        return {}
    return {"trace_id": found[2], "span_id": found[3]}


class Correlation:
    """ASGI middleware that gives each request a fresh id.

    None is accepted from outside: a sender could otherwise make its alerts look like the consequence of others. The
    trace that a sender names is told beside it, and nothing is decided by it.
    """

    def __init__(self, app: ASGIApp, make: Callable[[], str] = new_id) -> None:
        self.app = app
        self.make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the id into the scope, the answer's `X-Correlation-ID` and every log line of this request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope[_KEY] = made = self.make()

        async def mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-ID"] = made
            await send(message)

        with bound_contextvars(correlation_id=made, **trace_of(scope)):
            await self.app(scope, receive, mark)
