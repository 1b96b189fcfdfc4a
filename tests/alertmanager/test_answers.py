"""Alertmanager's API: what is sent to it, and that one that misbehaves is only unknown."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from autoheal.alertmanager import Alertmanager
from tests.support.alertmanagers import CLOCK, DOWN, OTHER, Answer, fake, http, listed, poll
from tests.support.ports import free_port


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(b"", "404 Not Found"), "answered 404"),
        (http([], "302 Found", "Location: http://127.0.0.1:1/\r\n"), "answered 302"),
        (http(b"<html>"), "did not answer JSON"),
        (http(b"\xff"), "did not answer JSON"),
        (http(b"[" * 5000), "did not answer JSON"),
        (http({"alerts": []}), "answered an object and not a list"),
        (http([5]), "alert 0 has no fingerprint or no status"),
        (http([listed(), listed(fingerprint="x")]), "alert 1 has no fingerprint or no status"),
        (http([listed(status="firing")]), "alert 0 has no fingerprint or no status"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "illegal status line"),
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]", "peer closed connection"),
        (hang, "did not answer within 0.2 s"),
        (drip, "did not answer within 0.2 s"),
        (flood, "answered more than 100,000 bytes"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
async def test_unusable_lists(client: httpx.AsyncClient, answer: Answer, says: str) -> None:
    """No answer that cannot be used is an end of anything; the error says who and why."""
    async with fake(answer) as server:
        polled = await poll(client, server, timeout=0.2, max_body=100_000)
    assert not polled.answered
    (error,) = polled.errors
    assert error.startswith(f"{server.url} (alerts): ")
    assert says in error
    assert polled.verdict(OTHER) == "unknown"


@pytest.mark.parametrize(
    "answer", [http({}), http([]), http({"uptime": 5}), http({"uptime": "long"}), http(b"", "503 Busy"), b""]
)
async def test_unusable_status(client: httpx.AsyncClient, answer: bytes) -> None:
    """Without the uptime nothing has ended, even when the alerts are told."""
    async with fake(http([listed()]), answer) as server:
        polled = await poll(client, server)
    assert polled.answered
    assert polled.uptime is None
    (error,) = polled.errors
    assert error.startswith(f"{server.url} (status): ")
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict(OTHER) == "unknown"


async def test_refused(client: httpx.AsyncClient) -> None:
    """An Alertmanager that does not run is an error, not an exception."""
    url = f"http://127.0.0.1:{free_port()}"
    polled = await Alertmanager([url], client, clock=CLOCK).poll()
    assert (polled.answered, polled.uptime, polled.alerts) == (False, None, {})
    assert sorted(error.partition(")")[0] for error in polled.errors) == [f"{url} (alerts", f"{url} (status"]


async def test_what_is_asked(client: httpx.AsyncClient) -> None:
    """All states are asked for, with the filters and the receiver, below the URL's path prefix."""
    async with fake() as server:
        manager = Alertmanager([f"{server.url}/am/"], client, clock=CLOCK)
        await manager.poll(filters=['a="b c&d"', 'e="ж\x00"'], receiver="web\\.hook")
    targets = {urlsplit(target).path: parse_qsl(urlsplit(target).query) for target, _ in server.requests}
    assert targets == {
        "/am/api/v2/alerts": [
            ("active", "true"),
            ("silenced", "true"),
            ("inhibited", "true"),
            ("unprocessed", "true"),
            ("filter", 'a="b c&d"'),
            ("filter", 'e="ж\x00"'),
            ("receiver", "web\\.hook"),
        ],
        "/am/api/v2/status": [],
    }


async def test_a_filter_too_long_for_a_url_is_an_error(client: httpx.AsyncClient) -> None:
    """Group labels of any length make an error at most."""
    async with fake() as server:
        polled = await Alertmanager([server.url], client, clock=CLOCK).poll(filters=['a="' + "x" * 100_000 + '"'])
    assert not polled.answered
    assert "too long" in polled.errors[0]


async def test_credentials_are_sent_and_never_told(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """`user:password@` becomes basic authentication; neither errors nor httpx's own log repeat it."""
    caplog.set_level(logging.DEBUG)
    async with fake(http(b"", "401 Unauthorized")) as server:
        url = server.url.replace("http://", "http://us%40er:hunter2@")
        polled = await Alertmanager([url], client, clock=CLOCK).poll()
    expected = "Basic " + b64encode(b"us@er:hunter2").decode()
    assert [fields["authorization"] for _, fields in server.requests] == [expected, expected]
    assert polled.errors == (f"{server.url} (alerts): answered 401",)
    assert "hunter2" not in caplog.text + repr(polled)
