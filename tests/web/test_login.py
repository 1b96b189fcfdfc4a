"""GET /login, GET /login/callback, POST /logout: the way through the provider and back, and every way that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from autoheal.errors import KeysUnavailable
from autoheal.oidc import Oidc, Provider
from autoheal.web.access import login
from autoheal.web.access.logins import LOGIN_SECONDS
from autoheal.web.access.sessions import ABSOLUTE_SECONDS, IDLE_SECONDS
from tests.support.clock import FakeClock
from tests.support.gateway import Gateway, gateway, unavailable, until
from tests.support.identity import AUDIENCE, ISSUER, SigningKey, status, token, unreachable
from tests.support.logins import CLIENT, OIDC, ORIGIN, OWN, SESSION, LoginProvider, log_in
from tests.support.said import capture_logs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def idp(clock: FakeClock) -> LoginProvider:
    return LoginProvider(clock)


@pytest.fixture
async def gate(tmp_path: Path, clock: FakeClock, idp: LoginProvider) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path, OIDC, http=idp.http, clock=clock) as running:
        yield running


def kinds(gate: Gateway) -> list[tuple[str, str | None, str]]:
    return [(note.kind.value, note.reason, note.actor) for note in gate.engine.noted]


async def test_the_browser_is_sent_with_all_that_protects_it(gate: Gateway, idp: LoginProvider) -> None:
    """Code flow, PKCE by S256, state and nonce that nobody guesses; a cookie that binds it to this browser."""
    answers = [await gate.client.get("/login?return_to=/audit%3Fn%3D5") for _ in range(2)]
    asked = [dict(parse_qsl(urlsplit(answer.headers["location"]).query, strict_parsing=True)) for answer in answers]
    first = asked[0]
    assert answers[0].headers["location"].startswith(f"{ISSUER}/authorize?")
    assert first | {"state": "", "nonce": "", "code_challenge": ""} == {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"{ORIGIN}/login/callback",
        "scope": "openid profile",
        "state": "",
        "nonce": "",
        "code_challenge": "",
        "code_challenge_method": "S256",
    }
    for secret in ("state", "nonce", "code_challenge"):
        assert len(first[secret]) == 43
        assert first[secret] != asked[1][secret]
    cookie = answers[0].headers["set-cookie"]
    assert "; Path=/; HttpOnly; SameSite=Lax; Max-Age=600" in cookie
    assert not any(first[secret] in cookie for secret in ("state", "nonce", "code_challenge"))
    assert answers[0].headers["cache-control"] == "no-store"


async def test_a_login_ends_where_it_began(gate: Gateway, idp: LoginProvider) -> None:
    """The session's id is in a cookie, nothing of the tokens is anywhere outside; the record names the person."""
    answer = await log_in(gate, idp, "/login?return_to=/audit%3Fn%3D1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/audit?n=1")
    taken_back, kept = answer.headers.get_list("set-cookie")
    assert "autoheal_login_9009_" in taken_back
    assert "Max-Age=0" in taken_back
    morsel = SimpleCookie(kept)[SESSION]
    assert len(morsel.value) == 43
    assert (morsel["httponly"], morsel["samesite"], morsel["path"], morsel["max-age"]) == (True, "Lax", "/", "")
    (record,) = (await gate.client.get("/audit?n=1")).json()["records"]
    assert (record["kind"], record["actor"], record["correlation_id"]) == (
        "login",
        "olga",
        answer.headers["x-correlation-id"],
    )
    assert record["detail"] == {"role": "operator", "name": "Olga Operator", "address": "127.0.0.1"}
    assert idp.forms[0]["redirect_uri"] == f"{ORIGIN}/login/callback"
    assert (await gate.client.get("/whoami")).json()["role"] == "operator"


async def test_prompt_is_passed_on(gate: Gateway) -> None:
    """So that a logout is more than a way straight back in."""
    location = (await gate.client.get("/login?prompt=login")).headers["location"]
    assert parse_qs(urlsplit(location).query)["prompt"] == ["login"]


@pytest.mark.parametrize(
    "query",
    [
        "return_to=//evil.example",
        "return_to=https://evil.example",
        "return_to=",
        "prompt=none",
        "moved=2",
        "x=1",
        "return_to=/a&return_to=/b",
    ],
)
async def test_a_login_leads_to_our_own_pages_only(gate: Gateway, query: str) -> None:
    """400 that names the parameter, and no login begins."""
    answer = await gate.client.get(f"/login?{query}")
    assert (answer.status_code, answer.json()["parameter"]) == (400, query.split("=", maxsplit=1)[0])
    assert "location" not in answer.headers


