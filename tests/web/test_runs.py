"""GET /runs, /runs/{id} and /rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest

from autoheal.clock import SystemClock
from autoheal.engine.promises import promises
from autoheal.model import By, Draft, Kind, Record, rfc3339
from autoheal.state import Charge
from autoheal.web import runs
from tests.support.gateway import PLAN, Gateway, decision, firing, gateway, of_run, unavailable
from tests.support.operating import operating
from tests.support.rules import ONE_RULE


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


async def some_runs(gate: Gateway) -> None:
    """r3 (escalated), r7 and r9 (planned), among records of other things."""
    await gate.log(firing(1), decision(3), of_run(Kind.ACTION_STARTED, "r3"), of_run(Kind.ESCALATED, "r3"))
    await gate.log(firing(2), decision(7, 2), firing(3), decision(9, 3))


async def test_runs_come_newest_first(gate: Gateway) -> None:
    """With where they stand, and the digest of what they were to do."""
    await some_runs(gate)
    body = (await gate.client.get("/runs")).json()
    assert [(run["id"], run["state"]) for run in body["runs"]] == [
        ("r9", "planned"),
        ("r7", "planned"),
        ("r3", "escalated"),
    ]
    assert body["next"] is None
    last = body["runs"][2]
    assert (last["rule"], last["target"], last["mode"], last["step"], last["steps"]) == (
        "restart-api", "api-1", "live", 1, 1,
    )  # fmt: skip
    assert last["created_at"] <= last["ended_at"]
    assert body["runs"][0]["ended_at"] is None
    assert len(last["plan_digest"]) == 64


async def test_runs_can_be_paged_and_filtered(gate: Gateway) -> None:
    """`next` goes on below the last one shown; filters name a state or a rule."""
    await some_runs(gate)

    async def ids(query: str) -> tuple[list[str], int | None]:
        body = (await gate.client.get(f"/runs?{query}")).json()
        return [run["id"] for run in body["runs"]], body["next"]

    assert await ids("n=2") == (["r9", "r7"], 7)
    assert await ids("n=3") == (["r9", "r7", "r3"], None)
    assert await ids("n=2&before=7") == (["r3"], None)
    assert await ids("state=planned") == (["r9", "r7"], None)
    assert await ids("rule=restart-api&n=1") == (["r9"], 9)
    assert await ids("rule=other") == ([], None)


@pytest.mark.parametrize(("query", "named"), [("state=dead", "state"), ("n=1001", "n"), ("before=r3", "before")])
async def test_what_is_not_understood_is_400(gate: Gateway, query: str, named: str) -> None:
    """As on /audit."""
    answer = await gate.client.get(f"/runs?{query}")
    assert answer.status_code == 400
    assert answer.json()["parameter"] == named


async def test_one_run_has_its_plan_and_its_records(gate: Gateway) -> None:
    """From its decision on, oldest first, and nobody else's."""
    await some_runs(gate)
    body = (await gate.client.get("/runs/r3")).json()
    assert [(record["seq"], record["kind"]) for record in body["records"]] == [
        (3, "decision"),
        (4, "action_started"),
        (5, "escalated"),
    ]
    assert body["plan"] == PLAN
    assert body["partial"] is False
    assert [record["seq"] for record in (await gate.client.get("/runs/r7")).json()["records"]] == [7]


