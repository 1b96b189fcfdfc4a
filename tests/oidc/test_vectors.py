"""Public test vectors: Wycheproof's signatures, the examples of RFC 7520 and RFC 8037 (vectors/README.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jose import jwk

from autoheal.config import ALGORITHMS
from autoheal.errors import Unauthenticated
from autoheal.oidc.algorithms import guard
from autoheal.oidc.encoding import decode_segment
from autoheal.oidc.jws import read
from autoheal.oidc.keys import Key, KeySet, Unusable, read_key, read_key_set

VECTORS = Path(__file__).parent / "vectors"
JUDGE = json.loads((VECTORS / "judge.json").read_text())


def shared(secret: Mapping[str, Any], *, allowed: bool) -> Key:
    """A symmetric key, which the product refuses: built here, to try the engine on Wycheproof's HS vectors."""
    if not allowed:
        return read_key(secret, ALGORITHMS)
    return Key(secret["kid"], ("oct",), {secret["alg"]: guard(jwk.construct(secret, secret["alg"]).verify)})


def key_set(group: Mapping[str, Any], *, hs: bool) -> KeySet:
    if "public" in group:
        return read_key_set({"keys": [group["public"]]}, "i", ALGORITHMS)
    keys = group["private"].get("keys", [group["private"]])
    # A set of public and shared keys together is what key confusion is made of.
    allowed = hs and all(one["kty"] == "oct" for one in keys)
    return KeySet("i", [shared(one, allowed=allowed) for one in keys])


def judged(text: object, group: Mapping[str, Any], *, hs: bool) -> str:
    """`valid` or `invalid`; only the verifier's own refusals count as such."""
    try:
        token = read(text if isinstance(text, str) else json.dumps(text))
        key = key_set(group, hs=hs).find(token.kid, token.algorithm)
        if key is None:
            return "invalid"
        token.verify(key)
    except (Unauthenticated, Unusable):
        return "invalid"
    return "valid"


def vectors(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    excluded = JUDGE[name].get("excluded", {})
    for group in json.loads((VECTORS / "wycheproof" / f"{name}.json").read_text())["testGroups"]:
        for test in group["tests"]:
            if "jws" in test and str(test["tcId"]) not in excluded:
                yield group, test


@pytest.mark.parametrize(("name", "count"), [("json_web_signature_test", 393), ("json_web_crypto_test", 49)])
def test_wycheproof(name: str, count: int) -> None:
    """Each judged vector is told valid or invalid as it is, with shared secrets allowed for once."""
    wrong = [test["tcId"] for group, test in vectors(name) if judged(test["jws"], group, hs=True) != test["result"]]
    assert wrong == []
    assert sum(1 for _ in vectors(name)) == count


def test_wycheproof_by_the_products_own_policy() -> None:
    """Everything invalid is refused, and so is what only a shared secret can verify."""
    told = Counter(
        (test["result"], judged(test["jws"], group, hs=False)) for group, test in vectors("json_web_signature_test")
    )
    assert told == {("invalid", "invalid"): 353, ("valid", "valid"): 32, ("valid", "invalid"): 8}


def cookbook(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / "cookbook" / name).read_text())
    return found


def compact(example: Mapping[str, Any]) -> str:
    text: str = example["output"]["compact"]
    return text


def public(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in ("kty", "kid", "use", "n", "e", "crv", "x", "y", "alg") if name in key}


@pytest.mark.parametrize(
    "name",
    [
        "jws/4_1.rsa_v15_signature.json",
        "jws/4_2.rsa-pss_signature.json",
        "jws/4_3.ecdsa_signature.json",
        "curve25519/jws.json",
    ],
)
def test_cookbook(name: str) -> None:
    """The worked examples verify to their payload, by their own key and algorithm."""
    example = cookbook(name)
    token = read(compact(example))
    token.verify(read_key(public(example["input"]["key"]), (example["input"]["alg"],)))
    assert token.payload == example["input"]["payload"].encode()


def test_cookbook_with_a_shared_secret() -> None:
    """Verifies with its key, which the product does not take."""
    example = cookbook("jws/4_4.hmac-sha2_integrity_protection.json")
    secret = example["input"]["key"]
    token = read(compact(example))
    token.verify(shared(secret, allowed=True))
    assert token.payload == example["input"]["payload"].encode()
    with pytest.raises(Unusable):
        read_key(secret, ALGORITHMS)


@pytest.mark.parametrize(
    "name",
    [
        "4_5.signature_with_detached_content.json",
        "4_6.protecting_specific_header_fields.json",
        "4_7.protecting_content_only.json",
        "4_8.multiple_signatures.json",
    ],
)
def test_other_forms_are_refused(name: str) -> None:
    """Detached content, JSON serialization, several signatures: none of them is a bearer token."""
    example = cookbook(f"jws/{name}")
    for form in example["output"].values():
        text = form if isinstance(form, str) else json.dumps(form)
        with pytest.raises(Unauthenticated):
            read(text).claims()


@pytest.mark.parametrize("name", ["3_1.ec_public_key.json", "3_3.rsa_public_key.json"])
def test_public_keys_load(name: str) -> None:
    """RFC 7520 section 3."""
    assert read_key(cookbook(f"jwk/{name}"), ALGORITHMS).verify


@pytest.mark.parametrize(
    "name",
    [
        "3_2.ec_private_key.json",
        "3_4.rsa_private_key.json",
        "3_5.symmetric_key_mac_computation.json",
        "3_6.symmetric_key_encryption.json",
    ],
)
def test_secret_keys_are_refused(name: str) -> None:
    """A provider that publishes one has lost it."""
    with pytest.raises(Unusable, match="holds a secret"):
        read_key(cookbook(f"jwk/{name}"), ALGORITHMS)


def test_a_library_that_breaks_has_verified_nothing() -> None:
    """Nor has one that answers anything but True."""

    def breaks(*_: bytes) -> bool:
        raise OverflowError

    assert not guard(breaks)(b"", b"")
    assert not guard(lambda *_: 1)(b"", b"")
    assert guard(lambda *_: True)(b"", b"")


def test_segments_have_one_spelling() -> None:
    """RFC 7515 appendix C, and nothing beside it."""
    assert decode_segment("A-z_4ME") == bytes((3, 236, 255, 224, 193))
    assert decode_segment("") == b""
    for bad in ("A", "A-z_4MF", "A-z_4ME=", "A+z/4ME", "A-z_4M E", "A-z_4ME\n", "\u0410AAA", "AAA\ud800", "AB", "AAB"):
        with pytest.raises(ValueError, match=r"base64url|surrogates"):
            decode_segment(bad)
