"""Probes, each tried against something real."""

from __future__ import annotations

import asyncio
import socket

import pytest

from autoheal.actions import Context
from autoheal.actions.probes import probe
from tests.support.looping import run_on
from tests.support.ports import free_port
from tests.support.victims import marked
from tests.support.webserver import HANG, answer, web_server


def test_tcp_holds_when_somebody_listens(context: Context, loop: str) -> None:
    """A connection is enough; what the server says is not asked. Keys for verification's loop are passed over."""

    async def work() -> None:
        async with web_server(answer(500)) as web:
            outcome = await probe({"tcp": f"127.0.0.1:{web.port}", "within": 60.0, "stable": 0.0}, context)
            assert outcome.ok
            assert outcome.detail["tcp"] == f"127.0.0.1:{web.port}"
        outcome = await probe({"tcp": f"127.0.0.1:{web.port}"}, context)
        assert not outcome.ok
        assert "111" in outcome.detail["error"]

    run_on(loop, work())


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as six:
            six.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on loopback here")
async def test_tcp_takes_ipv6_in_brackets(context: Context) -> None:
    """As in URLs."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "::1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await probe({"tcp": f"[::1]:{port}"}, context)).ok


@pytest.mark.parametrize("endpoint", ["nowhere.invalid:80", f"{'a' * 70}.invalid:80", "127.0.0.1:99999"])
async def test_tcp_to_nowhere_does_not_hold(context: Context, endpoint: str) -> None:
    """Names that cannot be resolved and ports that cannot be are outcomes."""
    outcome = await probe({"tcp": endpoint}, context)
    assert not outcome.ok
    assert outcome.detail["error"]


async def test_tcp_is_bounded(context: Context) -> None:
    """A host that drops packets is not waited for: here a listener whose queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        outcome = await probe({"tcp": f"127.0.0.1:{port}"}, context, timeout=0.1)
        for filler in fillers:
            filler.close()
    assert not outcome.ok
    assert outcome.detail["error"] == "no connection within 0.1 s"


@pytest.mark.parametrize(
    ("status", "expected", "ok"), [(200, [200], True), (204, None, False), (404, [404, 410], True), (500, [200], False)]
)
async def test_http_holds_when_the_status_is_expected(
    context: Context, status: int, expected: list[int] | None, ok: bool
) -> None:
    """200 unless `status` says otherwise; the method is GET."""
    async with web_server(answer(status)) as web:
        outcome = await probe({"http": {"url": web.url, "status": expected}}, context)
    assert outcome.ok is ok
    assert outcome.detail["status"] == status
    assert outcome.detail["http"] == f"GET {web.url}"
    assert web.asked[0].line == "GET / HTTP/1.1"


async def test_http_takes_a_bare_url_and_another_method(context: Context) -> None:
    """Both spellings of the rules."""
    async with web_server(answer(200)) as web:
        assert (await probe({"http": web.url}, context)).ok
        assert (await probe({"http": {"url": web.url, "method": "HEAD"}}, context)).ok
    assert web.asked[1].line == "HEAD / HTTP/1.1"


async def test_http_is_bounded_and_never_raises(context: Context) -> None:
    """A server that hangs, none at all, and a URL that is none."""
    async with web_server(HANG) as web:
        outcome = await probe({"http": {"url": web.url}}, context, timeout=0.1)
    assert outcome.detail["error"] == "no whole answer within 0.1 s"
    assert not (await probe({"http": f"http://127.0.0.1:{free_port()}/"}, context)).ok
    assert not (await probe({"http": "gopher://a/"}, context)).ok


async def test_a_command_holds_when_it_exits_with_0(context: Context) -> None:
    """It runs as commands of steps do."""
    good = await probe({"command": {"argv": ["/bin/sh", "-c", "echo fine; test $AUTOHEAL_RUN = run-1"]}}, context)
    assert good.ok
    assert good.detail["output"] == "fine\n"
    assert good.detail["command"].startswith("/bin/sh -c ")
    bad = await probe({"command": {"argv": ["/bin/false"]}}, context)
    assert not bad.ok
    assert bad.detail["exit_code"] == 1


async def test_a_command_that_hangs_is_ended(context: Context, victim: str) -> None:
    """A try is bounded."""
    outcome = await probe({"command": {"argv": ["/bin/sh", "-c", "sleep 600; :", victim]}}, context, timeout=0.3)
    assert not outcome.ok
    assert outcome.detail["timed_out"] is True
    assert marked(victim) == []


async def test_a_probe_of_no_known_kind_is_a_programming_error(context: Context) -> None:
    """The rules' schema lets none through."""
    with pytest.raises(ValueError, match="one of tcp, http and command"):
        await probe({"within": 60.0}, context)
