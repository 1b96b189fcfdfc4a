"""`fleet` in the engine: Prometheus counts, the live runs of a rule are at most so much of that, unknown is a no."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoheal.engine import Word
from autoheal.errors import UpstreamError
from autoheal.model import By, Kind
from autoheal.prometheus import Answer
from autoheal.state import RunState
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.facts import made_again
from tests.support.rules import rules_from, with_keys

FLEET = with_keys("fleet: {at_most: 50%, of: 'count(up{job=\"{{ labels.job }}\"})'}")
QUERY = 'count(up{job="api"})'


class Metrics:
    """A Prometheus to which every query comes to `values`; None is no answer."""

    def __init__(self, *values: float) -> None:
        self.values: tuple[float, ...] | None = values
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    async def query(self, expression: str) -> Answer:
        self.asked.append(expression)
        await self.let.wait()
        if self.values is None:
            raise UpstreamError("no Prometheus told: http://p: down")
        return Answer(self.values)


def guard(stage: Stage, reason: str = "fleet_guard") -> dict[str, object]:
    """What the guard saw when it last said no."""
    refused = [record for record in stage.journal.records if record.reason == reason and record.kind is Kind.DECISION]
    saw: dict[str, object] = next(one for one in refused[-1].detail["guards"] if one["guard"] == "fleet_guard")
    return saw


async def begun(tmp_path: Path, metrics: Metrics | None, rules: str = FLEET) -> Stage:
    stage = Stage(tmp_path, rules)
    stage.prometheus = metrics
    await stage.start()
    return stage


async def test_half_of_four_is_two(tmp_path: Path) -> None:
    """Of three targets that fail at once two are treated, and the third when one of them is well."""
    metrics = Metrics(4.0)
    stage = await begun(tmp_path, metrics)
    names = ("api-1", "api-2", "api-3")
    await stage.tell(*[stage.alert(name, job="api") for name in names])
    assert stage.decided() == {"api-1": "act", "api-2": "act", "api-3": "fleet_guard"}
    assert len(stage.action.done) == 2
    assert metrics.asked == [QUERY]
    assert {key: guard(stage)[key] for key in ("query", "population", "at_most", "treated", "allowed")} == {
        "query": QUERY,
        "population": 4.0,
        "at_most": "50%",
        "treated": 3,
        "allowed": 2,
    }
    await stage.tell(stage.alert("api-1", job="api", resolved=True))
    assert stage.decided()["api-3"] == "act"
    assert len(stage.action.done) == 3
    await stage.engine.stop()


async def test_the_rules_below_wait_for_the_answer_too(tmp_path: Path) -> None:
    """While Prometheus is asked for a rule, one below it does not take the target from it."""
    below = """
      - name: replace
        match: alertname="Down"
        target: '{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: 'replace {{ target }}'}}]
"""
    stage = await begun(
        tmp_path, Metrics(4.0), FLEET.replace("mode: live", "mode: live\n        continue: true") + below
    )
    await stage.tell(stage.alert("api-1", job="api"))
    assert [do for *_, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_it_is_asked_again_by_itself(tmp_path: Path) -> None:
    """A population that grows, or comes to be known, lets the next one in within half a minute."""
    metrics = Metrics(1.0)
    stage = await begun(tmp_path, metrics)
    await stage.tell(stage.alert(job="api"))
    assert stage.story() == ["alert_firing", "decision fleet_guard"]
    metrics.values = (2.0,)
    await stage.clock.advance(29)
    assert stage.action.done == []
    await stage.clock.advance(2)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (None, "no Prometheus told: http://p: down"),
        ((), "the query came to nothing and not to one number"),
        ((4.0, 4.0), "the query came to 2 values and not to one number"),
        ((float("nan"),), "the query came to nan, which is no number of anything"),
        ((float("inf"),), "the query came to inf, which is no number of anything"),
        ((1e300,), "the query came to 1e+300, which is no number of anything"),
        ((0.0,), None),
        ((-8.0,), None),
    ],
)
async def test_what_is_no_population_allows_nothing(
    tmp_path: Path, values: tuple[float, ...] | None, why: str | None
) -> None:
    """Not knowing is a no, and the record says why; nothing is recorded twice for it."""
    metrics = Metrics()
    metrics.values = values
    stage = await begun(tmp_path, metrics)
    await stage.tell(stage.alert(job="api"))
    await stage.clock.advance(100)
    assert stage.story() == ["alert_firing", "decision fleet_guard"]
    assert guard(stage).get("error") == why
    await stage.engine.stop()


async def test_without_prometheus_it_never_acts(tmp_path: Path) -> None:
    """As the warning in `GET /` says."""
    stage = await begun(tmp_path, None)
    await stage.tell(stage.alert(job="api"))
    assert guard(stage)["error"] == "PROMETHEUS_URL is not set"
    await stage.clock.advance(100)
    assert stage.action.done == []
    await stage.engine.stop()


async def test_alerts_that_have_ended_are_not_kept_waiting(tmp_path: Path) -> None:
    """A rule that never may act ends no run, for which they would wait: it must not gather them for ever."""
    stage = await begun(tmp_path, None)
    for n in range(20):
        await stage.tell(stage.alert(f"api-{n}", job="api"))
        assert stage.decided()[f"api-{n}"] == "fleet_guard"
        await stage.tell(stage.alert(f"api-{n}", job="api", resolved=True))
    assert not any(stage.engine._decider._behind.values())
    await stage.engine.stop()


async def test_a_fault_in_the_reading_is_not_known_either(tmp_path: Path) -> None:
    """Whatever an answer breaks here, decisions go on."""
    metrics = Metrics(4.0)
    stage = await begun(tmp_path, metrics)

    async def broken(_: str) -> Answer:
        raise ZeroDivisionError

    metrics.query = broken  # type: ignore[method-assign]
    await stage.tell(stage.alert(job="api"))
    assert guard(stage)["error"] == "fault in reading the answer: ZeroDivisionError"
    await stage.engine.stop()


async def test_others_do_not_wait_for_prometheus(tmp_path: Path) -> None:
    """While it is being asked, a rule without `fleet` acts; it is asked once for each population."""
    rules = (
        FLEET
        + """
      - name: note
        match: alertname="Note"
        target: 'note-{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: note}}]
