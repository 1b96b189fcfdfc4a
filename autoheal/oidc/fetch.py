"""One JSON object from an address of the identity provider, as bounded as what a stranger sends."""

from __future__ import annotations

import asyncio
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from autoheal.oidc.encoding import parse_object
from autoheal.oidc.keys import Unusable

MAX_BODY_BYTES = 64 * 1024
MAX_CONNECTIONS = 20
"""To the provider: more than logins and renewals may take together, so that keys are fetched beside them."""


def provider_client(tls: ssl.SSLContext) -> httpx.AsyncClient:
    """A client for the provider alone: one that hangs takes no connection to anybody else. The caller closes it.

    It keeps no cookies: what the provider sets in the answer about one person is not sent with the next one's tokens.
    """
    return httpx.AsyncClient(
        timeout=5.0,
        trust_env=False,
        verify=tls,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
    )


async def fetch_object(http: httpx.AsyncClient, address: str, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 of the whole answer
    """The JSON object at `address`, whole within `timeout` seconds.

    A redirect is not followed: who answers in the provider's name is not to send us elsewhere. Raises Unusable.
    """
    where = str(httpx.URL(address).copy_with(query=None))
    try:
        async with asyncio.timeout(timeout):
            return parse_object(await _body(http, address, where))
    except (TimeoutError, httpx.TimeoutException):
        raise Unusable(f"{where} did not answer within {timeout:g} s", again=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise Unusable(f"{where}: {str(error) or type(error).__name__}", again=True) from None
    except ValueError as error:
        raise Unusable(f"{where} answered what is no plain JSON object: {error}") from None


async def _body(http: httpx.AsyncClient, address: str, where: str) -> bytes:
    # Unpacked, a small body could be a large one.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with http.stream("GET", address, headers=headers, follow_redirects=False, timeout=None) as response:
        status = response.status_code
        if status != 200:
            hint = "; redirects are not followed" if response.is_redirect else ""
            raise Unusable(f"{where} answered {status}{hint}", again=status == 429 or status >= 500)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Unusable(f"{where} answered with a Content-Encoding that was not asked for")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Unusable(f"{where} answered more than {MAX_BODY_BYTES:,} bytes")
    return bytes(body)
