"""A self-test of a gateway, as the service and the command make it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from autoheal.clock import Clock, SystemClock
from autoheal.config import load
from autoheal.model import Check
from autoheal.selftest import Result, Subject, run_checks

NOBODY = "192.0.2.0/24"
"""As AUTOHEAL_ALERT_ALLOWLIST: no alert is sent then."""


async def look(
    url: str,
    env: Mapping[str, str],
    *,
    token_file: Path | None = None,
    local: bool = True,
    provider: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[Check, Result]:
    """What each check came to."""
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        subject = Subject(
            url=url,
            settings=load(env),
            token_file=token_file,
            local=local,
            http=http,
            provider=provider or http,
            clock=clock or SystemClock(),
        )
        return {result.check: result for result in await run_checks(subject)}


@dataclass
class Proxy:
    """Stands before the gateway at `port`, and lets `/events` through as `events` says: the headers and so many bytes,
    then an end; or it gives an answer of its own.
    """

    port: int
    events: int | bytes
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            ours = head.startswith(b"GET /events")
            if ours and isinstance(self.events, bytes):
                writer.write(self.events)
                await writer.drain()
            else:
                # One request a connection, so that none goes past this.
                head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                behind, before = await asyncio.open_connection("127.0.0.1", self.port)
                before.write(head)
                sending = asyncio.create_task(_pass(reader, before, None))
                writer.write(await behind.readuntil(b"\r\n\r\n"))
                await _pass(behind, writer, self.events if ours and isinstance(self.events, int) else None)
                sending.cancel()
                before.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at_most: int | None) -> None:
    left = at_most
    with suppress(OSError):
        while (left is None or left > 0) and (data := await reader.read(65536 if left is None else min(left, 65536))):
            writer.write(data)
            await writer.drain()
            left = None if left is None else left - len(data)
