"""A signed token in the compact form (RFC 7515 section 7.1), read strictly and verified by one key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from autoheal.errors import FailureReason, Unauthenticated
from autoheal.oidc.encoding import decode_segment, parse_object, printable
from autoheal.oidc.keys import Key

MAX_TOKEN_CHARACTERS = 16 * 1024
_REFUSED = ("crit", "b64", "enc", "zip")
"""Of the header: extensions that we would have to understand and do not (section 4.1.11, RFC 7797), and JWE."""


class Token(NamedTuple):
    """What a token says, none of it proven. `message` is what is signed."""

    algorithm: str
    kid: str | None
    typ: str | None
    payload: bytes
    message: bytes
    signature: bytes

    def claims(self) -> Mapping[str, Any]:
        """The payload as claims (RFC 7519 section 7.2). Raises Unauthenticated."""
        try:
            return parse_object(self.payload)
        except ValueError:
            raise self.refused(FailureReason.MALFORMED) from None

    def verify(self, key: Key) -> None:
        """Raise Unauthenticated unless `key` signed this, by an algorithm that is the key's own."""
        verify = key.verify.get(self.algorithm)
        if verify is None:
            raise self.refused(FailureReason.ALG_NOT_ALLOWED)
        if not verify(self.message, self.signature):
            raise self.refused(FailureReason.INVALID_SIGNATURE)

    def refused(self, reason: FailureReason) -> Unauthenticated:
        """The error that names this token's key."""
        return Unauthenticated(reason, printable(self.kid))


def read(text: str) -> Token:
    """The token that `text` is, and the only spelling of it. Raises Unauthenticated (malformed)."""
    if len(text) > MAX_TOKEN_CHARACTERS or text.count(".") != 2:
        raise Unauthenticated(FailureReason.MALFORMED)
    message, _, last = text.rpartition(".")
    first, _, middle = message.partition(".")
    try:
        algorithm, kid, typ = _header(first)
        payload, signature = decode_segment(middle), decode_segment(last)
    except ValueError:
        raise Unauthenticated(FailureReason.MALFORMED) from None
    return Token(algorithm, kid, typ, payload, message.encode(), signature)


@lru_cache(maxsize=64)
def _header(segment: str) -> tuple[str, str | None, str | None]:
    """Algorithm, kid and typ of a header. One key's tokens share theirs, and reading it takes a while."""
    header = parse_object(decode_segment(segment))
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    strange = any(name in header for name in _REFUSED)
    texts = all(one is None or isinstance(one, str) for one in (kid, typ))
    if strange or not texts or not isinstance(algorithm, str):
        raise Unauthenticated(FailureReason.MALFORMED, printable(kid))
    return algorithm, kid, typ
