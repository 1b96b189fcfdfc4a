"""GET /audit."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.journal.search import Ask, Search
from autoheal.query import parse
from autoheal.web import export
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


async def test_a_page_is_bounded_in_bytes(gate: Gateway) -> None:
    """A page of large records ends at 8 MiB, `partial`."""
    await gate.log(*(firing(number, text="x" * 60_000) for number in range(1, 201)))
    answer = await gate.client.get("/audit?n=5000")
    body = answer.json()
    assert len(answer.content) < 9 * 1024 * 1024
    assert body["partial"]
    assert body["next"] == 202 - len(body["records"])


NDJSON = {"Accept": "application/x-ndjson"}


async def test_json_lines_stream_the_whole_log(gate: Gateway) -> None:
    """One record a line, newest first, byte for byte, without a limit unless `n` sets one."""
    records = await gate.log(*(firing(number, text="x" * 1000) for number in range(1, 501)))
    answer = await gate.client.get("/audit", headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in answer.headers
    lines = answer.content.splitlines()
    assert lines[:-1] == [record.line for record in reversed(records)]
    assert orjson.loads(lines[-1])["kind"] == "log_created"
    few = await gate.client.get("/audit", params={"n": "7", "before": "300", "q": "kind=alert_firing"}, headers=NDJSON)
    assert [orjson.loads(line)["seq"] for line in few.content.splitlines()] == list(range(299, 292, -1))
    assert (await gate.client.get("/audit?before=1", headers=NDJSON)).content == b""
    assert (await gate.client.get("/audit?n=6000", headers=NDJSON)).status_code == 200


@pytest.mark.parametrize("headers", [{}, NDJSON])
async def test_an_answer_is_compressed_for_those_who_take_it(gate: Gateway, headers: dict[str, str]) -> None:
    """With `Accept-Encoding: gzip` the same bytes come gzip'd; caches are told what the answer depends on."""
    await gate.log(*(firing(number, text="x" * 1000) for number in range(1, 501)))
    plain = await gate.client.get("/audit", headers={**headers, "Accept-Encoding": "gzip;q=0, br"})
    async with gate.client.stream("GET", "/audit", headers={**headers, "Accept-Encoding": "br, gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 5
    for one in (plain, answer):
        assert one.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("application/x-ndjson", True),
        ("APPLICATION/X-NDJSON ; charset=utf-8", True),
        ("application/x-ndjson, */*;q=0.1", True),
        ("text/html, application/x-ndjson;q=0.9, */*;q=0.8", True),
        ("application/x-ndjson;q=0.5, application/json", False),
        ("application/x-ndjson, application/json", False),
        ("application/x-ndjson;q=0", False),
        ("application/x-ndjson;q=0.1, */*", False),
        ("application/x-ndjson;q=much", False),
        ("*/*", False),
        ("text/html", False),
    ],
)
async def test_the_form_is_what_the_client_prefers(gate: Gateway, accept: str, streams: bool) -> None:
    """JSON lines only for those who name them and want JSON less (RFC 9110 section 12.5.1)."""
    answer = await gate.client.get("/audit", headers={"Accept": accept})
    assert (answer.headers["content-type"] == "application/x-ndjson") is streams


@pytest.mark.parametrize(
    ("accept", "zipped"), [("gzip", True), ("x-gzip;q=0.1", True), ("*", True), ("*, gzip;q=0", False), ("br", False)]
)
async def test_the_encoding_is_one_that_the_client_takes(gate: Gateway, accept: str, zipped: bool) -> None:
    """A quality of 0 refuses; `*` is any that is not named (RFC 9110 section 12.5.3)."""
    answer = await gate.client.head("/audit", headers={"Accept-Encoding": accept})
    assert (answer.headers.get("content-encoding") == "gzip") is zipped