"""
    )
    metrics = Metrics(4.0)
    metrics.let.clear()
    stage = await begun(tmp_path, metrics, rules)
    jobs = ("api", "api", "web")
    await stage.tell(*[stage.alert(f"x-{n}", job=job) for n, job in enumerate(jobs)], stage.alert(alertname="Note"))
    assert stage.decided() == {"note-api-1": "act"}
    metrics.let.set()
    await settle()
    assert set(stage.decided().values()) == {"act"}
    assert sorted(metrics.asked) == [QUERY, 'count(up{job="web"})']
    await stage.engine.stop()


async def test_it_is_asked_again_at_execution(tmp_path: Path) -> None:
    """The population shrank while the run waited for its turn: it does not act, and its alert waits again."""
    metrics = Metrics(4.0)
    stage = await begun(tmp_path, metrics, FLEET.replace("mode: live", "mode: approve"))
    await stage.tell(stage.alert(job="api"))
    run = next(iter(stage.engine.state.runs.values()))
    assert run.state is RunState.AWAITING_APPROVAL
    assert stage.engine.state.at_work() == set()
    await stage.clock.advance(60)
    metrics.values = (1.0,)
    await stage.engine.control.approve(run.id, Word(By("ann", "c2"), plan_digest=run.plan_digest))
    await stage.clock.advance(10)
    assert stage.action.done == []
    assert run.state is RunState.PLANNED
    metrics.values = (2.0,)
    await stage.clock.advance(10)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_slow_prometheus_hides_no_person(tmp_path: Path) -> None:
    """Who silences the alert while the population is being counted is seen."""
    metrics = Metrics(4.0)
    stage = Stage(tmp_path, FLEET.replace("mode: live", "mode: approve"))
    stage.prometheus, stage.alertmanager = metrics, Api(stage.alert(job="api"))
    await stage.start()
    await stage.tell(stage.alert(job="api"))
    run = next(iter(stage.engine.state.runs.values()))
    await stage.clock.advance(60)
    metrics.let.clear()
    await stage.engine.control.approve(run.id, Word(By("ann", "c2"), plan_digest=run.plan_digest))
    await stage.clock.advance(20)
    for seen in stage.alertmanager.listed.values():
        seen.silenced, seen.silenced_by = True, frozenset({"s-by-hand"})
    metrics.let.set()
    await settle()
    assert stage.action.done == []
    assert stage.story()[-2:] == ["decision human_present", "action_cancelled human_present"]
    await stage.engine.stop()


async def test_approved_runs_act_one_after_the_other(tmp_path: Path) -> None:
    """What people have let begin waits for room, as it does for `concurrency`; nobody is asked twice."""
    stage = await begun(tmp_path, Metrics(2.0), FLEET.replace("mode: live", "mode: approve"))
    await stage.tell(stage.alert("api-1", job="api"), stage.alert("api-2", job="api"))
    for run in list(stage.engine.state.runs.values()):
        await stage.engine.control.approve(run.id, Word(By("ann", "c2"), plan_digest=run.plan_digest))
    await stage.clock.advance(60)
    assert [name for *_, name in stage.action.done] == ["restart api-1"]
    await stage.tell(stage.alert("api-1", job="api", resolved=True))
    await stage.clock.advance(2)
    assert [name for *_, name in stage.action.done] == ["restart api-1", "restart api-2"]
    assert stage.story().count("approval_requested") == 2
    await stage.engine.stop()


async def test_an_approval_does_not_wait_for_room_for_ever(tmp_path: Path) -> None:
    """Once the time is over that people had to answer, their yes is void, and they are asked anew when there is room:
    an action hours later would come as a surprise.
    """
    metrics = Metrics(2.0)
    stage = await begun(tmp_path, metrics, FLEET.replace("mode: live", "mode: approve"))
    await stage.tell(stage.alert(job="api"))
    (run,) = stage.engine.state.runs.values()
    metrics.values = None
    await stage.clock.advance(20)
    await stage.engine.control.approve(run.id, Word(By("ann", "c2"), plan_digest=run.plan_digest))
    await stage.clock.advance(870)
    assert stage.engine.state.runs[run.id].state is RunState.PLANNED
    await stage.clock.advance(20)
    assert stage.story()[-2:] == ["decision fleet_guard", "action_cancelled fleet_guard"]
    metrics.values = (2.0,)
    await stage.clock.advance(60)
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_ladder_that_was_begun_is_not_left_for_it(tmp_path: Path) -> None:
    """Its next step needs no room: it is counted already."""
    metrics = Metrics(2.0)
    stage = await begun(tmp_path, metrics)
    await stage.tell(stage.alert(job="api"))
    metrics.values = None
    await stage.clock.advance(301)
    assert [name for *_, name in stage.action.done] == ["restart api-1", "replace api-1"]
    await stage.engine.stop()


async def test_a_decision_by_a_population_can_be_computed_again(tmp_path: Path) -> None:
    """From the log before it and what its record tells of Prometheus's answer."""
    metrics = Metrics(2.0)
    stage = await begun(tmp_path, metrics)
    await stage.tell(stage.alert("api-1", job="api"), stage.alert("api-2", job="api"))
    metrics.values = None
    await stage.tell(stage.alert("web-1", job="web"))
    decisions = [record for record in stage.journal.records if record.kind is Kind.DECISION]
    assert [record.reason for record in decisions] == ["act", "fleet_guard", "fleet_guard"]
    for record in decisions:
        assert made_again(record, stage.journal.records, rules_from(stage.rules)) == record.line
    await stage.engine.stop()


