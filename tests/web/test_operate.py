"""POST /pause, /resume, /-/reload, and /runs/{id}/approve, /deny, /cancel and /rerun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from autoheal.actions import Command
from autoheal.clock import SystemClock
from autoheal.model import Kind, parse_rfc3339
from tests.support.clock import FakeClock
from tests.support.engine import FakeAction, Watched
from tests.support.gateway import until
from tests.support.logins import OIDC, LoginProvider, bearer
from tests.support.operating import Operated, operating
from tests.support.rules import ONE_RULE

RULES = dedent(ONE_RULE)
APPROVE = RULES.replace("mode: live", "mode: approve")
COMMAND = """\
version: 1
rules:
  - name: restart
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/sh, -c, 'trap "" TERM; echo $$ > "$0"; while :; do sleep 1; done', MARK]}}]
"""
"""A command that minds no SIGTERM and tells its process id."""


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


async def test_how_the_target_is_stands_beside_the_plan(tmp_path: Path) -> None:
    """Who is to approve sees what it was like when they were asked; null where the action cannot tell."""
    for action, observed in ((Watched(), "as it was"), (FakeAction(), None)):
        folder = tmp_path / str(observed)
        folder.mkdir()
        async with operating(folder, APPROVE, actions={"fake": action}) as here:
            await here.fire()
            await until(lambda here=here: any(run.approval for run in here.engine.state.runs.values()))
            run = await here.run("awaiting_approval")
            assert run["approval"]["observed"] == observed


async def test_a_plan_is_looked_at_and_approved(tmp_path: Path) -> None:
    """With the digest that GET /runs/{id} shows; the answer is the run, with its plan and who approved it."""
    async with operating(tmp_path, APPROVE) as here:
        await here.fire()
        listed = await here.run("awaiting_approval")
        requested, expires = (parse_rfc3339(listed["approval"][name]) for name in ("requested_at", "expires_at"))
        assert expires - requested == pytest.approx(900, abs=1)
        run = (await here.client.get(f"/runs/{listed['id']}")).json()
        path, digest = f"/runs/{run['id']}/approve", run["plan_digest"]
        missing = await here.post(path, comment="fine")
        assert missing.status_code == 400
        assert missing.json()["errors"][0].startswith("plan_digest: must be that of the plan")
        other = await here.post(path, plan_digest="0" * 64)
        assert other.status_code == 409
        answer = await here.post(path, plan_digest=digest, comment="fine")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["id"], body["plan"], body["approval"]["by"]) == (run["id"], run["plan"], "local")
        again = await here.post(path, plan_digest=digest)
        assert again.status_code == 409
        assert again.json()["detail"].endswith("waits for no approval: approved by local.")
        await here.run("verifying")
        (granted,) = await here.records(Kind.APPROVAL_GRANTED)
        assert granted.detail["request_id"] == answer.headers["x-correlation-id"]
        assert granted.detail["comment"] == "fine"


async def test_a_plan_is_denied_or_cancelled(tmp_path: Path) -> None:
    """Neither needs a digest, or a body at all; one that is given must be right."""
    async with operating(tmp_path, APPROVE) as here:
        await here.fire("api-1")
        denied = await here.run("awaiting_approval")
        assert (await here.post(f"/runs/{denied['id']}/deny", plan_digest="0" * 64)).status_code == 409
        answer = await here.client.post(f"/runs/{denied['id']}/deny")
        assert (answer.status_code, answer.json()["state"], answer.json()["ended_by"]) == (200, "denied", "local")
        await here.fire("api-2")
        cancelled = await here.run("awaiting_approval")
        answer = await here.client.post(f"/runs/{cancelled['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        for over in (denied, cancelled):
            answer = await here.client.post(f"/runs/{over['id']}/cancel")
            assert (answer.status_code, "is over" in answer.json()["detail"]) == (409, True)
        assert here.action.done == []


@pytest.mark.parametrize("verb", ["approve", "deny", "cancel", "rerun"])
async def test_words_on_runs_are_read_strictly(here: Operated, verb: str) -> None:
    """400 names what is wrong, 404 an unknown run."""
    answer = await here.post(f"/runs/r1/{verb}", plan_digest="", reason="x")
    assert answer.status_code == 400
    assert [fault.split(" ")[0] for fault in answer.json()["errors"]][:2] == ['"reason"', "plan_digest:"]
    assert (await here.post(f"/runs/r999/{verb}", plan_digest="x")).status_code == 404
    assert (await here.post(f"/runs/r1/{verb}?force=1", plan_digest="x")).status_code == 400


async def test_an_approval_that_comes_too_late_is_410(tmp_path: Path) -> None:
    """By the gateway's clock, to the millisecond."""
    clock = FakeClock(SystemClock().now())
    async with operating(tmp_path, APPROVE, clock=clock) as here:
        await here.fire()
        run = await here.run("awaiting_approval")
        clock.set_now(clock.now() + 900.001)
        answer = await here.post(f"/runs/{run['id']}/approve", plan_digest=run["plan_digest"])
        assert answer.status_code == 410
        assert "was over at" in answer.json()["detail"]
        assert here.action.done == []


