"""Who is let in, as the self-test finds it: tokens that are good, refused, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from autoheal.model import Check
from autoheal.selftest import Result
from tests.support.clock import FakeClock
from tests.support.gateway import Gateway, gateway
from tests.support.identity import token, unreachable
from tests.support.logins import OIDC, LoginProvider
from tests.support.monitoring import gateway as running
from tests.support.ports import free_port
from tests.support.selftests import NOBODY, look

ENV = {**OIDC, "AUTOHEAL_ALERT_ALLOWLIST": NOBODY}


@dataclass
class World:
    """A gateway that asks for tokens, and the provider of these."""

    gate: Gateway
    idp: LoginProvider
    clock: FakeClock
    folder: Path

    async def test(self, shown: str | None) -> dict[Check, Result]:
        """What the checks say with that text in the file of the token."""
        file = self.folder / "token"
        if shown is not None:
            file.write_text(f"{shown}\n")
        url = f"http://127.0.0.1:{self.gate.port}"
        env = {**ENV, "AUTOHEAL_DATA_DIR": str(self.folder / "data")}
        asked = {"token_file": None if shown is None else file, "provider": self.idp.http, "clock": self.clock}
        return await look(url, env, headers={"Host": "127.0.0.1:9009"}, **asked)  # type: ignore[arg-type]


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    clock = FakeClock()
    idp = LoginProvider(clock)
    async with gateway(folder, OIDC, http=idp.http, clock=clock) as gate:
        yield World(gate, idp, clock, folder)


async def test_a_good_token_is_let_in_and_none_is_not(tmp_path: Path) -> None:
    """Both are tried; the keys that it was judged by can be fetched. Where alerts may not come from is told."""
    async with world(tmp_path) as here:
        found = await here.test(token(here.clock, roles=["view"]))
        assert [found[check].word for check in (Check.ACCESS, Check.TOKEN, Check.KEYS)] == ["ok"] * 3
        assert found[Check.KEYS].text.startswith("1 keys;")
        assert (found[Check.ALERT].word, found[Check.EVENTS].word) == ("skipped", "skipped")
        assert "AUTOHEAL_ALERT_ALLOWLIST" in found[Check.ALERT].text
        without = await here.test(None)
        assert (without[Check.ACCESS].word, without[Check.TOKEN].word) == ("ok", "skipped")


async def test_without_a_token_less_can_be_seen(tmp_path: Path) -> None:
    """Where strangers see neither /events nor /audit the alert is taken in, and the rest is left open: no failure."""
    clock = FakeClock()
    idp = LoginProvider(clock)
    env = {**OIDC, "AUTOHEAL_EVENTS_AUTH": "true"}
    async with gateway(tmp_path, env, http=idp.http, clock=clock) as gate:
        told = {"local": False, "provider": idp.http, "clock": clock, "headers": {"Host": "127.0.0.1:9009"}}
        found = await look(f"http://127.0.0.1:{gate.port}", env, **told)  # type: ignore[arg-type]
        assert (found[Check.ALERT].word, found[Check.EVENTS].word) == ("skipped", "skipped")
        assert "taken in durably" in found[Check.ALERT].text
        statuses = [notification.alerts[0].status.value for notification, _ in gate.engine.received]
        assert statuses == ["firing", "resolved"]
        asking = await look(f"http://127.0.0.1:{gate.port}", {**env, "AUTOHEAL_WEBHOOK_AUTH": "token"}, **told)  # type: ignore[arg-type]
        assert (asking[Check.ALERT].word, len(gate.engine.received)) == ("skipped", 2)
        assert "AUTOHEAL_WEBHOOK_AUTH=token" in asking[Check.ALERT].text


async def test_a_refused_token_fails_and_is_not_shown(tmp_path: Path) -> None:
    """Expired, without a role, or no token at all: each says why, and no text of it is repeated."""
    async with world(tmp_path) as here:
        expired = token(here.clock, roles=["view"], exp=int(here.clock.now()) - 600)
        found = (await here.test(expired))[Check.TOKEN]
        assert (found.ok, "401" in found.text) == (False, True)
        assert expired not in found.text + found.remedy
        powerless = (await here.test(token(here.clock, roles=["nothing"])))[Check.TOKEN]
        assert (powerless.ok, "403" in powerless.text) == (False, True)
        for text in ("", "two words"):
            none = (await here.test(text))[Check.TOKEN]
            assert (none.ok, none.text) == (False, f"{tmp_path / 'token'} holds no token")


async def test_keys_that_cannot_be_fetched(tmp_path: Path) -> None:
    """A provider that is away is told of, while tokens are still judged by the keys of before."""
    async with world(tmp_path) as here:
        here.idp.broken = unreachable
        found = await here.test(token(here.clock, roles=["view"]))
        assert (found[Check.KEYS].ok, "connection refused" in found[Check.KEYS].text) == (False, True)
        assert found[Check.TOKEN].ok


async def test_a_log_that_is_open_to_strangers(tmp_path: Path) -> None:
    """What answers 200 without a token, where tokens are asked for, is the worst that there is."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"oidc": True, "records": []})

    from autoheal.selftest import checks
    from autoheal.selftest.gateway import Gateway as Asked
    from autoheal.selftest.results import Failed

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        try:
            await checks._access(Asked("http://gateway", http, None))
        except Failed as error:
            told = str(error)
    assert "answered 200, not 401" in told
    assert asked == ["/", "/audit"]


async def test_without_a_token_its_own_log_is_read(tmp_path: Path) -> None:
    """On the gateway's own machine what follows is looked up in the file: there it either stands or does not."""
    port, idp = free_port(), f"http://127.0.0.1:{free_port()}"
    env = {
        "OIDC_ENABLED": "true",
        "OIDC_ISSUER": idp,
        "OIDC_AUDIENCE": "autoheal",
        "AUTOHEAL_EVENTS_AUTH": "true",
        "AUTOHEAL_SELFTEST_INTERVAL": "off",
    }
    here = {**env, "AUTOHEAL_DATA_DIR": str(tmp_path / "data")}
    with running(tmp_path, port, "{version: 1, rules: []}", env):
        found = await look(f"http://127.0.0.1:{port}", here)
        unseen = await look(f"http://127.0.0.1:{port}", {**here, "AUTOHEAL_DATA_DIR": str(tmp_path / "none")})
    assert (found[Check.ALERT].word, found[Check.EVENTS].word) == ("ok", "skipped")
    assert found[Check.ALERT].text == "alert_firing, decision, action_dry_run"
    assert unseen[Check.ALERT].word == "skipped"
