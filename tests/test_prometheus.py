"""Prometheus's API: what is sent to it, what its answers mean, and that one that misbehaves tells nothing."""

from __future__ import annotations

import logging
import math
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import pytest

from autoheal.errors import UpstreamError
from autoheal.prometheus import Answer, Prometheus
from tests.support.monitoring import prometheus
from tests.support.ports import free_port
from tests.support.webserver import HANG, answer, web_server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that no proxy variable of this machine reaches."""
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def told(kind: str, result: Any, **more: Any) -> bytes:
    body = {"status": "success", "data": {"resultType": kind, "result": result}, **more}
    return answer(200, orjson.dumps(body))


def vector(*values: str) -> bytes:
    return told("vector", [{"metric": {"n": str(n)}, "value": [1.5, value]} for n, value in enumerate(values)])


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        (vector(), False),
        (vector("1"), True),
        (vector("0"), False),
        (vector("-0"), False),
        (vector("2", "-1.5", "+Inf"), True),
        (vector("2", "0"), False),
        (vector("2", "NaN"), False),
        (told("scalar", [1.5, "1"]), True),
        (told("scalar", [1.5, "0"]), False),
        (told("scalar", [1.5, "NaN"]), False),
    ],
)
async def test_what_holds(client: httpx.AsyncClient, said: bytes, holds: bool) -> None:
    """A vector that is not empty, or a scalar: all of it neither 0 nor NaN."""
    async with web_server(said) as web:
        assert (await Prometheus([web.url], client).query("up")).holds is holds


def test_how_many_values_hold() -> None:
    """For people, who want to know how far it is from holding."""
    assert Answer((1.0, 0.0, math.nan, 3.0)).held == 2


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (answer(404), "answered 404"),
        (answer(302, Location="http://127.0.0.1:1/"), "answered 302"),
        (
            answer(400, b'{"status":"error","errorType":"bad_data","error":"parse error: \\"x\\""}'),
            'parse error: \\"x\\"',
        ),
        (answer(422, orjson.dumps({"status": "error", "error": "y" * 800})), f'answered 422: "{"y" * 300}…"'),
        (answer(503, b"<html>"), "answered 503"),
        (answer(200, b"<html>"), "did not answer JSON"),
        (answer(200, b"[]"), "did not answer as Prometheus does"),
        (answer(200, b'{"status":"success"}'), "did not answer as Prometheus does"),
        (answer(200, b'{"status":"error"}'), "answered no success"),
        (told("vector", None), "did not answer as Prometheus does"),
        (told("vector", [5]), "did not answer as Prometheus does"),
        (told("vector", [{"value": [1, "x"]}]), "did not answer as Prometheus does"),
        (told("vector", [{"histogram": [1, {}]}]), "answered histograms"),
        (told("scalar", []), "did not answer as Prometheus does"),
        (told("matrix", []), "answered a matrix"),
        (told("string", [1, "1"]), "answered a string"),
        (told("vector", [], warnings=["store down"]), "answered with warnings: store down"),
        (answer(200, b" " * 2000), "answered more than 1,000 bytes"),
        (answer(200, b"{") + HANG, "did not answer within 0.2 s"),
        (None, "disconnected"),
    ],
)
async def test_answers_that_tell_nothing(client: httpx.AsyncClient, said: bytes | None, says: str) -> None:
    """They are errors, for people: who it was, and what it said."""
    async with web_server(said) as web:
        with pytest.raises(UpstreamError) as error:
            await Prometheus([web.url], client, timeout=0.2, max_body=1000).query("up")
    assert str(error.value).startswith(f"no Prometheus told: {web.url}: ")
    assert says in str(error.value)


async def test_what_is_asked(client: httpx.AsyncClient) -> None:
    """The expression in a form below the URL's prefix, and how long Prometheus may take."""
    expression = f'up{{a="& =ж\n"}} or {"x" * 20_000}'
    async with web_server(vector("1")) as web:
        await Prometheus([f"{web.url}prom/"], client).query(expression)
    (asked,) = web.asked
    assert asked.line.startswith("POST /prom/api/v1/query ")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {"query": [expression], "timeout": ["5"]}


async def test_the_first_that_tells_counts(client: httpx.AsyncClient) -> None:
    """A dead member of a pair and one that answers nonsense are passed over; those after it are not asked."""
    async with web_server(answer(503)) as ill, web_server(vector("7")) as well, web_server(vector("8")) as last:
        urls = [f"http://127.0.0.1:{free_port()}", ill.url, well.url, last.url]
        assert await Prometheus(urls, client).query("up") == Answer((7.0,))
        assert (len(ill.asked), len(well.asked), len(last.asked)) == (1, 1, 0)


async def test_no_credentials_are_told(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """They are sent, and neither errors nor logs repeat them, though the server itself does."""
    caplog.set_level(logging.DEBUG)
    sent = b64encode(b"us@er:hunter2").decode()
    said = orjson.dumps({"error": f"Basic {sent} is us@er:hunter2"})
    async with web_server(answer(401, said)) as web:
        url = web.url.replace("http://", "http://us%40er:hunter2@")
        with pytest.raises(UpstreamError) as error:
            await Prometheus([url], client).query("up")
    assert web.asked[0].headers["authorization"] == f"Basic {sent}"
    assert str(error.value) == f'no Prometheus told: {web.url}: answered 401: "Basic … is us@er:…"'
    assert "hunter2" not in caplog.text
    assert sent not in caplog.text


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus's URL."""
    folder, port = Path(tmp_path_factory.mktemp("prometheus")), free_port()
    with prometheus(folder, port, free_port(), {}):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.component
@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("vector(3)", (3.0,)),
        ("1 == bool 2", (0.0,)),
        ("absent_of_everything", ()),
        ('label_replace(vector(1), "a", "b", "", "") or vector(-Inf)', (1.0, -math.inf)),
        ("1e3", (1000.0,)),
    ],
)
async def test_a_real_one_tells(
    real: str, client: httpx.AsyncClient, expression: str, values: tuple[float, ...]
) -> None:
    """Vectors, empty ones and scalars."""
    assert sorted((await Prometheus([real], client).query(expression)).values) == sorted(values)


@pytest.mark.component
@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("up{", 'answered 400: "invalid parameter'),
        ("vector(1) + on(a) group_left b{c=~'('}", "parse error"),
        ("up[5m]", "answered a matrix"),
        ("'x'", "answered a string"),
    ],
)
async def test_a_real_one_says_what_is_wrong(real: str, client: httpx.AsyncClient, expression: str, says: str) -> None:
    """In its own words."""
    with pytest.raises(UpstreamError) as error:
        await Prometheus([real], client).query(expression)
    assert says in str(error.value)
    assert (await Prometheus([real], client).query("vector(NaN)")).holds is False
