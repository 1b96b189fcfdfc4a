"""What a client may send before there is a request to answer, and how long it may take; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from autoheal.web import connection
from tests.support.dripping import dripped
from tests.support.gateway import Gateway, gateway, until

shared = pytest.mark.asyncio(loop_scope="module")
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /alert HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
KIB = 1024
SHORT = 0.4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for all of these tests: none of them may change it."""
    async with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@asynccontextmanager
async def connected(gate: Gateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """One connection; all that is done with it has ten seconds."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def to_the_end(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the server closes."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(KIB):
            got += block
    return got


async def sent_for_ever(writer: asyncio.StreamWriter, piece: bytes) -> int:
    """Send `piece` again and again until the server has closed; how many bytes went out."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while count < 64 * KIB * KIB:
            writer.write(piece)
            await writer.drain()
            count += len(piece)
    return count


ENDLESS = [
    (b"GET /", b"a" * KIB),
    (b"GET /healthz HTTP/1.1\r\nX-Long: ", b"a" * KIB),
    (b"GET /healthz HTTP/1.1\r\n", b"X-Many: 1\r\n" * 100),
    (b"", b"\r\n" * 512),
    (POST + b"2\r\n{}\r\n0\r\n", b"X-Trailer: 1\r\n" * 100),
    (POST + b"2;ext=", b"a" * KIB),
    (b"GET /no/such/path HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: 1\r\n" * 100),
]


@pytest.mark.parametrize(("begin", "piece"), ENDLESS)
@shared
async def test_a_head_without_end_is_cut(gate: Gateway, begin: bytes, piece: bytes) -> None:
    """The request line, one header, many headers, empty lines, trailers, a chunk's extension: none is kept."""
    async with connected(gate) as (_, writer):
        writer.write(begin)
        # Beyond the bound lies what the two sockets' buffers hold.
        assert await sent_for_ever(writer, piece) < 8 * KIB * KIB
    assert (await gate.client.get("/healthz")).status_code == 200


@shared
async def test_too_long_a_head_is_431(gate: Gateway) -> None:
    """Answered, then closed: the sender learns why."""
    async with connected(gate) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 70 * KIB)
        assert await to_the_end(reader) == (
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )


@shared
async def test_a_head_of_60_kib_is_taken(gate: Gateway) -> None:
    """In one write or in two, on a new connection or a used one, with a body before it."""
    long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 60 * KIB + b"\r\n\r\n"
    body = b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000
    async with connected(gate) as (reader, writer):
        for first, request in ((b"200", long), (b"400", body), (b"200", long)):
            writer.write(request[:1])
            await writer.drain()
            writer.write(request[1:])
            assert (await reader.readline()).startswith(b"HTTP/1.1 " + first)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))


@shared
async def test_pipelined_requests_are_answered_in_their_order(gate: Gateway) -> None:
    """A body and the next head in one packet count for what they are."""
    body = b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n" + b"a" * 90_000
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with connected(gate) as (reader, writer):
        writer.write(GET + body + GET + last)
        statuses = [part[:3] for part in (await to_the_end(reader)).split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"400", b"200", b"200"]


@shared
async def test_thousands_of_pipelined_requests_are_not_kept(gate: Gateway) -> None:
    """Each would wait in memory for the answer to the one before it."""
    async with connected(gate) as (_, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await sent_for_ever(writer, b"GET / HTTP/1.1\r\n\r\n" * 50) < 8 * KIB * KIB


@pytest.mark.parametrize(
    ("first", "answer"),
    [
        (b"", b""),
        (b"\r\n", b"HTTP/1.1 408 "),
        (b"G", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"HTTP/1.1 408 "),
    ],
)
@shared
async def test_a_head_that_does_not_come_is_not_waited_for(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch, first: bytes, answer: bytes
) -> None:
    """A connection that says nothing is closed without a word, one that began a request is told 408."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    async with connected(gate) as (reader, writer):
        writer.write(first)
        got = await to_the_end(reader)
    assert got.startswith(answer)
    assert bool(got) == bool(answer)


@pytest.mark.parametrize(("begin", "drop"), [(b"GET /", b"a"), (b"GET / HTTP/1.1\r\nX: ", b"a"), (b"", b"\r\n")])
@shared
async def test_a_head_that_drips_is_not_waited_for(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch, begin: bytes, drop: bytes
) -> None:
    """A byte now and then does not put it off, on a connection that was used before."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    got = await dripped(gate.port, GET + begin, drop, SHORT / 10)
    assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == [b"200", b"408"]


@shared
async def test_a_stream_outlives_the_deadline_of_heads(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a careless client appends to its request: an empty line is no head that is waited for."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    async with connected(gate) as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n")
        await reader.readuntil(b"retry: 3000")
        writer.write(b"\r\n")
        await writer.drain()
        # Another connection's deadline passes meanwhile.
        async with connected(gate) as (silent, _):
            assert await to_the_end(silent) == b""
        async with connected(gate) as (silent, _):
            assert await to_the_end(silent) == b""
        await until(lambda: gate.feed.subscribers == 1)
        assert not reader.at_eof()


@shared
async def test_a_half_sent_second_request_does_not_pass_for_an_answer_to_the_first(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an answer is due, nothing else is written into it: the connection ends."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", SHORT)
    async with connected(gate) as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal")
        got = await to_the_end(reader)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408" not in got


@shared
async def test_a_stream_with_a_request_behind_it_ends_with_its_connection(gate: Gateway) -> None:
    """Five hundred that nobody reads would keep everybody else out."""
    async with connected(gate) as (reader, writer):
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET)
        await reader.readuntil(b"retry: 3000")
        await until(lambda: gate.feed.subscribers == 1)
    await until(lambda: gate.feed.subscribers == 0)


@pytest.mark.parametrize("drop", [b"", b"a"])
@shared
async def test_a_body_behind_its_answer_does_not_hold_the_connection(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch, drop: bytes
) -> None:
    """Nobody reads it: one byte and silence, or a drip, end with the connection, not with the last descriptor."""
    monkeypatch.setattr(connection, "REST_SECONDS", SHORT)
    begin = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    if drop:
        got = await dripped(gate.port, begin, drop, SHORT / 10)
    else:
        async with connected(gate) as (reader, writer):
            writer.write(begin)
            await reader.readuntil(b"}")
            writer.write(b"a")
            got = b"HTTP/1.1 200" + await to_the_end(reader)
    assert got.startswith(b"HTTP/1.1 200")
