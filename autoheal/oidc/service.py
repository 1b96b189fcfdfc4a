"""The one object that the rest of the gateway asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import SystemRandom
from typing import Any

import httpx

from autoheal.clock import Clock
from autoheal.config import OidcSettings
from autoheal.metrics import Metrics
from autoheal.model import Operator
from autoheal.oidc.discovery import Provider


class Oidc:
    """Tokens of one identity provider. `http` follows no redirects and trusts no environment's proxies.

    `random` gives numbers from 0 up to 1, by which the times of fetches are spread.
    """

    def __init__(
        self,
        settings: OidcSettings,
        http: httpx.AsyncClient,
        *,
        clock: Clock,
        metrics: Metrics,
        random: Callable[[], float] = SystemRandom().random,
    ) -> None: ...

    async def run(self) -> None:
        """Keep the keys fresh, until cancelled."""
        raise NotImplementedError

    async def authenticate(self, token: str | None) -> Operator:
        """Who holds this access token; None stands for a request without one.

        Raises Unauthenticated with the reason, which is counted and logged here, and KeysUnavailable.
        """
        raise NotImplementedError

    async def verify_id_token(
        self, token: str, *, client_id: str, nonce: str | None, access_token: str | None = None
    ) -> Mapping[str, Any]:
        """The claims of an ID token (OpenID Connect Core 1.0 section 3.1.3.7).

        `nonce` is None for one that came with a refreshed access token alone. Raises as `authenticate` does.
        """
        raise NotImplementedError

    def operator(self, claims: Mapping[str, Any]) -> Operator:
        """Whom verified claims describe. Raises Unauthenticated when the subject cannot stand in a record."""
        raise NotImplementedError

    async def provider(self) -> Provider:
        """The provider's addresses. Raises KeysUnavailable while they cannot be had."""
        raise NotImplementedError

    async def refresh(self) -> int:
        """Fetch the keys now; how many there are. Raises KeysUnavailable, and the keys in use stay so."""
        raise NotImplementedError
