"""The identity provider in memory as one that people log in at: codes, tokens, refresh tokens (RFC 6749, RFC 7636)."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from tests.support.clock import FakeClock
from tests.support.gateway import Gateway
from tests.support.identity import AUDIENCE, ISSUER, IdentityProvider, SigningKey, encoded, token

CLIENT, SECRET = "console", "s3cret/+ %"
PORT = 9009
ORIGIN = f"http://127.0.0.1:{PORT}"
SESSION = f"autoheal_session_{PORT}"
OIDC = {
    "OIDC_ENABLED": "true",
    "OIDC_ISSUER": ISSUER,
    "OIDC_AUDIENCE": AUDIENCE,
    "OIDC_CLIENT_ID": CLIENT,
    "OIDC_CLIENT_SECRET": SECRET,
    "OIDC_ROLES_CLAIM": "roles",
    "OIDC_ROLE_MAP": json.dumps({"view": "viewer", "sre": "operator", "lead": "approver", "boss": "admin"}),
}
"""The environment of a gateway that trusts a `LoginProvider`."""
OWN = {"Origin": ORIGIN, "X-Autoheal-CSRF": "1"}
"""What our own console sends with a POST."""


@dataclass
class Account:
    """Somebody at the provider, as its next answer tells of them."""

    subject: str = "olga"
    roles: tuple[str, ...] = ("sre",)


class LoginProvider(IdentityProvider):
    """`account` is who logs in, `id_changes` what is put otherwise into ID tokens, `refreshes` whether it gives
    refresh tokens, `bearer` the access token that it gives. `token_answer` takes the token endpoint's place while it
    is set; `forms` is what that was asked.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.document |= {
            "end_session_endpoint": f"{ISSUER}/logout",
            "authorization_response_iss_parameter_supported": True,
        }
        self.account = Account()
        self.id_changes: dict[str, Any] = {}
        self.refreshes = True
        self.bearer = "opaque"
        self.life: object = 300
        self.token_answer: Callable[[httpx.Request], httpx.Response] | None = None
        self.forms: list[dict[str, str]] = []
        self._codes: dict[str, tuple[str, dict[str, str]]] = {}
        self._refresh_tokens: set[str] = set()

    def allow(self, location: str, **changes: str | None) -> str:
        """What the browser is sent back with, from where the gateway sent it; `changes` are of its parameters."""
        address, asked = urlsplit(location), dict(parse_qsl(urlsplit(location).query))
        assert f"{address.scheme}://{address.netloc}{address.path}" == f"{ISSUER}/authorize"
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{ORIGIN}/login/callback"
        code = f"code-{len(self._codes)}"
        self._codes[code] = (asked["nonce"], asked)
        told = {"code": code, "state": asked["state"], "iss": ISSUER, "session_state": "x", **changes}
        return "/login/callback?" + urlencode({name: value for name, value in told.items() if value is not None})

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/realms/ops/token":
            return await super().answer(request)
        self.asked.append(request.url.path)
        form = dict(parse_qsl(request.content.decode(), strict_parsing=True))
        self.forms.append(form)
        await self.gate.wait()
        if self.token_answer is not None:
            return self.token_answer(request)
        return self._tokens(request, form)

    def _tokens(self, request: httpx.Request, form: Mapping[str, str]) -> httpx.Response:
        pair = urlencode({CLIENT: SECRET}).replace("=", ":")
        if request.headers.get("Authorization") != f"Basic {b64encode(pair.encode()).decode()}":
            return httpx.Response(401, json={"error": "invalid_client"})
        nonce = None
        if form["grant_type"] == "authorization_code":
            nonce, asked = self._codes.pop(form["code"], (None, {}))
            challenge = encoded(sha256(form["code_verifier"].encode()).digest())
            if nonce is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
                return httpx.Response(400, json={"error": "invalid_grant"})
        elif form["refresh_token"] not in self._refresh_tokens:
            return httpx.Response(400, json={"error": "invalid_grant"})
        else:
            self._refresh_tokens.clear()
        told: dict[str, Any] = {"access_token": self.bearer, "token_type": "Bearer", "expires_in": self.life}
        told["id_token"] = self.id_token(nonce)
        if self.refreshes:
            told["refresh_token"] = f"refresh-{len(self.forms)}"
            self._refresh_tokens.add(told["refresh_token"])
        return httpx.Response(200, json=told)

    def id_token(self, nonce: str | None) -> str:
        told = {"aud": CLIENT, "sub": self.account.subject, "name": "Olga Operator", "roles": list(self.account.roles)}
        return token(self.clock, header={"typ": "JWT"}, **{**told, "nonce": nonce, **self.id_changes})

    def refuse(self, request: httpx.Request) -> httpx.Response:
        """What the token endpoint says to somebody who was disabled."""
        return httpx.Response(400, json={"error": "invalid_grant", "error_description": "no"})


def bearer(clock: FakeClock, *roles: str, **changes: Any) -> dict[str, str]:
    """The header of a good access token with these roles, but for what is changed."""
    return {"Authorization": f"Bearer {token(clock, SigningKey(), roles=list(roles), **changes)}"}


async def log_in(gate: Gateway, idp: LoginProvider, path: str = "/login") -> httpx.Response:
    """The gateway's last answer of a whole login; the client keeps the cookies."""
    begun = await gate.client.get(path)
    assert begun.status_code == 303, begun.text
    return await gate.client.get(idp.allow(begun.headers["Location"]))
