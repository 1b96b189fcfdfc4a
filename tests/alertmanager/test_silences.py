"""Silences: what is sent to Alertmanager, and what becomes of one that misbehaves."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import httpx
import orjson
import pytest

from autoheal.alertmanager import Alertmanager, Silenced, Wanted
from autoheal.errors import UpstreamError
from autoheal.rules import parse_matchers
from tests.support.alertmanagers import CLOCK
from tests.support.ports import free_port
from tests.support.webserver import HANG, WebServer, answer, web_server

WANTED = Wanted(
    parse_matchers('alertname="Down", job!="x", host=~"a.*", env!~"dev|test"'),
    1_790_000_000.25,
    1_790_000_900.25,
    "ann",
    "on it",
)
MATCHERS = [
    {"name": "alertname", "value": "Down", "isRegex": False, "isEqual": True},
    {"name": "job", "value": "x", "isRegex": False, "isEqual": False},
    {"name": "host", "value": "a.*", "isRegex": True, "isEqual": True},
    {"name": "env", "value": "dev|test", "isRegex": True, "isEqual": False},
]
MADE = answer(200, b'{"silenceID":"new"}')


def listed(**changes: Any) -> dict[str, Any]:
    """A silence as the API lists it: the very one that is wanted, made earlier."""
    return {
        "id": "old",
        "status": {"state": "active"},
        "createdBy": "ann",
        "matchers": MATCHERS[::-1],
        "comment": "before",
        **changes,
    }


def json(body: object) -> bytes:
    return answer(200, orjson.dumps(body))


def manager(client: httpx.AsyncClient, *servers: WebServer, **limits: Any) -> Alertmanager:
    return Alertmanager([server.url for server in servers], client, clock=CLOCK, **limits)


async def test_what_is_sent(client: httpx.AsyncClient) -> None:
    """First what stands there is looked at, then the silence is made, below the URL's prefix, with its credentials."""
    async with web_server(json([]), MADE) as web:
        url = web.url.replace("http://", "http://us%40er:hunter2@") + "am/"
        made = await Alertmanager([url], client, clock=CLOCK).silence(WANTED)
    assert made == Silenced("new", f"{web.url}am/", None)
    assert [asked.line for asked in web.asked] == [
        "GET /am/api/v2/silences HTTP/1.1",
        "POST /am/api/v2/silences HTTP/1.1",
    ]
    assert {asked.headers["authorization"] for asked in web.asked} == {"Basic " + b64encode(b"us@er:hunter2").decode()}
    assert web.asked[1].headers["content-type"] == "application/json"
    assert orjson.loads(web.asked[1].body) == {
        "matchers": MATCHERS,
        "startsAt": "2026-09-21T14:13:20.250000Z",
        "endsAt": "2026-09-21T14:28:20.250000Z",
        "createdBy": "ann",
        "comment": "on it",
    }


OLD = [{key: value for key, value in each.items() if key != "isEqual" or not value} for each in MATCHERS]


@pytest.mark.parametrize(
    "standing",
    [listed(), listed(status={"state": "pending"}), listed(matchers=OLD)],
    ids=["active", "pending", "before 0.22"],
)
async def test_one_that_stands_is_replaced(client: httpx.AsyncClient, standing: dict[str, Any]) -> None:
    """The same matchers by the same person, whatever their order: asked twice, there is one silence."""
    async with web_server(json([listed(id="other", createdBy="bob"), standing]), MADE) as web:
        made = await manager(client, web).silence(WANTED)
    assert made.replaced == "old"
    assert orjson.loads(web.asked[1].body)["id"] == "old"


