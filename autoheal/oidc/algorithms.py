"""python-jose's keys, and two kinds of our own beside them: the one file that imports python-jose.

Its `jwt` and `jws` are not used: they accept what they should not (docs/decisions/0007-oidc.md). What is used of it is
`jwk`: a key that is built once, from numbers that `keys.py` has checked, and verifies one algorithm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from jose import jwk
from jose.backends.base import Key

from autoheal.oidc.encoding import decode_segment

Verify = Callable[[bytes, bytes], bool]
"""Whether the second bytes are a signature of the first. Raises nothing."""

CURVES: Final[Mapping[str, int]] = MappingProxyType({"P-256": 32, "P-384": 48, "P-521": 66})
"""Bytes of a coordinate (RFC 7518 section 6.2.1.2)."""
_KINDS: Final = MappingProxyType(
    {
        **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        **dict.fromkeys(("EdDSA", "Ed25519"), ("OKP", "Ed25519")),
    }
)
"""Which kty and crv an algorithm takes: an ES256 over P-384 is no ES256 (RFC 7518 section 3.4)."""


class _PssKey(Key):  # type: ignore[misc]
    """RSASSA-PSS, the salt as long as the digest (RFC 7518 section 3.5)."""

    def __init__(self, key: Mapping[str, str], algorithm: str) -> None:
        plain = jwk.construct(dict(key), f"RS{algorithm[2:]}")
        self._digest = plain.hash_alg()
        self._padding = PSS(MGF1(self._digest), self._digest.digest_size)
        self._key = plain.prepared_key

    def verify(self, msg: bytes, sig: bytes) -> bool:
        try:
            self._key.verify(sig, msg, self._padding, self._digest)
        except InvalidSignature:
            return False
        return True


class _EdwardsKey(Key):  # type: ignore[misc]
    """Ed25519 (RFC 8037 section 3.1)."""

    def __init__(self, key: Mapping[str, str], _: str) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(decode_segment(key["x"]))

    def verify(self, msg: bytes, sig: bytes) -> bool:
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


for _name in ("PS256", "PS384", "PS512"):
    jwk.register_key(_name, _PssKey)
for _name in ("EdDSA", "Ed25519"):
    jwk.register_key(_name, _EdwardsKey)


def fits(algorithm: str, kty: object, crv: object) -> bool:
    """Whether a key of this type and on this curve can verify `algorithm`."""
    kind, curve = _KINDS[algorithm]
    return kind == kty and curve in (None, crv)


def build(key: Mapping[str, Any], algorithm: str) -> Verify:
    """What verifies `algorithm` by this public JWK. Raises whatever the libraries do for numbers that are no key."""
    return guard(jwk.construct(dict(key), algorithm).verify)


def guard(verify: Callable[[bytes, bytes], object]) -> Verify:
    """`verify`, where whatever it raises means that the signature is not one."""

    def check(message: bytes, signature: bytes) -> bool:
        try:
            return verify(message, signature) is True
        except Exception:  # noqa: BLE001 a signature that breaks a library is no signature
            return False

    return check