async def test_a_stream_is_asked_for_under_the_same_rules(gate: Gateway) -> None:
    """A bad parameter is a 400 before anything is sent; HEAD sends nothing."""
    assert (await gate.client.get("/audit?q=kind", headers=NDJSON)).json()["parameter"] == "q"
    assert (await gate.client.get("/audit?n=0", headers=NDJSON)).json()["parameter"] == "n"
    await gate.log(firing(1))
    head = await gate.client.head("/audit", headers=NDJSON)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "application/x-ndjson"


async def test_what_was_sent_can_be_unpacked(gate: Gateway, tmp_path: Path) -> None:
    """Each piece of a compressed stream ends with a whole line: nothing waits in the compressor."""
    await gate.log(*(firing(number, text=f"{number}" * 1000) for number in range(1, 101)))
    with export.Found(Search(tmp_path / "data"), Ask(limit=50), SystemClock(), gzipped=True) as found:
        unpack, count = zlib.decompressobj(31), 0
        while piece := found.read(20_000):
            lines = unpack.decompress(piece).decode().splitlines(keepends=True)
            assert all(line.endswith("}\n") for line in lines)
            count += len(lines)
        assert (count, unpack.eof) == (50, True)


async def test_a_stream_reads_a_slice_of_time_at_once(gate: Gateway, tmp_path: Path) -> None:
    """A quarter of a second: what was found by then is given, None when that is nothing, and the end at the end."""
    await gate.log(*(firing(number, text="x" * 10_000) for number in range(1, 401)))

    class BusyClock(FakeClock):
        def monotonic(self) -> float:
            self._monotonic += 0.2
            return self._monotonic

    with export.Found(Search(tmp_path / "data"), Ask(query=parse("seq=1")), BusyClock(), gzipped=False) as found:
        pieces = list(iter(found.read, b""))
    assert pieces[:2] == [None, None]
    assert [orjson.loads(piece)["seq"] for piece in pieces if piece] == [1]


async def test_exports_are_few_and_end_with_their_clients(gate: Gateway) -> None:
    """Four at a time; the fifth is told to come again. One whose client has gone makes room; pages go on meanwhile."""
    await gate.log(*(firing(number, text="x" * 60_000) for number in range(1, 401)))
    async with AsyncExitStack() as stack:
        for _ in range(4):
            stream = gate.client.stream("GET", "/audit", headers=NDJSON)
            assert (await stack.enter_async_context(stream)).status_code == 200
        refused = await gate.client.get("/audit", headers=NDJSON)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert (await gate.client.get("/audit")).status_code == 200
    while (await gate.client.get("/audit?n=1", headers=NDJSON)).status_code == 503:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # the server learns of it in its own time


async def test_damage_met_on_the_way_cuts_the_stream_short(gate: Gateway, tmp_path: Path) -> None:
    """A client cannot take the part before a damaged line for the whole: the connection ends without its end."""
    await gate.log(*(firing(number, text="x" * 1000) for number in range(1, 1001)))
    path = tmp_path / "data" / "audit.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"e3"', b'"e4"'))
    with pytest.raises(httpx.RemoteProtocolError):
        await gate.client.get("/audit", headers=NDJSON)
    path.write_bytes(content.replace(b'"e1000"', b'"e1001"'))
    assert (await gate.client.get("/audit", headers=NDJSON)).status_code == 500


async def test_a_long_search_holds_up_nobody(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that finds nothing for long goes on, and gives way to others after every slice of time."""
    monkeypatch.setattr(export, "SLICE_SECONDS", 0.0)
    await gate.log(*(firing(number, text="x" * 10_000) for number in range(1, 401)))
    answers = await asyncio.gather(
        *(gate.client.get("/audit", params={"q": "step>1 OR seq=1"}, headers=NDJSON) for _ in range(3)),
        *(gate.client.get("/audit?n=1") for _ in range(3)),
    )
    assert [answer.json()["seq"] for answer in answers[:3]] == [1] * 3
    assert all(answer.json()["next"] == 401 for answer in answers[3:])
