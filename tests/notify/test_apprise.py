"""Apprise: the true library, against a server on loopback."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from autoheal.errors import ConfigError
from autoheal.notify import Notice, Severity, Undelivered, What
from autoheal.notify.apprise import Apprise, text, title
from tests.support.webserver import answer, web_server

# The library's own imports, on Pythons that still have what it replaces elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
NOTICE = Notice(
    id="autoheal-00ff-12-0",
    key="autoheal-00ff-12",
    what=What.TRIGGER,
    severity=Severity.ERROR,
    summary="restart-api leaves ApiDown on api-1 to people: steps_exhausted",
    context=(("target", "api-1\n\x00"), ("run", "r7")),
    link="https://autoheal.example.org/console#/runs/r7",
)


def address(port: int) -> str:
    """Of a service that takes JSON."""
    return f"json://me:planted@127.0.0.1:{port}/in"


async def test_a_notice_reaches_all_services() -> None:
    """With the severity, what there is to say, and the link."""
    async with web_server(answer(200)) as one, web_server(answer(200)) as other:
        await Apprise([address(one.port), address(other.port)]).send(NOTICE)
    for web in (one, other):
        (asked,) = web.asked
        body = orjson.loads(asked.body)
        assert body["title"] == "[error] restart-api leaves ApiDown on api-1 to people: steps_exhausted"
        assert "target: api-1" in body["message"]
        assert body["type"] == "failure"


async def test_one_that_only_some_took_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """And neither the error nor the library's own log names an address."""
    caplog.set_level("DEBUG")
    async with web_server(answer(200)) as one, web_server(answer(500)) as other:
        with pytest.raises(Undelivered, match=r"^not all of the services took it$") as caught:
            await Apprise([address(one.port), address(other.port), address(1)]).send(NOTICE)
    assert not caught.value.permanent
    assert "planted" not in caplog.text
    assert "apprise" not in {record.name for record in caplog.records}


def test_an_end_is_a_success() -> None:
    """As a word too."""
    assert title(replace(NOTICE, what=What.RESOLVE)).startswith("[resolved] ")
    assert text(replace(NOTICE, context=(), link=None)) == title(NOTICE)
    assert text(replace(NOTICE, context=(), link=None, lines=("one", "two\n"))) == "one\ntwo"


def test_an_address_that_nobody_knows_is_a_fault() -> None:
    """Named by its place: it may hold credentials."""
    with pytest.raises(ConfigError, match="does not know what address 2 of 2 is") as caught:
        Apprise([address(1), "planted://planted"])
    assert "planted" not in str(caught.value)


def test_without_the_library_it_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """That says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(
        ConfigError, match=r"NOTIFY_APPRISE_URLS: needs the library Apprise: pip install 'autoheal\[app"
    ):
        Apprise([address(1)])


class Slow:
    """Services that do what a test says, in their own time."""

    def __init__(self, act: Callable[[], bool]) -> None:
        self.act = act

    def notify(self, **_: object) -> bool:
        return self.act()


async def test_one_that_hangs_is_left_and_not_joined_by_another() -> None:
    """Its thread cannot be ended; until it is over nothing more is begun, so that threads do not pile up."""
    channel = Apprise([address(1)], timeout=0.05)
    goes_on = threading.Event()
    channel._services = Slow(goes_on.wait)
    with pytest.raises(Undelivered, match=r"no answer within 0\.05 s"):
        await channel.send(NOTICE)
    with pytest.raises(Undelivered, match="still on its way"):
        await channel.send(NOTICE)
    goes_on.set()
    assert channel._busy is not None
    await asyncio.wait([channel._busy])
    await channel.send(NOTICE)


async def test_what_a_service_raises_is_told_by_its_type_alone() -> None:
    """Its text may quote credentials; also when nobody waits for it any more."""

    def broken() -> bool:
        raise ValueError("planted")

    channel = Apprise([address(1)], timeout=0.05)
    channel._services = Slow(broken)
    with pytest.raises(Undelivered, match=r"^raised ValueError$"):
        await channel.send(NOTICE)
    goes_on = threading.Event()
    channel._services = Slow(lambda: goes_on.wait() and broken())
    with pytest.raises(Undelivered, match="no answer"):
        await channel.send(NOTICE)
    goes_on.set()
    assert channel._busy is not None
    await asyncio.wait([channel._busy])
