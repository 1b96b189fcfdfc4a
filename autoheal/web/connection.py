"""One HTTP connection: how much a client may send, and for how long, before there is a request to answer.

Neither uvicorn nor its parser bounds the head of a request (the request line and the headers) or the trailers after
a chunked body: they gather what comes, for ever.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from autoheal.web.security import WHOLE_URL

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line with its headers, and of trailers: up to a slice more may have come before it is noticed."""
HEAD_SECONDS = 10.0
"""From a connection's beginning, or the first byte of its next request, to the end of the headers."""
REST_SECONDS = 10.0
"""For the rest of a body after its request was answered: nobody reads it, and it must not hold the connection."""
MAX_PIPELINED = 32
"""Requests that may wait for the answer to the one before them; more than these can come in one slice."""
_SLICE_BYTES = 4 * 1024


class _Place(Enum):
    """Where in the stream of requests a connection is."""

    BETWEEN = auto()
    HEAD = auto()
    BODY = auto()


class Connection(HttpToolsProtocol):
    """uvicorn's, but with bounds: 431 for a head without end, 408 for one that drips (RFC 6585, RFC 9110).

    A connection on which nothing at all comes is closed without a word: browsers open some in advance. So is one
    where an answer is still due to an earlier request, as ours would be taken for it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unfinished = 0
        self._place = _Place.BETWEEN
        self._head_timer: TimerHandle | None = None
        self._rest_timer: TimerHandle | None = None
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more, and tell the request that is being answered: uvicorn tells the last of several alone.

        A stream with another request behind it would otherwise go on for ever, into nothing.
        """
        self._head_has_come()
        self._rest_has_come()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take it slice by slice, so that one read cannot bring in much more than is allowed."""
        for start in range(0, len(data), _SLICE_BYTES):
            piece = data[start : start + _SLICE_BYTES]
            self._unfinished += len(piece)
            super().data_received(piece)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            if self._unfinished > MAX_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
            if len(self.pipeline) > MAX_PIPELINED:
                self.transport.close()
                return
        if self._unfinished and self._place is _Place.BETWEEN:
            # Line breaks before a request are no message yet, but stop uvicorn's keep-alive timer.
            self._await_head()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._unfinished = 0
        self._place = _Place.HEAD
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._unfinished = 0
        self._place = _Place.BODY
        self._head_has_come()
        super().on_headers_complete()
        if not self.url.startswith((b"/", b"*")):
            self.scope["extensions"] = {WHOLE_URL: {}}

    def on_body(self, body: bytes) -> None:
        """Bodies are bounded where they are read (web/body.py)."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole; uvicorn's own timer bounds the wait for the next."""
        self._unfinished = 0
        self._place = _Place.BETWEEN
        self._rest_has_come()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered. uvicorn's timer for an idle connection ends with the next byte, be it one of this body."""
        super().on_response_complete()
        if self._place is _Place.BODY and self._rest_timer is None:
            self._rest_timer = self.loop.call_later(REST_SECONDS, self.transport.close)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _rest_has_come(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._unfinished or self._place is _Place.HEAD:
            if self._place is _Place.HEAD or not self._is_answering():
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        if self._place is not _Place.BODY and not self._is_answering():
            answer = b"HTTP/1.1 %d %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            self.transport.write(answer % (status, status.phrase.encode()))
        self.transport.close()

    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)
