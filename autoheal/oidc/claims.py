"""What the claims of a verified token must say (RFC 7519 section 4.1, RFC 9068, OpenID Connect Core 1.0)."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from autoheal.errors import FailureReason
from autoheal.model import RESERVED_ACTORS
from autoheal.oidc.jws import Token

LEEWAY_SECONDS = 60
"""How far the provider's clock may be from ours."""
_NUMBERS = (int, float)
_LAST_TIME = 1e12
"""Later than any calendar, and exact as a float."""
_SUBJECT = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
"""OpenID Connect Core 1.0 section 2: at most 255 ASCII characters. What cannot be printed cannot be audited."""
_CLIENTS = ("azp", "client_id", "appid", "cid")
"""Where providers say for whom a token was made: OpenID Connect, RFC 9068, Entra ID, Okta."""
_MARKS = frozenset(("nonce", "at_hash", "c_hash", "s_hash"))
"""Claims of ID tokens (OpenID Connect Core 1.0 sections 2 and 3.3.2.11)."""
_GRANTED = frozenset(("scope", "scp", "client_id", "cid", "appid", "azpacr"))
"""Claims of access tokens that ID tokens do not have: what was granted, and to which client (`azp` both have)."""
_ACCESS_HEADERS = ("at+jwt", "application/at+jwt")
_HEADERS = ("jwt", "application/jwt", *_ACCESS_HEADERS)


def check_access(
    token: Token,
    claims: Mapping[str, Any],
    *,
    issuer: str,
    audience: str,
    client_id: str | None,
    clients: Sequence[str],
    now: float,
) -> None:
    """Raise Unauthenticated unless these are claims of an access token for `audience`, in force at `now`.

    `client_id` is our own: where it is the audience too, ID tokens are for the same audience as access tokens.
    `clients`, if any, are the only ones for whom it may have been made: each claim that names one must name such.
    """
    if claims.get("iss") != issuer:
        raise token.refused(FailureReason.WRONG_ISSUER)
    if not _is_access(token.typ, claims, shared=audience == client_id):
        raise token.refused(FailureReason.WRONG_TYPE)
    if audience not in _audiences(claims):
        raise token.refused(FailureReason.WRONG_AUDIENCE)
    if clients:
        named = [claims[name] for name in _CLIENTS if name in claims]
        if not named or not all(isinstance(one, str) and one in clients for one in named):
            raise token.refused(FailureReason.WRONG_CLIENT)
    _check_times(token, claims, now)
    if not is_subject(claims.get("sub")):
        raise token.refused(FailureReason.WRONG_SUBJECT)


def check_id(
    token: Token,
    claims: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    nonce: str | None,
    access_token: str | None,
    now: float,
) -> None:
    """Raise Unauthenticated unless these are claims of an ID token (OpenID Connect Core 1.0 section 3.1.3.7)."""
    if claims.get("iss") != issuer:
        raise token.refused(FailureReason.WRONG_ISSUER)
    kind = claims.get("typ", "ID"), claims.get("token_use", "id")
    if kind != ("ID", "id") or "events" in claims or (token.typ or "JWT").lower() not in _HEADERS[:2]:
        raise token.refused(FailureReason.WRONG_TYPE)
    audiences = _audiences(claims)
    if client_id not in audiences or (len(audiences) > 1 and "azp" not in claims):
        raise token.refused(FailureReason.WRONG_AUDIENCE)
    if claims.get("azp", client_id) != client_id:
        raise token.refused(FailureReason.WRONG_CLIENT)
    _check_times(token, claims, now)
    if "iat" not in claims:
        raise token.refused(FailureReason.MALFORMED)
    if not is_subject(claims.get("sub")):
        raise token.refused(FailureReason.WRONG_SUBJECT)
    if nonce is not None and not _equal(claims.get("nonce"), nonce):
        raise token.refused(FailureReason.WRONG_NONCE)
    if access_token is not None and not _is_bound(claims, token.algorithm, access_token):
        raise token.refused(FailureReason.WRONG_HASH)


def is_subject(value: object) -> bool:
    """Whether `value` can be the actor of a record, and is nobody else's name there."""
    return isinstance(value, str) and _SUBJECT.fullmatch(value) is not None and value not in RESERVED_ACTORS


def client_of(claims: Mapping[str, Any]) -> str | None:
    """The client that the token was made for, where the provider says so in a way that can be printed."""
    for name in _CLIENTS:
        found = claims.get(name)
        if isinstance(found, str) and _SUBJECT.fullmatch(found):
            return found
    return None


def good_until(claims: Mapping[str, Any]) -> float:
    """When checked claims end to be accepted, seconds since the epoch."""
    return float(claims["exp"]) + LEEWAY_SECONDS


def _is_access(typ: str | None, claims: Mapping[str, Any], *, shared: bool) -> bool:
    """Whether this is an access token, and no other kind of the same issuer (RFC 8725 section 3.11).

    Providers differ: `at+jwt` (RFC 9068), `typ: Bearer` among Keycloak's claims, `token_use: access` with Cognito, or
    nothing at all; then whatever only other kinds have speaks against it. An ID token need not have any of that: a
    renewed one has no nonce (OpenID Connect Core 1.0 section 12.2). So where the audience is `shared` with ID tokens,
    something must speak for it as well.
    """
    kind = (typ or "JWT").lower()
    if kind not in _HEADERS or "events" in claims:
        return False
    own, use = claims.get("typ", "Bearer"), claims.get("token_use", "access")
    if own != "Bearer" or use != "access":
        return False
    said = kind in _ACCESS_HEADERS or "typ" in claims or "token_use" in claims
    return said or (_MARKS.isdisjoint(claims) and not (shared and _GRANTED.isdisjoint(claims)))


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    """`aud`, which is a text or a list of them; nothing when it is anything else."""
    found = claims.get("aud")
    if isinstance(found, str):
        return [found]
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


def _check_times(token: Token, claims: Mapping[str, Any], now: float) -> None:
    """`exp` is needed, `nbf` and `iat` count when they are there (RFC 7519 sections 4.1.4 to 4.1.6)."""
    expiry, begin, issued = claims.get("exp"), claims.get("nbf", 0), claims.get("iat", 0)
    if not (_is_time(expiry) and _is_time(begin) and _is_time(issued)):
        raise token.refused(FailureReason.MALFORMED)
    if now >= good_until(claims):
        raise token.refused(FailureReason.EXPIRED)
    if begin > now + LEEWAY_SECONDS or issued > now + LEEWAY_SECONDS:
        raise token.refused(FailureReason.NOT_YET_VALID)


def _is_time(value: object) -> bool:
    # By its exact type: True is an int to Python. 1e400 is infinity, and compares.
    return type(value) in _NUMBERS and abs(value) < _LAST_TIME  # type: ignore[arg-type]


def _equal(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def _is_bound(claims: Mapping[str, Any], algorithm: str, access_token: str) -> bool:
    """Whether `at_hash`, where there is one, is the left half of the token's digest (section 3.1.3.6)."""
    if "at_hash" not in claims:
        return True
    bits = algorithm[2:] if algorithm[2:] in ("256", "384", "512") else "512"  # Ed25519 has SHA-512 inside
    digest = hashlib.new(f"sha{bits}", access_token.encode()).digest()
    return _equal(claims["at_hash"], urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode())
