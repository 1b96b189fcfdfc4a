"""What the identity provider tells about itself (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from dataclasses import dataclass


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
