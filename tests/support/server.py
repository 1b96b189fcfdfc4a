"""The gateway's ASGI application behind a real server on loopback, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from autoheal.serve import web_server

SEND_BUFFER_BYTES = 4096


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[int]:
    """Serve `app` on a port of 127.0.0.1, which is given, with the settings that `autoheal serve` has."""
    async with served(web_server(app)) as port:
        yield port


@asynccontextmanager
async def served(config: uvicorn.Config) -> AsyncIterator[int]:
    """Serve what `config` says, on a port of 127.0.0.1, which is given."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio does it by itself only for sockets that name their protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Small, so that a reader that stalls is noticed after little data.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # Not `serve()`, whose loop turns ten times a second: a hundred tests would wait for it at their ends.
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        for door in server.servers:
            door.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=5)
        await server.lifespan.shutdown()
        listener.close()
