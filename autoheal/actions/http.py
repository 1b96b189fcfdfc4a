"""The action `http`: send a request."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Self

import httpx
import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from autoheal import __version__
from autoheal.actions.contract import DEFAULT_TIMEOUT, Context, Outcome, Traits, milliseconds, one_line
from autoheal.actions.excerpt import KEPT_BYTES, Excerpt
from autoheal.actions.secret import Secrets, SecretUnreadable
from autoheal.errors import RenderError
from autoheal.rules.fields import Json, Text, Url
from autoheal.rules.render import check_url, reveal
from autoheal.rules.units import Timeout

MAX_RETRIES = 10
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SUCCESS: tuple[str, ...] = ("200-299",)

for _name in ("httpx", "httpcore"):
    # They log URLs and headers, in which secrets stand.
    logging.getLogger(_name).setLevel(logging.WARNING)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 section 9.2.2
_OURS = frozenset({"idempotency-key", "content-length", "transfer-encoding", "connection", "accept-encoding"})


def _method(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name[:60]!r} cannot be a header's name")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is set by autoheal itself")
    return name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | str) else value


def _rising(value: str) -> str:
    if value[:3] > value[4:]:
        raise ValueError(f"{value} is an empty range")
    return value


Status = Annotated[int, Field(strict=True, ge=100, le=599)]
StatusRange = Annotated[str, Field(pattern=r"^[1-5][0-9]{2}-[1-5][0-9]{2}$"), AfterValidator(_rising)]


class HttpParams(BaseModel):
    """A request, and which answers mean that it did its work."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    url: Url
    method: Annotated[str, BeforeValidator(_method), Field(pattern=r"^[A-Z]{1,20}$")] = "POST"
    headers: dict[Annotated[str, AfterValidator(_header)], Text] = Field(default_factory=dict)
    json_: Annotated[Json, Field(alias="json")] = None
    body: Text | None = None
    status: Annotated[tuple[Status | StatusRange, ...], Field(min_length=1), BeforeValidator(_as_list)] = SUCCESS
    timeout: Timeout | None = None
    retries: Annotated[int, Field(strict=True, ge=0, le=MAX_RETRIES)] = 0

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if self.json_ is not None and self.body is not None:
            raise ValueError("`json` and `body` exclude each other")
        return self


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one try. `transient` tells that another may do better."""

    status: int | None = None
    response: str | None = None
    truncated: bool = False
    error: str | None = None
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Http:
    """Sends a request; `chance` yields numbers in [0, 1) that spread retries."""

    chance: Callable[[], float] = random.random

    name: ClassVar[str] = "http"
    Params: ClassVar[type[BaseModel]] = HttpParams

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """By its method; nothing is known of how to take a request back."""
        return Traits(idempotent=(params.get("method") or "POST") in _IDEMPOTENT, reversible=False)

    def describe(self, params: Mapping[str, Any]) -> str:
        """The method and the URL."""
        return one_line(f"{params.get('method') or 'POST'} {params['url']}")

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when the last try was answered with an expected status."""
        secrets = Secrets(context.secrets)
        timeout = params.get("timeout") or DEFAULT_TIMEOUT
        expected = params.get("status") or SUCCESS
        started = context.clock.monotonic()
        attempts = 0
        try:
            request = _request(reveal(params, secrets), context.idempotency_key)
        except (SecretUnreadable, ValueError) as error:
            answer = Answer(error=str(error))
        else:
            while True:
                attempts += 1
                answer = await exchange(request, expected, timeout, secrets)
                if not answer.transient or attempts > (params.get("retries") or 0):
                    break
                await context.clock.sleep(_pause(attempts, self.chance()))
        detail: dict[str, Any] = {} if answer.status is None else {"status": answer.status}
        detail |= {"attempts": attempts, "duration_ms": milliseconds(context.clock.monotonic() - started)}
        if answer.error is not None:
            detail["error"] = answer.error
        if answer.response is not None:
            detail |= {"response": answer.response, "response_truncated": answer.truncated}
        return Outcome(ok=answer.error is None, detail=detail)


