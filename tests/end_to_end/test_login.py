"""A person's day: a real browser logs in through a real provider, watches the console, and logs out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.browser import Page, browser
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until
from tests.support.provider import AUDIENCE, SECRET, Provider, provider

pytestmark = pytest.mark.component

ALERT = Path(__file__).parents[1] / "payloads" / "01_firing_single.json"
RULES = """\
version: 1
rules:
  - {name: look, match: 'alertname=~".+"', target: '{{ labels.alertname }}', steps: [{command: {argv: [/bin/true]}}]}
"""


@dataclass
class World:
    """A gateway, its provider, and the log that it keeps."""

    origin: str
    idp: Provider
    log: Path

    def records(self, kind: str) -> list[dict[str, Any]]:
        found = (orjson.loads(line) for line in self.log.read_bytes().rpartition(b"\n")[0].splitlines())
        return [record for record in found if record["kind"] == kind]


@contextmanager
def world(folder: Path, role: str = "operator", text: str = RULES, **more: str) -> Iterator[World]:
    """Both run until the block ends; olga has that role. `text` are the rules, `more` further settings."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    rules = folder / "rules.yaml"
    rules.write_text(text)
    with provider(folder, origin) as idp:
        env = {
            **os.environ,
            "AUTOHEAL_RULES": str(rules),
            "AUTOHEAL_DATA_DIR": str(folder / "data"),
            "AUTOHEAL_PORT": str(port),
            "OIDC_ENABLED": "true",
            "OIDC_ISSUER": idp.issuer,
            "OIDC_AUDIENCE": AUDIENCE,
            "OIDC_CLIENT_ID": "console",
            "OIDC_CLIENT_SECRET": SECRET,
            "OIDC_ROLES_CLAIM": "roles",
            "OIDC_ROLE_MAP": f'{{"sre": "{role}"}}',
            **more,
        }
        argv = [sys.executable, "-m", "autoheal", "serve"]
        with running(argv, lambda: answers(f"{origin}/readyz"), folder / "gateway.log", env=env):
            yield World(origin, idp, folder / "data" / "audit.jsonl")


def log_in(page: Page, name: str) -> None:
    """What a person does at the provider: say who they are, and agree."""
    page.until("document.querySelector('input[name=login]') !== null")
    page.ask(f"document.querySelector('input[name=login]').value = '{name}'")
    page.ask("document.querySelector('input[name=password]').value = 'anything'")
    page.ask("document.querySelector('button[type=submit]').click()")
    page.until("document.querySelector('input[name=prompt][value=consent]') !== null")
    page.ask("document.querySelector('button[type=submit]').click()")


def test_a_day_of_an_operator(tmp_path: Path) -> None:
    """/console leads to the provider and back; records come in as they are written; after the logout it begins anew."""
    with world(tmp_path) as here, browser(tmp_path) as page:
        page.size(1280, 720)
        page.open(f"{here.origin}/console")
        log_in(page, "olga")
        page.complaints.clear()  # the provider's own pages ask for a font
        page.until(f"location.href === '{here.origin}/console'")
        page.ask("location.hash = '#/live'")
        page.until("document.getElementById('connection').textContent === 'live'")
        assert page.ask("document.getElementById('who').textContent") == "Olga Operator (operator)"

        httpx.post(f"{here.origin}/alert", content=ALERT.read_bytes(), trust_env=False).raise_for_status()
        page.until("[...document.querySelectorAll('.log b')].some(kind => kind.textContent === 'decision')")

        assert page.ask("document.cookie") == ""
        (session,) = (
            cookie for cookie in page.cookies() if "session_" in cookie["name"] and "autoheal" in cookie["name"]
        )
        assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")
        assert page.complaints == []

        page.ask("document.getElementById('logout').click()")
        page.until("document.body.innerText.includes('Do you want to sign-out')")
        page.ask("document.querySelector('button[name=logout]').click()")
        page.until("document.querySelector('input[name=login]') !== null")
        page.open(f"{here.origin}/console")
        page.until("document.querySelector('input[name=login]') !== null")
        with httpx.Client(base_url=here.origin, cookies={session["name"]: session["value"]}, trust_env=False) as thief:
            assert thief.get("/audit").status_code == 401

        (login,) = here.records("login")
        (logout,) = here.records("logout")
        assert (login["actor"], login["detail"]["role"], login["detail"]["name"]) == (
            "olga",
            "operator",
            "Olga Operator",
        )
        assert (logout["actor"], logout["reason"]) == ("olga", "asked")


def test_somebody_without_a_role_stays_outside(tmp_path: Path) -> None:
    """Known to the provider, and to nobody's list here: told so, recorded, and given no session."""
    with world(tmp_path) as here, browser(tmp_path) as page:
        page.open(f"{here.origin}/console")
        log_in(page, "nina")
        page.until("document.body.innerText.includes('no role here')")
        wait_until(lambda: bool(here.records("auth_failed")), what="auth_failed in the log")
        assert [(one["actor"], one["reason"]) for one in here.records("auth_failed")] == [("nina", "no_role")]
        page.open(f"{here.origin}/console")
        page.until(f"!location.href.startsWith('{here.origin}') || document.body.innerText.includes('no role here')")
        assert here.records("login") == []
