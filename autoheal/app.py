"""The application: every route and every middleware, in one function."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request

from autoheal.clock import Clock, SystemClock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.journal.search import Search
from autoheal.metrics import Metrics
from autoheal.web.ack import acknowledge
from autoheal.web.audit import AuditLog
from autoheal.web.body import BodyLimit
from autoheal.web.correlation import Correlation, new_id
from autoheal.web.errors import Errors
from autoheal.web.events import Events
from autoheal.web.health import exposition, healthz, overview, readyz
from autoheal.web.rules import rules
from autoheal.web.runs import run, runs
from autoheal.web.security import Door, Role, SecurityHeaders
from autoheal.web.webhook import receive_alert

SCANS = 2
"""Searches through the log at the same time: each may keep a core busy for two seconds."""
EXPORTS = 4
"""Streams of the log at the same time: each holds some megabytes for as long as its client takes."""


def build(
    settings: Settings,
    engine: Engine,
    journal: FileJournal,
    feed: Feed,
    metrics: Metrics,
    *,
    clock: Clock | None = None,
    make_id: Callable[[], str] = new_id,
) -> Starlette:
    """The gateway as an ASGI application; its lifespan starts and stops `engine` and ends the streams of `feed`.

    `journal` stays open: who opened it closes it, after the server has ended. `clock` is the machine's by default.
    """
    clock = clock or SystemClock()
    scans = asyncio.Semaphore(SCANS)
    search = Search(settings.data_dir, lambda: journal.durable.seq, settings.audit_identity)
    audit = AuditLog(search, clock, scans=scans, exports=asyncio.Semaphore(EXPORTS))
    alert = partial(receive_alert, settings=settings, engine=engine, metrics=metrics, clock=clock)
    routes = [
        Door("GET", "/", Role.PUBLIC, partial(overview, settings=settings, engine=engine, clock=clock)),
        Door("GET", "/healthz", Role.PUBLIC, healthz),
        Door("GET", "/readyz", Role.PUBLIC, partial(readyz, engine=engine)),
        Door("GET", "/metrics", Role.PUBLIC, partial(exposition, engine=engine, metrics=metrics)),
        Door("POST", "/alert", Role.PUBLIC, alert),
        Door("GET", "/events", Role.PUBLIC, Events(feed, journal.log_id, metrics).stream),
        Door("GET", "/audit", Role.VIEWER, audit.read),
        Door("POST", "/ack", Role.OPERATOR, partial(acknowledge, settings=settings, engine=engine)),
        Door("GET", "/rules", Role.VIEWER, partial(rules, engine=engine)),
        Door("GET", "/runs", Role.VIEWER, partial(runs, engine=engine)),
        Door("GET", "/runs/{id}", Role.VIEWER, partial(run, engine=engine, journal=journal, clock=clock, scans=scans)),
    ]
    middleware = [
        # From the outside in. An error's answer needs the id and the headers too, so these two stand outermost.
        Middleware(Correlation, make=make_id),
        Middleware(SecurityHeaders),
        Middleware(Errors),
        Middleware(BodyLimit),
        # Then the router, whose sensitive doors ask for access (web/security.py).
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            feed.close()
            await engine.stop()

    app = Starlette(
        routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers={HTTPException: _leave_to_errors}
    )
    # A redirect would be made from whatever Host the client sent.
    app.router.redirect_slashes = False
    return app


async def _leave_to_errors(_: Request, error: Exception) -> NoReturn:
    """Starlette would answer its own exceptions in plain text; `Errors` has one shape for all."""
    raise error
