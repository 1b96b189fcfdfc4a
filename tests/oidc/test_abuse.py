"""What is refused, and why: each token is good but for one thing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from autoheal.errors import FailureReason, Unauthenticated
from autoheal.metrics import Metrics
from autoheal.model import Operator, Role
from autoheal.oidc import Oidc
from tests.support.clock import FakeClock
from tests.support.identity import AUDIENCE, ISSUER, IdentityProvider, SigningKey, claims, encoded, make, packed, token

KEY = SigningKey()
OTHER = SigningKey(which=1)
Make = Callable[[FakeClock], str]
R = FailureReason


def claim(**changes: Any) -> Make:
    """A token whose claims are changed; None leaves one out."""
    return lambda clock: token(clock, **changes)


def header(**changes: Any) -> Make:
    """A token whose header is changed; None leaves a member out."""
    return lambda clock: token(clock, header=changes)


def in_time(**offsets: float) -> Make:
    """A token whose times are so many seconds from now."""
    return lambda clock: token(clock, **{name: clock.now() + offset for name, offset in offsets.items()})


def raw_header(text: str) -> Make:
    """A signed token with exactly this header."""
    return lambda clock: KEY.sign(text, claims(clock))


def raw_claims(text: str) -> Make:
    """A signed token with exactly these claims; `@` stands for the good ones, without their braces."""

    def made(clock: FakeClock) -> str:
        good = json.dumps(claims(clock))[1:-1]
        return KEY.sign({"alg": "RS256", "kid": "one"}, text.replace("@", good))

    return made


def spelt(change: Callable[[list[str]], str]) -> Make:
    """A good token, its three parts put together in another way."""
    return lambda clock: change(token(clock).split("."))


def with_secret(secret: Callable[[], bytes], algorithm: str = "HS256") -> Make:
    """A token signed with what everybody knows (CVE-2015-9235, CVE-2024-33663, CVE-2026-85394)."""

    def made(clock: FakeClock) -> str:
        message = f"{packed({'alg': algorithm, 'kid': 'one'})}.{packed(claims(clock))}"
        return f"{message}.{encoded(hmac.digest(secret(), message.encode(), hashlib.sha256))}"

    return made


def public(form: Encoding, kind: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> Callable[[], bytes]:
    return lambda: bytes(KEY.private.public_key().public_bytes(form, kind))


def signed_by(key: SigningKey, **told: Any) -> Make:
    return lambda clock: token(clock, key, header=told)


def flipped(part: str) -> str:
    """The same but for one bit in its middle."""
    middle = len(part) // 2
    return part[:middle] + ("A" if part[middle] != "A" else "B") + part[middle + 1 :]


def last_character(parts: list[str]) -> str:
    """The same bytes in another spelling: bits of the last character that do not count are set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(parts[2]) % 4 == 2
    return ".".join((*parts[:2], parts[2][:-1] + alphabet[alphabet.index(parts[2][-1]) + 1]))