async def test_the_log_is_read_no_further_than_a_run_s_end(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old run is found as fast as a new one, however long the log has grown since."""
    await some_runs(gate)
    await gate.log(*(firing(number) for number in range(10, 60)))
    asked: list[int] = []
    read = gate.journal.read

    def counted(after: int, limit: int) -> list[Record]:
        asked.append(after)
        return read(after, limit)

    monkeypatch.setattr(gate.journal, "read", counted)
    monkeypatch.setattr(runs, "READ_RECORDS", 5)
    assert len((await gate.client.get("/runs/r3")).json()["records"]) == 3
    assert asked in ([2], [2, 7])


async def test_a_long_search_for_records_is_cut_short(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found by then is shown, and `partial` says that it may not be all."""
    await some_runs(gate)
    monkeypatch.setattr(runs, "BUDGET_SECONDS", -1)
    monkeypatch.setattr(runs, "READ_RECORDS", 2)
    body = (await gate.client.get("/runs/r3")).json()
    assert [record["seq"] for record in body["records"]] == [3, 4]
    assert body["partial"] is True


@pytest.mark.parametrize("run", ["r1", "r999", "x", "R3", "r03", "%00", "r3%20"])
async def test_an_unknown_run_is_404(gate: Gateway, run: str) -> None:
    """An id is exact."""
    await some_runs(gate)
    assert (await gate.client.get(f"/runs/{run}")).status_code == 404


async def test_rules_in_force(gate: Gateway) -> None:
    """In their order, durations in seconds, with the digest that decisions name."""
    body = (await gate.client.get("/rules")).json()
    assert body["digest"] == gate.engine.rules.digest
    assert body["rules"] == [
        {
            "name": "restart-api",
            "mode": "live",
            "rollout": 100.0,
            "match": 'alertname="ApiDown", job=~"api|web"',
            "for": 5.0,
            "cooldown": 60.0,
            "budget": {"target": [{"count": 3, "seconds": 3600.0}], "rule": []},
            "breaker": None,
            "storm": {"count": 30, "seconds": 600.0},
            "fleet": None,
            "concurrency": None,
            "unless": [],
            "freeze": [],
            "approval": {"expires": 900.0},
            "cancel_on_resolve": False,
            "rerun_interrupted": False,
            "notify": None,
            "continue": False,
            "steps": ["command"],
            "state": {
                "mode": "dry_run",
                "failures": 0,
                "breaker_open_since": None,
                "storm_since": None,
                "held": 0,
                "demoted": False,
                "budget": {"target": [{"used": 0, "count": 3, "seconds": 3600.0, "target": None}], "rule": []},
            },
        }
    ]
    assert body["budget"] == [{"used": 0, "count": 60, "seconds": 3600.0}]


async def test_rules_show_what_guards_remember(gate: Gateway) -> None:
    """Failures in a row, since when breaker and storm last, how many alerts are held, and whether it is demoted."""
    about = {"rule_digest": "d"}
    told = await gate.log(
        Draft(kind=Kind.BREAKER_OPENED, rule="restart-api", detail=about),
        Draft(kind=Kind.RULE_DEMOTED, rule="restart-api", detail=about),
        firing(4),
        decision(5, 4),
        Draft(kind=Kind.STORM_BEGAN, rule="restart-api"),
    )
    (rule,) = (await gate.client.get("/rules")).json()["rules"]
    told_of = ("failures", "breaker_open_since", "storm_since", "held", "demoted")
    assert [rule["state"][name] for name in told_of] == [0, rfc3339(told[0].ts), rfc3339(told[-1].ts), 1, True]


async def test_rules_show_what_budgets_have_spent(tmp_path: Path) -> None:
    """Within each window, runs that wait to begin included: of all rules, of the rule, and of the target with most."""
    text = ONE_RULE.replace("cooldown: 10m", "cooldown: 0s\n        budget: {target: [3/1h, 9/30d], rule: [5/1h]}")
    async with operating(tmp_path, dedent(text)) as here:
        state, now = here.engine.state, SystemClock().now()
        for ago, target in [(86_400.0, "b"), (7200.0, "a"), (1800.0, "a"), (60.0, "b"), (30.0, "b")]:
            state.charge(Charge(now - ago, "restart", target))
        state.charge(Charge(now - 10, "other", "b"))
        state.reserve("r9", Charge(now, "restart", "a"))
        state.reserve("r10", Charge(now, "restart", "a"))
        body = (await here.client.get("/rules")).json()
        assert [window["used"] for window in body["budget"]] == [6]
        (rule,) = body["rules"]
        assert rule["state"]["mode"] == "live"
        assert rule["state"]["budget"] == {
            "target": [
                {"used": 3, "count": 3, "seconds": 3600.0, "target": "a"},
                {"used": 4, "count": 9, "seconds": 2_592_000.0, "target": "a"},
            ],
            "rule": [{"used": 5, "count": 5, "seconds": 3600.0}],
        }


async def test_what_the_steps_of_a_plan_promise_is_told(tmp_path: Path) -> None:
    """In words and in their order; of an action that is not installed any more nothing is known."""
    async with operating(tmp_path, dedent(ONE_RULE).replace("mode: live", "mode: approve")) as here:
        await here.fire()
        run = await here.run("awaiting_approval")
        kept = {"idempotent": True, "reversible": False}
        told = (await here.client.get(f"/runs/{run['id']}")).json()["promises"]
        assert told == [
            {"action": "fake", "description": "fake restart api-1", **kept},
            {"action": "fake", "description": "fake replace api-1", **kept},
        ]
        assert promises([{"action": "gone", "params": {}}], {}) == [
            {"action": "gone", "description": None, "idempotent": False, "reversible": False}
        ]


async def test_a_reset_is_handed_on(gate: Gateway) -> None:
    """The engine is told who asked; the answer says whether there was anything to reset, 404 that there is no rule."""
    answer = await gate.client.post("/rules/restart-api/reset")
    assert (answer.status_code, answer.json()) == (200, {"rule": "restart-api", "changed": False})
    assert gate.engine.resets == [("restart-api", By("local", answer.headers["x-correlation-id"]))]
    assert (await gate.client.post("/rules/other/reset")).status_code == 404
    assert (await gate.client.post("/rules/restart-api/reset?force=1")).status_code == 400
    assert (await gate.client.get("/rules/restart-api/reset")).status_code == 405
    gate.engine.error = unavailable()
    assert (await gate.client.post("/rules/restart-api/reset")).status_code == 503
