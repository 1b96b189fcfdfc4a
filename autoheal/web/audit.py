"""`GET /audit`: the log, newest first, filtered; a page as JSON, or all of it as a stream of JSON lines.

Lines are sent as they stand in the file, byte for byte, so that their hashes can be checked.
"""

from __future__ import annotations

import asyncio
import gzip

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal import query
from autoheal.clock import Clock
from autoheal.errors import JournalEncrypted, JournalUnread
from autoheal.journal.search import Ask, Page, Search
from autoheal.web.accept import prefers_ndjson, takes_gzip
from autoheal.web.errors import RETRY_AFTER_SECONDS
from autoheal.web.export import GZIP_LEVEL, export
from autoheal.web.parameters import moment, number, parameters

BUDGET_SECONDS = 2.0
"""How long one page may search; what it has not reached by then is left to the next."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_SEQ = 2**53


class AuditLog:
    """The endpoint. `scans` bounds how many threads search at the same time, `exports` how many streams are open."""

    def __init__(self, search: Search, clock: Clock, *, scans: asyncio.Semaphore, exports: asyncio.Semaphore) -> None:
        self._search = search
        self._clock = clock
        self._scans = scans
        self._exports = exports

    async def read(self, request: Request) -> Response:
        """Records newest first."""
        as_stream, gzipped = prefers_ndjson(request), takes_gzip(request)
        ask = self._ask(request, as_stream=as_stream)
        headers = {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzipped else {})
        if not as_stream:
            async with self._scans:
                body = await asyncio.to_thread(self._page, ask, gzipped=gzipped)
            return Response(body, media_type="application/json", headers=headers)
        if self._exports.locked():
            raise HTTPException(
                503,
                "As many exports of the log are under way as may be at a time. Try again later.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        return await export(
            self._search,
            ask,
            self._clock,
            gzipped=gzipped,
            head=request.method == "HEAD",
            headers=headers,
            scans=self._scans,
            exports=self._exports,
        )

    def _ask(self, request: Request, *, as_stream: bool) -> Ask:
        given = parameters(request, ("n", "q", "since", "until", "before"))
        now = self._clock.now()
        limit = number(given, "n", low=1, high=MAX_SEQ if as_stream else 5000)
        return Ask(
            limit=200 if limit is None and not as_stream else limit,
            query=query.parse(given["q"]) if "q" in given else None,
            since=moment(given, "since", now),
            until=moment(given, "until", now),
            before=number(given, "before", low=1, high=MAX_SEQ),
        )

    def _page(self, ask: Ask, *, gzipped: bool) -> bytes:
        page = self._search.page(ask, self._clock, seconds=BUDGET_SECONDS, max_bytes=MAX_ANSWER_BYTES)
        body = _body(page)
        return gzip.compress(body, GZIP_LEVEL, mtime=0) if gzipped else body


def _why(file: JournalUnread) -> str:
    return f"encrypted: {file.why}" if isinstance(file, JournalEncrypted) else f"{file.path.name}: {file.why}"


def _body(page: Page) -> bytes:
    unread = [{"first": file.first, "last": file.last, "why": _why(file)} for file in page.unread]
    return b'{"records":[%b],"next":%b,"partial":%b%b}' % (
        b",".join(page.lines),
        orjson.dumps(page.next),
        orjson.dumps(page.partial),
        b',"unread":%b' % orjson.dumps(unread) if unread else b"",
    )
