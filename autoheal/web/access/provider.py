"""The gateway as a client of the identity provider: where browsers are sent, and how codes become tokens."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

import httpx
import orjson

from autoheal.config import OidcSettings
from autoheal.errors import AutohealError, UpstreamError
from autoheal.oidc import Provider
from autoheal.web.access.logins import Begun

CALLBACK = "/login/callback"
MAX_ANSWER_BYTES = 64 * 1024
MAX_LIFE_SECONDS = 10 * 365 * 86400.0


class GrantRefused(AutohealError):
    """The provider gives no tokens; `code` is its error code (RFC 6749 section 5.2)."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(f"the identity provider refuses: {code}")


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens of one answer. `expires_in` is the access token's life in seconds, None when it is not told."""

    access_token: str = field(repr=False)
    id_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: float | None


class Client:
    """`origin` is the gateway's own, as browsers see it: everything that is sent to it is under it."""

    def __init__(self, settings: OidcSettings, client_id: str, origin: str, http: httpx.AsyncClient) -> None:
        self.id = client_id
        self.origin = origin
        self._settings = settings
        self._http = http

    def authorization_url(self, provider: Provider, begun: Begun, prompt: str | None) -> str:
        """Where the browser asks for a code (OpenID Connect Core 1.0 section 3.1.2.1, RFC 7636 section 4.3)."""
        if provider.authorization_endpoint is None:
            raise UpstreamError("the identity provider names no authorization_endpoint: it logs no people in")
        asked = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.origin + CALLBACK,
            "scope": " ".join(self._settings.scopes),
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": begun.challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(provider.authorization_endpoint, asked | ({"prompt": prompt} if prompt else {}))

    def logout_url(self, provider: Provider, id_token: str) -> str | None:
        """Where the browser ends its session at the provider too (OpenID Connect RP-Initiated Logout 1.0 section 2)."""
        if provider.end_session_endpoint is None:
            return None
        asked = {
            "id_token_hint": id_token,
            "client_id": self.id,
            "post_logout_redirect_uri": f"{self.origin}/login",
        }
        return _with_query(provider.end_session_endpoint, asked)

    async def redeem(self, provider: Provider, code: str, verifier: str) -> Grant:
        """The tokens for a code. Raises GrantRefused, and UpstreamError when there is no usable answer."""
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.origin + CALLBACK,
            "code_verifier": verifier,
        }
        return await self._ask(provider, asked)

    async def renew(self, provider: Provider, refresh_token: str) -> Grant:
        """New tokens for a refresh token (RFC 6749 section 6). Raises as `redeem` does."""
        return await self._ask(provider, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def _ask(self, provider: Provider, asked: dict[str, str]) -> Grant:
        if provider.token_endpoint is None:
            raise UpstreamError("the identity provider names no token_endpoint")
        # Unpacked, a small body could be a large one.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        secret = self._settings.client_secret
        methods = provider.token_endpoint_auth_methods
        if secret is None:
            asked |= {"client_id": self.id}
        elif "client_secret_basic" not in methods and "client_secret_post" in methods:
            asked |= {"client_id": self.id, "client_secret": secret}
        else:
            # RFC 6749 section 2.3.1: each of the two is form-encoded first.
            pair = f"{quote_plus(self.id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        status, body = await self._post(provider.token_endpoint, asked, headers)
        found = _object(body)
        if status in (400, 401, 403) and isinstance(code := found.get("error"), str):
            raise GrantRefused(code if code.isascii() and code.isprintable() and len(code) <= 60 else "unreadable")
        if status != 200:
            raise UpstreamError(f"the identity provider's token_endpoint answers {status}")
        return _grant(found)

    async def _post(self, url: str, asked: dict[str, str], headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body; what is longer than 64 KiB, or takes longer than other answers may, is no answer."""
        body = b""
        try:
            async with (
                asyncio.timeout(self._settings.refresh_timeout),
                self._http.stream("POST", url, data=asked, headers=headers, follow_redirects=False) as response,
            ):
                if response.headers.get("Content-Encoding", "identity") != "identity":
                    raise UpstreamError("the identity provider's token_endpoint answers packed, unasked")
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise UpstreamError("the identity provider's token_endpoint answers without end")
                return response.status_code, body
        except TimeoutError:
            raise UpstreamError("the identity provider's token_endpoint takes too long") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamError(
                f"the identity provider's token_endpoint cannot be asked: {type(error).__name__}"
            ) from None


def _grant(found: dict[str, Any]) -> Grant:
    """RFC 6749 section 5.1. Raises UpstreamError for an answer of another shape."""
    access, identity, refresh = (found.get(name) for name in ("access_token", "id_token", "refresh_token"))
    life = found.get("expires_in")
    # Some providers write the number as text.
    if isinstance(life, str) and life.isascii() and life.isdecimal():
        life = int(life[:12])
    if not isinstance(access, str) or not all(one is None or isinstance(one, str) for one in (identity, refresh)):
        raise UpstreamError("the identity provider's token_endpoint answers without usable tokens")
    if not isinstance(life, int | float) or isinstance(life, bool) or not 0 < life <= MAX_LIFE_SECONDS:
        life = None
    return Grant(access, identity, refresh, life)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _with_query(url: str, more: dict[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(more))))))
