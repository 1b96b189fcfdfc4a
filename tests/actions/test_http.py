"""The http action, with a real server on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from autoheal import __version__
from autoheal.actions import ACTIONS, Context, Http, Outcome, http
from autoheal.actions.http import HttpParams
from tests.support.certificates import certified
from tests.support.clock import FakeClock
from tests.support.looping import run_on
from tests.support.ports import free_port
from tests.support.webserver import HANG, answer, web_server


async def send(context: Context, url: str, **params: Any) -> Outcome:
    return await Http(chance=lambda: 0.5).run({"url": url, **params}, context)


def test_a_request_is_sent_as_the_plan_says(context: Context, loop: str) -> None:
    """Method, headers and JSON as given; what came back is told."""

    async def work() -> None:
        async with web_server(answer(201, b"made")) as web:
            params = {"method": "PUT", "headers": {"X-Team": "sre ☃"}, "json": {"a": ["é\n", 1, None]}}
            outcome = await send(context, f"{web.url}fix?x=1", **params)
        (asked,) = web.asked
        assert asked.line == "PUT /fix?x=1 HTTP/1.1"
        assert asked.headers["x-team"] == "sre ☃"
        assert asked.headers["content-type"] == "application/json"
        assert orjson.loads(asked.body) == {"a": ["é\n", 1, None]}
        assert outcome.ok
        took = outcome.detail.pop("duration_ms")
        assert 0 <= took < 10_000
        assert outcome.detail == {"status": 201, "attempts": 1, "response": "made", "response_truncated": False}

    run_on(loop, work())


async def test_the_defaults_are_a_post_without_content(context: Context) -> None:
    """It names autoheal, carries the idempotency key and asks for no compression."""
    async with web_server(answer(200)) as web:
        assert (await send(context, web.url)).ok
    (asked,) = web.asked
    assert asked.line == "POST / HTTP/1.1"
    assert asked.body == b""
    assert asked.headers["user-agent"] == f"autoheal/{__version__}"
    assert asked.headers["idempotency-key"] == "log-run-1-2"
    assert asked.headers["accept-encoding"] == "identity"
    assert "content-type" not in asked.headers


async def test_a_text_body_and_a_header_that_replaces_a_default(context: Context) -> None:
    """Header names are the same in any case."""
    async with web_server(answer(200)) as web:
        await send(context, web.url, body="grüß\n", headers={"content-TYPE": "text/csv", "User-Agent": "me"})
        await send(context, web.url, body="x")
    assert web.asked[0].body == "grüß\n".encode()
    assert web.asked[0].headers["content-type"] == "text/csv"
    assert web.asked[0].headers["user-agent"] == "me"
    assert web.asked[1].headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "expected", "ok"),
    [
        (204, None, True),
        (404, None, False),
        (404, [404], True),
        (200, [404, "500-599"], False),
        (503, [404, "500-599"], True),
    ],
)
async def test_expected_statuses(context: Context, status: int, expected: Any, ok: bool) -> None:
    """2xx unless `status` names codes or ranges; then those alone."""
    async with web_server(answer(status)) as web:
        outcome = await send(context, web.url, status=expected)
    assert outcome.ok is ok
    assert outcome.detail["status"] == status
    shown = ", ".join(map(str, expected or ["200-299"]))
    assert outcome.detail.get("error") == (None if ok else f"answered {status}, expected {shown}")


async def test_redirects_are_not_followed(context: Context) -> None:
    """A server that was asked must not choose another one to be asked."""
    async with web_server(answer(302, Location="/elsewhere"), answer(200)) as web:
        outcome = await send(context, web.url)
    assert not outcome.ok
    assert outcome.detail["error"] == "answered 302 (redirects are not followed), expected 200-299"
    assert len(web.asked) == 1


async def test_retries_carry_one_idempotency_key(context: Context) -> None:
    """429, 5xx and broken connections are tried again after pauses that double."""
    clock = FakeClock()
    async with web_server(answer(503), None, answer(429), answer(200, b"done")) as web:
        task = asyncio.ensure_future(send(dataclasses.replace(context, clock=clock), web.url, retries=5))
        pauses = await _pauses(clock, task)
        outcome = await task
    assert outcome.ok
    assert outcome.detail["attempts"] == 4
    assert outcome.detail["response"] == "done"
    assert {asked.headers["idempotency-key"] for asked in web.asked} == {"log-run-1-2"}
    assert pauses == [0.375, 0.75, 1.5]


async def test_retries_end(context: Context) -> None:
    """After `retries` more tries the last answer counts; no pause is longer than 30 s."""
    clock = FakeClock()
    async with web_server(answer(500, b"no")) as web:
        task = asyncio.ensure_future(send(dataclasses.replace(context, clock=clock), web.url, retries=10))
        pauses = await _pauses(clock, task)
        outcome = await task
    assert not outcome.ok
    assert outcome.detail["attempts"] == len(web.asked) == 11
    assert outcome.detail["status"] == 500
    assert outcome.detail["response"] == "no"
    assert max(pauses) == 30 * 0.75
    assert outcome.detail["duration_ms"] == round(sum(pauses) * 1000)


async def _pauses(clock: FakeClock, task: asyncio.Future[Outcome]) -> list[float]:
    """Let time pass whenever somebody waits for it, and tell for how long each waited."""
    pauses = []
    while not task.done():
        if clock._sleepers:
            pauses.append(clock._sleepers[0][0] - clock.monotonic())
            await clock.advance(pauses[-1])
        await asyncio.wait([task], timeout=0.001)
    return pauses


@pytest.mark.parametrize("status", [400, 404, 302])
async def test_an_answer_that_would_not_change_is_not_asked_for_again(context: Context, status: int) -> None:
    """The client's own fault, and redirects."""
    async with web_server(answer(status)) as web:
        outcome = await send(context, web.url, retries=3)
    assert outcome.detail["attempts"] == len(web.asked) == 1


