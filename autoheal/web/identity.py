"""Who asks, whom we trust to say so, and its keys anew."""

from __future__ import annotations

import contextlib

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.errors import KeysUnavailable
from autoheal.oidc import Oidc
from autoheal.web.parameters import parameters
from autoheal.web.security import operator


async def whoami(request: Request, *, login: bool) -> Response:
    """`GET /whoami`: the operator whom this request shows; `login` is whether there are sessions to log out of."""
    parameters(request, ())
    found = operator(request)
    role = None if found.role is None else found.role.label
    return _json({"subject": found.subject, "name": found.name, "role": role, "client": found.client, "login": login})


async def protected_resource(request: Request, *, origin: str, oidc: Oidc, issuer: str) -> Response:
    """`GET /.well-known/oauth-protected-resource`: where tokens for this service come from (RFC 9728 section 3.2).

    `issuer` is the configured one; the provider's own spelling counts, where it is known.
    """
    parameters(request, ())
    with contextlib.suppress(KeysUnavailable):
        issuer = (await oidc.provider()).issuer
    return _json(
        {
            "resource": origin,
            "authorization_servers": [issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "autoheal",
        }
    )


async def refresh_jwks(request: Request, *, oidc: Oidc) -> Response:
    """`POST /-/refresh-jwks`: fetch the provider's keys now, as after a key was compromised there."""
    parameters(request, ())
    return _json({"keys": await oidc.refresh()})


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