CASES: dict[str, tuple[Make, FailureReason]] = {
    # the form
    "empty": (lambda _: "", R.MALFORMED),
    "words": (lambda _: "let me in", R.MALFORMED),
    "two parts": (spelt(lambda parts: ".".join(parts[:2])), R.MALFORMED),
    "four parts": (spelt(lambda parts: ".".join((*parts, "AA"))), R.MALFORMED),
    "encrypted": (spelt(lambda parts: ".".join((*parts, "AA", "AA"))), R.MALFORMED),
    "JSON form": (spelt(lambda p: json.dumps(dict(zip(("protected", "payload", "signature"), p)))), R.MALFORMED),  # noqa: B905
    "too long": (claim(note="x" * 16_384), R.MALFORMED),
    "white space after": (spelt(lambda parts: ".".join(parts) + "\n"), R.MALFORMED),
    "white space inside": (spelt(". ".join), R.MALFORMED),
    "padding": (spelt(lambda parts: ".".join(parts) + "=="), R.MALFORMED),
    "standard base64": (spelt(lambda parts: ".".join(parts).replace("-", "+").replace("_", "/")), R.MALFORMED),
    "another spelling of the signature": (spelt(last_character), R.MALFORMED),
    "one character too many": (spelt(lambda parts: f"{parts[0]}.{parts[1]}.{parts[2]}AAA"), R.MALFORMED),
    "not ASCII": (spelt(lambda parts: ".".join(parts).replace("e", "\u0435", 1)), R.MALFORMED),
    "half a character": (spelt(lambda parts: "\ud800" + ".".join(parts)), R.MALFORMED),
    "a NUL": (spelt("\0".join), R.MALFORMED),
    # the header
    "header is a list": (raw_header('["RS256"]'), R.MALFORMED),
    "header is not JSON": (raw_header("{alg:RS256}"), R.MALFORMED),
    "header is UTF-16": (lambda clock: KEY.sign('{"alg":"RS256"}'.encode("utf-16"), claims(clock)), R.MALFORMED),
    "header has a byte order mark": (raw_header('\ufeff{"alg":"RS256","kid":"one"}'), R.MALFORMED),
    "header names alg twice": (raw_header('{"alg":"RS256","alg":"none","kid":"one"}'), R.MALFORMED),
    "header is deep": (raw_header('{"alg":"RS256","kid":"one","x":' + "[" * 4000 + "]" * 4000 + "}"), R.MALFORMED),
    "no alg": (header(alg=None), R.MALFORMED),
    "alg is a list": (header(alg=["RS256"]), R.MALFORMED),
    "crit": (header(crit=["exp"], exp=1), R.MALFORMED),
    "empty crit": (header(crit=[]), R.MALFORMED),
    "b64 false": (header(b64=False, crit=["b64"]), R.MALFORMED),
    "b64 true": (header(b64=True), R.MALFORMED),
    "zip": (header(zip="DEF"), R.MALFORMED),
    "enc": (header(enc="A256GCM"), R.MALFORMED),
    "kid is a number": (header(kid=1), R.MALFORMED),
    "kid is a path": (header(kid="../../../dev/null"), R.UNKNOWN_KID),
    "kid is SQL": (header(kid="x' UNION SELECT 'key"), R.UNKNOWN_KID),
    "typ is a number": (header(typ=1), R.MALFORMED),
    # the algorithm
    "alg none": (lambda clock: f"{packed({'alg': 'none'})}.{packed(claims(clock))}.", R.ALG_NOT_ALLOWED),
    "alg nOnE": (lambda clock: f"{packed({'alg': 'nOnE', 'kid': 'one'})}.{packed(claims(clock))}.", R.ALG_NOT_ALLOWED),
    "no signature": (spelt(lambda parts: f"{parts[0]}.{parts[1]}."), R.INVALID_SIGNATURE),
    "HS256 with the PEM": (with_secret(public(Encoding.PEM)), R.ALG_NOT_ALLOWED),
    "HS256 with the DER": (with_secret(public(Encoding.DER)), R.ALG_NOT_ALLOWED),
    "HS256 with the PKCS1": (with_secret(public(Encoding.DER, PublicFormat.PKCS1)), R.ALG_NOT_ALLOWED),
    "HS256 with the SSH key": (
        with_secret(public(Encoding.OpenSSH, PublicFormat.OpenSSH)),
        R.ALG_NOT_ALLOWED,
    ),
    "HS256 with the modulus": (with_secret(KEY.jwk()["n"].encode), R.ALG_NOT_ALLOWED),
    "HS256 with nothing": (with_secret(lambda: b""), R.ALG_NOT_ALLOWED),
    "HS256 that says RS256": (with_secret(public(Encoding.PEM), "RS256"), R.INVALID_SIGNATURE),
    "alg that is not allowed": (signed_by(SigningKey(algorithm="PS256")), R.ALG_NOT_ALLOWED),
    "alg of another kind of key": (signed_by(SigningKey(algorithm="ES256", kid="one")), R.ALG_NOT_ALLOWED),
    "alg in lower case": (header(alg="rs256"), R.ALG_NOT_ALLOWED),
    "alg for encryption": (header(alg="RSA-OAEP"), R.ALG_NOT_ALLOWED),
    # the key and the signature
    "another's key": (signed_by(OTHER), R.INVALID_SIGNATURE),
    "another's key in the header": (signed_by(OTHER, jwk=OTHER.jwk()), R.INVALID_SIGNATURE),
    "another's key at jku": (signed_by(OTHER, jku="https://evil.example/keys"), R.INVALID_SIGNATURE),
    "another's key at x5u": (signed_by(OTHER, x5u="https://evil.example/cert"), R.INVALID_SIGNATURE),
    "another's key and no kid": (signed_by(OTHER, kid=None), R.INVALID_SIGNATURE),
    "unknown kid": (header(kid="two"), R.UNKNOWN_KID),
    "changed header": (lambda clock: token(clock).replace(packed({"alg": "RS256"})[:4], "eyJo", 1), R.MALFORMED),
    "changed claims": (
        lambda clock: ".".join((*token(clock).split(".")[:1], packed(claims(clock, sub="eve")), token(clock)[-342:])),
        R.INVALID_SIGNATURE,
    ),
    "changed signature": (spelt(lambda parts: ".".join((*parts[:2], flipped(parts[2])))), R.INVALID_SIGNATURE),
    "short signature": (spelt(lambda parts: ".".join((*parts[:2], parts[2][:340]))), R.INVALID_SIGNATURE),
    # the claims
    "claims are a list": (raw_claims('["sub"]'), R.MALFORMED),
    "claims are text": (raw_claims("alice"), R.MALFORMED),
    "claims are nothing": (raw_claims(""), R.MALFORMED),
    "claims name sub twice": (raw_claims('{@, "sub": "eve"}'), R.MALFORMED),
    "a name inside twice": (raw_claims('{@, "x": {"a": 1, "a": 2}}'), R.MALFORMED),
    "claims hold NaN": (raw_claims('{@, "x": NaN}'), R.MALFORMED),
    "claims hold Infinity": (raw_claims('{@, "x": -Infinity}'), R.MALFORMED),
    "claims are deep": (raw_claims('{@, "x": ' + "[" * 33 + "]" * 33 + "}"), R.MALFORMED),
    "claims are as deep as can be": (raw_claims('{@, "x": ' + "[" * 5000), R.MALFORMED),
    "claims hold half a character": (raw_claims('{@, "x": "\\ud800"}'), R.MALFORMED),
    "claims hold bytes": (lambda clock: KEY.sign({"alg": "RS256", "kid": "one"}, b'{"\xff": 1}'), R.MALFORMED),
    "no iss": (claim(iss=None), R.WRONG_ISSUER),
    "another iss": (claim(iss="https://evil.example"), R.WRONG_ISSUER),
    "iss with a slash": (claim(iss=f"{ISSUER}/"), R.WRONG_ISSUER),
    "iss in capitals": (claim(iss=ISSUER.upper()), R.WRONG_ISSUER),
    "iss is a list": (claim(iss=[ISSUER]), R.WRONG_ISSUER),
    "no aud": (claim(aud=None), R.WRONG_AUDIENCE),
    "another aud": (claim(aud="grafana"), R.WRONG_AUDIENCE),
    "aud begins alike": (claim(aud="autoheal-staging"), R.WRONG_AUDIENCE),
    "aud holds it": (claim(aud="not autoheal"), R.WRONG_AUDIENCE),
    "aud is empty": (claim(aud=[]), R.WRONG_AUDIENCE),
    "aud is an object": (claim(aud={"autoheal": True}), R.WRONG_AUDIENCE),
    "aud holds a number": (claim(aud=["autoheal", 1]), R.WRONG_AUDIENCE),
    "no exp": (claim(exp=None), R.MALFORMED),
    "exp is text": (claim(exp="9999999999"), R.MALFORMED),
    "exp is true": (claim(exp=True), R.MALFORMED),
    "exp is null": (raw_claims('{"iss": "x", "exp": null}'), R.WRONG_ISSUER),
    "exp is a list": (claim(exp=[9999999999]), R.MALFORMED),
    "exp is infinite": (
        lambda clock: KEY.sign(
            {"alg": "RS256", "kid": "one"}, json.dumps(claims(clock, exp=17)).replace(": 17", ": 1e400")
        ),
        R.MALFORMED,
    ),
    "exp has 4000 digits": (claim(exp=10**4000), R.MALFORMED),
    "exp has 5000 digits": (
        lambda clock: KEY.sign(
            {"alg": "RS256", "kid": "one"}, json.dumps(claims(clock, exp=17)).replace(": 17", ": " + "9" * 5000)
        ),
        R.MALFORMED,
    ),
    "expired": (in_time(exp=-60), R.EXPIRED),
    "exp is 0": (claim(exp=0), R.EXPIRED),
    "nbf is text": (claim(nbf="0"), R.MALFORMED),
    "nbf to come": (in_time(nbf=61), R.NOT_YET_VALID),
    "iat to come": (in_time(iat=61), R.NOT_YET_VALID),
    "iat is false": (claim(iat=False), R.MALFORMED),
    "no sub": (claim(sub=None), R.WRONG_SUBJECT),
    "sub is empty": (claim(sub=""), R.WRONG_SUBJECT),
    "sub is a number": (claim(sub=7), R.WRONG_SUBJECT),
    "sub is long": (claim(sub="a" * 256), R.WRONG_SUBJECT),
    "sub has a newline": (claim(sub="alice\nactor: root"), R.WRONG_SUBJECT),
    "sub is white space": (claim(sub="  "), R.WRONG_SUBJECT),
    "sub looks like another": (claim(sub="\u0430lice"), R.WRONG_SUBJECT),
    "sub is the system's": (claim(sub="system"), R.WRONG_SUBJECT),
    "sub is Alertmanager's": (claim(sub="alertmanager"), R.WRONG_SUBJECT),
    "sub is this machine's": (claim(sub="local"), R.WRONG_SUBJECT),
    # other kinds of token
    "ID token by nonce": (lambda clock: token(clock, header={"typ": "JWT"}, nonce="n"), R.WRONG_TYPE),
    "ID token by at_hash": (lambda clock: token(clock, header={"typ": None}, at_hash="h"), R.WRONG_TYPE),
    "ID token by typ": (claim(typ="ID"), R.WRONG_TYPE),
    "ID token by token_use": (claim(token_use="id"), R.WRONG_TYPE),
    "refresh token": (claim(typ="Refresh"), R.WRONG_TYPE),
    "offline token": (claim(typ="Offline"), R.WRONG_TYPE),
    "logout token": (header(typ="logout+jwt"), R.WRONG_TYPE),
    "logout token by its event": (
        claim(events={"http://schemas.openid.net/event/backchannel-logout": {}}),
        R.WRONG_TYPE,
    ),
    "security event": (header(typ="secevent+jwt"), R.WRONG_TYPE),
    "DPoP proof": (header(typ="dpop+jwt"), R.WRONG_TYPE),
    "signed request": (header(typ="oauth-authz-req+jwt"), R.WRONG_TYPE),
}


