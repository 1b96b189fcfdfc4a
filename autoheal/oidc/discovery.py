"""What the identity provider tells about itself (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from autoheal.config import is_loopback
from autoheal.oidc.keys import Unusable


@dataclass(frozen=True, slots=True)
class Provider:
    """The discovery document, checked: every address is https, or on loopback; None where it names none.

    `issuer` is in the document's own spelling, which `iss` has as well. `token_endpoint_auth_methods` are the ways
    in which a client may show its secret. `sends_iss` is whether the answer to an authorization request names the
    issuer (RFC 9207): where it does, an answer without it is refused.
    """

    issuer: str
    jwks_uri: str
    authorization_endpoint: str | None
    token_endpoint: str | None
    end_session_endpoint: str | None
    token_endpoint_auth_methods: tuple[str, ...]
    sends_iss: bool


def read_provider(document: Mapping[str, Any], issuer: str) -> Provider:
    """The provider whose discovery document this is. Raises Unusable when it is another than `issuer`, or unsafe."""
    own = document.get("issuer")
    # Auth0 ends its issuer with a slash that people leave out; nothing else may differ (section 4.3).
    if not isinstance(own, str) or own.removesuffix("/") != issuer.removesuffix("/"):
        raise Unusable(
            f"the discovery document of {issuer} names {_named(own)} as the issuer: OIDC_ISSUER must be that"
        )
    local = is_loopback(httpx.URL(issuer).host)

    def address(name: str) -> str | None:
        value = document.get(name)
        if value is not None and not _is_safe(value, local=local):
            raise Unusable(f"the discovery document of {issuer} has a {name} that is no https address")
        return value

    jwks_uri = address("jwks_uri")
    if jwks_uri is None:
        raise Unusable(f"the discovery document of {issuer} names no jwks_uri: set OIDC_JWKS_URI")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or not all(isinstance(one, str) for one in methods):
        raise Unusable(
            f"the discovery document of {issuer} has token_endpoint_auth_methods_supported that are no texts"
        )
    return Provider(
        issuer=own,
        jwks_uri=jwks_uri,
        authorization_endpoint=address("authorization_endpoint"),
        token_endpoint=address("token_endpoint"),
        end_session_endpoint=address("end_session_endpoint"),
        token_endpoint_auth_methods=tuple(methods),
        sends_iss=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _named(value: object) -> str:
    return ascii(value[:200]) if isinstance(value, str) else "nothing"


def _is_safe(value: object, *, local: bool) -> bool:
    """https; only a provider on this machine may do without, and it may not send us to other machines without it."""
    if not isinstance(value, str):
        return False
    try:
        url = httpx.URL(value)
    except (httpx.InvalidURL, ValueError):
        return False
    scheme = url.scheme == "https" or (url.scheme == "http" and local and is_loopback(url.host))
    return scheme and bool(url.host) and not url.userinfo and not url.fragment
