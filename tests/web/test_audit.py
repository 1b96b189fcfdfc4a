"""GET /audit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.model import Record
from autoheal.web.audit import Ask, search
from tests.support.clock import FakeClock
from tests.support.gateway import Gateway, firing, gateway


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


def seqs(body: dict[str, list[dict[str, int]]]) -> list[int]:
    return [record["seq"] for record in body["records"]]


async def test_newest_first_and_byte_for_byte(gate: Gateway) -> None:
    """Records come newest first, each with exactly the bytes that its hash covers."""
    records = await gate.log(firing(1), firing(2, note="ümlaut  \u2028"))
    answer = await gate.client.get("/audit")
    assert seqs(answer.json()) == [3, 2, 1]
    assert answer.json()["next"] is None
    assert answer.json()["partial"] is False
    assert all(record.line in answer.content for record in records)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


async def test_pages_join_without_gap_or_repeat(gate: Gateway) -> None:
    """Following `next` gives every record once."""
    await gate.log(*(firing(number) for number in range(1, 12)))
    found: list[int] = []
    before: str | None = None
    while True:
        body = (await gate.client.get("/audit", params={"n": "5"} | ({"before": before} if before else {}))).json()
        found += seqs(body)
        if body["next"] is None:
            break
        before = str(body["next"])
    assert found == list(range(12, 0, -1))
    assert (await gate.client.get("/audit?before=1")).json() == {"records": [], "next": None, "partial": False}


async def test_q_filters_over_the_whole_log(gate: Gateway) -> None:
    """`n` counts what the filter lets through, not what was looked at."""
    await gate.log(*(firing(number, shard="even" if number % 2 == 0 else "odd") for number in range(1, 21)))
    body = (await gate.client.get("/audit", params={"q": "labels.shard=even", "n": "3"})).json()
    assert seqs(body) == [21, 19, 17]
    assert body["next"] == 17


async def test_since_and_until_bound_the_time(gate: Gateway) -> None:
    """`since` is inclusive and `until` exclusive; both take RFC 3339 and durations."""
    ask = gate.client.get
    (first,) = await gate.log(firing(1))
    await asyncio.sleep(0.002)
    (second,) = await gate.log(firing(2))
    at = orjson.loads(second.line)["ts"]
    assert seqs((await ask("/audit", params={"since": at})).json()) == [3]
    assert seqs((await ask("/audit", params={"until": at})).json()) == [2, 1]
    assert seqs((await ask("/audit", params={"since": "1h"})).json()) == [3, 2, 1]
    assert seqs((await ask("/audit", params={"until": "1h"})).json()) == []
    assert first.ts < second.ts


@pytest.mark.parametrize("since", ["400d", "1000y", "999999999999999y", "1y1d", "0001-01-01T00:00:00Z"])
async def test_the_far_past_is_a_time_like_others(gate: Gateway, since: str) -> None:
    """The bound on durations in rules is none on how far back one may look."""
    assert seqs((await gate.client.get("/audit", params={"since": since})).json()) == [1]


async def test_nothing_ago_is_now(gate: Gateway) -> None:
    """`0` needs no unit, as in rules."""
    assert seqs((await gate.client.get("/audit?since=0")).json()) == []
    assert seqs((await gate.client.get("/audit?until=0")).json()) == [1]


async def test_a_pasted_offset_is_understood(gate: Gateway) -> None:
    """`+02:00` unescaped in a query string, where `+` means a space, is still that offset."""
    assert (await gate.client.get("/audit?since=2026-05-01T12:00:00+02:00")).status_code == 200


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("n=0", "n"),
        ("n=5001", "n"),
        ("n=-1", "n"),
        ("n=1e3", "n"),
        ("n=", "n"),
        ("n=%D9%A1", "n"),
        ("n=" + "9" * 400, "n"),
        ("n=1&n=1", "n"),
        ("before=0", "before"),
        ("limit=3", "limit"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("since=1h1d", "since"),
        ("since=1h1h", "since"),
        ("since=5", "since"),
        ("until=2026-05-01T12:00:00", "until"),
        ("since=9999-12-31T23:59:60Z", "since"),
        ("q=kind", "q"),
        ("q=nosuchfield=1", "q"),
        ("q=", "q"),
        ("q=%00", "q"),
        ("q=%ff", "q"),
    ],
)
async def test_what_is_not_understood_is_400_and_named(gate: Gateway, query: str, named: str) -> None:
    """A parameter that is unknown, repeated, out of range or unreadable is a 400 that says which."""
    answer = await gate.client.get(f"/audit?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.json()["parameter"] == named
    assert named in answer.json()["detail"]


async def test_a_bad_filter_points_at_its_column(gate: Gateway) -> None:
    """The column counts from 1, also in the JSON."""
    body = (await gate.client.get("/audit", params={"q": "kind=decision kind=escalated"})).json()
    assert body["column"] == 15
    assert "column 15" in body["detail"]


async def test_head_is_get_without_a_body(gate: Gateway) -> None:
    """HEAD has GET's status and headers, under the same rules."""
    get, head = await gate.client.get("/audit"), await gate.client.head("/audit")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert (await gate.client.head("/audit?n=0")).status_code == 400


class SlowLog:
    """A log whose every record takes a second to read."""

    def __init__(self, records: list[Record], clock: FakeClock) -> None:
        self.records = records
        self.clock = clock

    def newest_first(self, before: int | None = None):
        for record in reversed(self.records):
            if before is None or record.seq < before:
                self.clock._monotonic += 1
                yield record


async def test_a_search_out_of_time_says_where_to_go_on(gate: Gateway) -> None:
    """After two seconds what was found is given, with `partial` and the place to go on from."""
    await gate.log(*(firing(number) for number in range(1, 10)))
    log = SlowLog(gate.journal.read(0, 100), FakeClock())
    page = search(log, Ask(limit=100), log.clock)  # type: ignore[arg-type]
    assert (len(page.lines), page.next, page.partial) == (3, 8, True)
    rest = search(log, Ask(limit=100, before=8), log.clock)  # type: ignore[arg-type]
    assert orjson.loads(rest.lines[0])["seq"] == 7


async def test_an_answer_is_bounded(gate: Gateway) -> None:
    """A page of large records ends at 8 MiB, `partial`."""
    big = [firing(number, text="x" * 60_000) for number in range(1, 201)]
    await gate.log(*big)
    page = search(gate.journal, Ask(limit=5000), SystemClock())
    assert sum(map(len, page.lines)) < 9 * 1024 * 1024
    assert page.partial
    assert page.next == 202 - len(page.lines)