@pytest.mark.parametrize("case", CASES)
async def test_refused(case: str, oidc: Oidc, provider: IdentityProvider, clock: FakeClock, metrics: Metrics) -> None:
    """Each is refused for its own reason, counted and logged once without the token, and nobody is asked anything.

    An unknown kid alone asks the provider for its keys, once.
    """
    make_token, reason = CASES[case]
    text = make_token(clock)
    with capture_logs() as logs, pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(text)
    assert caught.value.reason is reason
    told = [entry for entry in logs if entry["event"] == "jwt_validation_failed"]
    assert [(entry["reason"], entry["kid"]) for entry in told] == [(reason, caught.value.kid)]
    assert not any("exc_info" in entry or "unexpected" in entry for entry in logs)
    assert text == "" or text not in str(logs)
    assert provider.asked == (["/realms/ops/keys"] if reason is R.UNKNOWN_KID else [])
    counted = f'autoheal_jwt_auth_failures_total{{reason="{reason}"}} 1.0'
    assert counted in metrics.expose()[0].decode()


def test_the_table_is_about_every_reason_that_an_access_token_may_have() -> None:
    """Those that are left need an ID token, an allowlist of clients, an outage, or no token at all."""
    elsewhere = {R.MISSING_TOKEN, R.WRONG_CLIENT, R.WRONG_NONCE, R.WRONG_HASH, R.KEYS_UNAVAILABLE}
    assert {reason for _, reason in CASES.values()} == set(R) - elsewhere


