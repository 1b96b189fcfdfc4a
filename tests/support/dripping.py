"""A client that never finishes what it says."""

from __future__ import annotations

import asyncio
import contextlib
import socket


async def dripped(port: int, begin: bytes, drop: bytes, every: float) -> bytes:
    """Send `begin`, then `drop` again and again, `every` so many seconds; all that came until the server closed.

    Over a bare socket: a stream forgets what it has when a reset follows, as it does when a drop meets a closed door.
    """
    loop = asyncio.get_running_loop()
    got = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        await loop.sock_sendall(client, begin)
        async with asyncio.timeout(10):
            while block := await _received(client, drop, every):
                got += block
    return got


async def _received(client: socket.socket, drop: bytes, every: float) -> bytes:
    loop = asyncio.get_running_loop()
    block = loop.create_task(loop.sock_recv(client, 65536))
    # Never cancelled for the sake of a drop: what it had just received would be lost.
    while not (await asyncio.wait([block], timeout=every))[0]:
        with contextlib.suppress(ConnectionError):
            await loop.sock_sendall(client, drop)
    try:
        return await block
    except ConnectionError:
        return b""
