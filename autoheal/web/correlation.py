"""One id for all that follows from one request: in the answer, in the service's log, in the records."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

_KEY = "autoheal.correlation_id"


def new_id() -> str:
    """32 random hex digits."""
    return uuid4().hex


def correlation_id(scope: Scope) -> str:
    """The id that `Correlation` gave to this request."""
    found: str = scope[_KEY]
    return found


class Correlation:
    """ASGI middleware that gives each request a fresh id.

    None is accepted from outside: a sender could otherwise make its alerts look like the consequence of others.
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

        with bound_contextvars(correlation_id=made):
            await self.app(scope, receive, mark)
