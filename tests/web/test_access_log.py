"""What the service's own log tells of requests, and which traces it names."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from autoheal.web.correlation import trace_of
from tests.support.gateway import gateway, unavailable, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def named(*values: str) -> dict[str, str]:
    """What a request with these `traceparent` headers tells of its trace."""
    return trace_of({"type": "http", "headers": [(b"traceparent", value.encode("latin-1")) for value in values]})


@pytest.mark.parametrize(
    "value", [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-comes"]
)
def test_a_trace_that_is_named_well_is_told(value: str) -> None:
    """Whether it is sampled or not, and by later versions, whose beginning is the same (section 4.3)."""
    assert named(value) == {"trace_id": TRACE, "span_id": SPAN}


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}g-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-01\xb2",
    ],
)
def test_a_trace_that_is_not_is_ignored(value: str) -> None:
    """W3C Trace Context section 3.2.2."""
    assert named(value) == {}


def test_two_traces_are_none() -> None:
    """Nobody could say which."""
    assert named(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01") == named() == {}


def requests(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Those lines that tell of requests."""
    return [line for line in logs if line["event"] == "request"]


async def test_each_request_is_told_of_once_it_is_over(tmp_path: Path) -> None:
    """With the status that was answered; errors too, and under the id of the answer. A path is not told without end."""
    async with gateway(tmp_path) as gate:
        gate.engine.error = unavailable()
        with capture_logs([merge_contextvars]) as logs:
            answers = [
                await gate.client.get("/rules?x=secret"),
                await gate.client.post("/alert", json={"version": "4", "alerts": []}),
                await gate.client.get("/" + "a" * 1000),
            ]
            await until(lambda: len(requests(logs)) == 3)
    told = requests(logs)
    assert [(line["path"], line["status"]) for line in told] == [
        ("/rules", 400),
        ("/alert", 503),
        ("/" + "a" * 199, 404),
    ]
    assert [line["correlation_id"] for line in told] == [answer.headers["x-correlation-id"] for answer in answers]
    assert "secret" not in str(logs)


async def test_what_machines_ask_all_the_time_is_told_when_it_goes_wrong(tmp_path: Path) -> None:
    """Else at `debug`."""
    async with gateway(tmp_path) as gate:
        with capture_logs() as logs:
            for path in ("/healthz", "/readyz", "/metrics"):
                await gate.client.get(path)
            gate.engine.ready = False
            await gate.client.get("/readyz")
            await until(lambda: len(requests(logs)) == 4)
    assert [(line["path"], line["status"], line["log_level"]) for line in requests(logs)] == [
        ("/healthz", 200, "debug"),
        ("/readyz", 200, "debug"),
        ("/metrics", 200, "debug"),
        ("/readyz", 503, "info"),
    ]


async def test_a_stream_is_told_of_when_its_reader_has_left(tmp_path: Path) -> None:
    """Not before."""
    async with gateway(tmp_path) as gate:
        with capture_logs() as logs:
            async with gate.client.stream("GET", "/events") as answer:
                await anext(answer.aiter_lines())
                await asyncio.sleep(0)
                assert logs == []
            await until(lambda: bool(logs))
    assert [(line["path"], line["status"]) for line in logs] == [("/events", 200)]
