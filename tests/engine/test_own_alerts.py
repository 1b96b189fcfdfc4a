"""The alerts that autoheal raises itself: which stand, for how long, and what the log tells of them."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from autoheal.actions import Outcome
from autoheal.alertmanager import Post
from autoheal.engine.control import Word
from autoheal.engine.own_alerts import _seconds
from autoheal.errors import UpstreamError
from autoheal.model import By, Kind, Record
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE, with_keys

HOLDS = with_keys("page_hold: true")
BY = By("ann", "c9")


async def stage_with(tmp_path: Path, rules: str = ONE_RULE, **environ: str) -> tuple[Stage, Api]:
    stage = Stage(tmp_path, rules, **environ)
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    await stage.clock.advance(1)
    return stage, api


async def failed(stage: Stage, *instances: str, **labels: str) -> None:
    """Have the runs on these alerts fail, step by step, until people are called."""
    stage.action.answers = [Outcome(ok=False)] * 2 * max(1, len(instances))
    await stage.tell(*(stage.alert(instance, **labels) for instance in instances or ("api-1",)))
    await stage.clock.advance(2)


def posts(api: Api, name: str) -> list[Post]:
    return [post for post in api.posted if post.labels["alertname"] == name]


def told(stage: Stage) -> list[Record]:
    return [record for record in stage.journal.records if record.kind in (Kind.NOTIFIED, Kind.NOTIFY_FAILED)]


async def test_what_is_left_to_people_fires_there(tmp_path: Path) -> None:
    """By rule, target, cause and severity, with why, and where to look; once in the log."""
    stage, api = await stage_with(tmp_path, AUTOHEAL_PUBLIC_URL="https://heal.example.org")
    await failed(stage, severity="page")
    (escalated,) = [record for record in stage.journal.records if record.kind is Kind.ESCALATED]
    first, *_ = posts(api, "AutohealFailed")
    assert first.labels == {
        "alertname": "AutohealFailed",
        "autoheal": "failed",
        "rule": "restart",
        "target": "api-1",
        "cause": "Down",
        "severity": "page",
    }
    link = f"https://heal.example.org/runs/{escalated.run}"
    assert first.annotations == {
        "summary": "restart leaves Down on api-1 to people: steps_exhausted",
        "run": escalated.run,
        "reason": "steps_exhausted",
        "link": link,
    }
    assert (first.starts_at, first.url) == (escalated.ts, link)
    assert first.ends_at > stage.clock.now() + 500
    (record,) = told(stage)
    assert (record.kind, record.rule, record.target, record.run) == (Kind.NOTIFIED, "restart", "api-1", escalated.run)
    assert (record.alertname, record.reason) == ("Down", "steps_exhausted")
    assert record.detail == {"channel": "alertmanager", "alert": "AutohealFailed"}
    await stage.engine.stop()


async def test_a_run_left_over_from_an_earlier_firing_calls_people_too(tmp_path: Path) -> None:
    """The alert went and came back while its step was judged: it fires, and nobody has helped."""
    stage, api = await stage_with(tmp_path)
    await stage.tell()
    await stage.clock.advance(100)
    await stage.tell(stage.alert(ago=5.0))
    await stage.clock.advance(2)
    assert "escalated fired_anew" in stage.story()
    (first, *_) = posts(api, "AutohealFailed")
    assert first.annotations["reason"] == "fired_anew"
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(2)
    assert posts(api, "AutohealFailed")[-1].ends_at <= stage.clock.now()
    await stage.engine.stop()


async def test_it_is_posted_again_before_it_ends_and_ended_with_its_alert(tmp_path: Path) -> None:
    """Always with the same beginning; the log is not told again."""
    stage, api = await stage_with(tmp_path)
    await failed(stage)
    await stage.clock.advance(1800)
    posted = posts(api, "AutohealFailed")
    assert len({post.starts_at for post in posted}) == 1
    ends = [post.ends_at for post in posted]
    assert 25 <= len(ends) <= 32
    assert all(later > sooner for sooner, later in itertools.pairwise(ends))
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(2)
    assert posts(api, "AutohealFailed")[-1].ends_at <= stage.clock.now()
    ended = len(api.posted)
    await stage.clock.advance(600)
    assert len(api.posted) == ended
    assert len(told(stage)) == 1
    await stage.engine.stop()


async def test_what_stands_is_a_fold_of_the_log(tmp_path: Path) -> None:
    """After a crash it is posted at once, as it began, and the log has told of it already."""
    stage, api = await stage_with(tmp_path)
    await failed(stage)
    (first, *_) = posts(api, "AutohealFailed")
    await stage.crash()
    api.posted.clear()
    await stage.start()
    (again,) = posts(api, "AutohealFailed")
    assert (again.labels, again.starts_at) == (first.labels, first.starts_at)
    assert len(told(stage)) == 1
    await stage.engine.stop()


async def test_nothing_is_said_where_nobody_wants_it(tmp_path: Path) -> None:
    """The log and the service's own log tell all the same."""
    stage, api = await stage_with(tmp_path, AUTOHEAL_ESCALATE_TO_ALERTMANAGER="false")
    await failed(stage)
    assert "escalated steps_exhausted" in stage.story()
    assert api.posted == []
    await stage.engine.stop()