GOOD: dict[str, Make] = {
    "plain": token,
    "typ JWT": header(typ="JWT"),
    "no typ": header(typ=None),
    "application/at+jwt": header(typ="application/AT+JWT"),
    "no kid, one key": header(kid=None),
    "several aud": claim(aud=["account", "autoheal"]),
    "Keycloak's": lambda clock: token(clock, header={"typ": "JWT"}, typ="Bearer", nonce="of old versions"),
    "Cognito's": lambda clock: token(clock, header={"typ": None}, token_use="access"),
    "just expired": in_time(exp=-59.9),
    "nbf a little ahead": in_time(nbf=60, iat=60),
    "fractions": in_time(exp=0.5, iat=-0.25),
    "no iat": claim(iat=None),
    "subject with odd characters": claim(sub="auth0|5f7c/../a b@c"),
    "as deep as allowed": raw_claims('{@, "x": ' + "[" * 32 + "]" * 32 + "}"),
    "other header members": header(jku="https://evil.example", x5t="abc", cty="JWT"),
}


@pytest.mark.parametrize("case", GOOD)
async def test_accepted(case: str, oidc: Oidc, provider: IdentityProvider, clock: FakeClock) -> None:
    """What providers send in all their ways is taken, and nobody is asked anything."""
    assert (await oidc.authenticate(GOOD[case](clock))).role is Role.OPERATOR
    assert provider.asked == []


