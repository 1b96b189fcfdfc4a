"""The docker action and answers that a sound Engine does not give: a server on loopback plays them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from autoheal.actions import Context, Docker, Outcome
from tests.support.webserver import HANG, WebServer, answer, web_server

ID = "4fafe700486fd1d300ed3d82409d3ab1dd97e9cc9ae9ef33bc77cef48edb3d8c"
STATE = {"Status": "running", "ExitCode": 0, "OOMKilled": False, "StartedAt": "then", "FinishedAt": "before"}
PING = answer(200, b"OK", Api_Version="1.41")


def described(**changes: Any) -> bytes:
    return orjson.dumps({"Id": ID, "Name": "/api-1", "State": STATE, **changes})


def told(**changes: Any) -> bytes:
    return answer(200, described(**changes))


async def start(context: Context, *answers: bytes | None, **params: Any) -> tuple[Outcome, WebServer]:
    async with web_server(*answers) as web:
        outcome = await Docker(f"tcp://127.0.0.1:{web.port}").run({"start": "api-1", **params}, context)
    return outcome, web


@pytest.mark.parametrize(("offered", "spoken"), [("1.41", "1.41"), ("1.99", "1.55"), ("1.24", "1.24"), ("2.0", "1.55")])
async def test_the_version_is_the_newest_that_both_know(context: Context, offered: str, spoken: str) -> None:
    """Old Engines refuse what is too new for them, new ones what is too old."""
    outcome, web = await start(context, answer(200, Api_Version=offered), told(), answer(204), told())
    assert outcome.ok
    assert [asked.line for asked in web.asked] == [
        "GET /_ping HTTP/1.1",
        f"GET /v{spoken}/containers/api-1/json HTTP/1.1",
        f"POST /v{spoken}/containers/{ID}/start HTTP/1.1",
        f"GET /v{spoken}/containers/{ID}/json HTTP/1.1",
    ]


@pytest.mark.parametrize("version", [None, "", "1", "x.y", "1.2.3", "1.٣"])
async def test_something_else_listens_there(context: Context, version: str | None) -> None:
    """No version, or none that can be one."""
    headers = {} if version is None else {"Api_Version": version}
    outcome, web = await start(context, answer(200, b"hello", **headers))
    assert outcome.detail["error"].endswith("does not answer as a Docker Engine does")
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(403, b"<html>no</html>"), "forbidden by the Engine, or by the proxy before it (403): <html>no</html>"),
        (answer(409, b'{"message":"is being removed"}'), "conflict (409): is being removed"),
        (
            answer(500, b'{"message":"hunter2-hunter2\\n\\u001b[2J"}'),
            "the Engine refused (500): [redacted]\\n�[2J",
        ),
        (answer(302, b"[]"), "the Engine refused (302): []"),
    ],
)
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_refusal_at_any_point_fails_the_action(context: Context, said: bytes, error: str, after: int) -> None:
    """In the Engine's words, without control characters and secrets."""
    outcome, web = await start(context, *[PING, told(), answer(204)][:after], said)
    assert not outcome.ok
    assert outcome.detail["error"] == error
    assert len(web.asked) == after + 1


@pytest.mark.parametrize(
    "said",
    [
        *(b"", b"null", b"[]", b"{", b'{"Id":"x","Name":"api-1"}', b'{"Id":"x","Name":"api-1","State":[]}'),
        *(described(Id=other) for other in ("", "x", "../../images/x", f"{ID}/../x", ID.upper(), ID * 9)),
        *(described(State=STATE | {"ExitCode": code}) for code in (2**63, 1e300, "9" * 30)),
        described(RestartCount=-(2**63)),
    ],
)
async def test_a_container_that_is_described_as_nothing_known(context: Context, said: bytes) -> None:
    """Nothing is done to it: an id stands in a URL's path, and a number in a record."""
    outcome, web = await start(context, PING, answer(200, said))
    assert outcome.detail["error"].endswith("does not describe containers as a Docker Engine does")
    assert len(web.asked) == 2


