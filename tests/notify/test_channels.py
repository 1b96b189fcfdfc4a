"""Slack, PagerDuty and a webhook of ours, against servers on loopback that check what these publish."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from autoheal.clock import SystemClock
from autoheal.notify import Channel, Notice, Severity, Undelivered, What, channels
from autoheal.notify.pagerduty import PagerDuty
from autoheal.notify.slack import Slack
from autoheal.notify.webhook import Webhook
from tests.support import published
from tests.support.clock import FakeClock
from tests.support.webserver import HANG, answer, web_server

KEY = "R0UT1NGKEYR0UT1NGKEYR0UT1NGKEY00"
PATH = "services/T0PLANTED/B0PLANTED/xyzplantedxyz"
SECRET = "whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZA=="
NOTICE = Notice(
    id="autoheal-00ff-12-0",
    key="autoheal-00ff-12",
    what=What.TRIGGER,
    severity=Severity.ERROR,
    summary="restart-api leaves ApiDown on api-1 to people: steps_exhausted",
    context=(("alert", "ApiDown"), ("target", "api-1"), ("run", "r7")),
    at=1_790_000_000.25,
    link="https://autoheal.example.org/console#/runs/r7",
)
HOSTILE = "<!channel> <!here> <@U123> <https://evil.example|click> & &lt; *x* `y`\n\x00\u202e " + "<&>" * 9000

Make = Callable[[httpx.AsyncClient, str], Channel]


def slack(client: httpx.AsyncClient, root: str, timeout: float = 5.0) -> Channel:
    return Slack(client, f"{root}{PATH}", limit=10, timeout=timeout, clock=FakeClock())


def pagerduty(client: httpx.AsyncClient, root: str, timeout: float = 5.0) -> Channel:
    return PagerDuty(client, f"{root}v2/enqueue", KEY, source="here", clock=FakeClock(), timeout=timeout)


def webhook(client: httpx.AsyncClient, root: str, timeout: float = 5.0) -> Channel:
    url = root.replace("://", "://me:plantedpassword@") + "hook?token=plantedtoken"
    return Webhook(client, url, SECRET, clock=SystemClock(), timeout=timeout)


ALL = pytest.mark.parametrize("make", [slack, pagerduty, webhook])


def safe(error: Undelivered) -> str:
    """Its text, in which no secret may stand."""
    told = str(error)
    assert not re.search(r"planted|R0UT|cGxhbn|127\.0\.0\.1", told, re.IGNORECASE), told
    return told


async def test_slack_gets_a_message_in_blocks(client: httpx.AsyncClient) -> None:
    """The severity as a word and a colour, what there is to say in fields, and a link to the run."""
    async with web_server(answer(200, b"ok")) as web:
        await slack(client, web.url).send(NOTICE)
    message = published.slack(web.asked[0].body)
    assert web.asked[0].line == f"POST /{PATH} HTTP/1.1"
    assert message["text"] == "[error] restart-api leaves ApiDown on api-1 to people: steps_exhausted"
    assert message["attachments"][0]["color"] == "#d9730d"
    texts = published.slack_texts(message)
    assert "*target*\napi-1" in texts
    assert "<https://autoheal.example.org/console#/runs/r7|Open in autoheal>" in texts


async def test_slack_shows_hostile_text_literally(client: httpx.AsyncClient) -> None:
    """A label can ping nobody, make no link, and be no longer than a block may be."""
    hostile = replace(
        NOTICE, summary=HOSTILE, context=tuple((HOSTILE, HOSTILE) for _ in range(40)), lines=(HOSTILE,) * 500
    )
    async with web_server(answer(200, b"ok")) as web:
        await slack(client, web.url).send(hostile)
    message = published.slack(web.asked[0].body)
    assert "&lt;!channel&gt;" in message["text"]


async def test_slack_tells_that_something_is_over(client: httpx.AsyncClient) -> None:
    """In green, and as a word."""
    async with web_server(answer(200, b"ok")) as web:
        await slack(client, web.url).send(replace(NOTICE, what=What.RESOLVE))
    message = published.slack(web.asked[0].body)
    assert message["text"].startswith("[resolved] ")
    assert message["attachments"][0]["color"] == "#2e8b57"


async def test_pagerduty_gets_one_incident_from_its_trigger_to_its_end(client: httpx.AsyncClient) -> None:
    """All events of one have the same dedup key; the trigger alone has a payload."""
    async with web_server(answer(202, b'{"status":"success"}')) as web:
        channel = pagerduty(client, web.url)
        for what in What:
            await channel.send(replace(NOTICE, what=what))
    events = [published.pagerduty(asked.body) for asked in web.asked]
    assert [event["event_action"] for event in events] == ["trigger", "acknowledge", "resolve"]
    assert {event["dedup_key"] for event in events} == {"autoheal-00ff-12"}
    payload = events[0]["payload"]
    assert (payload["severity"], payload["source"]) == ("error", "here")
    assert payload["timestamp"] == "2026-09-21T14:13:20.250000Z"
    assert payload["custom_details"] == {"alert": "ApiDown", "target": "api-1", "run": "r7"}
    assert events[0]["links"][0]["href"] == NOTICE.link


async def test_pagerduty_gets_no_more_than_it_takes(client: httpx.AsyncClient) -> None:
    """However much there is to say: 1,024 characters of summary, half a megabyte in all."""
    context = tuple((f"{number}", HOSTILE) for number in range(1000))
    async with web_server(answer(202)) as web:
        await pagerduty(client, web.url).send(replace(NOTICE, summary=HOSTILE, context=context, lines=(HOSTILE,) * 999))
    published.pagerduty(web.asked[0].body)


async def test_a_webhook_can_verify_who_sends(client: httpx.AsyncClient) -> None:
    """Its signature is that of Standard Webhooks, over the id, the time and the very bytes."""
    async with web_server(answer(204)) as web:
        await webhook(client, web.url).send(NOTICE)
    (asked,) = web.asked
    payload = published.webhook(asked.body, asked.headers, SECRET, SystemClock().now())
    assert asked.headers["webhook-id"] == NOTICE.id
    assert payload["type"] == "autoheal.trigger"
    assert payload["data"]["key"] == NOTICE.key
    assert payload["data"]["context"] == dict(NOTICE.context)
    assert asked.headers["authorization"].startswith("Basic ")


@ALL
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
async def test_what_was_refused_is_refused_for_good(client: httpx.AsyncClient, make: Make, status: int) -> None:
    """Another attempt would be refused as well; the error says the status, and no secret that the answer repeats."""
    said = b"xyzplantedxyz" if make is slack else f'{{"message":"bad {KEY}","errors":["{KEY}!"]}}'.encode()
    async with web_server(answer(status, said)) as web:
        with pytest.raises(Undelivered) as caught:
            await make(client, web.url).send(NOTICE)
    assert caught.value.permanent
    assert safe(caught.value).startswith(f"answered {status}")


@ALL
async def test_the_reason_of_a_refusal_is_told(client: httpx.AsyncClient, make: Make) -> None:
    """Slack's word, PagerDuty's sentence; of a server that nobody knows, nothing."""
    said = b"invalid_blocks" if make is slack else b'{"message":"Event object is invalid","errors":["too long"]}'
    async with web_server(answer(400, said)) as web:
        with pytest.raises(Undelivered) as caught:
            await make(client, web.url).send(NOTICE)
    wanted = {slack: ": invalid_blocks", pagerduty: ": Event object is invalid; too long", webhook: ""}
    assert safe(caught.value) == f"answered 400{wanted[make]}"  # type: ignore[index]


@ALL
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_may_pass_is_tried_again(client: httpx.AsyncClient, make: Make, status: int) -> None:
    """Too much at once, and faults of theirs: Retry-After says when, where RFC 9110 gives it a meaning."""
    async with web_server(answer(status, b"busy", Retry_After="17")) as web:
        with pytest.raises(Undelivered) as caught:
            await make(client, web.url).send(NOTICE)
    assert not caught.value.permanent
    assert caught.value.retry_after == (17 if status in (429, 503) else None)


async def test_retry_after_may_be_a_date(client: httpx.AsyncClient) -> None:
    """RFC 9110 section 10.2.3; what is neither is no word."""
    later = format_datetime(datetime.fromtimestamp(FakeClock().now() + 90, UTC), usegmt=True)
    for said, seconds in ((later, 90), ("soon", None), ("-5", None), ("9" * 400, None)):
        async with web_server(answer(429, Retry_After=said)) as web:
            with pytest.raises(Undelivered) as caught:
                await slack(client, web.url).send(NOTICE)
        assert caught.value.retry_after == seconds


@ALL
async def test_redirects_are_not_followed(client: httpx.AsyncClient, make: Make) -> None:
    """Whoever answers for them is not to send secrets elsewhere."""
    async with web_server(answer(200)) as other, web_server(answer(307, Location=f"{other.url}x")) as web:
        with pytest.raises(Undelivered, match="redirects are not followed") as caught:
            await make(client, web.url).send(NOTICE)
    assert caught.value.permanent
    assert other.asked == []


@ALL
async def test_nobody_is_waited_for_long(client: httpx.AsyncClient, make: Callable[..., Channel]) -> None:
    """A server that says nothing, or drips its answer, is cut at the channel's timeout."""
    for said in (HANG, answer(200)[:20] + HANG):
        async with web_server(said) as web:
            with pytest.raises(Undelivered, match=r"no answer within 0\.2 s") as caught:
                await make(client, web.url, timeout=0.2).send(NOTICE)
        assert not caught.value.permanent


