"""Alertmanagers that answer what a test says, and what they list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from autoheal.alertmanager import Alertmanager, Poll
from autoheal.model import rfc3339
from autoheal.wire import fingerprint
from tests.support.clock import FakeClock

CLOCK = FakeClock()
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def listed(name: str = "Down", *, silenced: bool = False, inhibited: bool = False, **changes: Any) -> dict[str, Any]:
    """An alert as the API lists it."""
    labels = {"alertname": name}
    state = {
        "state": "suppressed" if silenced or inhibited else "active",
        "silencedBy": ["0d0c"] if silenced else [],
        "inhibitedBy": ["df55e08d194b261e"] if inhibited else [],
    }
    return {
        "annotations": {},
        "endsAt": "2026-11-21T05:24:00.000Z",
        "fingerprint": fingerprint(labels),
        "receivers": [{"name": "autoheal"}],
        "startsAt": "2026-11-21T05:20:00.000Z",
        "status": state,
        "updatedAt": "2026-11-21T05:20:00.000Z",
        "generatorURL": "http://prometheus/graph",
        "labels": labels,
        **changes,
    }


DOWN = fingerprint({"alertname": "Down"})
OTHER = fingerprint({"alertname": "Other"})


def status(up: float = 3600.0) -> dict[str, Any]:
    return {"uptime": rfc3339(CLOCK.now() - up), "versionInfo": {}}


def http(body: Any, code: str = "200 OK", headers: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return f"HTTP/1.1 {code}\r\nContent-Length: {len(raw)}\r\n{headers}\r\n".encode() + raw


class Fake:
    """A loopback server that gives canned bytes for `alerts` and `status` and keeps what it was asked."""

    def __init__(self, alerts: Answer, state: Answer) -> None:
        self.answers = {"alerts": alerts, "status": state}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target = head[0].split(" ")[1]
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            self.requests.append((target, fields))
            answer = self.answers[urlsplit(target).path.rpartition("/")[2]]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fake(alerts: Answer | None = None, state: Answer | None = None) -> AsyncIterator[Fake]:
    it = Fake(http([]) if alerts is None else alerts, http(status()) if state is None else state)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(it.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def poll(client: httpx.AsyncClient, *servers: Fake, **limits: Any) -> Poll:
    return await Alertmanager([server.url for server in servers], client, clock=CLOCK, **limits).poll()