async def test_a_long_name_fits_a_record(context: Context) -> None:
    """Asked for by its id, a container may be called anything."""
    outcome, _ = await start(context, PING, told(Name="/" + "n" * 70_000), answer(204), told(), start=ID)
    assert outcome.ok
    assert len(outcome.detail["name"]) == 255


async def test_another_container_is_left_alone(context: Context) -> None:
    """Whatever the Engine means by the name, only the container that has it is meant."""
    outcome, web = await start(context, PING, told(Name="/api-10"))
    assert not outcome.ok
    assert len(web.asked) == 2


async def test_a_state_that_is_not_known_afterwards(context: Context) -> None:
    """It was done all the same."""
    outcome, _ = await start(context, PING, told(), answer(204), answer(500, b"busy"))
    assert outcome.ok
    assert outcome.detail["after"] == {"error": "the Engine refused (500): busy"}
    assert "error" not in outcome.detail


async def test_a_silence_afterwards(context: Context) -> None:
    """It was done; how it is now is all that is not known."""
    outcome, _ = await start(context, PING, told(), answer(204), HANG, timeout=0.5)
    assert outcome.ok
    assert outcome.detail["after"] == {"error": "no answer from the Docker Engine within 0.5 s"}


@pytest.mark.parametrize("length", range(455, 480))
async def test_a_secret_that_the_end_of_a_long_refusal_cuts(context: Context, length: int) -> None:
    """It is hidden before anything is cut off, else its beginning would be told."""
    for said in (orjson.dumps({"message": "x" * length + "hunter2-hunter2"}), b"x" * length + b"hunter2-hunter2"):
        outcome, _ = await start(context, PING, answer(500, said))
        assert "hu" not in outcome.detail["error"]
        assert len(outcome.detail["error"]) <= 500


async def test_a_container_that_is_gone_afterwards(context: Context) -> None:
    """It was started with --rm."""
    outcome, _ = await start(context, PING, told(), answer(204), answer(404, b'{"message":"No such container"}'))
    assert outcome.ok
    assert outcome.detail["after"] == {"status": "removed"}


async def test_health_is_told(context: Context) -> None:
    """Where the image has a health check."""
    state = STATE | {"Health": {"Status": "unhealthy", "Log": []}}
    outcome, _ = await start(context, PING, told(State=state, RestartCount=3), answer(204), told())
    assert outcome.detail["before"]["health"] == "unhealthy"
    assert outcome.detail["before"]["restarts"] == 3
    assert "health" not in outcome.detail["after"]


async def test_an_endless_answer_is_cut(context: Context) -> None:
    """More than 4 MiB describe no container."""
    outcome, _ = await start(context, PING, answer(200, b"x" * 5_000_000))
    assert outcome.detail["error"] == "the Engine's answer is longer than 4194304 bytes"


async def test_silence_and_broken_connections(context: Context) -> None:
    """Before anything was asked for, nothing was done; afterwards it cannot be known."""
    outcome, _ = await start(context, HANG, timeout=0.2)
    assert outcome.detail["error"] == "no answer from the Docker Engine within 0.2 s"
    outcome, _ = await start(context, PING, told(), None)
    assert outcome.detail["error"].startswith("cannot talk to the Docker Engine at tcp://127.0.0.1:")


@pytest.mark.parametrize("name", ["", "a", "../x", "a/b", "a?x", "a b", "-a", "a\n", "ä1", "a" * 256, "a%2fb"])
async def test_a_name_that_is_none_never_reaches_the_engine(context: Context, name: str) -> None:
    """In a URL's path it would be another request."""
    async with web_server(PING) as web:
        outcome = await Docker(f"tcp://127.0.0.1:{web.port}").run({"kill": name}, context)
    assert outcome.detail["error"].endswith("cannot be a container's name or id")
    assert web.asked == []


async def test_a_container_that_the_engine_restarts_is_touched_by_nobody(context: Context) -> None:
    """Else an approval could never be carried out on what crashes every few seconds."""
    async with web_server(PING, told(RestartCount=3)) as web:
        seen = await Docker(f"tcp://127.0.0.1:{web.port}").observe({"restart": "api-1"}, context)
    assert seen == f"{ID} restarts by itself"