async def test_an_approval_that_nobody_gave_in_time_fires(tmp_path: Path) -> None:
    """Nobody has decided, and the alert fires on."""
    stage, api = await stage_with(tmp_path, ONE_RULE.replace("mode: live", "mode: approve"))
    await stage.tell()
    await stage.clock.advance(901)
    assert "approval_expired expired" in stage.story()
    assert [(record.kind, record.reason) for record in told(stage)] == [(Kind.NOTIFIED, "expired")]
    assert posts(api, "AutohealFailed")[0].annotations["reason"] == "expired"
    assert posts(api, "AutohealFailed")[0].labels["severity"] == "critical"
    await stage.engine.stop()


async def test_a_storm_fires_until_nothing_is_held(tmp_path: Path) -> None:
    """One alert for all of it, by the rule alone."""
    stage, api = await stage_with(tmp_path, with_keys("storm: 2/10m"))
    crowd = [stage.alert(f"api-{number}") for number in range(4)]
    api.listed = Api(*crowd).listed
    await stage.tell(*crowd)
    (post,) = posts(api, "AutohealFailed")
    assert post.labels == {
        "alertname": "AutohealFailed",
        "autoheal": "failed",
        "rule": "restart",
        "severity": "critical",
    }
    assert post.annotations["reason"] == "storm"
    (record,) = told(stage)
    assert (record.rule, record.run, record.reason) == ("restart", None, "storm")
    await stage.clock.advance(1200)
    assert posts(api, "AutohealFailed")[-1].ends_at > stage.clock.now()
    assert len(told(stage)) == 1
    await stage.tell(*(stage.alert(f"api-{number}", resolved=True) for number in range(4)))
    await stage.clock.advance(2)
    assert posts(api, "AutohealFailed")[-1].ends_at <= stage.clock.now()
    await stage.engine.stop()


async def test_two_alerts_with_the_same_labels_are_one(tmp_path: Path) -> None:
    """Two of one target, say: it ends with the last of them."""
    stage, api = await stage_with(tmp_path, ONE_RULE.replace("cooldown: 10m", "cooldown: 0s"))
    stage.rules = stage.rules.replace("target: '{{ labels.instance }}'", "target: all")
    await stage.engine.reload()
    await failed(stage, "api-1", "api-2")
    await stage.clock.advance(60)
    assert stage.story().count("escalated steps_exhausted") == 2
    await stage.tell(stage.alert("api-1", resolved=True))
    await stage.clock.advance(120)
    assert len({tuple(sorted(post.labels.items())) for post in api.posted}) == 1
    assert posts(api, "AutohealFailed")[-1].ends_at > stage.clock.now()
    await stage.tell(stage.alert("api-2", resolved=True))
    await stage.clock.advance(2)
    assert posts(api, "AutohealFailed")[-1].ends_at <= stage.clock.now()
    await stage.engine.stop()


async def test_a_dead_alertmanager_is_told_of_once_and_keeps_nothing_waiting(tmp_path: Path) -> None:
    """The run ends as ever; one record says that nobody took the alert, another that somebody has at last."""
    stage, api = await stage_with(tmp_path)
    api.refusal = UpstreamError("no Alertmanager took the alerts: down")
    with capture_logs() as logs:
        await failed(stage)
        await stage.clock.advance(60)
    assert stage.story().count("escalated steps_exhausted") == 1
    assert [record.kind for record in told(stage)] == [Kind.NOTIFY_FAILED]
    assert {log["event"] for log in logs} >= {"alerts_not_posted"}
    assert stage.engine.posting_fails
    api.refusal = None
    await stage.clock.advance(16)
    assert [record.kind for record in told(stage)] == [Kind.NOTIFY_FAILED, Kind.NOTIFIED]
    assert not stage.engine.posting_fails
    await stage.engine.stop()


