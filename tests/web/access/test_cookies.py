"""What browsers are told to keep."""

from __future__ import annotations

from autoheal.web.access.cookies import Cookies

HTTPS = Cookies("https://autoheal.example:8443")
LOOPBACK = Cookies("http://127.0.0.1:9009")


def test_behind_https_no_other_host_can_set_them() -> None:
    """`__Host-` demands Secure, Path=/ and no Domain (RFC 6265bis); scripts and cross-site requests get none."""
    assert HTTPS.session == "__Host-autoheal_session"
    kept = HTTPS.set(HTTPS.session, "abc")
    assert kept == "__Host-autoheal_session=abc; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert HTTPS.login("state").startswith("__Host-autoheal_login_")


def test_on_loopback_two_gateways_do_not_share_them() -> None:
    """Cookies know no ports, so the names do; http there would not keep a Secure one in every browser."""
    assert LOOPBACK.session == "autoheal_session_9009"
    assert LOOPBACK.set(LOOPBACK.session, "abc") == "autoheal_session_9009=abc; Path=/; HttpOnly; SameSite=Lax"
    assert Cookies("http://localhost").session == "autoheal_session_80"


def test_taken_back_is_at_once() -> None:
    """With the attributes that it was set with: else browsers refuse the change of a `__Host-` cookie."""
    assert HTTPS.clear("x") == "x=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"


def test_all_of_a_name_are_taken_back() -> None:
    """Whatever part of the path another program has set its own for; what cannot stand in a header is left out."""
    found = LOOPBACK.clear_all("x", "/console/main.js")
    paths = ["/", "/console", "/console/", "/console/main.js", "/console/main.js/"]
    assert found == [f"x=; Path={path}; HttpOnly; SameSite=Lax; Max-Age=0" for path in paths]
    assert LOOPBACK.clear_all("x", "/runs;Domain=example/y") == [LOOPBACK.clear("x")]


def test_each_login_has_its_own() -> None:
    """Tabs that log in at the same time do not take one another's away; the name tells nothing of the state."""
    one, two = HTTPS.login("state-one"), HTTPS.login("state-two")
    assert one != two
    assert "state" not in one.removeprefix("__Host-autoheal_login")


def test_five_logins_a_browser() -> None:
    """With the one that begins now; the oldest of the others go, and no other cookie."""
    logins = [HTTPS.login(str(number)) for number in range(6)]
    assert HTTPS.surplus(["a", *logins, HTTPS.session]) == logins[:2]
    assert HTTPS.surplus(logins[:4]) == []
    assert HTTPS.surplus(["a", HTTPS.session]) == []
