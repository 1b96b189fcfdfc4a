"""A line of the service's own log for each request."""

from __future__ import annotations

import logging

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoheal.clock import Clock

PATH_CHARACTERS = 200
"""How much of a path is told: its sender chose it."""
_POLLED = frozenset(("/healthz", "/readyz", "/metrics"))
"""What machines ask every few seconds; told at `debug` as long as the answer is a good one."""

_log = structlog.get_logger(__name__)


class AccessLog:
    """ASGI middleware that tells of each request once it is over: a stream of events, when its reader has left.

    The query is not told: what comes back from a login (`code`, `state`) and what people search for stand there.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self.app = app
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and tell."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = self.clock.monotonic()
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            quiet = scope["path"] in _POLLED and status is not None and status < 400
            _log.log(
                logging.DEBUG if quiet else logging.INFO,
                "request",
                method=scope["method"],
                path=scope["path"][:PATH_CHARACTERS],
                status=status,
                duration_ms=round((self.clock.monotonic() - begun) * 1000, 3),
                peer=scope["client"][0] if scope.get("client") else None,
            )
