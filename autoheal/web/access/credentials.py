"""What a request shows of who sent it, before anybody looks whether it is true."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Scope

CSRF_HEADER = "X-Autoheal-CSRF"
"""Only a script of our own origin can send it: any other needs leave by CORS, which is never given."""

_SCHEME = re.compile(r"\s*bearer(?![A-Z0-9!#$%&'*+.^_`|~-])", re.IGNORECASE)
"""The whole scheme (RFC 9110 section 11.1), whatever comes after it: a tab, say, makes no other scheme of it, by which
the cookie beside it would decide."""
_BEARER = re.compile(r"[ \t]*bearer +([A-Z0-9._~+/-]+=*)[ \t]*", re.IGNORECASE)
"""RFC 6750 section 2.1: b64token."""


class TwoSessions(Exception):
    """More than one cookie has the session's name."""


class Malformed(Exception):
    """Credentials that cannot be read as one bearer token; the text tells the sender why."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token of the Authorization header."""

    token: str


@dataclass(frozen=True, slots=True)
class Cookie:
    """The id of a session, as the browser tells it."""

    id: str


def presented(scope: Scope, session_cookie: str | None) -> Bearer | Cookie | None:
    """The credentials of a request, None without any. Raises Malformed, and TwoSessions.

    A bearer token decides alone, whatever cookies come with it. A scheme that is not known here (a proxy's Basic,
    say) counts as nothing, as RFC 6750 section 3.1 has it.
    """
    # RFC 6750 section 2.3 allows it and warns of it: logs, histories and Referer keep it.
    if any(
        name == "access_token" for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    ):
        raise Malformed("A token has no place in a URL, which logs keep. Send it in the Authorization header.")
    given = Headers(scope=scope).getlist("authorization")
    if len(given) > 1:
        raise Malformed("There are two Authorization headers. Send one.")
    for value in given:
        if _SCHEME.match(value):
            if (found := _BEARER.fullmatch(value)) is None:
                raise Malformed("After Bearer come a space and one token, and nothing else.")
            return Bearer(found[1])
    ids = cookies(scope, session_cookie) if session_cookie else ()
    if len(ids) > 1:
        # One of them was put there by somebody else: neither is believed.
        raise TwoSessions
    return Cookie(ids[0]) if ids else None


def cookies(scope: Scope, name: str) -> tuple[str, ...]:
    """The values of all cookies called `name`, in the order sent (RFC 6265 section 5.4)."""
    pairs = (pair.strip().partition("=") for line in Headers(scope=scope).getlist("cookie") for pair in line.split(";"))
    return tuple(value for found, _, value in pairs if found == name)


def forged(scope: Scope, origin: str) -> str | None:
    """Why a request that a cookie vouches for may be another site's doing; None when it is our own console's.

    All three must hold. A page of another site can send none of them truly: browsers alone write Origin and
    Sec-Fetch-Site, and our header needs leave (Fetch standard, CORS-unsafe request headers).
    """
    headers = Headers(scope=scope)
    if headers.getlist("origin") != [origin]:
        return f"the Origin header is not {origin}"
    if headers.get("sec-fetch-site", "same-origin").lower() != "same-origin":
        return "a page of another site caused it (Sec-Fetch-Site)"
    if headers.getlist(CSRF_HEADER) != ["1"]:
        return f"the header {CSRF_HEADER}: 1 is missing"
    return None