@pytest.mark.parametrize(
    "standing",
    [
        listed(createdBy="bob"),
        listed(status={"state": "expired"}),
        listed(matchers=MATCHERS[:3]),
        listed(matchers=[*MATCHERS, {**MATCHERS[0], "name": "more"}]),
        listed(matchers=[{**MATCHERS[0], "isRegex": True}, *MATCHERS[1:]]),
        listed(matchers=[{**MATCHERS[0], "value": ["Down"]}, *MATCHERS[1:]]),
        listed(matchers=None),
        listed(id=5),
        5,
    ],
)
async def test_no_other_is_replaced(client: httpx.AsyncClient, standing: Any) -> None:
    """That of another person, an ended one, one with other matchers, and what is none at all."""
    async with web_server(json([standing]), MADE) as web:
        made = await manager(client, web).silence(WANTED)
    assert made.replaced is None
    assert "id" not in orjson.loads(web.asked[1].body)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((answer(503),), "answered 503"),
        ((None,), "Server disconnected without sending a response."),
        ((json({}),), "answered an object and not a list of silences"),
        ((answer(200, b"<html>"),), "did not answer JSON"),
        ((json([]), answer(400, b'"silence invalid: bad"')), 'answered 400: "silence invalid: bad"'),
        ((json([]), answer(422, b'{"code":612,"message":"matchers"}')), 'answered 422: "matchers"'),
        ((json([]), answer(500, b"<html>")), "answered 500"),
        ((json([]), answer(500, b'{"message":5}')), "answered 500"),
        ((json([]), answer(413, b"x" * 100_000)), "answered 413"),
        ((json([]), answer(302, Location="http://127.0.0.1:1/")), "answered 302"),
        ((json([]), json({})), "answered an object and not a silence's id"),
        ((json([]), json({"silenceID": ""})), "answered an object and not a silence's id"),
        ((json([]), json({"silenceID": "x" * 101})), "answered an object and not a silence's id"),
        ((json([]), json("new")), 'answered "new" and not a silence\'s id'),
        ((json([]), HANG), "did not answer within 0.2 s"),
    ],
)
async def test_the_next_is_asked(client: httpx.AsyncClient, answers: tuple[bytes | None, ...], says: str) -> None:
    """When one has not made it, whatever the reason; when none has, the error tells what each of them said."""
    async with web_server(*answers) as bad, web_server(json([]), MADE) as good:
        assert await manager(client, bad, good, timeout=0.2).silence(WANTED) == Silenced("new", good.url)
    async with web_server(*answers) as bad:
        dead = f"http://127.0.0.1:{free_port()}/"
        both = Alertmanager([bad.url, dead], client, clock=CLOCK, timeout=0.2)
        with pytest.raises(UpstreamError) as caught:
            await both.silence(WANTED)
    first, second = str(caught.value).removeprefix("no Alertmanager made the silence: ").split("; ")
    assert first == f"{bad.url} (silences): {says}"
    assert second.startswith(f"{dead} (silences): ")


async def test_one_that_did_not_answer_is_asked_last(client: httpx.AsyncClient) -> None:
    """Many acknowledgements must not each wait for one that hangs, while their silences run out."""
    async with web_server(HANG) as hangs, web_server(*(json([]), MADE) * 3) as good:
        both = manager(client, hangs, good, timeout=0.2)
        for _ in range(3):
            await both.silence(WANTED)
    assert len(hangs.asked) == 1


async def test_one_answer_is_enough(client: httpx.AsyncClient) -> None:
    """The members of a cluster tell one another: the second is not asked, or there would be two silences."""
    async with web_server(json([]), MADE) as first, web_server(json([]), MADE) as second:
        await manager(client, first, second).silence(WANTED)
    assert not second.asked


async def test_an_end_told_by_any_is_an_end(client: httpx.AsyncClient) -> None:
    """Of the ids that were asked about; what one does not list, or does not answer, is none."""
    over = {"status": {"state": "expired"}, "endsAt": "2026-09-21T14:13:20.2Z", "updatedAt": "2026-09-21T14:13:20.2Z"}
    async with (
        web_server(json([listed(id="a"), listed(id="b", **over), listed(id="foreign", **over), {"id": "d"}])) as first,
        web_server(json([listed(id="a", **over), listed(id="b")])) as second,
        web_server(answer(500)) as broken,
    ):
        found = await manager(client, first, second, broken).withdrawn(["a", "b", "c", "d"])
    assert found == {"a", "b"}