async def test_an_expected_5xx_is_no_reason_to_retry(context: Context) -> None:
    """What `status` names is a success."""
    async with web_server(answer(503)) as web:
        outcome = await send(context, web.url, retries=3, status=[503])
    assert outcome.ok
    assert len(web.asked) == 1


@pytest.mark.parametrize("first", [HANG, answer(200, b"part", Content_Length="10") + HANG])
def test_a_timeout_bounds_the_whole_try(context: Context, loop: str, first: bytes) -> None:
    """Whether nothing comes or not all that was announced."""

    async def work() -> Outcome:
        async with web_server(first) as web:
            return await send(context, web.url, timeout=0.2)

    outcome = run_on(loop, work())
    assert not outcome.ok
    assert outcome.detail["error"] == "no whole answer within 0.2 s"
    assert "status" not in outcome.detail


def test_nobody_listens(context: Context, loop: str) -> None:
    """The error is the one at the root."""
    outcome = run_on(loop, send(context, f"http://127.0.0.1:{free_port()}/"))
    assert not outcome.ok
    assert "Errno 111" in outcome.detail["error"]
    assert outcome.detail["attempts"] == 1


async def test_a_server_that_breaks_the_protocol(context: Context) -> None:
    """Whatever it sends is an outcome."""
    for broken in (None, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"\0" * 100):
        async with web_server(broken) as web:
            outcome = await send(context, web.url)
        assert not outcome.ok
        assert "ProtocolError" in outcome.detail["error"]


async def test_a_host_that_does_not_exist(context: Context) -> None:
    """Names that cannot be resolved, or are none, are outcomes as well."""
    for host in ("nowhere.invalid", "a" * 70 + ".invalid", "..", "127.0.0.1:1"):
        outcome = await send(context, f"http://{host}/")
        assert not outcome.ok
        assert outcome.detail["error"]


def test_ten_megabytes_of_response_are_cut(context: Context, loop: str) -> None:
    """The first 16 KiB are kept and the rest is not even read."""

    async def work() -> Outcome:
        async with web_server(answer(200, b"x" * 10_000_000)) as web:
            return await send(context, web.url)

    outcome = run_on(loop, work())
    assert outcome.ok
    assert outcome.detail["response"] == "x" * 16_384
    assert outcome.detail["response_truncated"] is True


