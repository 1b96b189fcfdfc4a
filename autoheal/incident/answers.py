"""What the running service answers, all asked at the same time; and the identity provider's keys."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from random import SystemRandom

import httpx

from autoheal.clock import SystemClock
from autoheal.config import OidcSettings
from autoheal.errors import KeysUnavailable
from autoheal.metrics import Metrics
from autoheal.oidc import provider_client
from autoheal.oidc.source import KeySource

SECONDS = 8.0
MAX_BYTES = 32 * 1024 * 1024

ASKED: Mapping[str, str] = {
    "/": "overview.json",
    "/healthz": "healthz.json",
    "/readyz": "readyz.json",
    "/metrics": "metrics.txt",
    "/selftest/health": "selftest.json",
    "/state": "state.json",
    "/rules": "rules.json",
}
"""The routes, and the files that their answers go to."""

_OF_KEYS = re.compile(r"^(autoheal_jw(?:t_keys_loaded|t_active_key_age_seconds|ks_age_seconds)\b.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answered: its status, 0 where there was none, and then why."""

    status: int
    body: bytes
    ms: float
    why: str = ""


async def answers(url: str, token: str | None) -> dict[str, Answer]:
    """What each route of the gateway at `url` answers."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    tls = ssl.create_default_context()
    async with httpx.AsyncClient(trust_env=False, verify=tls, timeout=SECONDS, headers=headers) as http:
        found = await asyncio.gather(*(_ask(http, f"{url.rstrip('/')}{path}") for path in ASKED))
    return dict(zip(ASKED, found, strict=True))


async def _ask(http: httpx.AsyncClient, url: str) -> Answer:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with asyncio.timeout(SECONDS), http.stream("GET", url) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
            return Answer(answer.status_code, bytes(body), (loop.time() - begun) * 1000)
    except (TimeoutError, httpx.TimeoutException):
        why = f"no answer within {SECONDS:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
    return Answer(0, b"", (loop.time() - begun) * 1000, why)


async def keys(settings: OidcSettings) -> str:
    """The key set as it can be fetched from here now: kids and algorithms. Raises KeysUnavailable."""
    async with provider_client(ssl.create_default_context()) as http:
        source = KeySource(settings, http, clock=SystemClock(), metrics=Metrics(), random=SystemRandom().random)
        await source.refresh()
    found = source.usable()
    if found is None:
        raise KeysUnavailable("nothing was fetched", 1)
    lines = [f"issuer {found.issuer}", *(f"kid {key.label}: {', '.join(sorted(key.verify))}" for key in found)]
    return "\n".join([*lines, *(f"left out: {text}" for text in found.skipped)]) + "\n"


def of_keys(metrics: bytes) -> str:
    """What the service's metrics tell of the keys that it has."""
    return "\n".join(_OF_KEYS.findall(metrics.decode("utf-8", "replace")))
