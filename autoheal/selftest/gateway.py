"""The gateway under test, as a program beside it reaches it: over HTTP, with a token where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from autoheal.model import OwnName
from autoheal.selftest.results import Failed, Skipped

ANSWER_SECONDS = 10.0
"""How long it may take to answer, and a record to come on /events."""
NO_TOKEN = "--token-file, or AUTOHEAL_SELFTEST_TOKEN_FILE"  # noqa: S105 none is
"""Where one comes from."""
MAX_LINE = 128 * 1024

Event = dict[str, Any]

_SAMPLE = re.compile(r"^([a-z_]+) (\S+)$", re.MULTILINE)


class Gateway:
    """The one at `url`. `token` is shown wherever a credential may be asked for; None: none is."""

    def __init__(self, url: str, http: httpx.AsyncClient, token: str | None) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self._http = http

    async def get(
        self, path: str, params: Mapping[str, str] | None = None, *, anonymous: bool = False
    ) -> httpx.Response:
        """Its answer, whatever the status. Raises Failed when there is none."""
        return await self._ask("GET", path, params=params, headers=self._headers(anonymous=anonymous))

    async def post(self, path: str, body: object) -> httpx.Response:
        """Its answer to JSON, whatever the status. Raises Failed when there is none."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        return await self._ask("POST", path, content=orjson.dumps(body), headers=headers)

    async def overview(self) -> dict[str, Any]:
        """What `GET /` says. Raises Failed."""
        answer = await self.get("/", anonymous=True)
        told = _object(answer) if answer.status_code == 200 else None
        if told is None or not isinstance(told.get("oidc"), bool):
            raise Failed(f"{self.url} answered {answer.status_code} to GET /, and not as autoheal does", _NO_GATEWAY)
        return told

    async def samples(self) -> dict[str, float]:
        """The metrics without labels. Raises Failed."""
        answer = await self.get("/metrics", anonymous=True)
        if answer.status_code != 200:
            raise Failed(f"GET /metrics answered {answer.status_code}")
        found = {}
        for name, value in _SAMPLE.findall(answer.text):
            with contextlib.suppress(ValueError):
                found[name] = float(value)
        return found

    @asynccontextmanager
    async def events(self) -> AsyncIterator[Stream]:
        """What /events tells of self-tests from now on. Raises Failed when there is no such stream, and Skipped
        where it is for those who show a token.
        """
        asked = {"q": f'alertname="{OwnName.SELFTEST}"'}
        timeout = httpx.Timeout(ANSWER_SECONDS, read=None)
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS) as answering,
                self._http.stream(
                    "GET", f"{self.url}/events", params=asked, headers=self._headers(), timeout=timeout
                ) as answer,
            ):
                answering.reschedule(None)
                if answer.status_code == 401 and self.token is None:
                    raise Skipped(f"/events asks for a token, and there is none to show: {NO_TOKEN}")
                if answer.status_code != 200:
                    raise Failed(f"GET /events answered {answer.status_code}")
                stream = Stream()
                reading = asyncio.create_task(stream.read(answer))
                try:
                    yield stream
                finally:
                    reading.cancel()
                    await asyncio.gather(reading, return_exceptions=True)
        except TimeoutError:
            raise Failed(f"GET /events was not answered within {ANSWER_SECONDS:g} s") from None
        except httpx.HTTPError as error:
            raise Failed(f"GET /events: {_why(error)}") from None

    def _headers(self, *, anonymous: bool = False) -> dict[str, str]:
        return {} if self.token is None or anonymous else {"Authorization": f"Bearer {self.token}"}

    async def _ask(self, method: str, path: str, **asked: Any) -> httpx.Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._http.request(method, self.url + path, timeout=ANSWER_SECONDS, **asked)
        except (TimeoutError, httpx.TimeoutException):
            raise Failed(f"{method} {path} was not answered within {ANSWER_SECONDS:g} s", _HANGS) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(f"{method} {path}: {_why(error)}", _NO_GATEWAY) from None


class Stream:
    """The events that have come, and when (on the monotonic clock of the loop)."""

    def __init__(self) -> None:
        self.ended: str | None = None
        """Why no more will come."""
        self._came: list[tuple[float, Event]] = []
        self._news = asyncio.Event()

    async def read(self, answer: httpx.Response) -> None:
        """Take what comes until it ends."""
        try:
            async for line in answer.aiter_lines():
                if line.startswith("data: {") and len(line) < MAX_LINE:
                    self._came.append((asyncio.get_running_loop().time(), orjson.loads(line.removeprefix("data: "))))
                    self._news.set()
            self.ended = "the stream was ended"
        except (httpx.HTTPError, orjson.JSONDecodeError) as error:
            self.ended = f"the stream broke: {_why(error)}"
        self._news.set()

    async def until(self, wanted: Callable[[Event], bool]) -> tuple[float, Event]:
        """The first event that is `wanted`, and when it came. Raises Failed when it does not in time."""
        seen = 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    for came in self._came[seen:]:
                        if wanted(came[1]):
                            return came
                    seen = len(self._came)
                    if self.ended is not None:
                        raise Failed(self.ended)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Failed(f"it did not come within {ANSWER_SECONDS:g} s") from None


def objection(answer: httpx.Response) -> str:
    """What an error of the gateway says."""
    told = _object(answer) or {}
    return str(told.get("detail", ""))[:300]


def _object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        told = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


_NO_GATEWAY = "see whether the service runs, and where: systemctl status autoheal; --url names another address"
_HANGS = "the service hangs: autoheal incident DIR keeps what it does"
