"""GET /storms and POST /rules/{name}/release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.model import Kind, Mode, parse_rfc3339
from autoheal.web import storms
from tests.support.clock import FakeClock
from tests.support.gateway import until
from tests.support.logins import OIDC, LoginProvider, bearer
from tests.support.operating import Operated, operating
from tests.support.rules import with_keys

RULES = with_keys("storm: 2/10m", "concurrency: 2")


async def told(here: Operated) -> list[dict[str, Any]]:
    """What GET /storms says."""
    answer = await here.client.get("/storms")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["storms"]
    return found


async def storm(here: Operated, count: int = 3) -> dict[str, Any]:
    """A storm that holds so many, as soon as all have been decided on."""
    await here.fire(*(f"api-{number}" for number in range(count)))
    await until(lambda: len(here.engine.state.batch("restart")) == count)
    (found,) = await told(here)
    return found


async def test_a_storm_is_looked_at_and_let_go(tmp_path: Path) -> None:
    """With what it holds, each alert with its target and plan, and one digest, which is what is let go."""
    async with operating(tmp_path, RULES) as here:
        assert await told(here) == []
        found = await storm(here)
        assert parse_rfc3339(found["since"]) <= here.journal.head.ts
        assert (found["rule"], found["over"], found["held"], found["more"]) == ("restart", False, 3, 0)
        first = found["alerts"][0]
        episode = here.engine.state.episodes[first["fingerprint"]]
        assert (first["alertname"], first["target"], first["episode"]) == ("Down", "api-0", episode.id)
        assert first["plan"]["steps"][0]["params"] == {"do": "restart api-0"}
        assert first["plan_digest"] == episode.decisions["restart"].plan_digest
        path, digest = "/rules/restart/release", found["batch_digest"]
        answer = await here.post(path, batch_digest=digest, comment="the switch is back")
        assert answer.status_code == 200
        assert answer.json() == {"rule": "restart", "batch_digest": digest, "released": 3}
        await until(lambda: len(here.action.done) == 2)
        (record,) = await here.records(Kind.STORM_RELEASED)
        assert (record.actor, record.correlation_id) == ("local", answer.headers["x-correlation-id"])
        assert record.detail["comment"] == "the switch is back"
        (after,) = await told(here)
        assert (after["held"], after["batch_digest"], after["alerts"]) == (0, None, [])
        again = await here.post(path, batch_digest=digest)
        assert again.status_code == 409
        assert again.json()["detail"] == "No storm of the rule 'restart' holds an alert that could be let go."


async def test_a_batch_that_has_changed_is_told_with_its_digest(tmp_path: Path) -> None:
    """409, for programs as a member; nothing is let go."""
    async with operating(tmp_path, RULES) as here:
        found = await storm(here)
        await here.fire("api-9")
        await until(lambda: len(here.engine.state.batch("restart")) == 4)
        answer = await here.post("/rules/restart/release", batch_digest=found["batch_digest"])
        assert answer.status_code == 409
        (now,) = await told(here)
        assert answer.json()["batch_digest"] == now["batch_digest"] != found["batch_digest"]
        assert now["batch_digest"] in answer.json()["detail"]
        assert here.action.done == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "batch_digest: must be that of the batch which you have looked at (GET /storms)"),
        ({"batch_digest": ""}, "batch_digest: must be a string that is not empty"),
        ({"batch_digest": "d", "comment": 5}, "comment: must be a string, not 5"),
        ({"batch_digest": "d", "plan_digest": "d"}, '"plan_digest" is not known here'),
    ],
)
async def test_each_bad_field_is_named(tmp_path: Path, body: dict[str, Any], says: str) -> None:
    """400, before anybody looks whether there is a storm; 404 for a rule that is not in force."""
    async with operating(tmp_path, RULES) as here:
        answer = await here.post("/rules/restart/release", **body)
        assert answer.status_code == 400
        (fault,) = answer.json()["errors"]
        assert fault.startswith(says)
        assert (await here.post("/rules/restrat/release", batch_digest="d")).status_code == 404
        assert (await here.post("/rules/restart/release?all=1", batch_digest="d")).status_code == 400


async def test_an_answer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In alerts and in bytes; `more` counts what is left out, and the digest is that of all."""
    monkeypatch.setattr(storms, "AT_ONCE", 1)
    async with operating(tmp_path, RULES) as here:
        whole = await storm(here)
        monkeypatch.setattr(storms, "ALERTS_SHOWN", 2)
        (fewer,) = await told(here)
        assert (len(fewer["alerts"]), fewer["more"], fewer["batch_digest"]) == (2, 1, whole["batch_digest"])
        monkeypatch.setattr(storms, "SHOWN_BYTES", len(orjson.dumps(whole["alerts"][0])) + 10)
        (fewer,) = await told(here)
        assert (len(fewer["alerts"]), fewer["more"]) == (1, 2)


async def test_a_plan_is_shown_as_long_as_it_is_the_one_decided_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reload and the decisions that follow from it, another plan or none can be made: none is shown. Of a
    rule that is gone nothing can be let go.
    """
    async with operating(tmp_path, RULES) as here:
        await storm(here)
        monkeypatch.setattr(type(here.engine._decider), "mark_all", lambda _: None)
        for change in (("replace {{ target }}", "rebuild {{ target }}"), ("labels.instance", "labels.nope")):
            here.rules.write_text(RULES.replace(*change))
            await here.engine.reload()
            (found,) = await told(here)
            assert [alert["plan"] for alert in found["alerts"]] == [None] * 3
        here.rules.write_text("version: 1\nrules: []\n")
        await here.engine.reload()
        (found,) = await told(here)
        assert (found["held"], found["batch_digest"], found["alerts"]) == (3, None, [])


async def test_it_takes_an_approver(tmp_path: Path) -> None:
    """Who reads may look, an operator may hold things back and not let them go; runs show who did."""
    clock = FakeClock()
    idp = LoginProvider(clock)
    rules = RULES.replace("mode: live", "mode: approve")
    async with operating(tmp_path, rules, OIDC, http=idp.http, clock=clock) as here:
        await here.fire("api-0", "api-1", "api-2")
        await until(lambda: len(here.engine.state.batch("restart")) == 3)
        answer = await here.client.get("/storms", headers=bearer(clock, "view"))
        (found,) = answer.json()["storms"]
        path, digest = "/rules/restart/release", found["batch_digest"]
        assert (await here.post(path, batch_digest=digest)).status_code == 401
        for role, status in (("view", 403), ("sre", 403), ("lead", 200)):
            headers = bearer(clock, role, sub=f"{role}-1")
            assert (await here.post(path, headers, batch_digest=digest)).status_code == status
        await until(lambda: len(here.action.done) == 2)
        runs = (await here.client.get("/runs", headers=bearer(clock, "view"))).json()["runs"]
        assert {(run["mode"], run["approval"]["by"]) for run in runs} == {(Mode.APPROVE, "lead-1")}
