"""The provider's keys, fetched ahead of need and kept while it is away.

| the set in use is … | a known kid | an unknown kid |
|---|---|---|
| younger than its TTL | answered | one fetch for all who ask, at most one per 30 s |
| older, not yet too old | answered, and counted as stale | the same; 503 while fetching fails |
| too old, or none | 503, after waiting for a fetch that is under way | as a known one |

The age counts from the last success, so it also bounds how long a key that was withdrawn is trusted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Final

import httpx
import structlog

from autoheal.clock import Clock
from autoheal.config import OidcSettings
from autoheal.config.oidc import WELL_KNOWN
from autoheal.errors import KeysUnavailable
from autoheal.metrics import Metrics
from autoheal.oidc.discovery import Provider, read_provider
from autoheal.oidc.fetch import fetch_object
from autoheal.oidc.keys import KeySet, Unusable, read_key_set
from autoheal.oidc.telling import KeyTrouble

COOLDOWN_SECONDS: Final = 30.0
"""Between two fetches that unknown kids cause, successful or not: any stranger can invent a kid."""
DISCOVERY_SECONDS: Final = 3600.0
"""How old the provider's addresses may become before they are asked for again, with the keys."""
AHEAD_SECONDS: Final = 30.0
"""How long before the end of the TTL keys are fetched anew, and about how long after a failure."""
BACKOFF_SECONDS: Final = 0.25
"""The longest pause before the first retry; it doubles with each."""

_log = structlog.get_logger(__name__)


