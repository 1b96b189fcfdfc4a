"""Bodies that never end, and many at once; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from autoheal.model import Notification, Receipt
from autoheal.web import body
from tests.support.dripping import dripped
from tests.support.gateway import Gateway, gateway, until
from tests.support.said import capture_logs

PAYLOAD = (Path(__file__).parents[1] / "payloads" / "01_firing_single.json").read_bytes()
SHORT = 0.2


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


def head(length: int, request: str = "POST /alert") -> bytes:
    return f"{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


@asynccontextmanager
async def sending(gate: Gateway, data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which `data` has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    try:
        writer.write(data)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def status(gate: Gateway, size: int = 0) -> int:
    """What a webhook of at least `size` bytes is answered."""
    return (await gate.client.post("/alert", content=PAYLOAD + b" " * (size - len(PAYLOAD)))).status_code


async def until_answered(gate: Gateway, wanted: int, size: int) -> None:
    """Return when such a webhook is answered `wanted`."""
    async with asyncio.timeout(10):
        while await status(gate, size) != wanted:
            pass


async def test_all_bodies_together_are_bounded(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it 503, which Alertmanager takes for a reason to come again; who ends gives its share back."""
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 20_000)
    async with sending(gate, head(15_000) + b" " * 14_000), sending(gate, head(9000, "POST /alert") + b" " * 4000):
        await until_answered(gate, 503, 3000)
        answer = await gate.client.post("/alert", content=b" " * 3000)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert await status(gate, 1900) == 200
    await until_answered(gate, 200, 19_000)


async def test_large_bodies_leave_room_for_small_ones(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who drips large bodies takes the share of large ones, and gives it back at the end."""
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 30_000)
    monkeypatch.setattr(body, "RESERVED_BYTES", 10_000)
    monkeypatch.setattr(body, "SMALL_BYTES", 5_000)
    for _ in range(3):
        async with sending(gate, head(18_000) + b" " * 17_000):
            await until_answered(gate, 503, 6_000)
            assert await status(gate, 4_900) == 200
        await until_answered(gate, 200, 19_000)


async def test_a_body_is_held_until_it_is_answered(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the disk still takes memory."""
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 20_000)
    receive, entered, durable = gate.engine.receive, asyncio.Event(), asyncio.Event()

    async def slowly(notification: Notification, correlation_id: str, actor: str) -> Receipt:
        entered.set()
        await durable.wait()
        return await receive(notification, correlation_id, actor)

    monkeypatch.setattr(gate.engine, "receive", slowly)
    first = asyncio.create_task(status(gate, 15_000))
    await asyncio.wait_for(entered.wait(), 10)
    assert await status(gate, 6000) == 503
    durable.set()
    assert await first == 200
    assert await status(gate, 6000) == 200


async def test_a_body_that_drips_is_not_waited_for(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, so that it is sent again, and its share is free; a byte now and then puts nothing off."""
    monkeypatch.setattr(body, "BODY_SECONDS", SHORT)
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 20_000)
    got = await dripped(gate.port, head(19_900) + b" " * 19_000, b" ", SHORT / 10)
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"application/problem+json" in got
    monkeypatch.undo()
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 20_000)
    assert await status(gate, 19_000) == 200


@pytest.mark.parametrize("rest", [b"", b"Transfer-Encoding: chunked\r\n"])
async def test_a_stream_of_events_outlives_the_deadline(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch, rest: bytes
) -> None:
    """A request whose body is whole, or has none, has all the time in the world."""
    monkeypatch.setattr(body, "BODY_SECONDS", SHORT)
    data = b"GET /events HTTP/1.1\r\nHost: localhost\r\n" + rest + b"\r\n" + (b"0\r\n\r\n" if rest else b"")
    async with sending(gate, data) as (reader, _), asyncio.timeout(10):
        await reader.readuntil(b"retry: 3000")
        # Begun later, so its deadline is later too.
        async with sending(gate, head(10)) as (late, _):
            assert (await late.readline()).startswith(b"HTTP/1.1 503 ")
        await until(lambda: gate.feed.subscribers == 1)
        assert not reader.at_eof()


async def test_a_stream_whose_body_never_comes_ends_quietly(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of its body ends the stream as a client that left would: no error, no line in the log."""
    monkeypatch.setattr(body, "BODY_SECONDS", SHORT)
    with capture_logs() as logs:
        async with sending(gate, head(5, "GET /events")) as (reader, _), asyncio.timeout(10):
            await reader.readuntil(b"retry: 3000")
            await until(lambda: gate.feed.subscribers == 0)
    assert logs == []


async def test_a_stream_of_events_holds_no_body(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is sent is thrown away, so it counts for nothing as long as it lasts."""
    monkeypatch.setattr(body, "MAX_BODIES_BYTES", 20_000)
    async with sending(gate, head(15_000, "GET /events") + b" " * 15_000) as (reader, _), asyncio.timeout(10):
        await reader.readuntil(b"retry: 3000")
        assert await status(gate, 19_000) == 200
