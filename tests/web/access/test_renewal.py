"""One renewal for all who wait for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from autoheal.errors import UpstreamError
from autoheal.model import Draft, Operator, Role
from autoheal.oidc import Provider
from autoheal.web.access.provider import Client
from autoheal.web.access.renewal import Identities, Renewal
from autoheal.web.access.sessions import Sessions, Tokens
from tests.support.clock import FakeClock, settle
from tests.support.identity import AUDIENCE, make, settings
from tests.support.logins import CLIENT, ORIGIN, SECRET, LoginProvider

ROLES = {"view": Role.VIEWER, "sre": Role.OPERATOR}


class Desk:
    """A session that is due for renewal, and all that renews it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.idp = LoginProvider(self.clock)
        self.sessions = Sessions(self.clock)
        self.noted: list[Draft] = []
        told = replace(settings(), client_id=CLIENT, client_secret=SECRET, role_map=ROLES)
        oidc = make(self.idp, self.clock, client_id=CLIENT, role_map=ROLES)
        self.identities = Identities(oidc, Client(told, CLIENT, ORIGIN, self.idp.http), AUDIENCE)
        self.renewal = Renewal(self.identities, self.sessions, self._note, self.clock)
        self.idp._refresh_tokens.add("first")
        operator = Operator("olga", Role.OPERATOR, None, None)
        self.key = self.sessions.begin(operator, Tokens("x.y.z", "first"), self.clock.now())

    async def _note(self, draft: Draft) -> None:
        self.noted.append(draft)


async def test_all_who_come_meanwhile_wait_for_the_one_that_is_under_way() -> None:
    """A refresh token that is good for one time is used once, and everybody has what came of it."""
    desk = Desk()
    await desk.identities.oidc.refresh()
    desk.idp.gate.clear()
    desk.idp.account.roles = ("view",)
    waiting = [asyncio.create_task(desk.renewal.current(desk.key, used=True)) for _ in range(20)]
    await settle()
    assert not any(task.done() for task in waiting)
    desk.idp.gate.set()
    sessions = await asyncio.gather(*waiting)
    assert [session and session.operator.role for session in sessions] == [Role.VIEWER] * 20
    assert [form["refresh_token"] for form in desk.idp.forms] == ["first"]


async def test_whoever_goes_away_takes_nothing_with_them() -> None:
    """The request that began the renewal was given up: it goes on, and the next one finds the session renewed."""
    desk = Desk()
    await desk.identities.oidc.refresh()
    desk.idp.gate.clear()
    gone = asyncio.create_task(desk.renewal.current(desk.key, used=True))
    await settle()
    gone.cancel()
    await settle()
    desk.idp.gate.set()
    await settle()
    assert await desk.renewal.current(desk.key, used=True) is not None
    assert len(desk.idp.forms) == 1


async def test_a_session_that_ended_meanwhile_is_not_ended_again() -> None:
    """Its logout is recorded by whoever asked for it, once."""
    desk = Desk()
    await desk.identities.oidc.refresh()
    desk.idp.gate.clear()
    desk.idp.token_answer = desk.idp.refuse
    waiting = asyncio.create_task(desk.renewal.current(desk.key, used=True))
    await settle()
    assert desk.sessions.end(desk.key) is not None
    desk.idp.gate.set()
    assert await waiting is None
    assert desk.noted == []


async def test_without_the_providers_addresses_it_waits_for_the_next_time() -> None:
    """The provider has not been reached since the start: no reason to log anybody out."""
    desk = Desk()
    assert await desk.renewal.current(desk.key, used=True) is not None
    assert desk.idp.forms == []
    assert desk.noted == []


async def test_a_provider_that_takes_too_long_gave_no_answer() -> None:
    """However slowly it drips: the time is that of the whole answer."""
    told = replace(settings(), refresh_timeout=0)
    never = httpx.AsyncClient(transport=httpx.MockTransport(_never))
    provider = Provider("https://idp.example", "", None, "https://idp.example/token", None, (), sends_iss=False)
    with pytest.raises(UpstreamError, match="takes too long"):
        await Client(told, CLIENT, ORIGIN, never).renew(provider, "refresh")


async def _never(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


def test_an_address_may_have_a_query_already() -> None:
    """Ours is added to it (RFC 6749 section 3.1)."""
    provider = Provider("https://idp.example", "", None, None, "https://idp.example/end?tenant=7", (), sends_iss=False)
    url = Client(settings(), CLIENT, ORIGIN, httpx.AsyncClient()).logout_url(provider, "a.b.c")
    assert url is not None
    assert url.startswith("https://idp.example/end?tenant=7&id_token_hint=a.b.c&client_id=console&")
