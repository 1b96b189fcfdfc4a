"""The log as a stream of JSON lines, newest first, for `GET /audit`.

The search is a file to read from: aiofiles reads it in a thread, a slice of time at a time, so that neither a long
search nor a slow client holds the event loop or keeps others from searching.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import zlib
from collections.abc import AsyncGenerator
from typing import BinaryIO, cast

from aiofiles.threadpool.binary import AsyncFileIO
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from autoheal.clock import Clock
from autoheal.journal.search import Ask, Search
from autoheal.web.accept import NDJSON

SLICE_SECONDS = 0.25
CHUNK_BYTES = 256 * 1024
GZIP_LEVEL = 4
UNREAD = "Autoheal-Unread"
"""The header with the seqs that might hold what was asked for, in encrypted files that no key opens."""
_GZIP_WINDOW = 31


class Found(io.RawIOBase):
    """The lines that `ask` asks for, gzip'd or not. It can be read once, from its beginning, by any thread."""

    def __init__(self, search: Search, ask: Ask, clock: Clock, *, gzipped: bool) -> None:
        self._clock = clock
        self._until = clock.monotonic()
        self._left = ask.limit
        # What cannot be read is told in a header: only there a stream of records has room for it.
        self._steps = search.newest_first(ask, lambda: clock.monotonic() > self._until, lambda _: None)
        self._gzip = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP_WINDOW) if gzipped else None
        self._ended = False
        # A client that goes away closes it while the last slice is still being read.
        self._lock = threading.Lock()

    def read(self, size: int = -1) -> bytes | None:
        """About `size` bytes (256 KiB), fewer when the slice of time is over; None if it found nothing, b"" at the end.

        What is gzip'd can be unpacked as far as it was given.
        """
        with self._lock:
            return self._slice(size if size > 0 else CHUNK_BYTES)

    def close(self) -> None:
        """End the search; it is waited for, a slice of time at most."""
        with self._lock:
            self._steps.close()
            super().close()

    def _slice(self, size: int) -> bytes | None:
        if self._ended:
            return b""
        self._until = self._clock.monotonic() + SLICE_SECONDS
        lines: list[bytes] = []
        for _, line in self._steps:
            if line is not None:
                lines += (line, b"\n")
                size -= len(line)
                self._left = None if self._left is None else self._left - 1
            if size <= 0 or self._left == 0 or self._clock.monotonic() > self._until:
                break
        else:
            self._ended = True
        self._ended = self._ended or self._left == 0
        data = b"".join(lines)
        if self._gzip is not None and (data or self._ended):
            data = self._gzip.compress(data) + self._gzip.flush(zlib.Z_FINISH if self._ended else zlib.Z_SYNC_FLUSH)
        return data if data or self._ended else None


async def export(
    search: Search,
    ask: Ask,
    clock: Clock,
    *,
    gzipped: bool,
    head: bool,
    headers: dict[str, str],
    scans: asyncio.Semaphore,
    exports: asyncio.Semaphore,
) -> Response:
    """The answer, begun only after the first slice: what is wrong by then has its own status.

    `exports` is taken until the answer has ended, `scans` only while the log is read.
    """
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(exports)
        found = Found(search, ask, clock, gzipped=gzipped)
        file = AsyncFileIO(cast("BinaryIO", found), loop=None, executor=None)
        stack.push_async_callback(file.close)
        async with scans:
            unread = await asyncio.to_thread(search.unreadable, ask)
            first = await file.read(CHUNK_BYTES)
        if unread:
            seqs = ("?" if file.first is None else f"{file.first}-{file.last}" for file in unread)
            headers |= {UNREAD: ", ".join(seqs)}
        if head:
            return Response(headers=headers, media_type=NDJSON)
        return _Stream(_chunks(file, first, scans), stack.pop_all(), headers)


async def _chunks(file: AsyncFileIO, chunk: bytes | None, scans: asyncio.Semaphore) -> AsyncGenerator[bytes, None]:
    while chunk != b"":
        if chunk is not None:
            yield chunk
        async with scans:
            chunk = await file.read(CHUNK_BYTES)


class _Stream(StreamingResponse):
    """Gives free what it holds as soon as the client has gone, not when the garbage is collected."""

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], held: contextlib.AsyncExitStack, headers: dict[str, str]
    ) -> None:
        super().__init__(chunks, headers=headers, media_type=NDJSON)
        self._held = held
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._held, contextlib.aclosing(self._chunks):
            await super().__call__(scope, receive, send)
