"""POST /pause, /resume and /-/reload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from autoheal.model import Kind, parse_rfc3339
from tests.support.operating import Operated, operating
from tests.support.rules import ONE_RULE

RULES = dedent(ONE_RULE)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Operated]:
    async with operating(tmp_path, RULES) as running:
        yield running


async def test_what_is_paused_is_told(here: Operated) -> None:
    """In the answer, in GET /rules with the reason, and without it where anybody may look."""
    answer = await here.post("/pause", rule="restart", reason="see http://ann:hunter2@wiki/", duration="15m")
    assert answer.status_code == 200
    (told,) = answer.json()["paused"]
    until = parse_rfc3339(told.pop("until")) - parse_rfc3339(told.pop("since"))
    assert until == pytest.approx(900, abs=1)
    assert told == {"rule": "restart", "reason": "see http://*@wiki/", "by": "local", "how": "api"}
    assert (await here.client.get("/")).json()["paused"] is False
    everything = (await here.post("/pause", reason="all of it")).json()["paused"]
    assert [(pause["rule"], pause["until"] is None) for pause in everything] == [("restart", False), (None, True)]
    assert (await here.client.get("/")).json()["paused"] is True
    assert (await here.client.get("/rules")).json()["paused"] == everything
    (first, _) = await here.records(Kind.PAUSED)
    assert (first.actor, first.correlation_id) == ("local", answer.headers["x-correlation-id"])
    assert (await here.post("/resume", reason="done")).json()["paused"] == everything[:1]
    assert (await here.client.post("/resume", content=b"")).json()["paused"] == everything[:1]
    assert (await here.post("/resume", rule="restart")).json()["paused"] == []
    assert len(await here.records(Kind.RESUMED)) == 2


async def test_a_metric_tells_what_is_paused(here: Operated) -> None:
    """By rule, with an empty name for everything; a rule's series goes with its pause."""

    async def samples() -> dict[str, str]:
        lines = (await here.client.get("/metrics")).text.splitlines()
        return dict(line.split() for line in lines if line.startswith("autoheal_paused"))

    assert await samples() == {'autoheal_paused{rule=""}': "0.0"}
    await here.post("/pause", rule="restart", reason="x")
    assert await samples() == {'autoheal_paused{rule=""}': "0.0", 'autoheal_paused{rule="restart"}': "1.0"}
    await here.post("/pause", reason="x")
    await here.post("/resume", rule="restart")
    assert await samples() == {'autoheal_paused{rule=""}': "1.0"}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/pause", {}, "reason: must say why"),
        ("/pause", {"reason": " \n"}, "reason: must say why"),
        ("/pause", {"reason": 5}, "reason: must be a string, not 5"),
        ("/pause", {"reason": "x" * 1001}, "reason: too long: 1,001 characters"),
        ("/pause", {"reason": "x", "rule": ""}, 'rule: must be a string that is not empty, not ""'),
        ("/pause", {"reason": "x", "rule": None}, "rule: must be a string that is not empty, not null"),
        ("/pause", {"reason": "x", "duration": 60}, "duration: must be a string such as 15m, not 60"),
        ("/pause", {"reason": "x", "duration": "0s"}, "duration: must be from 1s to"),
        ("/pause", {"reason": "x", "until": "18:00"}, '"until" is not known here; known: rule, reason, duration'),
        ("/resume", {"duration": "5m"}, '"duration" is not known here; known: rule, reason'),
        ("/-/reload", {"rules": "x"}, '"rules" is not known here'),
    ],
)
async def test_each_bad_field_is_named(here: Operated, path: str, body: dict[str, Any], says: str) -> None:
    """And nothing is done: a rule that is null would otherwise be everything."""
    answer = await here.post(path, **body)
    assert answer.status_code == 400
    (fault,) = answer.json()["errors"]
    assert fault.startswith(says)
    assert here.engine.paused() == []


async def test_an_unknown_rule_is_404(here: Operated) -> None:
    """With its name."""
    for path in ("/pause", "/resume"):
        answer = await here.post(path, rule="restrat", reason="x")
        assert answer.status_code == 404
        assert answer.json()["detail"].startswith("No rule 'restrat' is in force")


async def test_parameters_in_the_url_are_refused(here: Operated) -> None:
    """What stands there would be ignored, so it must not look as if it counted."""
    for path in ("/pause?rule=restart", "/resume?rule=restart", "/-/reload?force=1"):
        assert (await here.post(path, reason="x")).status_code == 400
    assert here.engine.paused() == []


async def test_a_reload_brings_the_rules_on_disk_into_force(here: Operated) -> None:
    """Answered when the log says so, with who asked."""
    here.rules.write_text(RULES.replace("cooldown: 10m", "cooldown: 5m"))
    answer = await here.client.post("/-/reload")
    assert answer.status_code == 200
    assert answer.json() == {"rules": 1, "digest": here.engine.rules.digest}
    loaded = (await here.records(Kind.CONFIG_LOADED))[-1]
    assert (loaded.actor, loaded.detail["rules_digest"]) == ("local", here.engine.rules.digest)
    assert (await here.client.get("/rules")).json()["rules"][0]["cooldown"] == 300.0


async def test_bad_rules_stay_on_disk(here: Operated) -> None:
    """409 with the first twenty faults and their places; those in force stay."""
    digest = here.engine.rules.digest
    here.rules.write_text(RULES + "".join(f"wrong{number}: 1\n" for number in range(25)))
    answer = await here.client.post("/-/reload")
    assert answer.status_code == 409
    body = answer.json()
    assert "those in force stay" in body["detail"]
    assert (len(body["errors"]), body["more"]) == (20, 5)
    assert "rules.yaml:14:1: unknown key 'wrong0'" in body["errors"][0]
    assert here.engine.rules.digest == digest
    (refused,) = await here.records(Kind.CONFIG_REJECTED)
    assert refused.actor == "local"


async def test_without_a_log_there_is_no_reload(here: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 at once, and the old rules stay: nothing comes into force that the log could not tell."""
    monkeypatch.setattr(type(here.journal), "healthy", False)
    digest = here.engine.rules.digest
    here.rules.write_text(RULES.replace("10m", "5m"))
    answer = await here.client.post("/-/reload")
    assert answer.status_code == 503
    assert here.engine.rules.digest == digest