class KeySource:
    """The key set of one provider. What is fetched, when, and by whom it may be caused is decided here.

    `run` fetches on schedule, with retries; requests cause a fetch for an unknown kid alone, without. There is never
    more than one fetch under way, and whoever needs its outcome waits for that one.
    """

    def __init__(
        self,
        settings: OidcSettings,
        http: httpx.AsyncClient,
        *,
        clock: Clock,
        metrics: Metrics,
        random: Callable[[], float],
        trouble: KeyTrouble | None = None,
    ) -> None:
        self._trouble = trouble
        self._settings = settings
        self._http = http
        self._clock = clock
        self._metrics = metrics
        self._random = random
        self._ahead = min(AHEAD_SECONDS, settings.cache_ttl / 10)
        self._needs_discovery = settings.jwks_uri is None or settings.client_id is not None
        self.provider: Provider | None = None
        self._provider_at = -math.inf
        self._keys: KeySet | None = None
        self._skipped: tuple[str, ...] = ()
        self._at = clock.monotonic()
        self._failure: str | None = None
        self._asked = -math.inf
        self._next = self._at
        self._flight: asyncio.Task[None] | None = None
        self._first_seen: dict[str, float] = {}
        metrics.jwks_age.set_function(self._age)
        metrics.jwt_keys_loaded.labels(settings.issuer).set_function(lambda: len(self.usable() or ()))

    async def run(self) -> None:
        """Fetch now, and again and again before the keys grow old, until cancelled."""
        try:
            while True:
                await asyncio.wait((self._fetch(self._settings.refresh_retries),))
                spread = self._random()
                if self._failure is not None and self._trouble is not None:
                    # Only here: that a stranger's kid finds the provider away for a moment is nobody's business.
                    self._trouble.failed(self._failure, again=False)
                if self._failure is None:
                    pause = self._settings.cache_ttl - self._ahead * (1 + spread)
                else:
                    pause = max(1.0, self._ahead * (0.5 + spread))
                self._next = self._clock.monotonic() + pause
                await self._clock.sleep(pause)
        finally:
            if self._flight is not None:
                self._flight.cancel()

    def usable(self) -> KeySet | None:
        """The set in use, unless there is none or it is too old."""
        return self._keys if self._age() <= self._settings.stale_ttl else None

    @property
    def stale(self) -> bool:
        """Whether the set in use is older than its TTL."""
        return self._age() > self._settings.cache_ttl

    async def current(self) -> KeySet:
        """The set in use, when a fetch is under way after waiting for it. Raises KeysUnavailable."""
        if (keys := self.usable()) is None and self._flight is not None:
            await self._join(self._flight)
            keys = self.usable()
        if keys is None:
            raise self.unavailable()
        return keys

    async def newer(self, seen: KeySet) -> KeySet:
        """The set in use, fetched because `seen` lacks a key; `seen` itself when it is too early to ask again.

        Raises KeysUnavailable when the keys could not be fetched: whether such a key exists is then not known.
        """
        for _ in range(2):  # a fetch that is under way may have begun before there was such a key
            flight = self._flight
            if flight is None:
                if self._clock.monotonic() - self._asked < COOLDOWN_SECONDS:
                    break
                self._asked = self._clock.monotonic()
                flight = self._fetch(0, discover=False)
            await self._join(flight)
            if self._keys is not seen:
                break
        if self._failure is not None:
            raise self.unavailable()
        return await self.current()

    async def refresh(self) -> int:
        """Fetch now, whatever was fetched when; the number of keys. Raises KeysUnavailable."""
        if self._flight is not None:
            # It may have begun before what the caller knows of: a key that was withdrawn must not come back with it.
            await self._join(self._flight)
        await self._join(self._fetch(0))
        if self._failure is not None:
            raise KeysUnavailable(self._failure, self._retry_after())
        return len(await self.current())

    def unavailable(self) -> KeysUnavailable:
        """What to tell whoever needs the provider now. Why it does not answer is in the log, not for strangers."""
        return KeysUnavailable("The identity provider's keys cannot be fetched now. Try again.", self._retry_after())

    def _retry_after(self) -> int:
        now = self._clock.monotonic()
        waits = (moment - now for moment in (self._next, self._asked + COOLDOWN_SECONDS) if moment > now)
        return max(1, math.ceil(min(waits, default=1)))

    def _age(self) -> float:
        """Seconds since the last success; since the start while there has been none."""
        return self._elapsed(self._at)

    def _elapsed(self, since: float) -> float:
        return self._clock.monotonic() - since

    async def _join(self, flight: asyncio.Task[None]) -> None:
        """Wait for `flight`, which goes on for others when this caller is gone."""
        try:
            async with asyncio.timeout(self._settings.refresh_timeout + 1):
                await asyncio.shield(flight)
        except TimeoutError:
            raise self.unavailable() from None

    def _fetch(self, retries: int, *, discover: bool = True) -> asyncio.Task[None]:
        """The fetch that is under way, or else a new one."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._load(retries, discover=discover))
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, _: asyncio.Task[None]) -> None:
        self._flight = None

    async def _load(self, retries: int, *, discover: bool) -> None:
        """Fetch until it succeeds or `retries` are used up; raises nothing, as nobody may be there to catch it."""
        for attempt in range(retries + 1):
            if attempt:
                await self._clock.sleep(self._random() * BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                if discover and self._needs_discovery:
                    await self._discover(first=attempt == 0)
                keys = await self._fetch_keys()
            except Unusable as error:
                self._failure = str(error)
                self._metrics.jwks_refresh_errors.inc()
                if not error.again:
                    break
                if attempt < retries and self._trouble is not None:
                    self._trouble.failed(self._failure, again=True)
            except Exception as error:  # noqa: BLE001 the next fetch must come whatever this one met
                self._failure = type(error).__name__
                self._metrics.jwks_refresh_errors.inc()
                _log.exception("jwks_refresh_broke", exc_info=error)
                break
            else:
                self._take(keys)
                return
        _log.warning("jwks_refresh_failed", error=self._failure, age_seconds=round(self._age(), 1))

    async def _discover(self, *, first: bool) -> None:
        """Learn the addresses, or learn them anew: each hour, and when the keys are no longer where they were."""
        old = self._clock.monotonic() - self._provider_at > DISCOVERY_SECONDS or self._failure is not None
        if self.provider is not None and not (first and old):
            return
        issuer = self._settings.issuer
        try:
            address = issuer.removesuffix("/") + WELL_KNOWN
            self.provider = read_provider(
                await fetch_object(self._http, address, self._settings.refresh_timeout), issuer
            )
            self._provider_at = self._clock.monotonic()
        except Unusable as error:
            if self.provider is None and self._settings.jwks_uri is None:
                raise
            _log.warning("discovery_failed", error=str(error))

    async def _fetch_keys(self) -> KeySet:
        issuer, address = self._settings.issuer, self._settings.jwks_uri
        if self.provider is not None:
            issuer, address = self.provider.issuer, address or self.provider.jwks_uri
        assert address is not None
        document = await fetch_object(self._http, address, self._settings.refresh_timeout)
        try:
            return read_key_set(document, issuer, self._settings.algorithms)
        except Unusable as error:
            self._metrics.jwt_key_rotation_errors.labels("oidc").inc()
            raise Unusable(f"{httpx.URL(address).copy_with(query=None)} {error}") from None

    def _take(self, keys: KeySet) -> None:
        """Use `keys` from now on; the same ones again are the same object, by which caches know them."""
        before = self._keys
        self._at = self._clock.monotonic()
        self._failure = None
        if self._trouble is not None:
            self._trouble.back()
        if before is None or not keys.same_as(before):
            self._keys = keys
            self._count_changes(before, keys)
        if keys.skipped != self._skipped:
            self._skipped = keys.skipped
            for text in keys.skipped:
                _log.warning("jwks_key_skipped", key=text)
        _log.info("jwks_refreshed", key_count=len(keys))

    def _count_changes(self, before: KeySet | None, keys: KeySet) -> None:
        old, new = {key.label for key in before or ()}, {key.label for key in keys}
        issuer, ages = self._settings.issuer, self._metrics.jwt_active_key_age
        for label in old - new:
            del self._first_seen[label]
            ages.remove(issuer, label)
            self._metrics.jwt_key_retirements.labels("oidc").inc()
        for label in new - old:
            self._first_seen[label] = since = self._clock.monotonic()
            ages.labels(issuer, label).set_function(partial(self._elapsed, since))
            if before is not None:
                self._metrics.jwt_key_rotations.labels("oidc").inc()
