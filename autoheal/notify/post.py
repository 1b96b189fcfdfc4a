"""One POST to a channel: bounded in time and size, no redirect followed, and no secret in what went wrong."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime

import httpx

from autoheal.clock import Clock
from autoheal.notify.contract import Undelivered

ANSWER_BYTES = 4096
"""How much of an answer is read."""
TOLD_CHARACTERS = 200
TRY_AGAIN = frozenset((408, 425, 429))
"""Of the statuses below 500, those that say nothing against the message itself (RFC 9110, RFC 8470, RFC 6585)."""


class Poster:
    """Posts JSON to `url` through `client`; an answer may take `timeout` seconds.

    `url` may itself be a secret, as Slack's is. No error repeats it, or any of `secrets`.
    """

    def __init__(
        self, client: httpx.AsyncClient, url: str, *, timeout: float, clock: Clock, secrets: Sequence[str] = ()
    ) -> None:
        parsed = httpx.URL(url)
        self._auth = httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None
        # httpx logs the addresses that it asks, below the level that the service's own log shows.
        self._url = parsed.copy_with(userinfo=b"")
        self._client = client
        self._timeout = timeout
        self._clock = clock
        pieces = [url, str(self._url), parsed.password, *re.split("[/?&=]", parsed.raw_path.decode()), *secrets]
        # The longest first: what holds another one is to go as a whole.
        self._secrets = sorted((piece for piece in pieces if len(piece) > 3), key=len, reverse=True)

    async def post(
        self, body: bytes, headers: Mapping[str, str] | None = None, explain: Callable[[bytes], str] = lambda _: ""
    ) -> None:
        """Return when the answer was a 2xx; `explain` finds what the body of another one says. Raises Undelivered."""
        try:
            status, answer, retry_after = await self._exchange(body, headers or {})
        except (TimeoutError, httpx.TimeoutException):
            raise Undelivered(f"no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undelivered(self._without_secrets(str(error)) or type(error).__name__) from None
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise Undelivered(f"answered {status}: redirects are not followed", permanent=True)
        said = self._without_secrets(explain(answer))
        what = f"answered {status}: {said}" if said else f"answered {status}"
        raise Undelivered(
            what,
            permanent=400 <= status < 500 and status not in TRY_AGAIN,
            retry_after=_seconds(retry_after, self._clock.now()) if status in (429, 503) else None,
        )

    async def _exchange(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        answer = bytearray()
        async with (
            asyncio.timeout(self._timeout),
            self._client.stream(
                "POST",
                self._url,
                content=body,
                headers={"Content-Type": "application/json", "User-Agent": "autoheal", **headers},
                auth=self._auth,
                follow_redirects=False,
                timeout=self._timeout,
            ) as response,
        ):
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) >= ANSWER_BYTES:
                    break
        return response.status_code, bytes(answer[:ANSWER_BYTES]), response.headers.get("Retry-After", "")

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return " ".join(text.split())[:TOLD_CHARACTERS]


def _seconds(text: str, now: float) -> float | None:
    """A Retry-After (RFC 9110 section 10.2.3): a number of seconds or a date; None for neither."""
    try:
        seconds = float(text) if text.isascii() and text.isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