@pytest.mark.parametrize(
    "told",
    [
        {"name": "Alice", "tid": "t", "ver": "2.0"},  # Entra ID's, renewed: without a nonce
        {"azp": "console", "email": "a@example.org", "hd": "example.org"},  # Google's, for a service account
    ],
)
async def test_an_id_token_for_the_same_audience(
    provider: IdentityProvider, clock: FakeClock, told: dict[str, Any]
) -> None:
    """Where the audience is our own client, `aud` does not tell it from an access token, nor does a missing nonce."""
    oidc = make(provider, clock, client_id=AUDIENCE)
    await oidc.refresh()
    with pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(token(clock, header={"typ": "JWT"}, **told))
    assert caught.value.reason is R.WRONG_TYPE


@pytest.mark.parametrize(
    "told",
    [
        {"scp": "access"},
        {"azp": "ci", "azpacr": "1", "roles": ["sre"]},  # Entra ID's, of a program
        {"appid": "ci"},
        {"scope": "openid"},
        {"typ": "Bearer"},
    ],
)
async def test_an_access_token_for_our_own_client(
    provider: IdentityProvider, clock: FakeClock, told: dict[str, Any]
) -> None:
    """Something that ID tokens do not have speaks for it."""
    oidc = make(provider, clock, client_id=AUDIENCE)
    await oidc.refresh()
    assert (await oidc.authenticate(token(clock, header={"typ": "JWT"}, **told))).subject == "alice"


async def test_who_it_is(oidc: Oidc, clock: FakeClock) -> None:
    """Subject, name and client are the token's."""
    held = token(clock, sub="5f7c", name=" Alice Example ", azp="console")
    assert await oidc.authenticate(held) == Operator("5f7c", Role.OPERATOR, "Alice Example", "console")


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"name": "", "preferred_username": "alice"}, "alice"),
        ({"name": "\u202egnp.exe", "email": "a@example.org"}, "a@example.org"),
        ({"name": "J\u00fcrgen"}, "J\u00fcrgen"),
        ({"name": 7}, None),
        ({"name": "x" * 200}, "x" * 128),
    ],
)
async def test_names_are_for_showing(oidc: Oidc, clock: FakeClock, told: dict[str, Any], name: str | None) -> None:
    """The first claim that can be shown on one line is the name."""
    assert (await oidc.authenticate(token(clock, **told))).name == name