async def test_behind_https_the_cookies_are_the_hosts_own(tmp_path: Path, idp: LoginProvider, clock: FakeClock) -> None:
    """`__Host-` and Secure, from AUTOHEAL_PUBLIC_URL, whatever the proxy in front speaks to us."""
    env = {**OIDC, "AUTOHEAL_PUBLIC_URL": "https://autoheal.example"}
    async with gateway(tmp_path, env, http=idp.http, clock=clock) as gate:
        begun = await gate.client.get("/login")
        asked = dict(parse_qsl(urlsplit(begun.headers["location"]).query))
        assert asked["redirect_uri"] == "https://autoheal.example/login/callback"
        kept = begun.headers["set-cookie"]
        assert kept.startswith("__Host-autoheal_login_")
        assert "; Secure" in kept


async def test_tabs_log_in_at_the_same_time(gate: Gateway, idp: LoginProvider) -> None:
    """Each by its own cookie; of more than five, the oldest gives way."""
    begun = [(await gate.client.get("/login")).headers["location"] for _ in range(6)]
    finished = [await gate.client.get(idp.allow(location)) for location in begun]
    assert [answer.status_code for answer in finished] == [400, 303, 303, 303, 303, 303]


async def test_a_login_gives_a_new_id_and_ends_the_old_session(gate: Gateway, idp: LoginProvider) -> None:
    """Session fixation: what was known before the login is worth nothing after it."""
    await log_in(gate, idp)
    old = gate.client.cookies[SESSION]
    await log_in(gate, idp)
    new = gate.client.cookies[SESSION]
    assert new != old
    gate.client.cookies.clear()
    assert (await gate.client.get("/audit", headers={"Cookie": f"{SESSION}={old}"})).status_code == 401
    assert (await gate.client.get("/audit", headers={"Cookie": f"{SESSION}={new}"})).status_code == 200
    planted = "A" * 43
    begun = await gate.client.get("/login", headers={"Cookie": f"{SESSION}={planted}"})
    await gate.client.get(idp.allow(begun.headers["location"]))
    assert gate.client.cookies[SESSION] != planted


ANSWERS: list[tuple[str, dict[str, str | None], int, str]] = [
    ("another state", {"state": "A" * 43}, 400, "login_state"),
    ("no state", {"state": None}, 400, "login_state"),
    ("an empty state", {"state": ""}, 400, "login_state"),
    ("another issuer", {"iss": "https://evil.example"}, 400, "login_issuer"),
    ("no issuer", {"iss": None}, 400, "login_issuer"),
    ("no code", {"code": None}, 400, "login_denied"),
    ("another code", {"code": "stolen"}, 400, "login_code"),
    ("access_denied", {"error": "access_denied", "code": None}, 403, "login_denied"),
    ("server_error", {"error": "server_error", "error_description": "<b>call 555</b>"}, 502, "login_denied"),
    ("an error with a foreign state", {"error": "access_denied", "state": "x"}, 400, "login_state"),
]


