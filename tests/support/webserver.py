"""A web server on loopback that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Asked:
    """One request as it came in; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class WebServer:
    """Gives its `answers` one a connection, the last one again and again.

    None closes without a word; at HANG it says nothing more and waits until the client has gone.
    """

    answers: tuple[bytes | None, ...]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}/"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk to one client."""
        self.talks.add(asyncio.ensure_future(self._talk(reader, writer)))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {}
            for line in filter(None, head[1:]):
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            said = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(Asked(head[0], headers, body))
            if said is not None:
                writer.write(said.removesuffix(HANG))
                await writer.drain()
            if said is not None and said.endswith(HANG):
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


HANG = b"<hang>"


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 answer that ends with the connection."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((f"HTTP/1.1 {status} Whatever", "Connection: close", *lines, "", "")).encode() + body


@asynccontextmanager
async def web_server(*answers: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    """Serve until the block ends."""
    web = WebServer(answers)
    server = await asyncio.start_server(web.accept, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        await server.wait_closed()
        # Its clients have gone by now.
        await asyncio.wait_for(asyncio.gather(*web.talks), 10)