@pytest.mark.parametrize(
    ("told", "allowed"),
    [
        ({"azp": "console"}, True),
        ({"client_id": "ci"}, True),
        ({"appid": "console", "azp": "console"}, True),
        ({"cid": "ci"}, True),
        ({}, False),
        ({"azp": "other"}, False),
        ({"azp": "console", "client_id": "other"}, False),
        ({"azp": ["console"]}, False),
        ({"azp": "consol"}, False),
    ],
)
async def test_clients(provider: IdentityProvider, clock: FakeClock, told: dict[str, Any], *, allowed: bool) -> None:
    """With an allowlist, every claim that names a client must name one that is in it."""
    oidc = make(provider, clock, allowed_clients=("console", "ci"))
    await oidc.refresh()
    if allowed:
        assert (await oidc.authenticate(token(clock, **told))).client in ("console", "ci")
    else:
        with pytest.raises(Unauthenticated) as caught:
            await oidc.authenticate(token(clock, **told))
        assert caught.value.reason is R.WRONG_CLIENT


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"])
async def test_each_algorithm_is_its_own(algorithm: str, clock: FakeClock) -> None:
    """A key takes what it is for, by the algorithm that it names, and no signature of another one."""
    key = SigningKey(algorithm=algorithm)
    alike = {"R": "PS", "P": "RS"}.get(algorithm[0], "ES") + algorithm[2:]
    oidc = make(IdentityProvider(key), clock, algorithms=(algorithm, alike))
    await oidc.refresh()
    assert (await oidc.authenticate(token(clock, key))).subject == "alice"
    if alike != algorithm:
        pretending = SigningKey(algorithm=alike)
        with pytest.raises(Unauthenticated) as caught:
            await oidc.authenticate(token(clock, pretending))
        assert caught.value.reason is R.ALG_NOT_ALLOWED
        with pytest.raises(Unauthenticated) as caught:
            await oidc.authenticate(pretending.sign({"alg": algorithm, "kid": "one"}, claims(clock)))
        assert caught.value.reason is R.INVALID_SIGNATURE


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
async def test_edwards_keys(algorithm: str, clock: FakeClock) -> None:
    """Both names of Ed25519 are taken, each from the key that has it."""
    key = SigningKey(algorithm=algorithm)
    oidc = make(IdentityProvider(key), clock, algorithms=("EdDSA", "Ed25519"))
    await oidc.refresh()
    good = token(clock, key)
    assert (await oidc.authenticate(good)).subject == "alice"
    for bad, reason in (
        (f"{good.rpartition('.')[0]}.{encoded(bytes(64))}", R.INVALID_SIGNATURE),
        (token(clock, SigningKey(algorithm={"EdDSA": "Ed25519"}.get(algorithm, "EdDSA"))), R.ALG_NOT_ALLOWED),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await oidc.authenticate(bad)
        assert caught.value.reason is reason


async def test_no_token(oidc: Oidc, metrics: Metrics) -> None:
    """A request without one is counted and not logged: every visit of a browser begins so."""
    with capture_logs() as logs, pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(None)
    assert caught.value.reason is R.MISSING_TOKEN
    assert not logs
    assert 'failures_total{reason="missing_token"} 1.0' in metrics.expose()[0].decode()


async def test_whatever_breaks_is_a_refusal(oidc: Oidc, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours refuses the token, and the log names its type and nothing of the token."""

    def breaks(*_: object, **__: object) -> None:
        raise KeyError("what the token holds")

    monkeypatch.setattr("autoheal.oidc.service.check_access", breaks)
    with capture_logs() as logs, pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(token(clock))
    assert caught.value.reason is R.MALFORMED
    assert logs[0]["unexpected"] == "KeyError"
    assert "what the token holds" not in str(logs)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.one_of(st.text(st.characters()), st.binary().map(lambda raw: raw.decode("latin-1"))))
async def test_any_text_is_refused(oidc: Oidc, text: str) -> None:
    """Nothing but Unauthenticated comes of anything that was not signed."""
    with pytest.raises(Unauthenticated):
        await oidc.authenticate(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "iss", "aud", "exp", "nbf", "iat", "sub", "azp", "typ", "nonce"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.dictionaries(NAMES, JSON, max_size=4))
async def test_any_signed_json_is_an_answer(oidc: Oidc, clock: FakeClock, head: Any, told: Any) -> None:
    """Whatever is changed in a signed token, it gives an operator or Unauthenticated, by no fault of ours."""
    text = KEY.sign({"alg": "RS256", "kid": "one"} | head, claims(clock) | told)
    with capture_logs() as logs:
        try:
            assert (await oidc.authenticate(text)).subject
        except Unauthenticated:
            assert not any("unexpected" in entry for entry in logs)
