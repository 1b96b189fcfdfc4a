"""A run's life: act, verify, the next step, escalation; and every way in which it can be cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from autoheal.actions import Outcome
from autoheal.engine.runs import Runner
from autoheal.errors import JournalUnavailable
from autoheal.model import Kind
from autoheal.state import RunState, fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE, rules_from


async def test_a_healed_episode(tmp_path: Path) -> None:
    """Firing, decision, action, resolution, confirmation: in this order, the action exactly once."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await stage.clock.advance(30)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story() == [
        "alert_firing",
        "decision act",
        "action_started",
        "action_ok",
        "alert_resolved",
        "heal_confirmed resolved",
    ]
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_a_step_that_does_not_help_is_followed_by_the_next(tmp_path: Path) -> None:
    """Not resolved in time is `heal_failed`, then the next step; after the last one `escalated`."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await stage.clock.advance(299)
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(1)
    await stage.clock.advance(300)
    assert stage.story() == [
        "alert_firing",
        "decision act",
        "action_started",
        "action_ok",
        "heal_failed not_resolved",
        "action_started",
        "action_ok",
        "heal_failed not_resolved",
        "escalated steps_exhausted",
    ]
    assert [do for _, _, do in stage.action.done] == ["restart api-1", "replace api-1"]
    assert stage.action.keys[0] != stage.action.keys[1]
    await stage.engine.stop()


async def test_the_intent_tells_what_its_action_promises(tmp_path: Path) -> None:
    """Whoever finds it without an end learns from it whether it may be done again, or taken back."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    (started,) = [record for record in stage.journal.records if record.kind == "action_started"]
    told = {name: started.detail[name] for name in ("action", "description", "idempotent", "reversible")}
    assert told == {"action": "fake", "description": "fake restart api-1", "idempotent": True, "reversible": False}
    await stage.engine.stop()


async def test_an_action_that_failed_is_not_waited_for(tmp_path: Path) -> None:
    """action_fail is judged at once; the ladder goes on."""
    stage = Stage(tmp_path)
    stage.action.answers = [Outcome(ok=False, detail={"exit_code": 1}), Outcome(ok=False, detail={"exit_code": 2})]
    await stage.start()
    await stage.tell()
    assert stage.story()[2:] == [
        "action_started",
        "action_fail",
        "heal_failed action_failed",
        "action_started",
        "action_fail",
        "heal_failed action_failed",
        "escalated steps_exhausted",
    ]
    await stage.engine.stop()


async def test_an_action_that_raises_is_a_failed_action(tmp_path: Path) -> None:
    """An action's own fault leaves no run open, and its text stays out of the log."""
    stage = Stage(tmp_path)
    stage.action.answers = [RuntimeError("s3cret")]
    await stage.start()
    await stage.tell()
    failed = next(record for record in stage.journal.records if record.kind is Kind.ACTION_FAIL)
    assert b"s3cret" not in failed.line
    assert "heal_failed action_failed" in stage.story()
    await stage.engine.stop()


async def test_what_an_action_answers_is_its_detail_whatever_its_keys(tmp_path: Path) -> None:
    """It is no other field of the record: no actor, no reason and no step, and not which action it was."""
    named = {"self": 1, "kind": "x", "action": "docker", "actor": "root", "reason": "late", "step": 7}
    stage = Stage(tmp_path)
    stage.action.answers = [Outcome(ok=True, detail=named)]
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    record = stage.journal.records[-1]
    assert (record.actor, record.reason, record.step) == ("system", None, 1)
    assert record.detail == named | {"action": "fake"}
    await stage.engine.stop()


@pytest.mark.parametrize("answer", ["x" * 70_000, "\ud800"])
async def test_an_answer_that_fits_no_record_leaves_no_run_open(tmp_path: Path, answer: str) -> None:
    """Too long, or no Unicode: the outcome is recorded without it."""
    stage = Stage(tmp_path)
    stage.action.answers = [Outcome(ok=True, detail={"output": answer})]
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    assert "does not fit" in stage.journal.records[-1].detail["error"]
    await stage.engine.stop()


