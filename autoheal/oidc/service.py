"""The one object that the rest of the gateway asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from random import SystemRandom
from typing import Any, Final

import httpx

from autoheal.clock import Clock
from autoheal.config import OidcSettings
from autoheal.errors import FailureReason, KeysUnavailable, Unauthenticated
from autoheal.metrics import Metrics
from autoheal.model import Operator
from autoheal.oidc.claims import check_access, check_id, client_of, good_until, is_subject
from autoheal.oidc.discovery import Provider
from autoheal.oidc.jws import MAX_TOKEN_CHARACTERS, Token, read
from autoheal.oidc.keys import KeySet
from autoheal.oidc.roles import Roles
from autoheal.oidc.source import KeySource
from autoheal.oidc.telling import KeyTrouble, Refusals

CACHE_SIZE: Final = 4096
"""Verified tokens that are remembered; a few hundred bytes each."""
MAX_NAME_CHARACTERS: Final = 128

_random = SystemRandom().random

_Check = Callable[[Token, Mapping[str, Any], KeySet], None]


class Oidc:
    """Tokens of one identity provider. `http` follows no redirects and trusts no environment's proxies.

    `random` gives numbers from 0 up to 1, by which the times of fetches are spread; `trouble` is told of failed ones.
    """

    def __init__(
        self,
        settings: OidcSettings,
        http: httpx.AsyncClient,
        *,
        clock: Clock,
        metrics: Metrics,
        trouble: KeyTrouble | None = None,
        random: Callable[[], float] = _random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._roles = Roles(settings.roles_claim, settings.role_map)
        self._source = KeySource(settings, http, clock=clock, metrics=metrics, random=random, trouble=trouble)
        self._refusals = Refusals(clock)
        self._verified: dict[bytes, tuple[float, Operator]] = {}
        self._verified_by: KeySet | None = None

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled."""
        await self._source.run()

    async def authenticate(self, token: str | None) -> Operator:
        """Who holds this access token; None stands for a request without one.

        Raises Unauthenticated with the reason, which is counted and logged here, and KeysUnavailable.
        """
        digest = _digest(token)
        if (known := self._remembered(digest)) is not None:
            self._metrics.jwt_validations.inc()
            return known
        claims = await self._judged(token, self._check_access)
        operator = self.operator(claims)
        assert digest is not None, "what has no digest is no token"
        self._remember(digest, good_until(claims), operator)
        return operator

    async def verify_id_token(
        self, token: str, *, client_id: str, nonce: str | None, access_token: str | None = None
    ) -> Mapping[str, Any]:
        """The claims of an ID token (OpenID Connect Core 1.0 section 3.1.3.7).

        `nonce` is None for one that came with a refreshed access token alone. Raises as `authenticate` does.
        """

        def check(read_token: Token, claims: Mapping[str, Any], keys: KeySet) -> None:
            check_id(
                read_token,
                claims,
                issuer=keys.issuer,
                client_id=client_id,
                nonce=nonce,
                access_token=access_token,
                now=self._clock.now(),
            )

        return await self._judged(token, check)

    def operator(self, claims: Mapping[str, Any]) -> Operator:
        """Whom verified claims describe. Raises Unauthenticated when the subject cannot stand in a record."""
        subject = claims.get("sub")
        if not is_subject(subject):
            raise Unauthenticated(FailureReason.WRONG_SUBJECT)
        return Operator(str(subject), self._roles.of(claims), _name(claims), client_of(claims))

    async def provider(self) -> Provider:
        """The provider's addresses. Raises KeysUnavailable while they cannot be had."""
        if self._source.provider is None:
            await self._source.current()
        if self._source.provider is None:
            raise self._source.unavailable()
        return self._source.provider

    async def refresh(self) -> int:
        """Fetch the keys now; how many there are. Raises KeysUnavailable, and the keys in use stay so."""
        return await self._source.refresh()

    def _check_access(self, token: Token, claims: Mapping[str, Any], keys: KeySet) -> None:
        check_access(
            token,
            claims,
            issuer=keys.issuer,
            audience=self._settings.audience,
            client_id=self._settings.client_id,
            clients=self._settings.allowed_clients,
            now=self._clock.now(),
        )

    async def _judged(self, token: str | None, check: _Check) -> Mapping[str, Any]:
        """The claims of a token that is signed and passes `check`; why another does not is counted and logged."""
        began = self._clock.monotonic()
        try:
            claims = await self._verified_claims(token, check)
        except Unauthenticated as error:
            self._tell(error)
            raise
        except KeysUnavailable:
            self._metrics.jwt_auth_failures.labels(FailureReason.KEYS_UNAVAILABLE).inc()
            raise
        except Exception as error:  # noqa: BLE001 whatever a token breaks, it proves nothing
            # Without the error's own text: it may repeat what the token holds.
            refusal = Unauthenticated(FailureReason.MALFORMED)
            self._tell(refusal, unexpected=type(error).__name__)
            raise refusal from None
        else:
            self._metrics.jwt_validations.inc()
            return claims
        finally:
            self._metrics.jwt_validation_duration.observe(self._clock.monotonic() - began)

    async def _verified_claims(self, text: str | None, check: _Check) -> Mapping[str, Any]:
        if text is None:
            raise Unauthenticated(FailureReason.MISSING_TOKEN)
        token = read(text)
        if token.algorithm not in self._settings.algorithms:
            raise token.refused(FailureReason.ALG_NOT_ALLOWED)
        keys = self._source.usable() or await self._source.current()
        if self._source.stale:
            self._metrics.jwks_stale_served.inc()
        key = keys.find(token.kid, token.algorithm)
        if key is None and token.kid is not None:
            # A token that is not for us, whoever signed it, is not to make us ask the provider.
            check(token, token.claims(), keys)
            keys = await self._source.newer(keys)
            key = keys.find(token.kid, token.algorithm)
        if key is None:
            raise token.refused(FailureReason.UNKNOWN_KID)
        token.verify(key)
        claims = token.claims()
        check(token, claims, keys)
        return claims

    def _remembered(self, digest: bytes | None) -> Operator | None:
        """Who held this token when it was verified, unless it has expired since, or the keys have changed."""
        keys = self._source.usable()
        if keys is not self._verified_by:
            self._verified.clear()
            self._verified_by = keys
        if digest is None or (found := self._verified.get(digest)) is None:
            return None
        until, operator = found
        if self._clock.now() >= until:
            del self._verified[digest]
            return None
        if self._source.stale:
            self._metrics.jwks_stale_served.inc()
        return operator

    def _remember(self, digest: bytes, until: float, operator: Operator) -> None:
        # Should the keys have changed while this one waited for them, the next look forgets it: dear, not wrong.
        while len(self._verified) >= CACHE_SIZE:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = (until, operator)

    def _tell(self, error: Unauthenticated, unexpected: str | None = None) -> None:
        self._metrics.jwt_auth_failures.labels(error.reason).inc()
        if error.reason is not FailureReason.MISSING_TOKEN:
            self._metrics.jwt_validations.inc()
            self._refusals.tell(error, unexpected=unexpected)


def _digest(token: str | None) -> bytes | None:
    """By what a token is remembered: the cache is not to hold what could be used elsewhere."""
    if token is None or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        return None
    return sha256(token.encode()).digest()


def _name(claims: Mapping[str, Any]) -> str | None:
    """What people call the holder: the first of these claims that can be shown."""
    for claim in ("name", "preferred_username", "email"):
        value = claims.get(claim)
        if isinstance(value, str) and value.isprintable() and value.strip():
            return value.strip()[:MAX_NAME_CHARACTERS]
    return None