@pytest.mark.parametrize(
    ("changes", "code", "reason"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
async def test_an_answer_that_is_not_as_it_must_be(
    gate: Gateway, idp: LoginProvider, changes: dict[str, str | None], code: int, reason: str
) -> None:
    """No session, a reason in the log, nothing of the answer in ours; only a plausible code is ever redeemed."""
    begun = await gate.client.get("/login")
    answer = await gate.client.get(idp.allow(begun.headers["location"], **changes))
    assert answer.status_code == code
    assert answer.json()["detail"].endswith("Begin again at /login.")
    assert "call 555" not in answer.text
    assert SESSION not in gate.client.cookies
    assert kinds(gate) == [("auth_failed", reason, "system")]
    assert len(idp.forms) == (1 if reason == "login_code" else 0)


@pytest.mark.parametrize("name", ["code", "state", "iss", "error"])
async def test_a_parameter_twice_is_refused(gate: Gateway, idp: LoginProvider, name: str) -> None:
    """Which of the two would count is anybody's guess; the login goes on with a proper answer."""
    begun = await gate.client.get("/login")
    path = idp.allow(begun.headers["location"])
    answer = await gate.client.get(f"{path}&{name}=x&{name}=y")
    assert (answer.status_code, answer.json()["parameter"]) == (400, name)
    assert (await gate.client.get(path)).status_code == 303


async def test_an_answer_counts_once(gate: Gateway, idp: LoginProvider) -> None:
    """Played again it is not known, and the code is not even tried."""
    begun = await gate.client.get("/login")
    path = idp.allow(begun.headers["location"])
    assert (await gate.client.get(path)).status_code == 303
    assert (await gate.client.get(path)).status_code == 400
    assert len(idp.forms) == 1


async def test_answers_are_checked_with_the_provider_a_few_at_a_time(
    gate: Gateway, idp: LoginProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next is 503 and loses nothing: the page can be reloaded when there is room."""
    monkeypatch.setattr(login, "MAX_FINISHING", 2)
    paths = [idp.allow((await gate.client.get("/login")).headers["location"]) for _ in range(3)]
    idp.gate.clear()
    first = [asyncio.create_task(gate.client.get(path)) for path in paths[:2]]
    await until(lambda: len(idp.forms) == 2)
    refused = await gate.client.get(paths[2])
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    idp.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*first)] == [303, 303]
    assert (await gate.client.get(paths[2])).status_code == 303


async def test_while_the_provider_is_away_the_answer_is_not_used_up(
    gate: Gateway, idp: LoginProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 says to try again: the page that is reloaded then is a login."""

    async def gone(_: Oidc) -> Provider:
        raise KeysUnavailable("nobody answers", 7)

    path = idp.allow((await gate.client.get("/login")).headers["location"])
    with monkeypatch.context() as patch:
        patch.setattr(Oidc, "provider", gone)
        answer = await gate.client.get(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert (await gate.client.get(path)).status_code == 303


async def test_once_the_code_is_spent_a_login_begins_again(
    gate: Gateway, idp: LoginProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys cannot be had, or the log takes no record: to reload is no use, and nobody is told to."""

    async def no_keys(*_: object, **__: object) -> None:
        raise KeysUnavailable("nobody answers", 7)

    with monkeypatch.context() as patch:
        patch.setattr(Oidc, "verify_id_token", no_keys)
        answer = await log_in(gate, idp)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json()["detail"].endswith("cannot be fetched now. Begin again at /login.")
    gate.engine.error = unavailable()
    answer = await log_in(gate, idp)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"].endswith("Begin again at /login.")


async def test_a_flood_of_logins_ends_nobodys(gate: Gateway, idp: LoginProvider) -> None:
    """Each is kept by its own browser alone."""
    path = idp.allow((await gate.client.get("/login")).headers["location"])
    mine = dict(gate.client.cookies)
    for _ in range(50):
        gate.client.cookies.clear()
        await gate.client.get("/login")
    gate.client.cookies.clear()
    gate.client.cookies.update(mine)
    assert (await gate.client.get(path)).status_code == 303


@pytest.mark.parametrize("host", ["localhost:9009", "127.0.0.1", "127.0.0.1:9010", "evil.example", ""])
async def test_under_another_name_it_moves_to_the_one_that_the_answer_comes_to(
    gate: Gateway, idp: LoginProvider, host: str
) -> None:
    """A cookie of localhost does not come to 127.0.0.1. Once: a proxy may show us another Host for ever."""
    query = "return_to=%2Faudit%3Fn%3D5&prompt=login"
    answer = await gate.client.get(f"/login?{query}", headers={"Host": host})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{ORIGIN}/login?{query}&moved=1")
    assert "set-cookie" not in answer.headers
    moved = urlsplit(answer.headers["location"])
    begun = await gate.client.get(f"{moved.path}?{moved.query}", headers={"Host": host})
    assert begun.headers["location"].startswith(f"{ISSUER}/authorize?")
    assert (await gate.client.get(idp.allow(begun.headers["location"]))).headers["location"] == "/audit?n=5"


async def test_another_programs_session_cookie_makes_no_loop(gate: Gateway, idp: LoginProvider) -> None:
    """Set for a part of our paths, it comes beside each session: 400 that takes both back; the next login works."""
    gate.client.cookies.set(SESSION, "tossed", domain="127.0.0.1", path="/console")
    await log_in(gate, idp)
    refused = await gate.client.get("/console", headers={"Accept": "text/html"})
    assert refused.status_code == 400
    assert "log in again at /login" in refused.json()["detail"]
    assert kinds(gate)[-1] == ("auth_failed", "invalid_request", "system")
    assert SESSION not in [cookie.name for cookie in gate.client.cookies.jar]
    await log_in(gate, idp)
    assert (await gate.client.get("/console", headers={"Accept": "text/html"})).status_code == 200


async def test_an_answer_in_another_browser_is_refused(gate: Gateway, idp: LoginProvider) -> None:
    """Login CSRF: an attacker's own answer would log the victim in as the attacker."""
    begun = await gate.client.get("/login")
    gate.client.cookies.clear()
    answer = await gate.client.get(idp.allow(begun.headers["location"]))
    assert (answer.status_code, idp.forms) == (400, [])


async def test_after_ten_minutes_it_is_over(gate: Gateway, idp: LoginProvider, clock: FakeClock) -> None:
    """And the browser is told to begin again."""
    begun = await gate.client.get("/login")
    path = idp.allow(begun.headers["location"])
    await clock.advance(LOGIN_SECONDS + 1)
    answer = await gate.client.get(path)
    assert (answer.status_code, idp.forms) == (400, [])


async def test_a_provider_that_names_no_issuer_in_answers(tmp_path: Path, idp: LoginProvider, clock: FakeClock) -> None:
    """Where RFC 9207 is not spoken its absence is no fault; a wrong one still is."""
    del idp.document["authorization_response_iss_parameter_supported"]
    async with gateway(tmp_path, OIDC, http=idp.http, clock=clock) as gate:
        for iss, code in ((None, 303), (ISSUER, 303), ("https://evil.example", 400)):
            begun = await gate.client.get("/login")
            assert (await gate.client.get(idp.allow(begun.headers["location"], iss=iss))).status_code == code


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": "another"}, "wrong_nonce"),
        ({"nonce": None}, "wrong_nonce"),
        ({"aud": "another"}, "wrong_audience"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "wrong_client"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"exp": 1}, "expired"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "wrong_hash"),
        ({"sub": "olga\n"}, "wrong_subject"),
    ],
)
async def test_an_id_token_of_another_login(
    gate: Gateway, idp: LoginProvider, changes: dict[str, object], reason: str
) -> None:
    """Signed by the provider and yet not ours: nobody is logged in."""
    idp.id_changes = changes
    answer = await log_in(gate, idp)
    assert answer.status_code == 502
    assert SESSION not in gate.client.cookies
    assert kinds(gate) == [("auth_failed", reason, "system")]


async def test_somebody_without_a_role_is_told_so(gate: Gateway, idp: LoginProvider) -> None:
    """403, recorded under their name, and no session that could do nothing."""
    idp.account.roles = ("intern",)
    answer = await log_in(gate, idp)
    assert answer.status_code == 403
    assert SESSION not in gate.client.cookies
    assert kinds(gate) == [("auth_failed", "no_role", "olga")]


@pytest.mark.parametrize(
    "said",
    [
        unreachable,
        status(500),
        status(200),
        status(302),
        lambda _: httpx.Response(200, json=["no object"]),
        lambda _: httpx.Response(200, json={"access_token": 7, "id_token": "x"}),
        lambda _: httpx.Response(200, json={"access_token": "x", "id_token": ["x"]}),
        lambda _: httpx.Response(200, json={"access_token": "x"}),
        lambda _: httpx.Response(200, content=b" " * 70_000),
        lambda _: httpx.Response(400, json={"error": "invalid_client"}),
        lambda _: httpx.Response(401, json={"error": "x\n" * 50}),
        lambda _: httpx.Response(400, json={"error": 7}),
    ],
)
async def test_a_provider_without_a_usable_answer(
    gate: Gateway, idp: LoginProvider, said: Callable[[httpx.Request], httpx.Response]
) -> None:
    """502, told in the service's log without a secret; no session, no exception."""
    idp.token_answer = said
    with capture_logs() as logs:
        answer = await log_in(gate, idp)
    assert answer.status_code == 502
    assert SESSION not in gate.client.cookies
    told = [log for log in logs if log["event"] in ("login_failed", "login_client_refused")]
    assert len(told) == 1
    assert not any("exc_info" in log and log["exc_info"] for log in logs)
    assert OIDC["OIDC_CLIENT_SECRET"] not in str(logs) + answer.text


async def test_a_provider_that_logs_nobody_in(tmp_path: Path, idp: LoginProvider, clock: FakeClock) -> None:
    """One that names no authorization_endpoint, or no token_endpoint: 502 that says which."""
    del idp.document["token_endpoint"]
    (tmp_path / "two").mkdir()
    async with gateway(tmp_path, OIDC, http=idp.http, clock=clock) as gate:
        assert (await log_in(gate, idp)).status_code == 502
    other = LoginProvider(clock)
    del other.document["authorization_endpoint"]
    async with gateway(tmp_path / "two", OIDC, http=other.http, clock=clock) as gate:
        answer = await gate.client.get("/login")
        assert answer.status_code == 502
        assert "authorization_endpoint" in answer.json()["detail"]


async def test_no_record_no_session(gate: Gateway, idp: LoginProvider) -> None:
    """A login that the audit log cannot take does not happen."""
    gate.engine.error = unavailable()
    answer = await log_in(gate, idp)
    assert answer.status_code == 503
    assert SESSION not in gate.client.cookies


def for_us(idp: LoginProvider, clock: FakeClock, *roles: str, subject: str = "olga", audience: str = AUDIENCE) -> None:
    """Let the provider's access tokens be JWTs with these roles."""
    idp.bearer = token(clock, sub=subject, aud=[audience, "account"], roles=list(roles), azp=CLIENT)


@pytest.mark.parametrize(
    ("identity", "bearer", "role"),
    [
        (("sre",), ("boss",), "admin"),
        (("boss",), ("view",), "admin"),
        ((), ("sre",), "operator"),
        (("sre",), (), "operator"),
    ],
)
async def test_roles_may_stand_in_either_token(
    gate: Gateway, idp: LoginProvider, clock: FakeClock, identity: tuple[str, ...], bearer: tuple[str, ...], role: str
) -> None:
    """Keycloak has them in the access token alone; the higher of the two counts."""
    idp.account.roles = identity
    for_us(idp, clock, *bearer)
    assert (await log_in(gate, idp)).status_code == 303
    assert (await gate.client.get("/whoami")).json()["role"] == role


async def test_an_access_token_that_is_not_for_us_tells_nothing(
    gate: Gateway, idp: LoginProvider, clock: FakeClock
) -> None:
    """Another's audience, another's subject, no JWT, a JWT of nonsense: the ID token alone, and no failure counted."""
    for made in ("other", "subject", "opaque", "a.!.c", "a.e30.c", "a.W10.c", "a.eyJhdWQiOjd9.c"):
        match made:
            case "other":
                for_us(idp, clock, "boss", audience="other")
            case "subject":
                for_us(idp, clock, "boss", subject="eve")
            case _:
                idp.bearer = made
        assert (await log_in(gate, idp)).status_code == 303
        assert (await gate.client.get("/whoami")).json()["role"] == "operator"
    assert b'failures_total{reason="malformed"} 0.0' in gate.metrics.expose()[0]
    assert b'failures_total{reason="wrong_audience"} 0.0' in gate.metrics.expose()[0]


async def test_an_access_token_for_us_that_is_bad_is_no_role(
    gate: Gateway, idp: LoginProvider, clock: FakeClock
) -> None:
    """It claims to be ours and is not: counted, and the ID token alone is believed."""
    idp.bearer = token(clock, SigningKey("one", which=7), sub="olga", roles=["boss"])
    assert (await log_in(gate, idp)).status_code == 303
    assert (await gate.client.get("/whoami")).json()["role"] == "operator"
    assert b'failures_total{reason="invalid_signature"} 1.0' in gate.metrics.expose()[0]


async def test_a_secret_may_go_into_the_form(tmp_path: Path, idp: LoginProvider, clock: FakeClock) -> None:
    """Where the provider takes it there only (client_secret_post); without a secret the client names itself."""
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(500)

    idp.token_answer = note
    idp.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    for env in (OIDC, {**OIDC, "OIDC_CLIENT_SECRET": ""}):
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        async with gateway(folder, env, http=_again(idp), clock=clock) as gate:
            await log_in(gate, idp)
    assert all("authorization" not in request.headers for request in seen)
    assert [form.get("client_secret") for form in idp.forms] == [OIDC["OIDC_CLIENT_SECRET"], None]
    assert [form["client_id"] for form in idp.forms] == [CLIENT, CLIENT]


def _again(idp: LoginProvider) -> httpx.AsyncClient:
    """A further way to the same provider: a gateway's end closes its own."""
    return httpx.AsyncClient(transport=httpx.MockTransport(idp.answer))


async def test_logout_ends_it_here_and_leads_to_the_provider(gate: Gateway, idp: LoginProvider) -> None:
    """The id is worth nothing from then on; the address ends the session there as well, and comes back to /login."""
    await log_in(gate, idp)
    key = gate.client.cookies[SESSION]
    answer = await gate.client.post("/logout", headers=OWN)
    assert answer.status_code == 200
    assert "Max-Age=0" in answer.headers["set-cookie"]
    address = urlsplit(answer.json()["next"])
    asked = dict(parse_qsl(address.query))
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{ISSUER}/logout"
    assert asked.pop("id_token_hint").count(".") == 2
    assert asked == {"client_id": CLIENT, "post_logout_redirect_uri": f"{ORIGIN}/login"}
    assert (await gate.client.get("/audit", headers={"Cookie": f"{SESSION}={key}"})).status_code == 401
    assert kinds(gate) == [("login", None, "olga"), ("logout", "asked", "olga")]


async def test_logout_without_a_session_is_no_error(gate: Gateway) -> None:
    """Whoever clicks twice is led on as well."""
    answer = await gate.client.post("/logout", headers={**OWN, "Cookie": f"{SESSION}=gone"})
    assert (answer.status_code, answer.json()) == (200, {"next": "/login?prompt=select_account"})
    assert gate.engine.noted == []


async def test_a_provider_without_logout(tmp_path: Path, idp: LoginProvider, clock: FakeClock) -> None:
    """The next login then asks for the account, or the logout would be none."""
    del idp.document["end_session_endpoint"]
    async with gateway(tmp_path, OIDC, http=idp.http, clock=clock) as gate:
        await log_in(gate, idp)
        assert (await gate.client.post("/logout", headers=OWN)).json() == {"next": "/login?prompt=select_account"}


async def test_logout_does_not_hang_on_the_provider(
    gate: Gateway, idp: LoginProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its addresses are not known, so it cannot end there; here it does."""

    async def gone(_: Oidc) -> Provider:
        raise KeysUnavailable("nobody answers", 1)

    await log_in(gate, idp)
    monkeypatch.setattr(Oidc, "provider", gone)
    answer = await gate.client.post("/logout", headers=OWN)
    assert (answer.status_code, answer.json()) == (200, {"next": "/login?prompt=select_account"})
    assert (await gate.client.get("/audit")).status_code == 401


async def test_logout_does_not_hang_on_the_log(gate: Gateway, idp: LoginProvider) -> None:
    """The session has ended even when its record could not be written; the service's log says so."""
    await log_in(gate, idp)
    gate.engine.error = unavailable()
    with capture_logs() as logs:
        assert (await gate.client.post("/logout", headers=OWN)).status_code == 200
    assert "logout_not_recorded" in [log["event"] for log in logs]
    gate.engine.error = None
    assert (await gate.client.get("/audit")).status_code == 401


async def test_idle_and_absolute_ends(gate: Gateway, idp: LoginProvider, clock: FakeClock) -> None:
    """Half an hour without a request, eight hours with them."""
    idp.refreshes = False
    await log_in(gate, idp)
    for _ in range(int(ABSOLUTE_SECONDS / (IDLE_SECONDS - 60))):
        await clock.advance(IDLE_SECONDS - 60)
        assert (await gate.client.get("/whoami")).status_code == 200
    await clock.advance(IDLE_SECONDS - 60)
    assert (await gate.client.get("/whoami")).status_code == 401
    await log_in(gate, idp)
    await clock.advance(IDLE_SECONDS + 1)
    assert (await gate.client.get("/whoami")).status_code == 401


async def test_it_is_renewed_at_four_fifths(gate: Gateway, idp: LoginProvider, clock: FakeClock) -> None:
    """Not before; then with the role that the provider tells now, again and again, with each new refresh token."""
    await log_in(gate, idp)
    await clock.advance(239)
    assert (await gate.client.get("/whoami")).json()["role"] == "operator"
    assert len(idp.forms) == 1
    idp.account.roles = ("view",)
    await clock.advance(2)
    assert (await gate.client.get("/whoami")).json()["role"] == "viewer"
    assert (idp.forms[1]["grant_type"], idp.forms[1]["refresh_token"]) == ("refresh_token", "refresh-1")
    await clock.advance(241)
    assert (await gate.client.get("/whoami")).status_code == 200
    assert idp.forms[2]["refresh_token"] == "refresh-2"


@pytest.mark.parametrize(
    "said", [unreachable, status(500), lambda _: httpx.Response(400, json={"error": "invalid_client"})]
)
async def test_a_provider_that_is_away_ends_no_session(
    gate: Gateway, idp: LoginProvider, clock: FakeClock, said: Callable[[httpx.Request], httpx.Response]
) -> None:
    """The people who mend it are logged in here; it is asked again after half a minute, and not at each request."""
    await log_in(gate, idp)
    idp.token_answer = said
    await clock.advance(241)
    for _ in range(3):
        assert (await gate.client.get("/whoami")).status_code == 200
    assert len(idp.forms) == 2
    idp.token_answer = None
    await clock.advance(31)
    assert (await gate.client.get("/whoami")).status_code == 200
    await until(lambda: len(idp.forms) == 3)


def _refused(idp: LoginProvider) -> str:
    idp.token_answer = idp.refuse
    return "invalid_grant"


def _somebody_else(idp: LoginProvider) -> str:
    idp.account.subject = "eve"
    return "other_subject"


def _without_a_role(idp: LoginProvider) -> str:
    idp.account.roles = ()
    return "no_role"


def _with_a_bad_token(idp: LoginProvider) -> str:
    idp.id_changes = {"aud": "other"}
    return "wrong_audience"


@pytest.mark.parametrize("change", [_refused, _somebody_else, _without_a_role, _with_a_bad_token])
async def test_a_provider_that_says_no_ends_it(
    gate: Gateway, idp: LoginProvider, clock: FakeClock, change: Callable[[LoginProvider], str]
) -> None:
    """At the next renewal, with the reason in the log."""
    await log_in(gate, idp)
    reason = change(idp)
    await clock.advance(241)
    assert (await gate.client.get("/whoami")).status_code == 401
    assert kinds(gate)[-1] == ("logout", reason, "olga")


async def test_an_end_by_the_provider_does_not_hang_on_the_log(
    gate: Gateway, idp: LoginProvider, clock: FakeClock
) -> None:
    """As a logout: ended, and said in the service's log."""
    await log_in(gate, idp)
    _refused(idp)
    gate.engine.error = unavailable()
    await clock.advance(241)
    with capture_logs() as logs:
        assert (await gate.client.get("/whoami")).status_code == 401
    assert "logout_not_recorded" in [log["event"] for log in logs]


async def test_a_logout_while_it_is_renewed_is_one(gate: Gateway, idp: LoginProvider, clock: FakeClock) -> None:
    """The provider's answer that comes later brings nothing back."""
    await log_in(gate, idp)
    await clock.advance(241)
    idp.gate.clear()
    asked = asyncio.create_task(gate.client.get("/whoami"))
    await until(lambda: len(idp.forms) == 2)
    assert (await gate.client.post("/logout", headers=OWN)).status_code == 200
    idp.gate.set()
    assert (await asked).status_code == 401
    assert kinds(gate) == [("login", None, "olga"), ("logout", "asked", "olga")]


@pytest.mark.parametrize("life", [None, "300", 300.5, 0, -1, True, [300], "soon", 1e30])
async def test_the_life_of_tokens_is_read_with_care(
    gate: Gateway, idp: LoginProvider, clock: FakeClock, life: object
) -> None:
    """A number, also as text; anything else counts as five minutes, and none breaks the login."""
    idp.life = life
    assert (await log_in(gate, idp)).status_code == 303
    await clock.advance(239)
    await gate.client.get("/whoami")
    assert len(idp.forms) == 1
    await clock.advance(2)
    assert (await gate.client.get("/whoami")).status_code == 200
    assert len(idp.forms) == 2


async def test_a_renewal_without_an_id_token(gate: Gateway, idp: LoginProvider, clock: FakeClock) -> None:
    """Some providers send none: who it is stays; the role is what an access token for us tells, or as it was."""
    await log_in(gate, idp)
    told = {"access_token": "opaque", "refresh_token": "r", "expires_in": 300}
    idp.token_answer = lambda _: httpx.Response(200, json=told)
    await clock.advance(241)
    assert (await gate.client.get("/whoami")).json()["role"] == "operator"
    told["access_token"] = token(clock, sub="olga", roles=["view"])
    await clock.advance(241)
    assert (await gate.client.get("/whoami")).json()["role"] == "viewer"