async def test_no_record_no_action(tmp_path: Path) -> None:
    """While action_started is not durable the action does not run; when the log refuses, it never does."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    receiving = asyncio.ensure_future(stage.tell())
    await settle()
    assert not receiving.done()
    assert stage.action.done == []
    stage.journal.fail()
    with pytest.raises(JournalUnavailable):
        await receiving
    await stage.clock.advance(10)
    assert stage.action.done == []
    assert stage.story() == []
    assert not stage.engine.ready
    stage.journal.healthy, stage.journal.held = True, False
    await stage.clock.advance(1)
    await stage.tell()
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_a_started_action_waits_for_its_record_alone(tmp_path: Path) -> None:
    """The log fails between decision and action_started: guards are asked again, the action runs once."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    receiving = asyncio.ensure_future(stage.tell())
    await settle()
    stage.journal.release(Kind.DECISION)
    stage.journal.fail()
    await settle()
    assert stage.action.done == []
    assert stage.story() == ["alert_firing", "decision act"]
    stage.journal.healthy, stage.journal.held = True, False
    await stage.clock.advance(2)
    await asyncio.gather(receiving, return_exceptions=True)
    assert len(stage.action.done) == 1
    assert stage.story()[:4] == ["alert_firing", "decision act", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_an_outcome_is_recorded_however_long_the_log_refuses(tmp_path: Path) -> None:
    """What happened while the disk was full is told when it is not: action_ok is not lost."""
    stage = Stage(tmp_path)
    done = asyncio.Event()
    stage.action.answers = [done]
    await stage.start()
    await stage.tell()
    stage.journal.fail()
    done.set()
    await stage.clock.advance(60)
    assert stage.story()[-1] == "action_started"
    stage.journal.healthy = True
    await stage.clock.advance(1)
    assert stage.story()[-1] == "action_ok"
    assert len(stage.action.done) == 1
    await stage.engine.stop()


@pytest.mark.parametrize("progress", ["decision act", "action_started", "action_ok", "heal_failed not_resolved"])
async def test_a_crash_at_each_stage(tmp_path: Path, progress: str) -> None:
    """After kill -9 at any stage no step runs twice, a started one is closed, and the run reaches its end."""
    stage = Stage(tmp_path)
    hang = asyncio.Event()
    if progress == "action_started":
        stage.action.answers = [hang]
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    kind = Kind(progress.split(maxsplit=1)[0])
    while kind not in [record.kind for record in stage.journal.records]:
        # Every record becomes durable by itself: the crash finds the log cut right behind the one that counts.
        if pending := stage.journal.pending():
            stage.journal.release(pending[0])
            await settle()
        else:
            await stage.clock.advance(300)
    await stage.crash()
    telling.cancel()
    before = list(stage.action.done)
    stage.action.answers = []
    await stage.start()
    await stage.clock.advance(2000)
    story = stage.story()
    if progress == "action_started":
        assert "action_interrupted gateway_died" in story
    assert len({(run, step) for run, step, _ in stage.action.done}) == len(stage.action.done)
    assert stage.action.done[: len(before)] == before
    assert story.count("action_started") == story.count("action_ok") + story.count("action_interrupted gateway_died")
    assert story.count("escalated steps_exhausted") == 1
    assert all(run.ended for run in stage.engine.state.runs.values())
    await stage.engine.stop()


async def test_a_half_written_end_is_completed(tmp_path: Path) -> None:
    """heal_failed of the last step without `escalated` behind it (a torn batch) escalates after the restart."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await stage.clock.advance(600)
    await stage.engine.stop()
    cut = next(i for i, record in enumerate(stage.journal.records) if record.kind is Kind.ESCALATED)
    stage.journal.records = stage.journal.records[:cut]
    assert next(iter(fold(stage.journal.records).runs.values())).state is RunState.PLANNED
    await stage.start()
    assert stage.story().count("escalated steps_exhausted") == 1
    await stage.engine.stop()


async def test_a_refusal_that_is_half_written_is_completed(tmp_path: Path) -> None:
    """The action was not done and people were to be told: the next life tells them, and verifies nothing."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    stage.engine.rules = rules_from(ONE_RULE.replace("mode: live", 'mode: "off"'))
    stage.journal.held = False
    stage.journal.release()
    await telling
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.ACTION_INTERRUPTED) + 1 :]
    await stage.start()
    assert "escalated rule_off" in stage.story()
    await stage.clock.advance(1000)
    assert stage.action.done == []
    assert not [line for line in stage.story() if line.startswith("heal_")]
    await stage.engine.stop()


