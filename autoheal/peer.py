"""A program of the monitoring that is asked over HTTP: it may be slow, dead or something else."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

ERROR_BYTES = 4096
"""How much of an answer that is an error is read."""
OBJECTION_CHARACTERS = 300
"""How much of an error's text is told."""

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"

Parameters = tuple[tuple[str, str], ...]


class Unusable(Exception):
    """Why an answer cannot be used, for people."""


class Peer:
    """The program at `url`, whose API begins with the path `api` below it, asked through `client`.

    `timeout` (seconds) is for a request with its answer, which may have `max_body` bytes. `user:password@` in the URL
    is repeated by no error and no log line.
    """

    def __init__(self, url: str, client: httpx.AsyncClient, timeout: float, max_body: int, api: str) -> None:
        parsed = httpx.URL(url)
        # Credentials leave the URL here: httpx logs the URLs that it asks, and its errors may name them.
        self._auth = httpx.BasicAuth(parsed.username, parsed.password) if parsed.userinfo else None
        self._secrets = (_basic(parsed), parsed.password) if parsed.password else ()
        self._base = parsed.copy_with(userinfo=b"", path=f"{parsed.path.rstrip('/')}/{api}/")
        self.name = str(parsed.copy_with(userinfo=b""))
        self._client = client
        self._timeout = timeout
        self._max_body = max_body

    async def get(self, path: str, params: Parameters = ()) -> tuple[Any, float | None]:
        """The answer's JSON, and what the server's clock said (epoch seconds) if it told. Raises Unusable."""
        status, body, headers = await self._exchange("GET", path, params=params)
        if status != 200:
            raise Unusable(f"answered {status}")
        return _json(body), _date(headers.get("Date"))

    async def post(self, path: str, sent: object) -> Any:
        """The JSON of the answer to `sent` as JSON. Raises Unusable, with what the server had against it."""
        return _json(await self._post(path, orjson.dumps(sent), _JSON))

    async def send(self, path: str, sent: object) -> None:
        """Have `sent` taken as JSON, whatever the answer holds. Raises Unusable, as `post` does."""
        await self._post(path, orjson.dumps(sent), _JSON)

    async def form(self, path: str, fields: Mapping[str, str]) -> Any:
        """The JSON of the answer to `fields` as a form. Raises Unusable, as `post` does."""
        return _json(await self._post(path, urlencode(fields).encode(), _FORM))

    async def delete(self, path: str) -> None:
        """Have what stands there deleted; what is not there is deleted. Raises Unusable."""
        status, body, _ = await self._exchange("DELETE", path)
        if status not in (200, 404):
            raise Unusable(f"answered {status}{self._objection(body)}")

    async def _post(self, path: str, sent: bytes, kind: str) -> bytes:
        status, body, _ = await self._exchange("POST", path, sent=sent, kind=kind)
        if status != 200:
            raise Unusable(f"answered {status}{self._objection(body)}")
        return body

    def _objection(self, body: bytes) -> str:
        """What an error's body says: a JSON string, or an object of Alertmanager's validation or of Prometheus."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
        said = said.get("message", said.get("error")) if isinstance(said, dict) else said
        if not isinstance(said, str):
            return ""
        for secret in self._secrets:
            said = said.replace(secret, "…")  # a proxy may tell what it was sent
        cut = "…" if len(said) > OBJECTION_CHARACTERS else ""
        return f": {orjson.dumps(said[:OBJECTION_CHARACTERS] + cut).decode()}"

    async def _exchange(
        self, method: str, path: str, *, params: Parameters = (), sent: bytes | None = None, kind: str = _JSON
    ) -> tuple[int, bytes, httpx.Headers]:
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream(
                    method,
                    self._base.join(path),
                    params=params,
                    content=sent,
                    headers=None if sent is None else {"Content-Type": kind},
                    auth=self._auth,
                    follow_redirects=False,
                    timeout=self._timeout,
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if response.status_code != 200 and len(body) >= ERROR_BYTES:
                        break
                    if len(body) > self._max_body:
                        raise Unusable(f"answered more than {self._max_body:,} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise Unusable(f"did not answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unusable(str(error) or type(error).__name__) from None
        return response.status_code, bytes(body), response.headers


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unusable("did not answer JSON") from None


def _basic(url: httpx.URL) -> str:
    """The credentials as they are sent (RFC 7617 section 2)."""
    return b64encode(f"{url.username}:{url.password}".encode()).decode()


def _date(text: str | None) -> float | None:
    """An HTTP date (RFC 9110 section 5.6.7) in epoch seconds; None for anything else."""
    try:
        parsed = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return None if parsed.tzinfo is None else parsed.timestamp()
