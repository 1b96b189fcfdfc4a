"""One renewal for all who wait for it."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace

import httpx
import pytest

from autoheal.errors import Unauthenticated, UpstreamError
from autoheal.model import Draft, Operator, Role
from autoheal.oidc import Provider
from autoheal.web.access.provider import Client
from autoheal.web.access.renewal import MAX_RENEWING, RENEW_AT, RETRY_SECONDS, Identities, Renewal
from autoheal.web.access.sessions import Session, Sessions, Tokens
from tests.support.clock import FakeClock, settle
from tests.support.identity import AUDIENCE, SigningKey, make, settings, token
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
        self.key = self.another("olga")

    def another(self, subject: str) -> str:
        """The id of a session that is due."""
        operator = Operator(subject, Role.OPERATOR, None, None)
        return self.sessions.begin(operator, Tokens("x.y.z", "first"), self.clock.now())

    async def renewed(self) -> Session:
        """The session after a renewal that nobody waited for, which the next request causes."""
        session = await self.renewal.current(self.key, used=True)
        assert session is not None
        assert session.renewal is not None
        await session.renewal
        return session

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


async def _with_a_new_key(desk: Desk) -> SigningKey:
    """The provider signs with another key from now on, which it does not tell yet."""
    new = SigningKey("two", which=1)
    await desk.identities.oidc.refresh()
    desk.idp.id_token = lambda nonce: token(  # type: ignore[method-assign]
        desk.clock, new, header={"typ": "JWT"}, aud=CLIENT, sub="olga", roles=["view"], nonce=nonce
    )
    return new


async def test_a_new_refresh_token_is_kept_whatever_comes_after_it() -> None:
    """The tokens beside it could not be checked, as keys cannot be had: the next renewal is not with the old one."""
    desk = Desk()
    new = await _with_a_new_key(desk)
    desk.idp.keys = httpx.Response(503)
    session = await desk.renewal.current(desk.key, used=True)
    assert session is not None
    assert desk.sessions.tokens(desk.key, session) == Tokens("x.y.z", "refresh-1")
    assert session.operator.role is Role.OPERATOR
    desk.idp.keys = {"keys": [new.jwk()]}
    await desk.clock.advance(RETRY_SECONDS)
    session = await desk.renewed()
    assert session.operator.role is Role.VIEWER
    assert [form["refresh_token"] for form in desk.idp.forms] == ["first", "refresh-1"]


async def test_a_key_that_is_not_known_yet_ends_nothing() -> None:
    """A stranger has just made us ask for keys: those of a rotation come later, and nobody is logged out."""
    desk = Desk()
    new = await _with_a_new_key(desk)
    with pytest.raises(Unauthenticated):
        await desk.identities.oidc.authenticate(token(desk.clock, header={"kid": "no such"}))
    desk.idp.keys = {"keys": [new.jwk()]}
    session = await desk.renewal.current(desk.key, used=True)
    assert session is not None
    assert session.operator.role is Role.OPERATOR
    await desk.clock.advance(RETRY_SECONDS)
    session = await desk.renewed()
    assert session.operator.role is Role.VIEWER
    assert desk.noted == []


async def test_no_request_waits_for_what_has_failed_before() -> None:
    """The provider hangs and the session is good: people go on, until it answers; then renewals are awaited again."""
    desk = Desk()
    await desk.identities.oidc.refresh()
    desk.idp.token_answer = lambda _: httpx.Response(500)
    assert await desk.renewal.current(desk.key, used=True) is not None
    desk.idp.token_answer = None
    await desk.clock.advance(RETRY_SECONDS)
    desk.idp.gate.clear()
    session = await desk.renewal.current(desk.key, used=True)
    assert session is not None
    assert session.renewal is not None
    desk.idp.gate.set()
    await session.renewal
    assert len(desk.idp.forms) == 2
    desk.idp.account.roles = ("view",)
    await desk.clock.advance(RENEW_AT * 300)
    session = await desk.renewal.current(desk.key, used=True)
    assert session is not None
    assert session.operator.role is Role.VIEWER


async def test_a_few_renewals_at_a_time() -> None:
    """The others come in their turn, and their requests do not wait for it: they are good meanwhile."""
    desk = Desk()
    await desk.identities.oidc.refresh()
    desk.idp.gate.clear()
    keys = [desk.key, *(desk.another(f"s{number}") for number in range(MAX_RENEWING))]
    waiting = [asyncio.create_task(desk.renewal.current(key, used=True)) for key in keys[:-1]]
    await settle()
    assert await desk.renewal.current(keys[-1], used=True) is not None
    await settle()
    assert len(desk.idp.forms) == MAX_RENEWING
    assert not any(task.done() for task in waiting)
    desk.idp.gate.set()
    await asyncio.gather(*waiting)
    await settle()
    assert len(desk.idp.forms) == MAX_RENEWING + 1


async def test_a_packed_answer_is_none() -> None:
    """It was not asked for, and unpacked it could be a large one."""
    asked: list[str] = []

    def packed(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(packed))
    provider = Provider("https://idp.example", "", None, "https://idp.example/token", None, (), sends_iss=False)
    with pytest.raises(UpstreamError, match="packed"):
        await Client(settings(), CLIENT, ORIGIN, http).renew(provider, "refresh")
    assert asked == ["identity"]


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