@ALL
async def test_a_server_that_is_not_there_may_come_back(client: httpx.AsyncClient, make: Make) -> None:
    """Refused connections and ones that are cut are tried again; neither tells an address."""
    async with web_server(None) as web:
        with pytest.raises(Undelivered) as cut:
            await make(client, web.url).send(NOTICE)
    with pytest.raises(Undelivered) as gone:
        await make(client, web.url).send(NOTICE)
    for caught in (cut, gone):
        assert safe(caught.value)
        assert not caught.value.permanent


@ALL
async def test_an_endless_answer_takes_no_memory(client: httpx.AsyncClient, make: Make) -> None:
    """Only its beginning is read."""
    async with web_server(answer(200, b"x" * 3_000_000)) as web:
        await make(client, web.url).send(NOTICE)


async def test_what_a_proxy_says_is_no_reason(client: httpx.AsyncClient) -> None:
    """Only PagerDuty's own shape is told; and a notice without a link or context is one all the same."""
    bare = replace(NOTICE, context=(), link=None)
    for said in (b'["denied"]', b"<html>denied</html>", b'{"message":7,"errors":"x"}'):
        async with web_server(answer(403, said)) as web:
            with pytest.raises(Undelivered, match=r"^answered 403$"):
                await pagerduty(client, web.url).send(bare)
            assert "links" not in published.pagerduty(web.asked[0].body)
    async with web_server(answer(200)) as web:
        await slack(client, web.url).send(replace(bare, lines=("one", "two")))
    message = published.slack(web.asked[0].body)
    assert published.slack_texts(message)[2] == "• one\n• two"


def test_those_are_there_that_are_configured(client: httpx.AsyncClient) -> None:
    """Under the names that rules know."""
    nothing: dict[str, Any] = {
        "source": "here",
        "slack_url": None,
        "slack_limit": 3,
        "slack_timeout": 5,
        "pagerduty_key": None,
        "pagerduty_url": "https://events.pagerduty.com/v2/enqueue",
        "webhook_url": None,
        "webhook_secret": None,
        "apprise_urls": (),
    }
    assert channels(client, FakeClock(), **nothing) == []
    everything = nothing | {
        "slack_url": "https://hooks.slack.com/services/x",
        "pagerduty_key": KEY,
        "webhook_url": "https://example.org",
        "webhook_secret": SECRET,
    }
    found = channels(client, FakeClock(), **everything)
    assert [(channel.name, channel.limit) for channel in found] == [
        ("slack", 3),
        ("pagerduty", None),
        ("webhook", None),
    ]
