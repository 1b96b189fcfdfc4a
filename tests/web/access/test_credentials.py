"""What a request shows of who sent it."""

from __future__ import annotations

from typing import Any

import pytest

from autoheal.web.access.credentials import Bearer, Cookie, Malformed, TwoSessions, forged, presented

SESSION = "__Host-autoheal_session"
ORIGIN = "https://autoheal.example"


def scope(*headers: tuple[str, str], query: str = "") -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "headers": raw, "query_string": query.encode()}


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ([], None),
        ([("Authorization", "Bearer abc.def-_~+/9==")], Bearer("abc.def-_~+/9==")),
        ([("Authorization", "bEARER abc")], Bearer("abc")),
        ([("Authorization", "  Bearer   abc  ")], Bearer("abc")),
        ([("Authorization", "Basic b2xnYTp4")], None),
        ([("Authorization", "Digest username=olga")], None),
        ([("Authorization", "Bearerabc")], None),
        ([("Authorization", "")], None),
        ([("Cookie", f"{SESSION}=abc")], Cookie("abc")),
        ([("Cookie", f"a=b; {SESSION}=abc; c=d")], Cookie("abc")),
        ([("Cookie", "a=b"), ("Cookie", f"{SESSION}=abc")], Cookie("abc")),
        ([("Cookie", f"{SESSION.lower()}=abc")], None),
        ([("Cookie", f"x{SESSION}=abc; {SESSION}x=abc; {SESSION}")], Cookie("")),
        ([("Authorization", "Bearer-x abc"), ("Cookie", f"{SESSION}=one")], Cookie("one")),
        ([("Authorization", "\tBearer abc\t")], Bearer("abc")),
        ([("Authorization", "Bearer abc"), ("Cookie", f"{SESSION}=one")], Bearer("abc")),
        ([("Authorization", "Basic b2xnYTp4"), ("Cookie", f"{SESSION}=one")], Cookie("one")),
    ],
)
def test_shown(headers: list[tuple[str, str]], shown: Bearer | Cookie | None) -> None:
    """A bearer token before a cookie; an unknown scheme is nothing."""
    assert presented(scope(*headers), SESSION) == shown


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("Authorization", "Bearer")], ""),
        ([("Authorization", "Bearer ")], ""),
        ([("Authorization", "Bearer a b")], ""),
        ([("Authorization", "Bearer a, Bearer b")], ""),
        ([("Authorization", "Bearer a,b")], ""),
        ([("Authorization", "Bearer =abc")], ""),
        ([("Authorization", 'Bearer "abc"')], ""),
        ([("Authorization", "Bearer abc\tdef")], ""),
        ([("Authorization", "Bearer é")], ""),
        *(
            ([("Authorization", f"Bearer{space}abc"), ("Cookie", f"{SESSION}=one")], "")
            for space in "\t\x0b\x0c\x85\xa0,:="
        ),
        ([("Authorization", "Bearer \tabc")], ""),
        ([("Authorization", "Bearer\t")], ""),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer a")], ""),
        ([("Authorization", "Bearer a"), ("Authorization", "Basic b")], ""),
        ([], "access_token=abc"),
        ([], "n=5&access_token"),
        ([], "access%5Ftoken=abc"),
        ([("Authorization", "Bearer a")], "access_token=a"),
        ([("Cookie", f"{SESSION}=one")], "access_token=a"),
    ],
)
def test_malformed(headers: list[tuple[str, str]], query: str) -> None:
    """Two of anything, nothing where a token should be, and a token in the URL (RFC 6750 section 3.1)."""
    with pytest.raises(Malformed):
        presented(scope(*headers, query=query), SESSION)


@pytest.mark.parametrize("headers", [[f"{SESSION}=one; {SESSION}=two"], [f"{SESSION}=one", f"{SESSION}=one"]])
def test_two_sessions_prove_nothing(headers: list[str]) -> None:
    """Which of the two the browser had from us nobody can tell; a bearer token decides beside them all the same."""
    sent = [("Cookie", header) for header in headers]
    with pytest.raises(TwoSessions):
        presented(scope(*sent), SESSION)
    assert presented(scope(*sent, ("Authorization", "Bearer abc")), SESSION) == Bearer("abc")


def test_without_a_login_cookies_are_nothing() -> None:
    """A gateway that browsers cannot log in to looks at no cookie."""
    assert presented(scope(("Cookie", "autoheal_session=abc")), None) is None


OWN = (("Origin", ORIGIN), ("X-Autoheal-CSRF", "1"))


@pytest.mark.parametrize("more", [(), (("Sec-Fetch-Site", "same-origin"),)])
def test_our_own_console_is_believed(more: tuple[tuple[str, str], ...]) -> None:
    """Own origin and own header; Sec-Fetch-Site when the browser sends it."""
    assert forged(scope(*OWN, *more), ORIGIN) is None


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((), "Origin"),
        ((("X-Autoheal-CSRF", "1"),), "Origin"),
        ((("Origin", "null"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((("Origin", "https://evil.example"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((("Origin", f"{ORIGIN}.evil.example"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((("Origin", "http://autoheal.example"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((("Origin", f"{ORIGIN}:8443"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((("Origin", f"{ORIGIN}/"), ("X-Autoheal-CSRF", "1")), "Origin"),
        ((*OWN, ("Origin", "null")), "Origin"),
        ((*OWN, ("Sec-Fetch-Site", "cross-site")), "Sec-Fetch-Site"),
        ((*OWN, ("Sec-Fetch-Site", "same-site")), "Sec-Fetch-Site"),
        ((*OWN, ("Sec-Fetch-Site", "none")), "Sec-Fetch-Site"),
        ((("Origin", ORIGIN),), "X-Autoheal-CSRF"),
        ((("Origin", ORIGIN), ("X-Autoheal-CSRF", "")), "X-Autoheal-CSRF"),
        ((("Origin", ORIGIN), ("X-Autoheal-CSRF", "0")), "X-Autoheal-CSRF"),
        ((*OWN, ("X-Autoheal-CSRF", "1")), "X-Autoheal-CSRF"),
    ],
)
def test_all_else_may_be_another_sites_doing(headers: tuple[tuple[str, str], ...], why: str) -> None:
    """Each of the three is needed, exactly and once, and the first that is missing is named."""
    assert why in (forged(scope(*headers), ORIGIN) or "")