async def test_an_end_that_nobody_took_is_told_again(tmp_path: Path) -> None:
    """Else it would fire for ten minutes more."""
    stage, api = await stage_with(tmp_path)
    await failed(stage)
    api.refusal = UpstreamError("down")
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(5)
    api.refusal = None
    api.posted.clear()
    await stage.clock.advance(20)
    (end,) = posts(api, "AutohealFailed")
    assert end.ends_at <= stage.clock.now()
    await stage.engine.stop()


async def test_one_of_several_that_did_not_take_it_is_named(tmp_path: Path) -> None:
    """Where they are no cluster some people hear nothing: the service's log says of which."""
    stage, api = await stage_with(tmp_path)
    api.unwell = ["http://other (alerts): answered 503"]
    with capture_logs() as logs:
        await failed(stage)
    assert [log["errors"] for log in logs if log["event"] == "alerts_not_posted_everywhere"] == [api.unwell]
    assert [record.kind for record in told(stage)] == [Kind.NOTIFIED]
    await stage.engine.stop()


async def test_neither_a_fault_of_ours_nor_a_full_disk_ends_the_posting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look does what this one could not; what could not be recorded is recorded then."""
    stage, api = await stage_with(tmp_path)
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(api, "post", None)
        await failed(stage)
    assert stage.engine.posting_fails
    assert [log["log_level"] for log in logs if log["event"] == "alerts_not_posted"] == ["error"]
    stage.journal.healthy = False
    await stage.clock.advance(30)
    assert posts(api, "AutohealFailed")
    assert told(stage) == []
    stage.journal.healthy = True
    await stage.clock.advance(130)
    assert [record.kind for record in told(stage)] == [Kind.NOTIFIED]
    await stage.engine.stop()


async def test_many_are_told_in_several_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request holds is bounded, and each alert is in one of them."""
    monkeypatch.setattr("autoheal.engine.poster.AT_ONCE", 2)
    stage, api = await stage_with(tmp_path)
    sizes: list[int] = []
    post = api.post

    async def counted(alerts: Any) -> Any:
        sizes.append(len(alerts))
        return await post(alerts)

    monkeypatch.setattr(api, "post", counted)
    await failed(stage, *(f"api-{number}" for number in range(5)))
    assert sum(sizes) == len(api.posted) == 5
    assert max(sizes) == 2
    await stage.engine.stop()


async def test_no_rule_acts_on_alerts_about_autoheal(tmp_path: Path) -> None:
    """Alertmanager may route them back here: they are recorded, and protected, whatever a rule says."""
    stage, _ = await stage_with(tmp_path, ONE_RULE.replace('alertname="Down"', "instance=~.+"))
    names = ("AutohealFailed", "AutohealActive", "AutohealJournalErrors")
    for number, name in enumerate(names):
        await stage.tell(stage.alert(f"api-{number}", alertname=name))
    assert stage.story() == ["alert_firing", "decision protected"] * 3
    (guard,) = [guard for guard in stage.journal.records[-1].detail["guards"] if guard["guard"] == "protected"]
    assert guard["protect"] == 'alertname=~"Autoheal.*"'
    assert stage.action.done == []
    await stage.engine.stop()


async def at_work(tmp_path: Path, rules: str = HOLDS) -> tuple[Stage, Api, asyncio.Event]:
    """A run whose action goes on until the event is set."""
    stage, api = await stage_with(tmp_path, rules)
    release = asyncio.Event()
    stage.action.answers = [release]
    await stage.tell()
    assert stage.story()[-1] == "action_started"
    return stage, api, release


async def test_a_run_at_work_holds_pages_back(tmp_path: Path) -> None:
    """From its decision on: an alert that calls nobody, never more than three minutes ahead."""
    stage, api, release = await at_work(tmp_path)
    began = stage.clock.now()
    (post,) = posts(api, "AutohealActive")
    assert post.labels == {
        "alertname": "AutohealActive",
        "autoheal": "active",
        "rule": "restart",
        "target": "api-1",
        "severity": "none",
    }
    assert (post.starts_at, post.ends_at) == (began, began + 180)
    (record,) = told(stage)
    assert record.detail == {"channel": "alertmanager", "alert": "AutohealActive"}
    await stage.clock.advance(125)
    assert posts(api, "AutohealActive")[-1].ends_at == pytest.approx(began + 120 + 180, abs=5)
    assert len(told(stage)) == 1
    release.set()
    await stage.engine.stop()


