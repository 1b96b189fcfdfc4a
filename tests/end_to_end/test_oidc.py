"""Programs with tokens of a real provider, through its rotations and its outages."""

from __future__ import annotations

import base64
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Self

import httpx
import orjson
import pytest

from tests.support.identity import SigningKey, encoded
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until
from tests.support.provider import AUDIENCE, Provider

pytestmark = pytest.mark.component

RULES = "version: 1\nrules: []\n"
FIRST, SECOND = SigningKey("first"), SigningKey("second", which=1)
TTL = 2
STALE = 10


@dataclass
class Service:
    """A running gateway."""

    origin: str
    folder: Path

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.origin}{path}", headers=headers, timeout=10, trust_env=False)

    def counted(self, name: str) -> float:
        """A sample of /metrics, by its name with its labels."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def refused(self, reason: str) -> float:
        """How often tokens were refused for this reason."""
        return self.counted(f'autoheal_jwt_auth_failures_total{{reason="{reason}"}}')


@contextmanager
def service(folder: Path, idp: Provider, **more: str) -> Iterator[Service]:
    """One that trusts `idp`, until the block ends."""
    port = free_port()
    (folder / "rules.yaml").write_text(RULES)
    env = {
        **os.environ,
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_PORT": str(port),
        "OIDC_ENABLED": "true",
        "OIDC_ISSUER": idp.issuer,
        "OIDC_AUDIENCE": AUDIENCE,
        "OIDC_ROLES_CLAIM": "roles",
        "OIDC_ROLE_MAP": '{"sre": "operator"}',
        "JWKS_CACHE_TTL_SECONDS": str(TTL),
        "JWKS_STALE_TTL_SECONDS": str(STALE),
        "JWKS_REFRESH_TIMEOUT_SECONDS": "1",
        "JWKS_REFRESH_RETRIES": "1",
        **more,
    }
    origin = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "autoheal", "serve"]
    with running(argv, lambda: answers(f"{origin}/readyz"), folder / "gateway.log", env=env):
        yield Service(origin, folder)


def forged(key: SigningKey, good: str, **changes: object) -> str:
    """The good token's claims, but for what is changed, signed anew by `key`."""
    header, claims = (orjson.loads(_decoded(part)) for part in good.split(".")[:2])
    return key.sign({**header, "kid": key.kid}, {**claims, **changes})


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "==")


def test_a_real_providers_tokens(tmp_path: Path) -> None:
    """Its own is good on every route of its role; each way of being wrong is a 401 whose reason is counted."""
    idp = Provider(tmp_path, free_port(), "http://127.0.0.1:1", keys=[FIRST])
    with idp.started(), service(tmp_path, idp) as gate:
        good = idp.token()
        for path in ("/audit", "/console", "/runs", "/whoami"):
            assert gate.get(path, good).status_code == 200
        assert gate.get("/whoami", good).json() | {"login": None} == {
            "subject": "cli",
            "name": None,
            "role": "operator",
            "client": "cli",
            "login": None,
        }
        assert gate.get("/audit").status_code == 401
        assert gate.get("/audit", idp.token("nobody")).status_code == 403
        header, claims, signature = good.split(".")
        tampered = f"{header}.{encoded(_decoded(claims).replace(b'cli', b'eve'))}.{signature}"
        for bad, reason in (
            (idp.token(audience="https://other.test"), "wrong_audience"),
            (forged(FIRST, good, iss="https://evil.test"), "wrong_issuer"),
            (forged(FIRST, good, exp=int(time.time()) - 120), "expired"),
            (forged(SigningKey("first", which=2), good), "invalid_signature"),
            (tampered, "invalid_signature"),
            ("no.token.atall", "malformed"),
        ):
            before = gate.refused(reason)
            answer = gate.get("/audit", bad)
            assert (reason, answer.status_code) == (reason, 401)
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
            assert gate.refused(reason) == before + 1
        log = (tmp_path / "gateway.log").read_text() + (tmp_path / "data" / "audit.jsonl").read_text()
        assert claims not in log
        assert signature not in log
        assert "jwt_validation_failed" in log


@dataclass
class Load:
    """Requests with one token, one after another, from a thread of their own."""

    gate: Service
    token: str
    seen: list[int] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.gate.origin, headers=headers, timeout=10, trust_env=False) as client:
            while not self.ended.is_set():
                self.seen.append(client.get("/whoami").status_code)


def test_keys_are_rotated_under_load(tmp_path: Path) -> None:
    """A new key is known at its first token, good ones never fail, and a removed key's are refused within the TTL."""
    idp = Provider(tmp_path, free_port(), "http://127.0.0.1:1", keys=[FIRST])
    with idp.started() as process, service(tmp_path, idp) as gate:
        old = idp.token()
        with Load(gate, old) as by_old:
            wait_until(lambda: len(by_old.seen) > 20, what="requests under way")
            idp.rotate(process, [SECOND, FIRST])
            new = idp.token()
            assert gate.get("/whoami", new).status_code == 200, "the new key's first token"
            with Load(gate, new) as by_new:
                wait_until(lambda: len(by_new.seen) > 50, what="requests with both")
                assert set(by_old.seen) == {200}
                idp.rotate(process, [SECOND])
                wait_until(lambda: by_old.seen[-1] == 401, seconds=TTL + 10, what="the removed key's refusal")
                wait_until(lambda: len(by_new.seen) > 100, what="more requests")
            assert set(by_new.seen) == {200}
        refused = by_old.seen.index(401)
        assert set(by_old.seen[:refused]) == {200}
        assert set(by_old.seen[refused:]) == {401}
        assert gate.refused("unknown_kid") > 0


def test_the_provider_goes_away_and_comes_back(tmp_path: Path) -> None:
    """Known keys are used for the stale time; then it is 503, never 401; when it is back, nobody has to do anything."""
    idp = Provider(tmp_path, free_port(), "http://127.0.0.1:1", keys=[FIRST])
    with service_with_provider(tmp_path, idp) as (gate, process):
        good = idp.token()
        with Load(gate, good) as load:
            wait_until(lambda: 200 in load.seen, what="an answer")
            process.terminate()
            process.wait(10)
            wait_until(
                lambda: gate.counted("autoheal_jwks_stale_served_total") > 0, what="answers by keys beyond their TTL"
            )
            assert set(load.seen) == {200}
            wait_until(lambda: load.seen[-1] == 503, seconds=STALE + 20, what="the end of the stale time")
            answer = gate.get("/audit", good)
            assert (answer.status_code, "www-authenticate" in answer.headers) == (503, False)
            assert int(answer.headers["retry-after"]) >= 1
            assert gate.get("/healthz").status_code == 200
            assert httpx.post(f"{gate.origin}/alert", content=b"{}", trust_env=False).status_code == 400
            with idp.started():
                wait_until(lambda: load.seen[-1] == 200, seconds=30, what="the recovery")
        changes = [code for code, before in zip(load.seen[1:], load.seen, strict=False) if code != before]
        assert changes == [503, 200]
        assert gate.refused("unknown_kid") == 0


@contextmanager
def service_with_provider(folder: Path, idp: Provider) -> Iterator[tuple[Service, Popen[bytes]]]:
    with idp.started() as process, service(folder, idp) as gate:
        yield gate, process
