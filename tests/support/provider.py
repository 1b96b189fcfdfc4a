"""A real OpenID provider (npm's oidc-provider) on loopback, whose keys can be rotated, and which can be stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest

from tests.support.components import require
from tests.support.identity import SigningKey, number
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

PROGRAM = Path(__file__).parent / "provider" / "provider.mjs"
AUDIENCE = "https://autoheal.test/api"
SECRET = "a secret for tests"


def private_jwk(key: SigningKey) -> dict[str, str]:
    """The whole key pair, as the provider needs it to sign (RFC 7518 section 6.3.2)."""
    own = key.private.private_numbers()
    names = {"d": own.d, "p": own.p, "q": own.q, "dp": own.dmp1, "dq": own.dmq1, "qi": own.iqmp}
    return key.jwk() | {name: number(value) for name, value in names.items()}


@dataclass
class Provider:
    """One on `port`; `start` it as often as you `stop` it. The first of `keys` signs."""

    folder: Path
    port: int
    redirect_origin: str
    keys: Sequence[SigningKey] = (SigningKey("first"),)
    roles: Mapping[str, list[str]] = field(default_factory=lambda: {"cli": ["sre"], "nobody": []})
    people: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "olga": {"name": "Olga Operator", "roles": ["sre"]},
            "nina": {"name": "Nina Nobody", "roles": []},
        }
    )
    ttl: Mapping[str, int] = field(default_factory=lambda: {"AccessToken": 600, "ClientCredentials": 600})

    @property
    def issuer(self) -> str:
        # Another host than the gateway's 127.0.0.1, so that browsers take the two for different sites.
        return f"http://localhost:{self.port}"

    @contextmanager
    def started(self) -> Iterator[Popen[bytes]]:
        """Run it until the block ends."""
        node = require("node")
        if not (PROGRAM.parent / "node_modules").is_dir():
            missing = f"npm ci --ignore-scripts has not been run in {PROGRAM.parent}"
            pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
        argv = [node, PROGRAM, self._write(), str(self.port)]
        with running(argv, self.answers, self.folder / "provider.log") as process:
            yield process

    def answers(self) -> bool:
        """Whether it tells its keys now."""
        try:
            return httpx.get(f"{self.issuer}/jwks", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def rotate(self, process: Popen[bytes], keys: Sequence[SigningKey]) -> None:
        """Go on with other keys, without a pause."""
        self.keys = keys
        self._write()
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: self._published() == [key.kid for key in keys], what="the new keys' publication")

    def token(self, client: str = "cli", audience: str = AUDIENCE) -> str:
        """An access token by the client credentials grant (RFC 6749 section 4.4)."""
        asked = {"grant_type": "client_credentials", "resource": audience}
        answer = httpx.post(f"{self.issuer}/token", data=asked, auth=(client, SECRET), timeout=10, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def _published(self) -> list[str]:
        return [key["kid"] for key in httpx.get(f"{self.issuer}/jwks", timeout=5, trust_env=False).json()["keys"]]

    def _write(self) -> Path:
        origin = self.redirect_origin
        browser = {
            "client_id": "console",
            "client_secret": SECRET,
            "redirect_uris": [f"{origin}/login/callback"],
            "post_logout_redirect_uris": [f"{origin}/login"],
            "grant_types": ["authorization_code", "refresh_token"],
        }
        machines = [
            {
                "client_id": name,
                "client_secret": SECRET,
                "redirect_uris": [],
                "response_types": [],
                "grant_types": ["client_credentials"],
            }
            for name in self.roles
        ]
        told = {
            "issuer": self.issuer,
            "keys": [private_jwk(key) for key in self.keys],
            "clients": [browser, *machines],
            "roles": self.roles,
            "people": self.people,
            "ttl": self.ttl,
        }
        file = self.folder / "provider.json"
        file.write_text(json.dumps(told))
        return file


@contextmanager
def provider(folder: Path, redirect_origin: str = "http://127.0.0.1:1", **more: Any) -> Iterator[Provider]:
    """One that runs until the block ends."""
    made = Provider(folder, free_port(), redirect_origin, **more)
    with made.started():
        yield made
