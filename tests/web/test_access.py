"""Who is let in by a token, and what everybody else is told: one table, no exception, no request to anybody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from autoheal.web.security import PUBLIC, Door
from tests.support.clock import FakeClock
from tests.support.gateway import Gateway, decision, firing, gateway, unavailable
from tests.support.identity import ISSUER, SigningKey, status, token, unreachable
from tests.support.logins import OIDC, ORIGIN, OWN, SESSION, LoginProvider, bearer, log_in
from tests.support.said import capture_logs

Answer = Callable[[httpx.Request], httpx.Response]
shared = pytest.mark.asyncio(loop_scope="module")
REALM = 'Bearer realm="autoheal"'
METADATA = f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource"'


@dataclass
class World:
    """A gateway, the provider that it trusts, and the time of both."""

    gate: Gateway
    idp: LoginProvider
    clock: FakeClock

    def refused(self) -> dict[str, float]:
        """How often each reason was counted."""
        lines = self.gate.metrics.expose()[0].decode()
        found = re.findall(r'^autoheal_jwt_auth_failures_total\{reason="(\w+)"\} (\S+)$', lines, re.MULTILINE)
        return {reason: float(count) for reason, count in found if float(count)}


@asynccontextmanager
async def world(folder: Path, *, broken: Answer | None = None, **env: str) -> AsyncIterator[World]:
    """`broken` is what the provider answers from the start."""
    clock = FakeClock()
    idp = LoginProvider(clock)
    idp.broken = broken
    async with gateway(folder, {**OIDC, **env}, http=idp.http, clock=clock) as gate:
        yield World(gate, idp, clock)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """One for all tests that change nothing; its keys are loaded."""
    async with world(tmp_path_factory.mktemp("gateway")) as running:
        await running.gate.log(firing(1), decision(3))
        assert (await running.gate.client.get("/audit", headers=bearer(running.clock, "view"))).status_code == 200
        yield running


Headers = list[tuple[str, str]]


def given(*pairs: tuple[str, str]) -> Callable[[FakeClock], Headers]:
    return lambda _: list(pairs)


def made(
    header: dict[str, Any] | None = None, key: SigningKey | None = None, **changes: Any
) -> Callable[[FakeClock], Headers]:
    told = {"roles": ["view"], **changes}
    return lambda clock: [("Authorization", f"Bearer {token(clock, key, header=header, **told)}")]


def good(clock: FakeClock, *more: tuple[str, str]) -> Headers:
    return [*bearer(clock, "view").items(), *more]


def bent(change: Callable[[str], str]) -> Callable[[FakeClock], Headers]:
    """A good token, changed as text."""
    return lambda clock: [("Authorization", f"Bearer {change(token(clock, roles=['view']))}")]


def swapped(text: str) -> str:
    """With the claims of a better token under its own signature."""
    header, _, signature = text.split(".")
    return ".".join((header, token(FakeClock(), roles=["boss"]).split(".")[1], signature))


def at(seconds: int) -> int:
    """A moment of the tokens' clock."""
    return int(FakeClock().now()) + seconds


OTHER_KEY = SigningKey("one", "RS256", which=7)
COOKIE = ("Cookie", f"{SESSION}=unknown")