def build_request(method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> httpx.Request:
    """A request that asks for an uncompressed answer. Raises ValueError when `url` or a header cannot be sent."""
    try:
        check_url(url)
        address = httpx.URL(url)
    except (RenderError, httpx.InvalidURL) as error:
        # A secret may be in it, and what is quoted of it may be cut: the text is not repeated.
        raise ValueError("the URL, its secrets filled in, is not acceptable") from error
    # Uncompressed, because a few kilobytes can unpack into gigabytes.
    sent = {"user-agent": f"autoheal/{__version__}", "accept": "*/*", "accept-encoding": "identity"}
    sent |= {name.lower(): _header_value(name, value) for name, value in headers.items()}
    raw = [(name.encode("ascii"), value.encode()) for name, value in sent.items()]
    return httpx.Request(method, address, headers=raw, content=content)


async def exchange(request: httpx.Request, expected: Sequence[int | str], timeout: float, secrets: Secrets) -> Answer:  # noqa: ASYNC109 of one try
    """Send `request` once and read the beginning of the answer, within `timeout` seconds. Follows no redirect."""
    kept = Excerpt(secrets, head=KEPT_BYTES, tail=0)
    try:
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(verify=_tls(), trust_env=False, follow_redirects=False, timeout=None) as client,  # noqa: S113 the whole try has one
        ):
            response = await client.send(request, stream=True)
            try:
                async for data in response.aiter_raw():
                    kept.feed(data)
                    if kept.full:
                        break
            finally:
                await response.aclose()
    except TimeoutError:
        return Answer(error=f"no whole answer within {timeout:g} s", transient=True)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        lasting = not isinstance(error, httpx.TransportError) or isinstance(error, httpx.LocalProtocolError)
        return Answer(error=one_line(secrets.hidden(_reason(error))), transient=not lasting)
    code = response.status_code
    return Answer(
        status=code,
        response=kept.beginning(),
        truncated=kept.cut > 0,
        error=None if _is_expected(code, expected) else _unexpected(code, expected),
        transient=not _is_expected(code, expected) and (code == 429 or code >= 500),
    )


def _request(params: Mapping[str, Any], key: str) -> httpx.Request:
    headers = {"Idempotency-Key": key}
    content = None
    if params.get("json") is not None:
        content = orjson.dumps(params["json"])
        headers["Content-Type"] = "application/json"
    elif params.get("body") is not None:
        content = params["body"].encode()
        headers["Content-Type"] = "text/plain; charset=utf-8"
    headers |= params.get("headers") or {}
    return build_request(params.get("method") or "POST", params["url"], headers, content)


def _header_value(name: str, value: str) -> str:
    # A line break would begin another header, or the body (CWE-113).
    if any((ord(char) < 0x20 and char != "\t") or ord(char) == 0x7F for char in value):
        raise ValueError(f"header {name}: line breaks and other control characters cannot be sent")
    return value.strip()


@cache
def _tls() -> ssl.SSLContext:
    # The system's authorities rather than a bundled list: a company's own are there. Reading them takes a while.
    return ssl.create_default_context()


def _pause(attempt: int, chance: float) -> float:
    """Seconds before the next try: doubling, the latter half of each at random so that gateways do not beat in step."""
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
    return longest * (0.5 + chance / 2)


def _is_expected(code: int, expected: Sequence[int | str]) -> bool:
    for status in expected:
        first, _, last = str(status).partition("-")
        if int(first) <= code <= int(last or first):
            return True
    return False


def _unexpected(code: int, expected: Sequence[int | str]) -> str:
    note = " (redirects are not followed)" if 300 <= code < 400 else ""
    return f"answered {code}{note}, expected {', '.join(map(str, expected))}"


def root_of(error: BaseException) -> BaseException:
    """The error at the root: httpx says that all attempts failed, what it wraps says why."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below.exceptions[0] if isinstance(below, BaseExceptionGroup) else below
    return error


def _reason(error: BaseException) -> str:
    root = root_of(error)
    return f"{type(root).__name__}: {root}" if str(root) else type(root).__name__
