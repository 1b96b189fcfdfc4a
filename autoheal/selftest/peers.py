"""What autoheal depends on: Alertmanager, the identity provider's keys, and a clock that agrees with theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import SystemRandom

import httpx

from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.errors import KeysUnavailable
from autoheal.metrics import Metrics
from autoheal.oidc.source import KeySource
from autoheal.peer import Peer, Unusable
from autoheal.selftest.gateway import Gateway
from autoheal.selftest.results import Failed, Skipped

TIMEOUT_SECONDS = 5.0
MAX_BODY_BYTES = 4 * 1024 * 1024
SKEW_SECONDS = 30.0
"""How far clocks may be apart: tokens and alerts are judged by their times. The Date header tells whole seconds."""


async def keys(gateway: Gateway, settings: Settings, http: httpx.AsyncClient, clock: Clock) -> str:
    """The keys can be fetched from here, and the gateway has fresh ones."""
    if not (await gateway.overview())["oidc"]:
        raise Skipped("OIDC_ENABLED=false: no keys are asked for")
    age = (await gateway.samples()).get("autoheal_jwks_age_seconds", 0.0)
    if settings.oidc is None:
        raise Skipped(f"no OIDC_ISSUER in this environment; the service has fetched its keys {age:.0f} s ago")
    try:
        # With counts of its own: the service's are about what the service does.
        source = KeySource(settings.oidc, http, clock=clock, metrics=Metrics(), random=SystemRandom().random)
        count = await source.refresh()
    except KeysUnavailable as error:
        raise Failed(f"{error}", "see docs/runbooks/AutohealJWKSErrors.md") from None
    if age > settings.oidc.cache_ttl:
        what = f"they can be fetched, but the service's own are {age:.0f} s old"
        raise Failed(what, "POST /-/refresh-jwks has it fetch them; jwks_refresh_failed in its own log says why not")
    return f"{count} keys; the service's own are {age:.0f} s old"


async def alertmanagers(settings: Settings, http: httpx.AsyncClient) -> str:
    """Each Alertmanager answers."""
    if not settings.alertmanager_urls:
        raise Skipped("ALERTMANAGER_URL is not set")
    answers = await asyncio.gather(*(_date(url, "api/v2", "status", http) for url in settings.alertmanager_urls))
    if errors := [error for _, error in answers if error is not None]:
        raise Failed("; ".join(errors), "is it up, and is ALERTMANAGER_URL its address? resolutions are not asked for")
    return f"{len(answers)} answered" if len(answers) > 1 else "it answered"


async def clocks(settings: Settings, http: httpx.AsyncClient, provider: httpx.AsyncClient, clock: Clock) -> str:
    """The clock of this machine is that of the others, less the whole second that a Date header may be behind."""
    asked = [(url, "api/v2", "status", http) for url in settings.alertmanager_urls]
    if settings.oidc is not None:
        asked.append((settings.oidc.issuer, ".well-known", "openid-configuration", provider))
    skews = await asyncio.gather(*(_skew(*one, clock) for one in asked))
    known = [skew for skew in skews if skew is not None]
    if not known:
        raise Skipped("nobody told the time: set ALERTMANAGER_URL" if not asked else "nobody told the time")
    return _judge(known)


def _judge(known: Sequence[tuple[str, float]]) -> str:
    name, worst = max(known, key=lambda one: abs(one[1]))
    what = f"{abs(worst):.0f} s {'behind' if worst > 0 else 'ahead of'} {name}"
    if abs(worst) > SKEW_SECONDS:
        raise Failed(f"this machine's clock is {what}", "let NTP set both clocks: timedatectl, chronyc tracking")
    return what


async def _skew(url: str, api: str, path: str, http: httpx.AsyncClient, clock: Clock) -> tuple[str, float] | None:
    """By how many seconds the clock at `url` is ahead of ours."""
    before = clock.now()
    date, _ = await _date(url, api, path, http)
    return None if date is None else (Peer(url, http, 0, 0, api).name, date - (before + clock.now()) / 2)


async def _date(url: str, api: str, path: str, http: httpx.AsyncClient) -> tuple[float | None, str | None]:
    """What its clock said, if it told; or what is wrong with its answer."""
    peer = Peer(url, http, TIMEOUT_SECONDS, MAX_BODY_BYTES, api)
    try:
        return (await peer.get(path))[1], None
    except Unusable as error:
        return None, f"{peer.name}: {error}"