CASES: list[tuple[str, Callable[[FakeClock], Headers], int, str | None, str | None]] = [
    # what, headers, status, error of the challenge (None: no challenge, "": a bare one), reason counted
    ("good", good, 200, None, None),
    ("small letters", lambda clock: [("Authorization", good(clock)[0][1].replace("B", "b", 1))], 200, None, None),
    ("beside a cookie that is no good", lambda clock: good(clock, COOKIE), 200, None, None),
    ("beside X-Forwarded-For", lambda clock: good(clock, ("X-Forwarded-For", "203.0.113.7")), 200, None, None),
    ("beside another Host", lambda clock: good(clock, ("Host", "autoheal.example")), 200, None, None),
    ("aud among others", made(aud=["other", "autoheal"]), 200, None, None),
    ("just within the leeway", made(exp=at(-59)), 200, None, None),
    ("nothing", given(), 401, "", "missing_token"),
    ("Basic", given(("Authorization", "Basic b2xnYTp4")), 401, "", "missing_token"),
    ("an empty header", given(("Authorization", "")), 401, "", "missing_token"),
    ("the token in another header", lambda clock: [("X-Access-Token", good(clock)[0][1])], 401, "", "missing_token"),
    ("the token in a cookie", lambda clock: [("Cookie", f"access_token={token(clock)}")], 401, "", "missing_token"),
    ("X-Forwarded-User", given(("X-Forwarded-User", "olga"), ("X-Remote-User", "olga")), 401, "", "missing_token"),
    ("from this machine", given(("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "::1")), 401, "", "missing_token"),
    ("Bearer alone", given(("Authorization", "Bearer")), 400, "invalid_request", "malformed"),
    ("a tab after Bearer", given(("Authorization", "Bearer\ta.b.c"), COOKIE), 400, "invalid_request", "malformed"),
    ("two tokens", given(("Authorization", "Bearer a b")), 400, "invalid_request", "malformed"),
    ("two tokens with a comma", given(("Authorization", "Bearer a, Bearer b")), 400, "invalid_request", "malformed"),
    ("two headers", lambda clock: good(clock) * 2, 400, "invalid_request", "malformed"),
    ("two schemes", lambda clock: good(clock, ("Authorization", "Basic x")), 400, "invalid_request", "malformed"),
    ("quotes", given(("Authorization", 'Bearer "a.b.c"')), 400, "invalid_request", "malformed"),
    ("no JWT", given(("Authorization", "Bearer abc")), 401, "invalid_token", "malformed"),
    ("five parts", given(("Authorization", "Bearer a.b.c.d.e")), 401, "invalid_token", "malformed"),
    ("padding", bent(lambda text: text + "="), 401, "invalid_token", "malformed"),
    ("17 KiB", given(("Authorization", f"Bearer {'a' * 17_000}.b.c")), 401, "invalid_token", "malformed"),
    ("no signature", bent(lambda text: text.rpartition(".")[0] + "."), 401, "invalid_token", "invalid_signature"),
    ("another's claims", bent(swapped), 401, "invalid_token", "invalid_signature"),
    ("another's key under a known kid", made(key=OTHER_KEY), 401, "invalid_token", "invalid_signature"),
    ("alg none", made({"alg": "none"}), 401, "invalid_token", "alg_not_allowed"),
    ("alg HS256", made({"alg": "HS256"}), 401, "invalid_token", "alg_not_allowed"),
    ("alg ES256 with an RSA kid", made({"alg": "ES256"}), 401, "invalid_token", "alg_not_allowed"),
    ("jku", made({"jku": "https://evil.example/keys"}, OTHER_KEY), 401, "invalid_token", "invalid_signature"),
    ("jwk", made({"jwk": OTHER_KEY.jwk()}, OTHER_KEY), 401, "invalid_token", "invalid_signature"),
    ("crit", made({"crit": ["x"], "x": 1}), 401, "invalid_token", "malformed"),
    ("expired", made(exp=at(-61)), 401, "invalid_token", "expired"),
    ("exp a text", made(exp="never"), 401, "invalid_token", "malformed"),
    ("not yet", made(nbf=at(61)), 401, "invalid_token", "not_yet_valid"),
    ("for another", made(aud="other"), 401, "invalid_token", "wrong_audience"),
    ("for a prefix of us", made(aud="autoheal2"), 401, "invalid_token", "wrong_audience"),
    ("of another issuer", made(iss="https://evil.example"), 401, "invalid_token", "wrong_issuer"),
    ("issuer with a slash more", made(iss=f"{ISSUER}/"), 401, "invalid_token", "wrong_issuer"),
    ("an ID token", made({"typ": "JWT"}, nonce="x", aud=["console", "autoheal"]), 401, "invalid_token", "wrong_type"),
    ("a logout token", made({"typ": "logout+jwt"}), 401, "invalid_token", "wrong_type"),
    ("without a subject", made(sub=None), 401, "invalid_token", "wrong_subject"),
    ("a subject with a line break", made(sub="olga\n{}"), 401, "invalid_token", "wrong_subject"),
    ("bad beside a cookie", lambda clock: [*made(aud="other")(clock), COOKIE], 401, "invalid_token", "wrong_audience"),
    ("a cookie that is no session", given(COOKIE), 401, "", None),
    ("two sessions", given(("Cookie", f"{SESSION}=a; {SESSION}=b")), 400, None, None),
    ("no role", made(roles=[]), 403, "insufficient_scope", None),
    ("roles that nobody mapped", made(roles=["intern", "admin", "viewer"]), 403, "insufficient_scope", None),
    ("a role that is no list", made(roles={"view": True}), 403, "insufficient_scope", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "code", "error", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
@shared
async def test_the_table(
    here: World, headers: Callable[[FakeClock], Headers], code: int, error: str | None, reason: str | None
) -> None:
    """Status, challenge and reason of GET /audit, the same of HEAD; nothing is asked of anybody, nothing breaks."""
    asked, before = len(here.idp.asked), here.refused()
    with capture_logs() as logs:
        answer = await here.gate.client.get("/audit", headers=headers(here.clock))
        head = await here.gate.client.head("/audit", headers=headers(here.clock))
    assert answer.status_code == head.status_code == code, answer.text
    challenge = answer.headers.get("www-authenticate")
    if error is None:
        assert challenge is None
    elif not error:
        assert challenge == f"{REALM}, {METADATA}"
    else:
        assert re.fullmatch(f'{REALM}, error="{error}", error_description="[^"\\\\]+", {METADATA}', challenge or "")
    if code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
    counted = {name: count - before.get(name, 0) for name, count in here.refused().items() if count != before.get(name)}
    assert counted == ({reason: 2} if reason else {})
    assert len(here.idp.asked) == asked
    assert not [log for log in logs if log["log_level"] in ("error", "critical") or log.get("exc_info")]


PROTECTED = [
    ("GET", "/audit"),
    ("GET", "/rules"),
    ("GET", "/storms"),
    ("GET", "/runs"),
    ("GET", "/runs/r3"),
    ("GET", "/state"),
    ("GET", "/console"),
    ("GET", "/console/main.js"),
    ("GET", "/whoami"),
    ("POST", "/ack"),
    ("POST", "/rules/restart-api/reset"),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/runs/r3/deny"),
    ("POST", "/runs/r3/cancel"),
    ("POST", "/runs/r3/rerun"),
    ("POST", "/runs/r3/approve"),
    ("POST", "/rules/restart-api/release"),
    ("POST", "/-/reload"),
    ("POST", "/-/refresh-jwks"),
]
READING = {path for method, path in PROTECTED if method == "GET"}
HOLDING = {"/ack", "/pause", "/resume", "/runs/r3/deny", "/runs/r3/cancel", "/rules/restart-api/reset"}
HOLDING.add("/runs/r3/rerun")
APPROVING = {"/runs/r3/approve", "/rules/restart-api/release"}


@shared
async def test_every_route_that_is_not_public_asks(here: World) -> None:
    """The list above is all of them; without credentials each is 401, HEAD and bodies included."""
    client = here.gate.client
    declared = {
        (method, door.path.replace("{id}", "r3").replace("{file}", "main.js").replace("{name}", "restart-api"))
        for door in here.gate.app.routes
        if isinstance(door, Door) and door.role != PUBLIC
        for method in door.methods or ()
    }
    assert {(method, path) for method, path in declared if method != "HEAD"} == set(PROTECTED)
    for method, path in PROTECTED:
        for tried in (method, *(["HEAD"] if method == "GET" else [])):
            answer = await client.request(tried, path, content=b"{}" if tried == "POST" else None)
            assert (tried, path, answer.status_code) == (tried, path, 401)
            assert answer.headers["www-authenticate"] == f"{REALM}, {METADATA}"


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
@shared
async def test_other_methods_are_405(here: World, method: str) -> None:
    """They reach nobody, with a token or without."""
    for headers in ({}, bearer(here.clock, "boss")):
        answer = await here.gate.client.request(method, "/audit", headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("//audit", 404),
        ("/audit/", 404),
        ("/./audit", 404),
        ("/healthz/../audit", 404),
        ("/console/../audit", 404),
        ("/console/..%2faudit", 404),
        ("/console/%2e%2e/audit", 404),
        ("/AUDIT", 404),
        ("/audit;x", 404),
        ("/audit%00", 404),
        ("/audit%20", 404),
        ("/audit/.", 404),
        ("/healthz%3f/../audit", 404),
        ("\\audit", 400),
        ("/%61udit", 401),
        ("/audit?", 401),
        ("/audit#x", 401),
        ("/audit?path=/healthz", 401),
        ("/runs/%2e%2e", 401),
        ("http://127.0.0.1:9009/audit", 401),
        ("http://localhost/healthz/../audit", 404),
    ],
)
@shared
async def test_no_spelling_of_a_path_goes_around(here: World, target: str, code: int) -> None:
    """As it is sent, byte for byte: it is another path, or the same door with the same guard."""
    request = f"GET {target} HTTP/1.1\r\nHost: localhost:9009\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", here.gate.port)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert int(answer.split(b" ")[1]) == code


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-HTTP-Method": "GET"},
        {"X-Method-Override": "GET"},
        {"X-Original-URL": "/healthz"},
        {"X-Rewrite-URL": "/healthz"},
        {"X-Forwarded-Path": "/healthz"},
        {"X-Forwarded-Prefix": "/healthz"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Uri": "/healthz"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Email": "olga@example.org"},
        {"X-Auth-Request-User": "olga"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
        {"Host": "localhost"},
    ],
)
@shared
async def test_no_header_stands_for_an_identity(here: World, headers: dict[str, str]) -> None:
    """Nor for another path or method: GET and POST, with the override inside and around."""
    for method, path in (("GET", "/audit"), ("POST", "/-/refresh-jwks")):
        assert (await here.gate.client.request(method, path, headers=headers)).status_code == 401
    assert (await here.gate.client.post("/audit", headers=headers)).status_code == 405
    # The other way round: what they say turns no public route into a protected one.
    assert (await here.gate.client.get("/healthz", headers={"X-Original-URL": "/audit"})).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("roles", "reached"),
    [
        (["view"], READING),
        (["sre"], READING | HOLDING),
        (["lead"], READING | HOLDING | APPROVING),
        (["boss", "view"], {path for _, path in PROTECTED}),
        ([], set()),
    ],
)
@shared
async def test_a_role_reaches_its_routes_and_those_below(here: World, roles: list[str], reached: set[str]) -> None:
    """And no other: 403 names what is needed and what there is."""
    for method, path in PROTECTED:
        # A body that no route takes, and that the last one does not look at.
        body = b"[]" if method == "POST" else None
        answer = await here.gate.client.request(method, path, headers=bearer(here.clock, *roles), content=body)
        inside = 400 if body and path != "/-/refresh-jwks" else 200
        assert (path, answer.status_code) == (path, inside if path in reached else 403)
        if path not in reached:
            has = {"view": "viewer", "sre": "operator", "lead": "approver"}.get(roles[0], "") if roles else "none"
            assert answer.json()["detail"].endswith(f"yours is {has}.")


@shared
async def test_public_routes_ask_nobody(here: World) -> None:
    """Not even those who show something that is no good: a scraper with an old token still scrapes."""
    for path in ("/", "/healthz", "/readyz", "/metrics", "/.well-known/oauth-protected-resource"):
        assert (await here.gate.client.get(path, headers={"Authorization": "Bearer bad"})).status_code == 200
    answer = await here.gate.client.post("/alert", content=b"{}", headers={"Authorization": "Bearer bad"})
    assert answer.status_code == 400


@shared
async def test_the_metadata_name_the_provider(here: World) -> None:
    """RFC 9728 section 3.2: ours, by the address that the challenge gave, and whom to ask for a token."""
    answer = await here.gate.client.get("/.well-known/oauth-protected-resource")
    assert answer.json() == {
        "resource": ORIGIN,
        "authorization_servers": [ISSUER],
        "bearer_methods_supported": ["header"],
        "resource_name": "autoheal",
    }


@shared
async def test_whoami_tells_the_caller(here: World) -> None:
    """As the token says, with our name of the role."""
    headers = bearer(here.clock, "sre", name="Olga", azp="ci")
    assert (await here.gate.client.get("/whoami", headers=headers)).json() == {
        "subject": "alice",
        "name": "Olga",
        "role": "operator",
        "client": "ci",
        "login": True,
    }


@shared
async def test_overview_says_that_people_log_in(here: World) -> None:
    """`oidc` in GET /."""
    assert (await here.gate.client.get("/")).json()["oidc"] is True


async def test_keys_that_cannot_be_had_are_503(tmp_path: Path) -> None:
    """Never 401: a good token would be thrown away. When they are there, the same token is good."""
    async with world(tmp_path, broken=status(500), JWKS_REFRESH_RETRIES="0") as here:
        headers = bearer(here.clock, "view")
        asked = [asyncio.create_task(here.gate.client.get(path, headers=headers)) for path in ("/audit", "/events")]
        with capture_logs() as logs:
            answers = await asyncio.gather(*asked)
        assert "request_failed" not in [log["event"] for log in logs]
        for answer in answers:
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert "www-authenticate" not in answer.headers
            assert "500" not in answer.text
        assert (await here.gate.client.get("/login")).status_code == 503
        here.idp.broken = None
        await here.clock.advance(60)
        assert (await here.gate.client.get("/audit", headers=bearer(here.clock, "view"))).status_code == 200


async def test_an_admin_has_the_keys_fetched_now(tmp_path: Path) -> None:
    """`{"keys": n}`; when they cannot be had 503, and those in use stay."""
    async with world(tmp_path, JWKS_REFRESH_RETRIES="0") as here:
        boss = bearer(here.clock, "boss")
        assert (await here.gate.client.post("/-/refresh-jwks", headers=boss)).json() == {"keys": 1}
        fetched = here.idp.fetches
        here.idp.keys = {"keys": [SigningKey().jwk(), SigningKey("two", which=1).jwk()]}
        assert (await here.gate.client.post("/-/refresh-jwks", headers=boss)).json() == {"keys": 2}
        assert here.idp.fetches == fetched + 1
        here.idp.broken = unreachable
        assert (await here.gate.client.post("/-/refresh-jwks", headers=boss)).status_code == 503
        assert (await here.gate.client.get("/audit", headers=boss)).status_code == 200


async def test_refusals_are_recorded_and_bounded(tmp_path: Path) -> None:
    """Reason, whose it was when that is known, where; the same one again only after ten minutes. No token in it."""
    async with world(tmp_path) as here:
        bad = bearer(here.clock, "view", aud="other")
        for _ in range(5):
            answer = await here.gate.client.get("/audit?n=1", headers=bad)
        await here.gate.client.get("/audit")
        await here.gate.client.post("/-/refresh-jwks", headers=bearer(here.clock, "view"))
        assert [(one.reason, one.actor) for one in here.gate.engine.noted] == [
            ("wrong_audience", "system"),
            ("insufficient_role", "alice"),
        ]
        assert here.gate.engine.noted[0].detail == {
            "address": "127.0.0.1",
            "method": "GET",
            "path": "/audit",
            "kid": "one",
        }
        assert answer.json()["correlation_id"] != here.gate.engine.noted[0].correlation_id
        lines = b"".join(record.line for record in here.gate.journal.read(0, 100))
        assert bad["Authorization"].split(".")[1].encode() not in lines


async def test_a_log_that_takes_nothing_changes_no_answer(tmp_path: Path) -> None:
    """A 401 stays one while the disk is full; the service's own log has it."""
    async with world(tmp_path) as here:
        here.gate.engine.error = unavailable()
        with capture_logs() as logs:
            answer = await here.gate.client.get("/audit", headers=bearer(here.clock, "view", aud="other"))
        assert answer.status_code == 401
        (told,) = (log for log in logs if log["event"] == "auth_failed_not_recorded")
        assert (told["reason"], told["address"]) == ("wrong_audience", "127.0.0.1")


async def test_without_a_client_there_is_no_login(tmp_path: Path) -> None:
    """Tokens are taken, cookies are nothing, /login is 404, and nobody is sent there."""
    async with world(tmp_path, OIDC_CLIENT_ID="", OIDC_CLIENT_SECRET="") as here:
        client = here.gate.client
        assert (await client.get("/audit", headers=bearer(here.clock, "view"))).status_code == 200
        for method, path in (("GET", "/login"), ("GET", "/login/callback"), ("POST", "/logout")):
            assert (await client.request(method, path)).status_code == 404
        answer = await client.get("/console", headers={"Accept": "text/html", "Cookie": f"{SESSION}=x"})
        assert (answer.status_code, answer.json()["detail"]) == (401, "Send a bearer token.")
        assert (await client.get("/whoami", headers=bearer(here.clock, "view"))).json()["login"] is False


async def test_an_address_that_nobody_named_is_left_out(tmp_path: Path) -> None:
    """On another address than loopback only AUTOHEAL_PUBLIC_URL says how we are reached; no Host header does."""
    more = {"AUTOHEAL_HOST": "0.0.0.0", "OIDC_CLIENT_ID": "", "OIDC_CLIENT_SECRET": ""}
    async with world(tmp_path, **more) as here:
        answer = await here.gate.client.get("/audit", headers={"Host": "evil.example"})
        assert answer.headers["www-authenticate"] == REALM
        assert (await here.gate.client.get("/.well-known/oauth-protected-resource")).status_code == 404


async def test_without_oidc_nothing_of_it_is_there(tmp_path: Path) -> None:
    """Everybody on the machine has every role; the routes of the login and of tokens are 404."""
    async with gateway(tmp_path) as gate:
        for method, path in (
            ("GET", "/login"),
            ("GET", "/login/callback"),
            ("POST", "/logout"),
            ("POST", "/-/refresh-jwks"),
            ("GET", "/.well-known/oauth-protected-resource"),
        ):
            assert (await gate.client.request(method, path)).status_code == 404
        assert (await gate.client.get("/whoami")).json() == {
            "subject": "local",
            "name": None,
            "role": "admin",
            "client": None,
            "login": False,
        }
        assert (await gate.client.get("/audit", headers={"Authorization": "Bearer whatever"})).status_code == 200
        assert (await gate.client.get("/console", headers={"X-Forwarded-For": "203.0.113.7"})).status_code == 403


async def test_a_session_and_a_token_together_are_the_token(tmp_path: Path) -> None:
    """The bearer decides: a good session is no way back from a bad token, nor from a role that is too little."""
    async with world(tmp_path) as here:
        assert (await log_in(here.gate, here.idp)).status_code == 303
        client = here.gate.client
        assert (await client.get("/whoami")).json()["subject"] == "olga"
        assert (await client.get("/whoami", headers=bearer(here.clock, "view"))).json()["subject"] == "alice"
        assert (await client.get("/audit", headers=bearer(here.clock, "view", aud="other"))).status_code == 401
        assert (await client.get("/audit", headers=bearer(here.clock))).status_code == 403
        # No cookie vouches for it, so no other site can have sent it: nothing of our own is asked for.
        assert (await client.post("/-/refresh-jwks", headers=bearer(here.clock, "boss"))).status_code == 200


async def test_what_somebody_does_stands_under_their_name(tmp_path: Path) -> None:
    """The subject of the token or of the session is the `actor`; without OIDC it is `local`."""
    body = b'{"fingerprint":"0000000000000001"}'
    async with world(tmp_path) as here:
        assert (await here.gate.client.post("/ack", content=body, headers=bearer(here.clock, "sre"))).is_success
        await log_in(here.gate, here.idp)
        assert (await here.gate.client.post("/ack", content=body)).status_code == 403
        assert (await here.gate.client.post("/ack", content=body, headers=OWN)).is_success
        assert [by for _, by, _ in here.gate.engine.acknowledged] == ["alice", "olga"]
    async with gateway(tmp_path) as gate:
        assert (await gate.client.post("/ack", content=body)).is_success
        assert [by for _, by, _ in gate.engine.acknowledged] == ["local"]


FORGERIES = [
    {},
    {"Origin": ORIGIN},
    {"X-Autoheal-CSRF": "1"},
    {**OWN, "Origin": "https://evil.example"},
    {**OWN, "Origin": "null"},
    {**OWN, "Origin": "http://127.0.0.1:8080"},
    {**OWN, "Sec-Fetch-Site": "cross-site"},
    {**OWN, "Sec-Fetch-Site": "same-site"},
    {**OWN, "X-Autoheal-CSRF": "0"},
]


async def test_a_cookie_alone_changes_nothing(tmp_path: Path) -> None:
    """POST with a session: 403 from anywhere but our own console, before anything is done; recorded as csrf."""
    async with world(tmp_path) as here:
        here.idp.account.roles = ("boss",)
        await log_in(here.gate, here.idp)
        fetched = here.idp.fetches
        for headers in FORGERIES:
            for path in ("/-/refresh-jwks", "/logout"):
                answer = await here.gate.client.post(path, headers=headers)
                assert (path, answer.status_code) == (path, 403)
                assert "www-authenticate" not in answer.headers
        assert here.idp.fetches == fetched
        assert {note.reason for note in here.gate.engine.noted if note.kind == "auth_failed"} == {"csrf"}
        assert (await here.gate.client.get("/audit")).status_code == 200
        assert (await here.gate.client.post("/-/refresh-jwks", headers=OWN)).json() == {"keys": 1}


async def test_a_browser_before_the_console_is_sent_to_the_login(tmp_path: Path) -> None:
    """A person; a program, another page, or anybody with a header of their own gets 401."""
    page = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with world(tmp_path) as here:
        client = here.gate.client
        for headers in (page, {**page, "Cookie": f"{SESSION}=gone"}, {**page, "Host": "localhost:9009"}):
            answer = await client.get("/console", headers=headers)
            assert answer.status_code == 303
            assert answer.headers["location"] == f"{ORIGIN}/console/login.html"
        for name in ("login.html", "login.js"):
            assert (await client.get(f"/console/{name}", headers=page)).status_code == 200
        for path, headers in (
            ("/console", {"Accept": "*/*"}),
            ("/console", {**page, "Authorization": "Basic b2xnYTp4"}),
            ("/console", {**page, **bearer(here.clock, "view", aud="other")}),
            ("/console/main.js", page),
            ("/audit", page),
        ):
            assert (await client.get(path, headers=headers)).status_code == 401


async def test_an_ended_sessions_cookie_is_taken_back(tmp_path: Path) -> None:
    """So that what is public is so for this browser too."""
    async with world(tmp_path) as here:
        answer = await here.gate.client.get("/events", headers={"Cookie": f"{SESSION}=gone"})
        assert answer.status_code == 401
        assert answer.headers["set-cookie"] == f"{SESSION}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        assert answer.headers["www-authenticate"] == f"{REALM}, {METADATA}"
