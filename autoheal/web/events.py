"""`GET /events`: the log as it grows, as server-sent events (WHATWG HTML, section 9.2).

An event's id is `<log id>:<seq>`. Comments every 15 s keep proxies from closing an idle stream, and carry the id up
to which the stream has got: a reader whose filter lets nothing through still resumes where it broke off.
This is the only file that knows sse-starlette.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import orjson
import structlog
from anyio import Event
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from autoheal import query
from autoheal.clock import Clock
from autoheal.errors import JournalEncrypted
from autoheal.feed import Feed
from autoheal.metrics import Metrics
from autoheal.model import Kind, Record
from autoheal.web.parameters import number, parameters
from autoheal.web.security import Admission, access

MAX_SUBSCRIBERS = 500
PING_SECONDS = 15
SEND_TIMEOUT_SECONDS = 10
STOP_SECONDS = 1
"""How long a stream may take to end by itself when the server stops, before it is broken off."""
RETRY_MILLISECONDS = 3000
ENVELOPE = ("seq", "ts", "kind", "alertname", "rule", "target", "run", "step", "mode", "reason")
"""What those see who may not read /audit: no labels, no annotations, no detail."""
HIDDEN_KINDS = frozenset({Kind.LOGIN, Kind.LOGOUT, Kind.AUTH_FAILED})
"""Of which they see nothing: who works here and when, and how well an attack goes."""
RECHECK_SECONDS = 10.0
"""How long a stream may outlive the session or the token of its reader."""

FIRST_SEQ = 1
MAX_SEQ = 10**15

_ID = re.compile(r"([0-9a-f]{16}):([0-9]{1,15})")
_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}

_log = structlog.get_logger(__name__)


class Events:
    """The endpoint; counts its streams, of which there are at most 500."""

    def __init__(self, feed: Feed, log_id: str, metrics: Metrics, clock: Clock) -> None:
        self.feed = feed
        self.log_id = log_id
        self.clock = clock
        self._metrics = metrics
        self._open = 0

    async def stream(self, request: Request) -> Response:
        """Replay from `Last-Event-ID` or `after` (the header counts), then follow without a gap.

        Without either, only what comes. After an id that this log cannot go on from, `event: reset` and what comes.
        """
        given = parameters(request, ("q", "after"))
        after = number(given, "after", low=0, high=MAX_SEQ)
        wanted = query.parse(given["q"]) if "q" in given else None
        reader = await access(request.scope).reader(request.scope)
        if isinstance(reader, str) and wanted is not None and (hidden := wanted.fields - set(ENVELOPE)):
            raise HTTPException(403, f"q may not name {', '.join(sorted(hidden))} here: {reader}.")
        if self._open >= MAX_SUBSCRIBERS:
            raise HTTPException(503, f"{MAX_SUBSCRIBERS} streams are open already.", {"Retry-After": "10"})
        if last_id := request.headers.get("last-event-id"):
            found = _ID.fullmatch(last_id)
            after = int(found[2]) if found is not None and found[1] == self.log_id else MAX_SEQ + 1
        return _Stream(self, after, wanted, reader if isinstance(reader, Admission) else None)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count one stream as long as it lasts, and whether it was cut."""
        self._open += 1
        self._metrics.sse_subscribers.inc()
        try:
            yield
        except SendTimeoutError:
            # The server closes the connection of an answer that was left incomplete; the client resumes.
            self._metrics.sse_dropped.inc()
            _log.info("event_stream_cut", why=f"nothing could be sent for {SEND_TIMEOUT_SECONDS} s")
        finally:
            self._open -= 1
            self._metrics.sse_subscribers.dec()


class _Stream(EventSourceResponse):
    """One client's stream, from after `after` (None: the head; beyond the head: reset) to the end of the connection.

    `reader` may read the log; None gets the envelopes alone. It also ends when the reader's admission does.
    """

    def __init__(self, events: Events, after: int | None, wanted: query.Query | None, reader: Admission | None) -> None:
        self._events = events
        self._reset = after is not None and after > events.feed.head
        self._at = events.feed.head if after is None or self._reset else after
        self._wanted = wanted
        self._reader = reader
        self._over = False
        self._stopping = Event()
        super().__init__(
            self._frames(),
            headers=_HEADERS,
            ping=PING_SECONDS,
            ping_message_factory=self._ping_message,
            send_timeout=SEND_TIMEOUT_SECONDS,
            shutdown_event=self._stopping,
            shutdown_grace_period=STOP_SECONDS,
            data_sender_callable=self._end_at_stop,
            sep="\n",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._events.counted():
            watch = asyncio.create_task(self._end_with(self._reader)) if self._reader is not None else None
            try:
                await super().__call__(scope, receive, send)
            finally:
                if watch is not None:
                    watch.cancel()

    async def _frames(self) -> AsyncIterator[bytes]:
        yield self._begin()
        while True:
            try:
                async with self._events.feed.subscribe(self._at, lambda: not self._over) as pages:
                    async for page in pages:
                        if frames := b"".join(self._frame(record) for record in page if self._is_wanted(record)):
                            yield frames
                        # Only now has the page left: a ping in between must not claim it.
                        self._at = page[-1].seq
            except JournalEncrypted:
                # What stands there cannot be read here: as after an id that this log does not know.
                self._at, self._reset = self._events.feed.head, True
                yield self._begin()
            else:
                return

    async def _end_with(self, reader: Admission) -> None:
        try:
            while await reader.lasts():
                await self._events.clock.sleep(RECHECK_SECONDS)
        except Exception:  # noqa: BLE001 whoever cannot be asked about is let in no longer
            _log.exception("event_stream_admission_unknown")
        self._over = True
        self._events.feed.wake()

    async def _end_at_stop(self) -> None:
        # The library would break streams off: an end of the feed ends them as whole answers.
        await self._stopping.wait()
        self._events.feed.close()

    def _begin(self) -> bytes:
        """How to come back, and from where: an id without data moves the client's cursor and is no event."""
        begin = b"retry: %d\nid: %b\n" % (RETRY_MILLISECONDS, self._id(self._at))
        if self._reset:
            begin += b'event: reset\ndata: {"first":%d,"head":%d}\n' % (FIRST_SEQ, self._at)
        return begin + b"\n"

    def _frame(self, record: Record) -> bytes:
        # A record's line has no line break: JSON escapes them.
        return b"id: %b\ndata: %b\n\n" % (self._id(record.seq), record.line if self._reader else _envelope(record))

    def _is_wanted(self, record: Record) -> bool:
        if self._reader is None and record.kind in HIDDEN_KINDS:
            return False
        return self._wanted is None or self._wanted.matches(orjson.loads(record.line))

    def _id(self, seq: int) -> bytes:
        return b"%b:%d" % (self._events.log_id.encode(), seq)

    def _ping_message(self) -> ServerSentEvent:
        return ServerSentEvent(comment="ping", id=self._id(self._at).decode(), sep="\n")


def _envelope(record: Record) -> bytes:
    fields = orjson.loads(record.line)
    return orjson.dumps({name: fields[name] for name in ENVELOPE if name in fields})