async def test_a_rule_is_asked_again(tmp_path: Path) -> None:
    """By the run that is over; the answer is that run, and another one of its rule begins. Then there is nothing more
    to ask for, with the reason.
    """
    async with operating(tmp_path, APPROVE) as here:
        await here.fire()
        first = await here.run("awaiting_approval")
        path = f"/runs/{first['id']}/rerun"
        early = await here.post(path)
        assert (early.status_code, "goes on: awaiting_approval" in early.json()["detail"]) == (409, True)
        await here.post(f"/runs/{first['id']}/deny")
        answer = await here.post(path, comment="the disk is in")
        assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (200, first["id"], "denied")
        second = await here.run("awaiting_approval")
        assert second["id"] != first["id"]
        (asked,) = await here.records(Kind.RERUN_REQUESTED)
        assert (asked.actor, asked.run, asked.episode) == ("local", first["id"], second["episode"])
        assert asked.detail == {"comment": "the disk is in", "request_id": answer.headers["x-correlation-id"]}
        again = await here.post(path)
        assert (again.status_code, f"its run {second['id']} goes on" in again.json()["detail"]) == (409, True)


def gone(mark: Path) -> bool:
    return not Path("/proc", mark.read_text().strip()).exists()


async def test_a_command_that_minds_no_sigterm_is_killed(tmp_path: Path) -> None:
    """TERM, then KILL after the grace; the run is over when nothing is left of it."""
    mark = tmp_path / "pid"
    command = Command(grace=0.2)
    async with operating(tmp_path, COMMAND.replace("MARK", str(mark)), actions={"command": command}) as here:
        await here.fire()
        await until(lambda: mark.exists() and mark.read_text().strip() != "")
        run = await here.run("acting")
        answer = await here.client.post(f"/runs/{run['id']}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelling")
        assert (await here.run("cancelled"))["ended_by"] == "local"
        assert gone(mark)
        kinds = (Kind.ACTION_STARTED, Kind.CANCEL_REQUESTED, Kind.ACTION_FAIL, Kind.ACTION_CANCELLED)
        assert [record.kind for record in await here.records(*kinds)] == [kinds[0], kinds[1], kinds[3]]


async def test_each_word_needs_its_role(tmp_path: Path) -> None:
    """An operator may hold things back and not let them go; an approver may, and is named in the log."""
    clock = FakeClock()
    idp = LoginProvider(clock)
    async with operating(tmp_path, APPROVE, OIDC, http=idp.http, clock=clock) as here:

        async def asked(path: str, role: str, **body: Any) -> int:
            headers = bearer(clock, role, sub=f"{role}-1")
            return (await here.post(path, headers, **body)).status_code

        await here.fire()
        await until(lambda: any(run.approval for run in here.engine.state.runs.values()))
        (run,) = here.engine.state.runs.values()
        path, digest = f"/runs/{run.id}/approve", run.plan_digest
        assert (await here.post(path, plan_digest=digest)).status_code == 401
        for verb in ("approve", "deny", "cancel", "rerun"):
            assert await asked(f"/runs/{run.id}/{verb}", "view", plan_digest=digest) == 403
        assert await asked(path, "sre", plan_digest=digest) == 403
        assert await asked("/pause", "view", reason="x") == 403
        assert await asked("/-/reload", "lead") == 403
        assert await asked("/-/reload", "boss") == 200
        assert await asked("/pause", "sre", reason="x", rule="restart", duration="1s") == 200
        assert await asked("/resume", "sre", rule="restart") == 200
        await until(lambda: any(run.approval and not run.ended for run in here.engine.state.runs.values()))
        again = next(run for run in here.engine.state.runs.values() if not run.ended)
        assert await asked(f"/runs/{again.id}/approve", "lead", plan_digest=again.plan_digest) == 200
        assert [record.actor for record in await here.records(Kind.APPROVAL_GRANTED)] == ["lead-1"]
