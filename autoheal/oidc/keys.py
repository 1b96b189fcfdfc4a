"""A key set as fetched (RFC 7517), less every key that proves nothing or too little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoheal.oidc.algorithms import CURVES, Verify, build, fits
from autoheal.oidc.encoding import decode_segment, printable

MAX_KEYS = 100
RSA_BITS = range(2048, 8193)
"""Below, a signature can be forged (RFC 7518 section 3.3); above, checking one takes the service's time."""
RSA_EXPONENTS = range(65537, 2**64, 2)
"""Odd, neither so small that careless padding can be forged (FIPS 186-5 section A.1.1) nor so large that it is slow."""
_ROCA_PRIMES = tuple(p for p in range(3, 168) if all(p % q for q in range(2, p)))
_ROCA_MARKS = tuple((p, frozenset(pow(65537, power, p) for power in range(p - 1))) for p in _ROCA_PRIMES)
"""Moduli of chips with CVE-2017-15361 can be factored; each is a power of 65537 modulo all of these small primes."""
_SECRET = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class Unusable(Exception):
    """Why a key, a key set or an answer cannot be used, for people; `again`: whether asking again may help."""

    def __init__(self, why: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Key:
    """One public key. `numbers` tell it from others; `verify` is by the algorithms that may be used with it."""

    kid: str | None
    numbers: tuple[str, ...]
    verify: Mapping[str, Verify]

    @property
    def label(self) -> str:
        """Its name for the log and the metrics."""
        return printable(self.kid) or "-"

    def same_as(self, other: Key | None) -> bool:
        """Whether a signature means the same by both."""
        return other is not None and self.numbers == other.numbers and self.verify.keys() == other.verify.keys()


class KeySet:
    """The usable keys of `issuer`. `skipped` says which were left out and why, encryption keys aside."""

    def __init__(self, issuer: str, keys: Iterable[Key], skipped: Sequence[str] = ()) -> None:
        self.issuer = issuer
        self.skipped = tuple(skipped)
        self._keys = tuple(keys)
        self._by_kid = {key.kid: key for key in self._keys}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of that kid; for a token that names none, the only one there is for its algorithm."""
        if kid is not None:
            return self._by_kid.get(kid)
        fitting = [key for key in self._keys if algorithm in key.verify]
        return fitting[0] if len(fitting) == 1 else None

    def same_as(self, other: KeySet) -> bool:
        """Whether a token that is good by one is good by the other."""
        return (
            self.issuer == other.issuer
            and len(self) == len(other)
            and all(key.same_as(other._by_kid.get(key.kid)) for key in self)
        )


def read_key_set(document: Mapping[str, Any], issuer: str, algorithms: Sequence[str]) -> KeySet:
    """The keys of a JWK set with which one of `algorithms` can be verified. Raises Unusable when there is none."""
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise Unusable("is not a key set: it has no list of keys")
    if len(entries) > MAX_KEYS:
        raise Unusable(f"has {len(entries):,} keys: at most {MAX_KEYS} are taken")
    keys: dict[str | None, list[Key]] = {}
    skipped = []
    for place, entry in enumerate(entries, 1):
        if isinstance(entry, dict) and entry.get("use") == "enc":
            continue
        try:
            key = read_key(entry, algorithms)
        except Unusable as error:
            kid = printable(entry.get("kid")) if isinstance(entry, dict) else None
            skipped.append(f"key {place} ({kid or 'no kid'}): {error}")
        else:
            keys.setdefault(key.kid, []).append(key)
    for kid, same in keys.items():
        # Which of the two signed would be a guess. Keys without a kid are told apart by KeySet.find.
        if len(same) > 1 and kid is not None:
            skipped.append(f"{len(same)} keys ({printable(kid)}): they have the same kid, so none of them is used")
    usable = [key for kid, same in keys.items() if len(same) == 1 or kid is None for key in same]
    if not usable:
        raise Unusable(f"has no usable key{': ' if skipped else ''}{'; '.join(skipped[:3])}")
    return KeySet(issuer, usable, skipped)


def read_key(entry: object, algorithms: Sequence[str]) -> Key:
    """A public signature key of a JWK set. Raises Unusable with what is wrong with it."""
    if not isinstance(entry, dict):
        raise Unusable("not an object")
    if any(name in entry for name in _SECRET):
        raise Unusable("holds a secret, which a public key set must not")
    kid, own, operations = entry.get("kid"), entry.get("alg"), entry.get("key_ops", ["verify"])
    if kid is not None and not isinstance(kid, str):
        raise Unusable("its kid is not text")
    if entry.get("use", "sig") != "sig":
        raise Unusable("is not for signatures (use)")
    if not isinstance(operations, list) or "verify" not in operations:
        raise Unusable("is not for verifying (key_ops)")
    kty, crv = entry.get("kty"), entry.get("crv")
    usable = [one for one in algorithms if fits(one, kty, crv)]
    if own is not None:
        # A key is for one algorithm, and says which (RFC 8725 section 3.1); where it does not, for all that fit.
        usable = [one for one in usable if one == own]
    if not usable:
        raise Unusable("is for no algorithm that OIDC_ALGORITHMS allows")
    public = {"kty": kty, **({"crv": crv} if kty != "RSA" else {}), **_numbers(entry, kty, crv)}
    try:
        return Key(kid, tuple(map(str, public.values())), {one: build(public, one) for one in usable})
    except Exception:  # noqa: BLE001 whatever a library makes of numbers that are no key
        raise Unusable("its numbers are not a public key") from None


def _numbers(entry: Mapping[str, Any], kty: object, crv: object) -> dict[str, str]:
    """The members that make the key, checked in what python-jose does not."""
    if kty == "RSA":
        modulus, exponent = _number(entry, "n"), _number(entry, "e")
        if modulus.bit_length() not in RSA_BITS or modulus % 2 == 0:
            raise Unusable(f"its modulus has {modulus.bit_length()} bits or is even: odd, with 2048 to 8192, is needed")
        if exponent not in RSA_EXPONENTS:
            raise Unusable("its exponent is even, less than 65537 or too large")
        if all(modulus % p in marks for p, marks in _ROCA_MARKS):
            raise Unusable("its modulus can be factored (CVE-2017-15361): the provider needs a new key")
        return {"n": entry["n"], "e": entry["e"]}
    names, length = (("x", "y"), CURVES[str(crv)]) if kty == "EC" else (("x",), 32)
    for name in names:
        if len(_bytes(entry, name)) != length:
            raise Unusable(f"its {name} does not have the {length} bytes that {crv} needs")
    return {name: entry[name] for name in names}


def _number(entry: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(entry, name), "big")


def _bytes(entry: Mapping[str, Any], name: str) -> bytes:
    value = entry.get(name)
    try:
        return decode_segment(value if isinstance(value, str) else "=")
    except ValueError:
        raise Unusable(f"its {name} is missing, or not base64url") from None