async def test_what_changes_in_the_last_moment_stops_the_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last look at the world another task may have its turn before the action has, with people's word."""
    stage = Stage(tmp_path)
    look = Runner._look_again

    async def look_and_change(runner: Runner) -> None:
        await look(runner)
        off = rules_from(ONE_RULE.replace("mode: live", 'mode: "off"'))
        asyncio.get_running_loop().call_soon(lambda: setattr(stage.engine, "rules", off))

    monkeypatch.setattr(Runner, "_look_again", look_and_change)
    await stage.start()
    await stage.tell()
    assert stage.story()[-3:] == ["action_started", "action_interrupted rule_off", "escalated rule_off"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_log_that_refuses_a_moment_before_the_action_only_delays_it(tmp_path: Path) -> None:
    """The intent is on disk, the gateway lives, and what it has to record before it acts (here a pause that has ended
    when the log is well again) does not go into the log: it knows that nothing was done, and does it then.
    """
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    assert stage.journal.pending()[-1] is Kind.ACTION_STARTED
    (tmp_path / "PAUSE").write_text("wait")
    stage.journal.healthy = stage.journal.held = False
    stage.journal.release()
    await telling
    assert stage.action.done == []
    (tmp_path / "PAUSE").unlink()
    stage.journal.healthy = True
    await stage.clock.advance(1)
    assert stage.story()[-2:] == ["action_started", "action_ok"]
    assert [do for *_, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_stop_cuts_what_runs_too_long_and_says_so(tmp_path: Path) -> None:
    """At SIGTERM a running action gets ten seconds, then it is cut and recorded; verification goes on after."""
    stage = Stage(tmp_path)
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.tell()
    stopping = asyncio.ensure_future(stage.engine.stop())
    await stage.clock.advance(9.9)
    assert not stopping.done()
    await stage.clock.advance(0.2)
    await stopping
    assert stage.story()[-1] == "action_interrupted shutdown"
    assert [r.kind for r in stage.journal.records[-2:]] == [Kind.SERVICE_STOPPED, Kind.CHECKPOINT]
    await stage.start()
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_stop_waits_for_an_action_that_ends_in_time(tmp_path: Path) -> None:
    """An action that ends within the grace is recorded as what it was."""
    stage = Stage(tmp_path)
    done = asyncio.Event()
    stage.action.answers = [done]
    await stage.start()
    await stage.tell()
    stopping = asyncio.ensure_future(stage.engine.stop())
    await stage.clock.advance(3)
    done.set()
    await settle()
    await stopping
    assert stage.story()[-1] == "action_ok"


async def test_resolved_before_the_next_step_cancels(tmp_path: Path) -> None:
    """An episode that ends before a step begins needs no step: the run is cancelled, nothing is done."""
    stage = Stage(tmp_path)
    go_on = asyncio.Event()

    async def fail_late() -> Outcome:
        await go_on.wait()
        return Outcome(ok=False)

    stage.action.answers = [fail_late]
    await stage.start()
    await stage.tell()
    await stage.tell(stage.alert(resolved=True))
    go_on.set()
    await settle()
    assert stage.story()[3:] == [
        "alert_resolved",
        "action_fail",
        "heal_failed action_failed",
        "action_cancelled resolved",
    ]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_alert_that_comes_back_during_verification_has_not_healed(tmp_path: Path) -> None:
    """A firing that supersedes the episode under verification fails the step and ends the ladder; the next one begins
    anew.
    """
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    await stage.clock.advance(100)
    await stage.tell(stage.alert(ago=0))
    assert stage.story()[4:] == [
        "alert_resolved",
        "alert_firing",
        "decision in_progress",
        "heal_failed fired_anew",
        "escalated fired_anew",
        "decision cooldown",
    ]
    await stage.clock.advance(500)
    assert stage.story()[-3:] == ["decision act", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_guards_are_asked_again_at_execution(tmp_path: Path) -> None:
    """A rule that is switched off between decision and execution is not executed."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    stage.rules = ONE_RULE.replace("mode: live", 'mode: "off"')
    reloading = asyncio.ensure_future(stage.engine.reload())
    await settle()
    assert Kind.ACTION_STARTED in stage.journal.pending()
    stage.journal.fail()
    await settle()
    stage.journal.healthy, stage.journal.held = True, False
    await stage.clock.advance(5)
    telling.cancel()
    await reloading
    await stage.tell()
    assert stage.action.done == []
    assert stage.story()[-1] == "decision rule_off"
    await stage.engine.stop()


async def test_a_step_that_the_world_overtook_is_not_executed(tmp_path: Path) -> None:
    """The disk was slow: the alert ended while action_started was being written, and the action does not run."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    ending = asyncio.ensure_future(stage.tell(stage.alert(resolved=True)))
    await settle()
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(telling, ending)
    assert stage.action.done == []
    assert stage.story()[-1] == "action_cancelled resolved"
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (('"Down"', '"Other"'), "rule_removed"),
        (("mode: live", 'mode: "off"'), "rule_off"),
        (("replace {{ target }}", "burn {{ target }}"), "plan_changed"),
    ],
)
async def test_a_step_that_a_reload_overtook_is_escalated(tmp_path: Path, edit: tuple[str, str], why: str) -> None:
    """The rules changed while action_started was being written: nothing is executed, and nobody is left in silence."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    stage.engine.rules = rules_from(ONE_RULE.replace(*edit))
    stage.journal.held = False
    stage.journal.release()
    await telling
    await settle()
    assert stage.action.done == []
    assert [line for line in stage.story() if not line.startswith("decision")][-2:] == [
        f"action_interrupted {why}",
        f"escalated {why}",
    ]
    await stage.engine.stop()


async def test_no_step_begins_after_the_signal(tmp_path: Path) -> None:
    """Between SIGTERM and the end alerts are taken in and decided, and nothing is executed; the next life does it."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.engine.wind_down()
    await stage.tell()
    assert stage.story() == ["alert_firing", "decision act"]
    await stage.engine.stop()
    assert stage.action.done == []
    await stage.start()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_an_edited_rule_stops_the_ladder(tmp_path: Path) -> None:
    """A reload after which the alert no longer matches: no further step, and people are told."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    stage.rules = ONE_RULE.replace('"Down"', '"Down", tier="x"')
    await stage.engine.reload()
    await stage.clock.advance(301)
    assert len(stage.action.done) == 1
    assert stage.story()[-2:] == ["heal_failed not_resolved", "escalated rule_removed"]
    await stage.engine.stop()


@pytest.mark.parametrize(("name", "value"), [("AUTOHEAL_DRY_RUN", "true"), ("AUTOHEAL_ENABLED", "false")])
@pytest.mark.parametrize("helped", [True, False])
async def test_what_was_done_live_is_verified_by_a_life_that_acts_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, *, helped: bool
) -> None:
    """A restart as a dry run, or switched off: the probe is asked to its end, and no further step is taken."""
    asked: list[str] = []

    async def probe(spec: Mapping[str, Any], _: object) -> Outcome:
        asked.append(spec["tcp"])
        return Outcome(ok=helped and len(lives) > 1)

    monkeypatch.setattr("autoheal.engine.runs.probe", probe)
    stage = Stage(tmp_path, ONE_RULE.replace("resolved_within: 5m", "probe: {tcp: 'api:80'}"))
    lives = [await stage.start()]
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    assert asked
    await stage.crash()
    before = len(asked)
    stage.environ[name] = value
    lives.append(await stage.start())
    await stage.clock.advance(100)
    assert len(asked) > before
    ends = [kind for kind in stage.story() if kind.startswith(("heal_", "escalated"))]
    assert ends[0].startswith("heal_confirmed" if helped else "heal_failed")
    assert helped or ends[1].startswith("escalated")
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_a_plan_that_changed_stops_the_ladder(tmp_path: Path) -> None:
    """The rule's next step is another one since a reload: what was decided on is not what would be done now."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    stage.rules = ONE_RULE.replace("replace {{ target }}", "burn {{ target }}")
    await stage.engine.reload()
    await stage.clock.advance(301)
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    assert stage.story()[-2:] == ["heal_failed not_resolved", "escalated plan_changed"]
    await stage.engine.stop()


async def test_a_fault_of_ours_is_tried_again(tmp_path: Path) -> None:
    """An exception where none is expected costs a run some seconds, not its end."""
    stage = Stage(tmp_path)
    await stage.start()
    faults = [RuntimeError("a fault of ours")] * 2
    describe = stage.action.describe

    def broken(params: Mapping[str, Any]) -> str:
        if faults:
            raise faults.pop()
        return describe(params)

    stage.action.describe = broken  # type: ignore[method-assign]
    await stage.tell()
    assert stage.action.done == []
    await stage.clock.advance(60)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_fault_of_ours_that_stays_is_escalated(tmp_path: Path) -> None:
    """A run that cannot be carried ends as `escalated`, gives its target free, and is not begun again."""
    stage = Stage(tmp_path)
    await stage.start()

    def broken(params: Mapping[str, Any]) -> str:
        raise RuntimeError("a fault of ours")

    stage.action.describe = broken  # type: ignore[method-assign]
    await stage.tell()
    await stage.clock.advance(120)
    assert stage.story() == ["alert_firing", "decision act", "escalated internal_error"]
    assert stage.engine.state.locks == {}
    await stage.engine.reload()
    await settle()
    assert stage.story()[-1] == "decision run_ended"
    await stage.engine.stop()


async def test_an_action_whose_end_cannot_be_told_is_closed(tmp_path: Path) -> None:
    """A fault between an action's start and its record leaves no run open: it counts as interrupted."""
    stage = Stage(tmp_path)
    await stage.start()

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    gate = asyncio.Event()
    stage.action.answers = [gate]
    await stage.tell()
    (runner,) = stage.engine._crew._runners.values()
    runner._tell = broken  # type: ignore[method-assign, assignment]
    runner._close_interrupted = broken  # type: ignore[method-assign, assignment]
    gate.set()
    await stage.clock.advance(120)
    assert stage.story()[-2:] == ["action_interrupted internal_error", "escalated internal_error"]
    await stage.engine.stop()


async def test_a_lock_that_cannot_be_read_keeps_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a command of the life before still runs is unknown: unknown is not gone, and is told once."""
    stage = Stage(tmp_path)
    stage.action.answers = [asyncio.Event()]
    await stage.start()
    await stage.tell()
    await stage.crash()
    broken = True

    def gone(*_: object) -> bool:
        if broken:
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setattr("autoheal.engine.runs.orphan_gone", gone)
    with structlog.testing.capture_logs() as logs:
        await stage.start()
        await stage.clock.advance(30)
    assert stage.story()[-1] == "action_started"
    assert [log["event"] for log in logs].count("cannot_tell_whether_a_command_still_runs") == 1
    broken = False
    await stage.clock.advance(1)
    assert "action_interrupted gateway_died" in stage.story()
    await stage.engine.stop()
