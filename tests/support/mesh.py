"""A line between two programs on loopback that can be cut: TCP and UDP to one port, passed on to another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

HOST = "127.0.0.1"


class Line:
    """Passes what comes to `port` on to `to`, answers too, until it is `cut`, and again once it is `mended`.

    While it is cut, datagrams vanish, connections end and new ones are closed at once.
    """

    def __init__(self, to: int) -> None:
        self.whole = True
        self._to = to
        self._loop = asyncio.get_running_loop()
        self._listener, self._front = _both()
        self.port: int = self._listener.getsockname()[1]
        self._backs: dict[object, socket.socket] = {}
        self._streams: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def start(self) -> Self:
        """Begin to pass things on."""
        self._loop.add_reader(self._front, self._hear)
        self._server = await asyncio.start_server(self._stream, sock=self._listener)
        return self

    def cut(self) -> None:
        """From any thread."""
        self.whole = False
        self._loop.call_soon_threadsafe(self._end_streams)

    def mend(self) -> None:
        """From any thread."""
        self.whole = True

    def close(self) -> None:
        """Free the port; on the event loop."""
        self._server.close()
        self._end_streams()
        for sock in (self._front, *self._backs.values()):
            self._loop.remove_reader(sock)
            sock.close()

    def _end_streams(self) -> None:
        for writer in self._streams:
            writer.transport.abort()

    def _hear(self) -> None:
        data, sender = self._front.recvfrom(65_535)
        back = self._backs.get(sender)
        if back is None:
            back = self._backs[sender] = socket.socket(type=socket.SOCK_DGRAM)
            back.setblocking(False)
            back.connect((HOST, self._to))
            self._loop.add_reader(back, self._answer, back, sender)
        if self.whole:
            # Nobody may be there: that is the program's restart.
            with contextlib.suppress(OSError):
                back.send(data)

    def _answer(self, back: socket.socket, sender: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            data = back.recv(65_535)
            if self.whole:
                self._front.sendto(data, sender)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            if self.whole:
                there_reader, there = await asyncio.open_connection(HOST, self._to)
                self._streams.add(there)
                try:
                    await asyncio.gather(_pass(reader, there), _pass(there_reader, writer))
                finally:
                    self._streams.discard(there)
                    there.close()
        except OSError:
            pass  # either end may be gone
        finally:
            self._streams.discard(writer)
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _both() -> tuple[socket.socket, socket.socket]:
    """A TCP listener and a UDP socket on the same port."""
    while True:
        listener, front = socket.create_server((HOST, 0)), socket.socket(type=socket.SOCK_DGRAM)
        try:
            front.bind(listener.getsockname())
        except OSError:
            listener.close()
            front.close()
        else:
            front.setblocking(False)
            return listener, front


@contextmanager
def lines(*to: int) -> Iterator[list[Line]]:
    """A line to each of these ports, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> list[Line]:
        return [await Line(port).start() for port in to]

    async def end(made: list[Line]) -> None:
        for line in made:
            line.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        made = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        try:
            yield made
        finally:
            asyncio.run_coroutine_threadsafe(end(made), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
