"""What strangers send. Nothing of it is a 500, a traceback or the end of the service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote_from_bytes

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoheal.web.body import MAX_BODY_BYTES
from autoheal.web.errors import BadParameter
from autoheal.web.parameters import moment, number
from tests.support.gateway import Gateway, gateway
from tests.support.said import capture_logs

ROUTES = ("/", "/healthz", "/readyz", "/metrics", "/alert", "/events", "/audit", "/rules", "/runs", "/runs/r1")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")

WEBSOCKET = (
    b"GET /audit HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for all of these tests: none of them may change it."""
    async with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


async def raw(gate: Gateway, *parts: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the server closes, or has nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(5):
            while block := await reader.read(65536):
                answer += block
    except (ConnectionError, TimeoutError):
        pass
    finally:
        await hang_up(writer)
    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close, and wait for it: an end that nobody waited for is a warning in another test."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("method", METHODS)
@shared
async def test_a_method_that_a_route_does_not_have_is_405(gate: Gateway, method: str) -> None:
    """With Allow, which names those that it has; HEAD stands wherever GET does."""
    for path in ROUTES:
        has = {"POST"} if path == "/alert" else {"GET", "HEAD"}
        if method in has:
            continue
        answer = await gate.client.request(method, path)
        assert answer.status_code == 405, (method, path)
        assert answer.headers["allow"] == ", ".join(sorted(has))
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path", ["/audit/", "//audit", "/AUDIT", "/runs/", "/runs/r1/x", "/%00", "/..%2faudit", "/%C3%A9"]
)
@shared
async def test_paths_that_are_not_ours_are_404(gate: Gateway, path: str) -> None:
    """No redirects, no near misses."""
    answer = await gate.client.get(httpx.URL(f"http://127.0.0.1:{gate.port}").copy_with(raw_path=path.encode()))
    assert answer.status_code == 404
    assert "location" not in answer.headers


@shared
async def test_a_chunked_body_is_counted_as_it_streams(gate: Gateway) -> None:
    """No Content-Length to trust: 413 as soon as 8 MiB are exceeded."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2 * MAX_BODY_BYTES:
            sent += 65536
            yield b" " * 65536

    assert (await gate.client.post("/alert", content=endless())).status_code == 413
    assert gate.engine.received == []


@shared
async def test_a_body_that_is_announced_as_too_long_is_not_waited_for(gate: Gateway) -> None:
    """413 on the word of Content-Length, before any of the body has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    writer.write(b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
    async with asyncio.timeout(5):
        # The phrase is the interpreter's: RFC 9110 renamed it.
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    await hang_up(writer)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999999\r\n\r\n{}",
        b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /alert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"POST /alert HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"GET /audit HTTP/1.1\r\n\r\n",
        b"GET /audit HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/audit HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /audit?q=\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /audit HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\xfe\r\nX-Forwarded-For: x\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        WEBSOCKET,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00" * 1000,
    ],
)
@shared
async def test_broken_requests_do_no_harm(gate: Gateway, request_bytes: bytes) -> None:
    """Whatever they get, it is no 5xx and nobody else notices."""
    with capture_logs() as logs:
        if b"/events" in request_bytes:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
                writer.write(request_bytes)
                answer = await reader.read(200)
                await hang_up(writer)
        else:
            answer = await raw(gate, request_bytes)
    assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]
    assert logs == []
    assert gate.engine.received == []
    assert (await gate.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"' + b"x" * 1000 + b'"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"alerts": 1e999}',
        b'{"version":"4","alerts":[{"status":"firing","labels":{"a":"\\ud800"}}]}',
        b'{"version":"4","alerts":[' + b"1" * 5000 + b"]}",
    ],
)
@shared
async def test_bodies_that_are_no_webhook_are_400(gate: Gateway, body: bytes) -> None:
    """Depth, size of numbers and bad text included."""
    answer = await gate.client.post("/alert", content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"]


@shared
async def test_query_strings_of_every_kind_are_answered(gate: Gateway) -> None:
    """No query string makes a route fail; what it does not know, it refuses."""
    for path in ("/", "/metrics", "/audit", "/runs", "/rules", "/events"):
        for text in (b"\xff", b"a" * 5000, b"&&&&;;;", b"=", b"q=" + b"(" * 3000, b"%", b"%00=%00", b"q=%ed%a0%80"):
            url = httpx.URL(f"http://127.0.0.1:{gate.port}").copy_with(
                raw_path=path.encode() + b"?" + quote_from_bytes(text, safe="=&;%").encode()
            )
            answer = await gate.client.get(url)
            assert answer.status_code == 400 or (text == b"&&&&;;;" and answer.status_code == 200), (path, text)


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fullmatch=True))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_parameters_are_read_or_refused(text: str) -> None:
    """Any text is a value or a BadParameter; never another exception."""
    for read in (
        lambda: moment({"since": text}, "since", 1_790_000_000.0),
        lambda: number({"n": text}, "n", low=1, high=5000),
    ):
        with contextlib.suppress(BadParameter):
            assert isinstance(read(), int | float)
