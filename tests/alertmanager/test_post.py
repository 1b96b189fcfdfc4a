"""Alerts of our own: what is sent, and to whom."""

from __future__ import annotations

import httpx
import orjson
import pytest

from autoheal.alertmanager import Alertmanager, Post
from autoheal.errors import UpstreamError
from tests.support.alertmanagers import CLOCK
from tests.support.webserver import answer, web_server

ALERT = Post({"alertname": "AutohealFailed"}, {"summary": "x"}, 1_790_000_000.0, 1_790_000_600.0, "https://h/runs/r1")
SENT = {
    "labels": {"alertname": "AutohealFailed"},
    "annotations": {"summary": "x"},
    "startsAt": "2026-09-21T14:13:20.000000Z",
    "endsAt": "2026-09-21T14:23:20.000000Z",
    "generatorURL": "https://h/runs/r1",
}
TAKEN = answer(200)


async def test_each_of_them_is_told(client: httpx.AsyncClient) -> None:
    """The members of a cluster tell one another of silences, and of alerts nothing."""
    async with web_server(TAKEN) as first, web_server(TAKEN) as second:
        both = Alertmanager([first.url, second.url], client, clock=CLOCK)
        assert await both.post([ALERT, Post({"alertname": "B"}, {}, 1_790_000_000.0, 1_789_999_999.0)]) == []
    for web in (first, second):
        (asked,) = web.asked
        assert asked.line == "POST /api/v2/alerts HTTP/1.1"
        one, ended = orjson.loads(asked.body)
        assert one == SENT
        # An alert that ends before it starts would be refused.
        assert ended["startsAt"] == ended["endsAt"]
        assert "generatorURL" not in ended


async def test_who_did_not_take_them_is_told(client: httpx.AsyncClient) -> None:
    """One is enough for people to hear of it; when none has taken them, that is an error."""
    async with web_server(TAKEN) as good, web_server(answer(400, b'"bad label"'), answer(503)) as bad:
        both = Alertmanager([bad.url, good.url], client, clock=CLOCK)
        assert await both.post([ALERT]) == [f'{bad.url} (alerts): answered 400: "bad label"']
        with pytest.raises(UpstreamError, match=r"no Alertmanager took the alerts: .* answered 503"):
            await Alertmanager([bad.url], client, clock=CLOCK).post([ALERT])
