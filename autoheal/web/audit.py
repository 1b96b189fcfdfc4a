"""`GET /audit`: the log, newest first, filtered.

Lines are sent as they stand in the file, byte for byte, so that their hashes can be checked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal import query
from autoheal.clock import Clock
from autoheal.journal import FileJournal
from autoheal.web.parameters import moment, number, parameters

BUDGET_SECONDS = 2.0
"""How long one request may search; what it has not reached by then is left to the next."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """At most `limit` records that `query` matches, with `since` ≤ ts < `until` and a seq below `before`."""

    limit: int = 200
    query: query.Query | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None


@dataclass(slots=True)
class Page:
    """What was found, newest first. `next` is the `before` to go on with; None when nothing is left.

    `partial` says that the search stopped before it had found `limit` records or come to its end.
    """

    lines: list[bytes] = field(default_factory=list)
    next: int | None = None
    partial: bool = False


async def audit(request: Request, *, journal: FileJournal, clock: Clock, scans: asyncio.Semaphore) -> Response:
    """Records newest first. `scans` bounds how many threads search at the same time."""
    given = parameters(request, ("n", "q", "since", "until", "before"))
    now = clock.now()
    limit = number(given, "n", low=1, high=5000)
    ask = Ask(
        limit=200 if limit is None else limit,
        query=query.parse(given["q"]) if "q" in given else None,
        since=moment(given, "since", now),
        until=moment(given, "until", now),
        before=number(given, "before", low=1, high=2**53),
    )
    async with scans:
        page = await asyncio.to_thread(search, journal, ask, clock)
    return Response(_body(page), media_type="application/json")


def search(journal: FileJournal, ask: Ask, clock: Clock) -> Page:
    """Walk the log backward until `ask` is met, the log ends or the budget is spent. Blocks."""
    page = Page()
    deadline = clock.monotonic() + BUDGET_SECONDS
    size = 0
    for record in journal.newest_first(ask.before):
        if ask.since is not None and record.ts < ask.since:
            return page  # ts never decreases: all that is older is too old as well
        if (ask.until is None or record.ts < ask.until) and (
            ask.query is None or ask.query.matches(orjson.loads(record.line))
        ):
            page.lines.append(record.line)
            size += len(record.line)
        if record.seq == 1:
            return page
        full = len(page.lines) == ask.limit
        if full or size > MAX_ANSWER_BYTES or clock.monotonic() > deadline:
            page.next, page.partial = record.seq, not full
            return page
    return page


def _body(page: Page) -> bytes:
    return b'{"records":[%b],"next":%b,"partial":%b}' % (
        b",".join(page.lines),
        orjson.dumps(page.next),
        orjson.dumps(page.partial),
    )
