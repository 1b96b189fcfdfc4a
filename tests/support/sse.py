"""Server-sent events as a browser reads them (WHATWG HTML section 9.2.6), from an httpx response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import orjson


@dataclass(frozen=True)
class Event:
    """One dispatched event. `id` is the last event id at that moment."""

    id: str
    name: str
    data: str

    @property
    def record(self) -> dict[str, object]:
        found: dict[str, object] = orjson.loads(self.data)
        return found


class Reader:
    """Reads one stream. `last_id` is what a client would send as `Last-Event-ID` when it comes again."""

    def __init__(self, response: httpx.Response) -> None:
        self.last_id = ""
        self.retry = 0
        self.comments = 0
        self.begun = asyncio.Event()
        self._events = self._parse(response)

    async def take(self, count: int, seconds: float = 10) -> list[Event]:
        """The next `count` events; TimeoutError when they do not come."""
        async with asyncio.timeout(seconds):
            return [await anext(self._events) for _ in range(count)]

    async def rest(self, seconds: float = 10) -> list[Event]:
        """All that comes until the server ends the stream."""
        async with asyncio.timeout(seconds):
            return [event async for event in self._events]

    async def _parse(self, response: httpx.Response) -> AsyncIterator[Event]:
        data: list[str] = []
        name = "message"
        buffered = ""
        async for line in response.aiter_lines():
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                self.last_id = buffered
                if data:
                    yield Event(self.last_id, name, "\n".join(data))
                data, name = [], "message"
            elif not field:
                self.comments += 1
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                buffered = value
            elif field == "retry":
                self.retry = int(value)
            else:
                raise AssertionError(f"not a line of an event stream: {line!r}")