@pytest.mark.parametrize(
    "changes",
    [
        {"updatedAt": "2026-09-21T14:13:19.999Z"},
        {"status": {"state": "active"}},
        {"updatedAt": 5},
        {"updatedAt": "today"},
        {"endsAt": None},
    ],
)
async def test_one_that_ran_out_was_not_withdrawn(client: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    """Whoever ends a silence changes it at the moment of its end; one whose time was over was last changed before."""
    times = {"endsAt": "2026-09-21T14:13:20.000Z", "updatedAt": "2026-09-21T14:13:20.000Z"}
    async with web_server(json([listed(**{"status": {"state": "expired"}, **times, **changes})])) as web:
        assert await manager(client, web).withdrawn(["old"]) == frozenset()


STANDING = listed(startsAt="2026-09-21T14:00:00.000Z", endsAt="2026-09-21T14:15:00.000Z")


@pytest.mark.parametrize("known", ["old", "forgotten"])
async def test_an_extended_one_keeps_its_start(client: httpx.AsyncClient, known: str) -> None:
    """By its id, or else as the same by the same person: only with its own start it is changed in place."""
    async with web_server(json([STANDING]), answer(200, b'{"silenceID":"old"}')) as web:
        assert await manager(client, web).extend(known, WANTED) == Silenced("old", web.url)
    sent = orjson.loads(web.asked[1].body)
    assert (sent["id"], sent["startsAt"]) == ("old", STANDING["startsAt"])
    assert sent["endsAt"] == "2026-09-21T14:28:20.250000Z"


async def test_one_that_lasts_long_enough_is_left_alone(client: httpx.AsyncClient) -> None:
    """Somebody has made it longer there, under a name of their own: it is not made shorter again."""
    longer = {**STANDING, "endsAt": "2026-09-21T15:00:00.000Z", "createdBy": "bob"}
    async with web_server(json([longer])) as web:
        assert await manager(client, web).extend("old", WANTED) == Silenced("old", web.url)
    assert len(web.asked) == 1


async def test_one_that_is_gone_is_made_anew(client: httpx.AsyncClient) -> None:
    """It ran out while nobody extended it, or Alertmanager has lost it: from now on it has another id."""
    gone = {**STANDING, "status": {"state": "expired"}}
    async with web_server(answer(503)) as dead, web_server(json([gone]), MADE) as web:
        assert await manager(client, dead, web).extend("old", WANTED) == Silenced("new", web.url)
    sent = orjson.loads(web.asked[1].body)
    assert "id" not in sent
    assert sent["startsAt"] == "2026-09-21T14:13:20.250000Z"


async def test_one_that_somebody_has_ended_is_not_made_anew(client: httpx.AsyncClient) -> None:
    """However late that is seen: a person's word on a silence is not taken back."""
    ended = {
        "status": {"state": "expired"},
        "endsAt": "2026-09-21T14:12:00.000Z",
        "updatedAt": "2026-09-21T14:12:00.000Z",
    }
    async with web_server(json([{**STANDING, **ended}])) as web:
        assert await manager(client, web).extend("old", WANTED) is None
    assert len(web.asked) == 1


async def test_one_is_ended_wherever_it_stands(client: httpx.AsyncClient) -> None:
    """One answer is enough, and one that does not know it has nothing to end; when nobody answers, that is told."""
    async with web_server(answer(404)) as without, web_server(answer(500)) as broken:
        await manager(client, without, broken).expire("a/b")
        assert without.asked[0].line == "DELETE /api/v2/silence/a%2Fb HTTP/1.1"
    async with web_server(answer(500)) as broken:
        with pytest.raises(UpstreamError, match=r"no Alertmanager ended the silence: .* answered 500"):
            await manager(client, broken).expire("a")