PROBED = with_keys().replace("verify: {resolved_within: 5m}", "verify: {probe: {promql: 'up{x=\"{{ target }}\"}'}}")


@pytest.mark.parametrize(
    ("values", "ends", "saw"),
    [
        ((1.0, 2.0), ["heal_confirmed probe_held"], {"values": 2, "held": 2}),
        ((1.0, 0.0), ["heal_failed probe_failed", "action_started"], {"values": 2, "held": 1}),
        ((), ["heal_failed probe_failed", "action_started"], {"values": 0, "held": 0}),
        (
            None,
            ["heal_inconclusive prometheus_unknown", "escalated prometheus_unknown"],
            {"error": "no Prometheus told: http://p: down"},
        ),
    ],
)
async def test_a_step_is_verified_by_promql(
    tmp_path: Path, values: tuple[float, ...] | None, ends: list[str], saw: dict[str, object]
) -> None:
    """It holds, it does not and the next step begins, or nobody knows and it is left to people."""
    metrics = Metrics()
    metrics.values = values
    stage = await begun(tmp_path, metrics, PROBED)
    await stage.tell()
    await stage.clock.advance(61)
    story = stage.story()
    at = story.index(ends[0])
    assert story[at : at + len(ends)] == ends
    verdict = next(record for record in stage.journal.records if record.kind.value.startswith("heal_"))
    assert verdict.detail["probe"] == {"promql": 'up{x="api-1"}', **saw}
    await stage.engine.stop()


async def test_a_probe_without_prometheus_is_inconclusive(tmp_path: Path) -> None:
    """Unknown is never success."""
    stage = await begun(tmp_path, None, PROBED)
    await stage.tell()
    await stage.clock.advance(61)
    assert stage.story()[-1] == "escalated prometheus_unknown"
    await stage.engine.stop()
