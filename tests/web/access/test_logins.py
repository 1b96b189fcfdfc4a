"""Logins under way, and where they may lead."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.web.access import logins
from autoheal.web.access.logins import LOGIN_SECONDS, Logins, is_own_path
from tests.support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def under_way(clock: FakeClock) -> Logins:
    return Logins(clock)


def test_its_browser_redeems_it_once(under_way: Logins) -> None:
    """The second time it is not known: an answer of the provider cannot be played again."""
    begun = under_way.begin("/console")
    login = under_way.redeem(begun.state, begun.sealed)
    assert login is not None
    assert (login.return_to, login.nonce) == ("/console", begun.nonce)
    assert under_way.redeem(begun.state, begun.sealed) is None


def test_the_challenge_is_the_verifiers_sha256(under_way: Logins) -> None:
    """RFC 7636 section 4.2, and the verifier has its 43 characters."""
    begun = under_way.begin("/console")
    login = under_way.redeem(begun.state, begun.sealed)
    assert login is not None
    assert len(login.verifier) == 43
    digest = sha256(login.verifier.encode("ascii")).digest()
    assert begun.challenge == urlsafe_b64encode(digest).decode().rstrip("=")


def test_another_browsers_is_no_good_for_it(under_way: Logins) -> None:
    """Login CSRF: an answer that an attacker obtained is no good in the victim's browser; and the try ends nothing."""
    begun = under_way.begin("/console")
    assert under_way.redeem(begun.state, under_way.begin("/console").sealed) is None
    assert under_way.redeem(begun.state, begun.sealed) is not None


def test_what_is_sealed_tells_nothing_and_cannot_be_changed(under_way: Logins) -> None:
    """Nor is it good for another process, which has another key."""
    begun = under_way.begin("/console")
    raw = urlsafe_b64decode(begun.sealed + "==")
    assert b"console" not in raw
    assert begun.nonce.encode() not in raw
    for place in range(len(raw)):
        bent = bytearray(raw)
        bent[place] ^= 1
        assert under_way.redeem(begun.state, urlsafe_b64encode(bent).decode()) is None
    assert Logins(FakeClock()).redeem(begun.state, begun.sealed) is None


@pytest.mark.parametrize("sealed", ["", "x", "é", "AAAA", "A" * 16, "A" * 43, "=" * 9])
def test_what_was_never_sealed_is_nothing(under_way: Logins, sealed: str) -> None:
    """However short, and whatever characters it has."""
    assert under_way.redeem(under_way.begin("/console").state, sealed) is None


@pytest.mark.parametrize("state", ["", "x", "é", "A" * 43])
def test_an_unknown_state_is_nothing(under_way: Logins, state: str) -> None:
    """Nor does it end another's login."""
    begun = under_way.begin("/console")
    assert under_way.redeem(state, begun.sealed) is None
    assert under_way.redeem(begun.state, begun.sealed) is not None


async def test_after_ten_minutes_it_is_over(under_way: Logins, clock: FakeClock) -> None:
    """A code that somebody kept is not redeemed."""
    first, second = under_way.begin("/console"), under_way.begin("/console")
    await clock.advance(LOGIN_SECONDS - 1)
    assert under_way.redeem(first.state, first.sealed) is not None
    await clock.advance(1)
    assert under_way.redeem(second.state, second.sealed) is None


async def test_a_used_one_stays_so_for_as_long_as_it_could_be_good(under_way: Logins, clock: FakeClock) -> None:
    """While those that are older are forgotten beside it."""
    for wait in (0, 1, LOGIN_SECONDS - 2):
        await clock.advance(wait)
        begun = under_way.begin("/console")
        assert under_way.redeem(begun.state, begun.sealed) is not None
    await clock.advance(LOGIN_SECONDS - 1)
    late = under_way.begin("/console")
    assert under_way.redeem(late.state, late.sealed) is not None
    assert under_way.redeem(begun.state, begun.sealed) is None


def test_a_flood_of_others_ends_none(under_way: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may begin logins, and finish their own: whoever began before comes through."""
    monkeypatch.setattr(logins, "MAX_REDEEMED", 3)
    begun = under_way.begin("/console")
    for one in [under_way.begin("/console") for _ in range(10)]:
        assert under_way.redeem(one.state, one.sealed) is not None
    assert under_way.redeem(begun.state, begun.sealed) is not None
    assert under_way.redeem(begun.state, begun.sealed) is None


def test_the_record_of_used_ones_is_bounded(under_way: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest gives way: its own browser could play the answer again, and the provider takes no code twice."""
    monkeypatch.setattr(logins, "MAX_REDEEMED", 3)
    begun = [under_way.begin("/console") for _ in range(4)]
    for one in begun:
        assert under_way.redeem(one.state, one.sealed) is not None
    assert [under_way.redeem(one.state, one.sealed) is not None for one in begun[::-1]] == [False, False, False, True]


OWN = ["/", "/console", "/audit?n=5&q=kind%3Ddecision", "/runs/r17", "/console?a=//b", "/a/b.c/d", "/loginx", "/..a/b"]
FOREIGN = [
    "",
    "console",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " /console",
    "/console ",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "/console//evil.example",
    "/./console",
    "/../console",
    "/console/..",
    "/console/../..//evil.example",
    "/%2e%2e/console",
    "/.%2E/x",
    "/a\\b",
    "/con\0sole",
    "/console\x7f",
    "/console#part",
    "/é",
    "/%",
    "/%zz",
    "/\u2028/evil.example",
    "/login",
    "/login?return_to=/login",
    "/login/callback?code=x",
    "/logout",
    "/%6cogin",
    "/" + "a" * 600,
]


@pytest.mark.parametrize("path", OWN)
def test_own_paths(path: str) -> None:
    """Where people were before the login, with their queries."""
    assert is_own_path(path)


@pytest.mark.parametrize("path", FOREIGN)
def test_other_places(path: str) -> None:
    """Other hosts however they are written, places that are no path, and the login itself."""
    assert not is_own_path(path)


@given(st.one_of(st.text(), st.from_regex(r"[/\\%.a-z0-9:@?#\t]{1,12}", fullmatch=True)))
def test_whatever_is_taken_stays_here(text: str) -> None:
    """As a browser joins it to our address, less the characters that browsers drop."""
    if is_own_path(text):
        joined = urljoin("https://own.example/login/callback", text.replace("\\", "/"))
        assert urlsplit(joined)[:2] == ("https", "own.example")
        assert text.isascii()
        assert text.isprintable()
