"""The application: every route and every middleware, in one function."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

import httpx
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
from autoheal.model import Role
from autoheal.oidc import KeyTrouble, Oidc
from autoheal.web.access.cookies import Cookies
from autoheal.web.access.failures import Failures
from autoheal.web.access.gate import METADATA, IdentifiedAccess
from autoheal.web.access.login import BrowserLogin
from autoheal.web.access.logins import Logins
from autoheal.web.access.provider import CALLBACK, Client
from autoheal.web.access.renewal import Identities, Renewal
from autoheal.web.access.sessions import Sessions
from autoheal.web.access_log import AccessLog
from autoheal.web.ack import acknowledge
from autoheal.web.audit import AuditLog
from autoheal.web.body import BodyLimit
from autoheal.web.console import OPEN_FILES, Console
from autoheal.web.correlation import Correlation, new_id
from autoheal.web.errors import Errors
from autoheal.web.events import Events
from autoheal.web.health import exposition, healthz, overview, readyz, selftest_health
from autoheal.web.identity import protected_resource, refresh_jwks, whoami
from autoheal.web.openapi import openapi
from autoheal.web.operate import approve, cancel, deny, pause, reload, rerun, resume
from autoheal.web.rules import reset, rules
from autoheal.web.runs import run, runs
from autoheal.web.security import PUBLIC, Access, Door, Identification, LocalAccess, SecurityHeaders
from autoheal.web.state import state
from autoheal.web.storms import release, storms
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
    provider: httpx.AsyncClient,
    clock: Clock | None = None,
    make_id: Callable[[], str] = new_id,
) -> Starlette:
    """The gateway as an ASGI application; its lifespan starts and stops `engine` and ends the streams of `feed`.

    `provider` is by what the identity provider is asked. It and `journal` stay open: who opened them closes them, after
    the server has ended. `clock` is the machine's by default.
    """
    clock = clock or SystemClock()
    scans = asyncio.Semaphore(SCANS)
    search = Search(settings.data_dir, lambda: journal.durable.seq, settings.audit_identity)
    audit = AuditLog(search, clock, scans=scans, exports=asyncio.Semaphore(EXPORTS))
    alert = partial(receive_alert, settings=settings, engine=engine, metrics=metrics, clock=clock)
    events = Events(feed, journal.log_id, metrics, clock)
    console = Console()
    oidc, access, login = _identities(settings, engine, metrics, provider, clock)
    routes = [
        Door("GET", "/", PUBLIC, partial(overview, settings=settings, engine=engine, feed=feed, clock=clock)),
        Door("GET", "/healthz", PUBLIC, healthz),
        Door("GET", "/readyz", PUBLIC, partial(readyz, engine=engine)),
        Door("GET", "/metrics", PUBLIC, partial(exposition, engine=engine, metrics=metrics, clock=clock)),
        Door("GET", "/selftest/health", PUBLIC, partial(selftest_health, settings=settings, engine=engine)),
        Door("POST", "/alert", PUBLIC, alert),
        Door("GET", "/events", Role.VIEWER if settings.events_auth else PUBLIC, events.stream),
        Door("GET", "/audit", Role.VIEWER, audit.read),
        Door("POST", "/ack", Role.OPERATOR, partial(acknowledge, settings=settings, engine=engine)),
        Door("POST", "/pause", Role.OPERATOR, partial(pause, engine=engine)),
        Door("POST", "/resume", Role.OPERATOR, partial(resume, engine=engine)),
        Door("POST", "/-/reload", Role.ADMIN, partial(reload, engine=engine)),
        Door("GET", "/rules", Role.VIEWER, partial(rules, settings=settings, engine=engine, clock=clock)),
        Door("POST", "/rules/{name}/reset", Role.OPERATOR, partial(reset, engine=engine)),
        Door("GET", "/storms", Role.VIEWER, partial(storms, engine=engine)),
        Door("POST", "/rules/{name}/release", Role.APPROVER, partial(release, engine=engine)),
        Door("GET", "/runs", Role.VIEWER, partial(runs, engine=engine)),
        Door("GET", "/runs/{id}", Role.VIEWER, partial(run, engine=engine, journal=journal, clock=clock, scans=scans)),
        Door("POST", "/runs/{id}/approve", Role.APPROVER, partial(approve, engine=engine)),
        Door("POST", "/runs/{id}/deny", Role.OPERATOR, partial(deny, engine=engine)),
        Door("POST", "/runs/{id}/cancel", Role.OPERATOR, partial(cancel, engine=engine)),
        Door("GET", "/state", Role.VIEWER, partial(state, settings=settings, engine=engine, journal=journal)),
        Door("POST", "/runs/{id}/rerun", Role.OPERATOR, partial(rerun, engine=engine)),
        Door("GET", "/console", Role.VIEWER, console.page),
        *(Door("GET", f"/console/{name}", PUBLIC, partial(console.open_file, name=name)) for name in OPEN_FILES),
        Door("GET", "/console/{file}", Role.VIEWER, console.file),
        Door("GET", "/openapi.json", PUBLIC, openapi),
        Door("GET", "/whoami", Role.VIEWER, partial(whoami, login=login is not None)),
    ]
    if settings.oidc is not None and oidc is not None:
        routes.append(Door("POST", "/-/refresh-jwks", Role.ADMIN, partial(refresh_jwks, oidc=oidc)))
        if settings.origin is not None:
            about = partial(protected_resource, origin=settings.origin, oidc=oidc, issuer=settings.oidc.issuer)
            routes.append(Door("GET", METADATA, PUBLIC, about))
    if login is not None:
        routes += [
            Door("GET", "/login", PUBLIC, login.begin),
            Door("GET", CALLBACK, PUBLIC, login.finish),
            Door("POST", "/logout", PUBLIC, login.end),
        ]
    middleware = [
        # From the outside in. An error's answer needs the id and the headers too, so these stand outermost.
        Middleware(Correlation, make=make_id),
        Middleware(AccessLog, clock=clock),
        Middleware(SecurityHeaders),
        Middleware(Errors),
        Middleware(BodyLimit),
        Middleware(Identification, access=access),
        # Then the router, whose doors that are not public ask for access (web/security.py).
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await engine.start()
        keys = asyncio.create_task(oidc.run()) if oidc is not None else None
        try:
            yield
        finally:
            feed.close()
            if keys is not None:
                keys.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await keys
            await engine.stop()

    app = Starlette(
        routes=routes, middleware=middleware, lifespan=lifespan, exception_handlers={HTTPException: _leave_to_errors}
    )
    # A redirect would be made from whatever Host the client sent.
    app.router.redirect_slashes = False
    return app


def _identities(
    settings: Settings, engine: Engine, metrics: Metrics, provider: httpx.AsyncClient, clock: Clock
) -> tuple[Oidc | None, Access, BrowserLogin | None]:
    """Who says who people are, who is let in by it, and where browsers log in; without OIDC, this machine alone is."""
    if settings.oidc is None:
        return None, LocalAccess(), None
    trouble = KeyTrouble(
        engine.note, standing=lambda: "keys" in engine.state.incidents, retries=settings.notify_retries
    )
    oidc = Oidc(settings.oidc, provider, clock=clock, metrics=metrics, trouble=trouble)
    failures = Failures(engine.note, clock)
    origin, client_id = settings.origin, settings.oidc.client_id
    if client_id is None or origin is None:
        return oidc, IdentifiedAccess(oidc, failures, origin=origin, cookies=None, renewal=None), None
    identities = Identities(oidc, Client(settings.oidc, client_id, origin, provider), settings.oidc.audience)
    cookies, sessions = Cookies(origin), Sessions(clock)
    renewal = Renewal(identities, sessions, engine.note, clock)
    login = BrowserLogin(identities, cookies, sessions, Logins(clock), note=engine.note, failures=failures, clock=clock)
    return oidc, IdentifiedAccess(oidc, failures, origin=origin, cookies=cookies, renewal=renewal), login


async def _leave_to_errors(_: Request, error: Exception) -> NoReturn:
    """Starlette would answer its own exceptions in plain text; `Errors` has one shape for all."""
    raise error
