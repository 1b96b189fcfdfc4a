"""ID tokens, which say who has logged in (OpenID Connect Core 1.0 section 3.1.3.7)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from autoheal.errors import FailureReason, Unauthenticated
from autoheal.metrics import Metrics
from autoheal.model import Operator, Role
from autoheal.oidc import Oidc
from tests.support.clock import FakeClock
from tests.support.identity import IdentityProvider, SigningKey, encoded, make, token

R = FailureReason
ACCESS = "an opaque access token"
HALF = encoded(hashlib.sha256(ACCESS.encode()).digest()[:16])


def id_token(clock: FakeClock, key: SigningKey | None = None, **changes: Any) -> str:
    told = {"aud": "console", "nonce": "n", "at_hash": HALF} | changes
    return token(clock, key, header={"typ": changes.pop("header_typ", "JWT")}, **told)


async def verify(oidc: Oidc, text: str, **changes: Any) -> Any:
    return await oidc.verify_id_token(
        text, **({"client_id": "console", "nonce": "n", "access_token": ACCESS} | changes)
    )


async def test_a_good_one(oidc: Oidc, clock: FakeClock) -> None:
    """Its claims come back, and say who it is."""
    claims = await verify(oidc, id_token(clock, name="Alice", azp="console"))
    assert claims["sub"] == "alice"
    assert oidc.operator(claims) == Operator("alice", Role.OPERATOR, "Alice", "console")


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "ID"},
        {"token_use": "id"},
        {"at_hash": None},
        {"aud": ["console"]},
        {"aud": ["console", "api"], "azp": "console"},
        {"acr": "1", "auth_time": 0},
    ],
)
async def test_other_good_ones(oidc: Oidc, clock: FakeClock, changes: dict[str, Any]) -> None:
    """As Keycloak, Cognito and others send them; at_hash may be missing in the code flow."""
    assert (await verify(oidc, id_token(clock, **changes)))["sub"] == "alice"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nonce": "another"}, R.WRONG_NONCE),
        ({"nonce": None}, R.WRONG_NONCE),
        ({"nonce": ["n"]}, R.WRONG_NONCE),
        ({"nonce": ""}, R.WRONG_NONCE),
        ({"at_hash": encoded(bytes(16))}, R.WRONG_HASH),
        ({"at_hash": HALF + "AA"}, R.WRONG_HASH),
        ({"at_hash": 1}, R.WRONG_HASH),
        ({"aud": "autoheal"}, R.WRONG_AUDIENCE),
        ({"aud": ["console", "api"]}, R.WRONG_AUDIENCE),
        ({"aud": ["console", "api"], "azp": "api"}, R.WRONG_CLIENT),
        ({"azp": "api"}, R.WRONG_CLIENT),
        ({"azp": None, "aud": []}, R.WRONG_AUDIENCE),
        ({"iss": "https://evil.example"}, R.WRONG_ISSUER),
        ({"exp": 1}, R.EXPIRED),
        ({"exp": None}, R.MALFORMED),
        ({"iat": None}, R.MALFORMED),
        ({"iat": 10**11}, R.NOT_YET_VALID),
        ({"sub": None}, R.WRONG_SUBJECT),
        ({"sub": "system"}, R.WRONG_SUBJECT),
        ({"typ": "Bearer"}, R.WRONG_TYPE),
        ({"token_use": "access"}, R.WRONG_TYPE),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, R.WRONG_TYPE),
        ({"header_typ": "at+jwt"}, R.WRONG_TYPE),
        ({"header_typ": "logout+jwt"}, R.WRONG_TYPE),
    ],
)
async def test_refused(
    oidc: Oidc, clock: FakeClock, metrics: Metrics, changes: dict[str, Any], reason: FailureReason
) -> None:
    """Each for its own reason, counted as access tokens are."""
    with pytest.raises(Unauthenticated) as caught:
        await verify(oidc, id_token(clock, **changes))
    assert caught.value.reason is reason
    assert f'failures_total{{reason="{reason}"}} 1.0' in metrics.expose()[0].decode()


async def test_a_refreshed_one_needs_no_nonce(oidc: Oidc, clock: FakeClock) -> None:
    """Section 12.2: it should have none; what it is bound to is the session."""
    assert await verify(oidc, id_token(clock, nonce=None, at_hash=None), nonce=None, access_token=None)


async def test_it_is_no_access_token(oidc: Oidc, clock: FakeClock) -> None:
    """Even when its audience is the API's: a browser shows it to anybody."""
    with pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(id_token(clock, aud="autoheal"))
    assert caught.value.reason is R.WRONG_TYPE


@pytest.mark.parametrize(
    ("algorithm", "digest", "length"), [("ES256", "sha256", 16), ("ES384", "sha384", 24), ("Ed25519", "sha512", 32)]
)
async def test_at_hash_follows_the_algorithm(clock: FakeClock, algorithm: str, digest: str, length: int) -> None:
    """The left half of the digest that the signature uses (section 3.1.3.6)."""
    key = SigningKey(algorithm=algorithm)
    oidc = make(IdentityProvider(key), clock, algorithms=(algorithm,))
    await oidc.refresh()
    good = encoded(hashlib.new(digest, ACCESS.encode()).digest()[:length])
    assert await verify(oidc, id_token(clock, key, at_hash=good))


def test_claims_without_a_subject_are_nobody(oidc: Oidc) -> None:
    """Whoever calls it with claims from elsewhere."""
    with pytest.raises(Unauthenticated) as caught:
        oidc.operator({})
    assert caught.value.reason is R.WRONG_SUBJECT
