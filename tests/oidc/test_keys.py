"""Which keys of a set are used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.config import ALGORITHMS
from autoheal.oidc.keys import KeySet, Unusable, read_key, read_key_set
from tests.support.identity import SigningKey, encoded, number

RSA, CURVE, EDWARDS = SigningKey("rsa"), SigningKey("curve", "ES256"), SigningKey("edwards", "EdDSA")


def odd(bits: int) -> str:
    """A number of so many bits that is odd."""
    return number((1 << (bits - 1)) | 1)


BAD: dict[str, tuple[object, str]] = {
    "text": ("key", "not an object"),
    "private RSA": (RSA.jwk(d="AQAB"), "holds a secret"),
    "private factors": (RSA.jwk(p="AQAB"), "holds a secret"),
    "private curve": (CURVE.jwk(d="AQAB"), "holds a secret"),
    "symmetric": ({"kty": "oct", "k": "AQAB"}, "holds a secret"),
    "symmetric without its secret": ({"kty": "oct", "alg": "HS256"}, "no algorithm"),
    "for encryption": (RSA.jwk(use="enc"), "not for signatures"),
    "use is a list": (RSA.jwk(use=["sig"]), "not for signatures"),
    "for signing": (RSA.jwk(key_ops=["sign"]), "not for verifying"),
    "for nothing": (RSA.jwk(key_ops=[]), "not for verifying"),
    "key_ops is text": (RSA.jwk(key_ops="verify"), "not for verifying"),
    "kid is a number": (RSA.jwk(kid=1), "kid is not text"),
    "alg of encryption": (RSA.jwk(alg="RSA-OAEP"), "no algorithm"),
    "alg of a shared secret": (RSA.jwk(alg="HS256"), "no algorithm"),
    "alg none": (RSA.jwk(alg="none"), "no algorithm"),
    "alg is a list": (RSA.jwk(alg=["RS256"]), "no algorithm"),
    "alg of another kind": (RSA.jwk(alg="ES256"), "no algorithm"),
    "alg of another curve": (CURVE.jwk(alg="ES384"), "no algorithm"),
    "unknown kind": ({"kty": "AKP"}, "no algorithm"),
    "no kind": (RSA.jwk(kty=None), "no algorithm"),
    "kind is a list": (RSA.jwk(kty=["RSA"]), "no algorithm"),
    "unknown curve": (CURVE.jwk(crv="secp256k1", alg=None), "no algorithm"),
    "curve of key agreement": (EDWARDS.jwk(crv="X25519", alg=None), "no algorithm"),
    "1024 bits": (SigningKey("rsa", bits=1024, which=2).jwk(), "1024 bits"),
    "2047 bits": (RSA.jwk(n=odd(2047)), "2047 bits"),
    "8193 bits": (RSA.jwk(n=odd(8193)), "8193 bits"),
    "even modulus": (RSA.jwk(n=number(1 << 2047)), "even"),
    "exponent 1": (RSA.jwk(e="AQ"), "exponent"),
    "exponent 3": (RSA.jwk(e="Aw"), "exponent"),
    "even exponent": (RSA.jwk(e=number(65538)), "exponent"),
    "huge exponent": (RSA.jwk(e=odd(100)), "exponent"),
    "no modulus": (RSA.jwk(n=None), "its n is missing"),
    "modulus in standard base64": (RSA.jwk(n="+" + RSA.jwk()["n"][1:]), "not base64url"),
    "modulus is a number": (RSA.jwk(n=65537), "not base64url"),
    "modulus of a weak chip": (RSA.jwk(n=number(65537**128)), "CVE-2017-15361"),
    "no y": (CURVE.jwk(y=None), "its y is missing"),
    "short x": (CURVE.jwk(x=encoded(b"\1" * 31)), "32 bytes"),
    "long x": (CURVE.jwk(x=encoded(b"\0" * 33)), "32 bytes"),
    "not on the curve": (CURVE.jwk(x=encoded(b"\1" * 32)), "not a public key"),
    "short Ed25519": (EDWARDS.jwk(x=encoded(b"\1" * 31)), "32 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable(case: str) -> None:
    """Each of these proves nothing, or too little; what is wrong is told."""
    entry, says = BAD[case]
    with pytest.raises(Unusable, match=says):
        read_key(entry, ALGORITHMS)


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (RSA.jwk(), {"RS256"}),
        (RSA.jwk(alg="PS512"), {"PS512"}),
        (RSA.jwk(alg=None), {"RS256", "PS256", "PS512"}),
        (RSA.jwk(use=None, key_ops=["verify"]), {"RS256"}),
        (CURVE.jwk(alg=None), {"ES256"}),
        (SigningKey("long", "ES512").jwk(), {"ES512"}),
        (EDWARDS.jwk(), {"EdDSA"}),
        (EDWARDS.jwk(alg=None), {"EdDSA", "Ed25519"}),
        (RSA.jwk(x5c=["anything"], x5u="https://evil.example/", ext=True), {"RS256"}),
    ],
)
def test_usable(entry: dict[str, Any], algorithms: set[str]) -> None:
    """A key is for the algorithm that it names; one that names none is for all allowed ones that fit it."""
    allowed = ("RS256", "PS256", "PS512", "ES256", "ES512", "EdDSA", "Ed25519")
    assert set(read_key(entry, allowed).verify) == algorithms


def test_only_allowed_algorithms_count() -> None:
    """What OIDC_ALGORITHMS leaves out is not built at all."""
    with pytest.raises(Unusable, match="OIDC_ALGORITHMS"):
        read_key(RSA.jwk(), ("ES256",))


def test_keys_without_a_kid_are_kept_side_by_side() -> None:
    """They are no duplicates: a token without a kid finds the one that fits."""
    found = read_key_set({"keys": [RSA.jwk(kid=None), CURVE.jwk(kid=None)]}, "i", ("RS256", "ES256"))
    assert len(found) == 2
    assert {key.label for key in found} == {"-"}
    assert found.find(None, "ES256") is not None
    assert found.find("rsa", "RS256") is None


def test_sets_are_the_same_whatever_their_order() -> None:
    """So a provider that shuffles its keys does not empty caches; another issuer, alg or number does."""

    def made(*entries: dict[str, Any], issuer: str = "i") -> KeySet:
        return read_key_set({"keys": list(entries)}, issuer, ALGORITHMS)

    both = made(RSA.jwk(), CURVE.jwk())
    assert both.same_as(made(CURVE.jwk(), RSA.jwk(x5t="new")))
    for other in (
        made(RSA.jwk()),
        made(RSA.jwk(), EDWARDS.jwk()),
        made(RSA.jwk(alg="PS256"), CURVE.jwk()),
        made(SigningKey("rsa", which=1).jwk(), CURVE.jwk()),
        made(RSA.jwk(), CURVE.jwk(), issuer="j"),
    ):
        assert not both.same_as(other)
        assert not other.same_as(both)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(("AQAB", "sig")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from((RSA, CURVE, EDWARDS)), st.sampled_from(("n", "e", "x", "y", "crv", "kty", "alg", "kid")), JSON)
def test_any_member_may_be_anything(key: SigningKey, name: str, value: Any) -> None:
    """A provider that sends nonsense gets its key left out, or has it in use; nothing else is raised."""
    try:
        found = read_key_set({"keys": [{**key.jwk(), name: value}]}, "i", ALGORITHMS)
    except Unusable:
        return
    assert len(found) == 1