async def test_it_ends_with_the_run_s_deadline_however_long_the_run_takes(tmp_path: Path) -> None:
    """Two steps of a minute, each with five minutes to show that it helped: then people are called."""
    stage, api, release = await at_work(tmp_path)
    deadline = stage.clock.now() + 2 * (60 + 300)
    await stage.clock.advance(1500)
    assert max(post.ends_at for post in api.posted) == deadline
    assert not stage.engine.state.runs[str(told(stage)[0].run)].ended
    release.set()
    await stage.engine.stop()


def test_what_a_step_may_take_is_read_from_the_plan() -> None:
    """Each try of the action, then the longer of the two ways to verify it; what is no number counts for nothing."""
    verify = {"resolved_within": 30.0, "probe": {"within": 60.0, "stable": 10.0}}
    assert _seconds({"params": {"timeout": 5.0, "retries": 2}, "verify": verify}) == 15 + 70
    assert _seconds({"params": {}, "verify": {"resolved_within": 90.0, "probe": None}}) == 60 + 90
    odd = {"timeout": "soon", "retries": "often"}
    assert _seconds({"params": odd, "verify": {"resolved_within": None, "probe": None}}) == 60


async def test_a_run_that_is_being_ended_holds_nothing(tmp_path: Path) -> None:
    """Somebody has said so, and is there."""
    stage, api, release = await at_work(tmp_path)
    (run,) = stage.engine.state.runs.values()
    await stage.engine.control.cancel(run.id, Word(BY))
    await stage.clock.advance(2)
    assert api.posted[-1].ends_at <= stage.clock.now()
    release.set()
    await stage.engine.stop()


async def test_it_is_ended_at_once_when_the_run_has_healed(tmp_path: Path) -> None:
    """And nothing else fires."""
    stage, api, release = await at_work(tmp_path)
    release.set()
    await settle()
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(1)
    assert stage.story()[-1] == "heal_confirmed resolved"
    assert api.posted[-1].ends_at <= stage.clock.now()
    assert {post.labels["alertname"] for post in api.posted} == {"AutohealActive"}
    await stage.engine.stop()


async def test_it_is_ended_with_the_same_request_that_calls_people(tmp_path: Path) -> None:
    """A run that could not help holds nothing back any more."""
    stage, api, release = await at_work(tmp_path)
    stage.action.answers = [Outcome(ok=False)]
    release.set()
    await stage.clock.advance(302)
    active, failure = api.posted[-2:]
    assert stage.story()[-1] == "escalated steps_exhausted"
    assert (active.labels["alertname"], failure.labels["alertname"]) == ("AutohealActive", "AutohealFailed")
    assert active.ends_at <= stage.clock.now() < failure.ends_at
    await stage.engine.stop()


async def test_after_a_crash_it_goes_on_by_the_log(tmp_path: Path) -> None:
    """The life after posts it anew while the run goes on, and the deadline is still the first one."""
    stage, api, release = await at_work(tmp_path)
    began = stage.clock.now()
    await stage.crash()
    stage.clock.set_now(began + 400)
    api.posted.clear()
    await stage.start()
    (post,) = posts(api, "AutohealActive")
    assert (post.starts_at, post.ends_at) == (began, began + 400 + 180)
    assert len(told(stage)) == 1
    release.set()
    await stage.engine.stop()


@pytest.mark.parametrize("rules", [ONE_RULE, HOLDS.replace("mode: live", "mode: dry_run")])
async def test_what_does_not_act_or_does_not_say_so_holds_nothing(tmp_path: Path, rules: str) -> None:
    """The key is opt-in, and a dry run spares nobody a call."""
    stage, api = await stage_with(tmp_path, rules)
    await stage.tell()
    await stage.clock.advance(60)
    assert api.posted == []
    await stage.engine.stop()


async def test_a_run_that_waits_for_people_holds_nothing(tmp_path: Path) -> None:
    """They are to come; once they have approved, its time begins with its first action."""
    stage, api = await stage_with(tmp_path, HOLDS.replace("mode: live", "mode: approve"))
    stage.action.answers = [release := asyncio.Event()]
    await stage.tell()
    await stage.clock.advance(600)
    assert api.posted == []
    (run,) = stage.engine.state.runs.values()
    await stage.engine.control.approve(run.id, Word(BY, plan_digest=run.plan_digest))
    await stage.clock.advance(2)
    began = stage.clock.now()
    assert posts(api, "AutohealActive")
    await stage.clock.advance(1500)
    assert max(post.ends_at for post in posts(api, "AutohealActive")) == pytest.approx(began + 720, abs=3)
    release.set()
    await stage.engine.stop()