async def test_a_compressed_response_is_not_unpacked(context: Context) -> None:
    """A few kilobytes could become gigabytes; nobody asked for compression."""
    async with web_server(answer(200, gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")) as web:
        outcome = await send(context, web.url)
    assert outcome.ok
    assert len(outcome.detail["response"]) <= 16_384
    assert len(orjson.dumps(outcome.detail)) < 50 * 1024


async def test_secrets_are_sent_and_not_told(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the response that echoes them, not in errors, not in the log of the HTTP library."""
    caplog.set_level(logging.DEBUG)
    async with web_server(answer(500, b"you sent hunter2-hunter2 and hunter2%2Dhunter2")) as web:
        outcome = await send(
            context,
            f"{web.url}⟦secret:token⟧",
            headers={"Authorization": "Bearer ⟦secret:token⟧"},
            json={"deep": ["⟦secret:token⟧"]},
        )
    (asked,) = web.asked
    assert asked.line == "POST /hunter2-hunter2 HTTP/1.1"
    assert asked.headers["authorization"] == "Bearer hunter2-hunter2"
    assert asked.body == b'{"deep":["hunter2-hunter2"]}'
    assert "hunter2-hunter2" not in repr(outcome)
    assert outcome.detail["response"].startswith("you sent [redacted] and ")
    assert "hunter2" not in caplog.text


async def test_a_secret_that_is_the_whole_url_is_checked_when_it_is_known(context: Context, tmp_path: Path) -> None:
    """A file may hold anything; the error does not repeat it."""
    (tmp_path / "token").write_text("file:///etc/passwd")
    outcome = await send(context, "⟦secret:token⟧")
    assert not outcome.ok
    assert outcome.detail.pop("duration_ms") < 10_000
    assert outcome.detail == {
        "attempts": 0,
        "error": "the URL, its secrets filled in, is not acceptable",
    }


async def test_a_missing_secret_fails_the_action(context: Context) -> None:
    """Nothing is sent."""
    async with web_server(answer(200)) as web:
        outcome = await send(context, web.url, headers={"Authorization": "⟦secret:missing⟧"})
    assert outcome.detail["error"] == "secret 'missing': No such file or directory"
    assert web.asked == []


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7fb"])
async def test_a_header_cannot_be_broken_out_of(context: Context, value: str) -> None:
    """Line breaks would begin another header: refused before anything is sent."""
    async with web_server(answer(200)) as web:
        outcome = await send(context, web.url, headers={"X-Alert": value})
    assert outcome.detail["error"] == "header X-Alert: line breaks and other control characters cannot be sent"
    assert web.asked == []


async def test_proxies_of_the_environment_are_not_used(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a request goes is said in the rule alone."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with web_server(answer(200)) as web:
        assert (await send(context, web.url)).ok


async def test_certificates_are_checked_against_the_systems_authorities(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that none of them signed is refused; SSL_CERT_FILE names others, such as a company's own."""
    certificate, tls = certified(tmp_path)
    for authorities, ok in ((None, False), (certificate, True)):
        http._tls.cache_clear()
        if authorities is not None:
            monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
        async with web_server(answer(200), tls=tls) as web:
            outcome = await send(context, f"https://localhost:{web.port}/")
        assert outcome.ok is ok
        assert ok or "certificate verify failed" in outcome.detail["error"]
    http._tls.cache_clear()


def test_describe_tells_method_and_url() -> None:
    """Secrets stay markers."""
    describe = ACTIONS["http"].describe
    assert describe({"url": "https://example.org/hook/⟦secret:token⟧"}) == (
        "POST https://example.org/hook/⟦secret:token⟧"
    )
    assert describe({"url": "http://a/", "method": "PUT"}) == "PUT http://a/"


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({}, ("url",)),
        ({"url": "ftp://a/"}, ("url",)),
        ({"url": "http://a/", "method": "GET /"}, ("method",)),
        ({"url": "http://a/", "json": {}, "body": ""}, ()),
        ({"url": "http://a/", "headers": {"A B": "x"}}, ("headers", "A B", "[key]")),
        ({"url": "http://a/", "headers": {"Idempotency-Key": "x"}}, ("headers", "Idempotency-Key", "[key]")),
        ({"url": "http://a/", "retries": 11}, ("retries",)),
        ({"url": "http://a/", "retries": -1}, ("retries",)),
        ({"url": "http://a/", "status": []}, ("status",)),
        ({"url": "http://a/", "follow": True}, ("follow",)),
    ],
)
def test_wrong_parameters_are_refused_at_load(params: dict[str, Any], where: tuple[Any, ...]) -> None:
    """Each fault is at its place."""
    with pytest.raises(ValidationError) as caught:
        HttpParams.model_validate(params)
    assert [error["loc"] for error in caught.value.errors()] == [where]


@pytest.mark.parametrize("status", ["600-700", "299-200", 99, 600, "2xx", True])
def test_a_status_is_a_code_or_a_range(status: Any) -> None:
    """From 100 to 599, and a range rises."""
    with pytest.raises(ValidationError):
        HttpParams.model_validate({"url": "http://a/", "status": status})


def test_one_status_needs_no_list() -> None:
    """A code and a range alone are taken as they are."""
    for status in (204, "200-299"):
        assert HttpParams.model_validate({"url": "http://a/", "status": status}).status == (status,)
