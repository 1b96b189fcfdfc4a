"""What is set about the identity provider, and what its settings demand of one another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from autoheal.config.parsers import is_loopback, items, secure_url, shown
from autoheal.errors import Fault
from autoheal.model import Role

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Signatures that can be verified with a public key (RFC 7518 section 3.1, RFC 8037, RFC 9864)."""
WELL_KNOWN = "/.well-known/openid-configuration"
"""What discovery appends to the issuer (OpenID Connect Discovery 1.0 section 4)."""
_WORD = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Whom to trust, and for how long. Times are seconds.

    `issuer` is without its well-known address. `roles_claim` is a path, outermost name first. `role_map` is from the
    provider's value to ours, or None when every valid token is an operator.
    """

    issuer: str
    audience: str
    allowed_clients: tuple[str, ...]
    algorithms: tuple[str, ...]
    roles_claim: tuple[str, ...]
    role_map: Mapping[str, Role] | None
    jwks_uri: str | None
    client_id: str | None
    client_secret: str | None = field(repr=False)
    scopes: tuple[str, ...]
    cache_ttl: int
    stale_ttl: int
    refresh_timeout: int
    refresh_retries: int


def gather(values: dict[str, Any], faults: list[Fault]) -> OidcSettings | None:
    """Take what is about the identity provider out of `values`; None when OIDC is off.

    Adds a fault for each thing that is missing beside another. A value that is not there was faulty by itself.
    """
    found = {name: values.pop(name) for name in list(values) if name.startswith(("oidc_", "jwks_"))}
    enabled = found.pop("oidc_enabled", None)
    if enabled is False and values.get("events_auth"):
        faults.append(Fault("AUTOHEAL_EVENTS_AUTH", "needs OIDC_ENABLED=true: without it nobody can log in"))
    if enabled is False and values.get("webhook_auth") == "token":
        faults.append(Fault("AUTOHEAL_WEBHOOK_AUTH", "token needs OIDC_ENABLED=true: without it no token is known"))
    if not enabled:
        return None
    before = len(faults)
    for name, meaning in (
        ("oidc_issuer", "the address of the identity provider, such as https://login.example.org/realms/ops"),
        ("oidc_audience", "the name by which tokens for this service are marked, their aud"),
    ):
        if found.get(name, "given") is None:
            faults.append(Fault(name.upper(), f"is needed with OIDC_ENABLED=true: {meaning}"))
    faults += _contradictions(found, values)
    if len(faults) > before or len(found) < len(OidcSettings.__slots__):
        return None
    found["oidc_roles_claim"] = found["oidc_roles_claim"] or ("roles",)
    return OidcSettings(**{re.sub("^(oidc|jwks)_(?!uri)|^oidc_", "", name): value for name, value in found.items()})


def _contradictions(found: Mapping[str, Any], values: Mapping[str, Any]) -> list[Fault]:
    faults = []
    if found.get("oidc_roles_claim") and found.get("oidc_role_map", {}) is None:
        what = 'needs OIDC_ROLE_MAP, such as {"sre": "operator"}: without it every valid token is an operator'
        faults.append(Fault("OIDC_ROLES_CLAIM", what))
    if found.get("oidc_client_secret") and found.get("oidc_client_id", "given") is None:
        faults.append(Fault("OIDC_CLIENT_SECRET", "needs OIDC_CLIENT_ID: the client whose secret it is"))
    host = values.get("host", "localhost")
    if found.get("oidc_client_id") and values.get("public_url", "given") is None and not is_loopback(host):
        what = (
            f"is needed with OIDC_CLIENT_ID while AUTOHEAL_HOST is {host}: where browsers come back to after a"
            " login, such as https://autoheal.example.org"
        )
        faults.append(Fault("AUTOHEAL_PUBLIC_URL", what))
    fresh, stale = found.get("jwks_cache_ttl"), found.get("jwks_stale_ttl")
    if fresh is not None and stale is not None and stale < fresh:
        what = f"{stale} is less than JWKS_CACHE_TTL_SECONDS ({fresh}): keys would be given up while they are fresh"
        faults.append(Fault("JWKS_STALE_TTL_SECONDS", what))
    return faults


def issuer(text: str) -> str | None:
    """An issuer, from itself or from its well-known address; None for nothing."""
    if not text:
        return None
    if "?" in text:
        raise ValueError("this address must have no ?")
    secure_url(text)
    return text.removesuffix(WELL_KNOWN)


def optional_address(text: str) -> str | None:
    """Where something can be fetched, or None for nothing."""
    if text:
        secure_url(text)
    return text or None


def word(text: str) -> str | None:
    """A name that the identity provider gave, or None for nothing."""
    if text and _WORD.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is not a name: at most 255 printable ASCII characters, and no space")
    return text or None


def words(text: str) -> tuple[str, ...]:
    """Names that the identity provider gave, with commas between them."""
    return tuple(one for one in map(word, items(text)) if one)


def scopes(text: str) -> tuple[str, ...]:
    """What a login asks for, with spaces between (RFC 6749 section 3.3)."""
    found = tuple(dict.fromkeys(text.split()))
    for one in found:
        if re.fullmatch(r"[!#-\[\]-~]{1,255}", one) is None:
            raise ValueError(f"{shown(one)} is not a scope: printable ASCII characters, with spaces between scopes")
    if "openid" not in found:
        raise ValueError("openid must be among them: without it the provider does not say who has logged in")
    return found


def secret(text: str) -> str | None:
    """Any text, or None for nothing."""
    return text or None


def algorithms(text: str) -> tuple[str, ...]:
    """Signature algorithms, with commas between them."""
    found = items(text)
    if not found:
        raise ValueError(f"names no algorithm; use {ALGORITHMS[0]}")
    for one in found:
        if one in ("HS256", "HS384", "HS512", "none"):
            raise ValueError(f"{one} proves nothing to a service that has public keys only; use {ALGORITHMS[0]}")
        if one not in ALGORITHMS:
            raise ValueError(f"{shown(one)} is not one of {', '.join(ALGORITHMS)}")
    return tuple(dict.fromkeys(found))


def claim_path(text: str) -> tuple[str, ...]:
    """A claim's name, or a path as a JSON array: a dot may be part of a name, as in https://example.org/roles."""
    if not text.startswith("["):
        return (text,) if text else ()
    path = _json(text)
    if not path or not all(isinstance(name, str) and name for name in path):
        raise ValueError(f'{shown(text)} is not a path of names such as ["realm_access", "roles"]')
    return tuple(path)


def role_map(text: str) -> Mapping[str, Role] | None:
    """From the provider's roles to ours, or None for nothing."""
    if not text:
        return None
    found = _json(text)
    if not isinstance(found, dict) or not found:
        raise ValueError(f'{shown(text)} is not a JSON object such as {{"sre": "operator", "leads": "approver"}}')
    ours = {role.label: role for role in Role}
    for name, role in found.items():
        if not isinstance(role, str) or role not in ours:
            raise ValueError(f"{shown(name)} is mapped to {shown(str(role))}, which is none of {', '.join(ours)}")
    return MappingProxyType({name: ours[role] for name, role in found.items()})


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands there twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON that can be read: too deep") from None
