"""`mode: approve`: who is asked for what, whose word counts, and what makes it void."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Outcome
from autoheal.engine import Word
from autoheal.errors import ApprovalExpired, JournalUnavailable, NoRun, OwnRun, WrongTurn
from autoheal.model import By, Kind, Mode, Notification, rfc3339
from autoheal.state import Run, RunState
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE, rules_from

RULE = ONE_RULE.replace("mode: live", "mode: approve")
QUARTER = 900.0


async def waiting(tmp_path: Path, rules: str = RULE, **environ: str) -> Stage:
    """An engine with one run that waits for people."""
    stage = Stage(tmp_path, rules, **environ)
    await stage.start()
    await stage.tell()
    return stage


def the_run(stage: Stage) -> Run:
    return list(stage.engine.state.runs.values())[-1]


def word(actor: str = "ann", **more: Any) -> Word:
    return Word(By(actor, f"c-{actor}"), **more)


async def approve(stage: Stage, actor: str = "ann") -> Run:
    run = the_run(stage)
    found = await stage.engine.control.approve(run.id, word(actor, plan_digest=run.plan_digest))
    await settle()
    return found


async def writing_the_intent(tmp_path: Path) -> Stage:
    """An engine whose run is approved, while a slow disk writes that it begins."""
    stage = await waiting(tmp_path)
    stage.journal.held = True
    approving = asyncio.create_task(approve(stage))
    await settle()
    stage.journal.release(Kind.APPROVAL_GRANTED)
    await approving
    return stage


def the(stage: Stage, kind: Kind) -> Any:
    return [record for record in stage.journal.records if record.kind is kind][-1]


async def test_people_are_asked_and_nothing_is_done(tmp_path: Path) -> None:
    """With the plan, its digest, that of the rule and the time until which they may answer."""
    stage = await waiting(tmp_path)
    assert stage.story() == ["alert_firing", "decision awaiting_approval", "approval_requested"]
    run, asked = the_run(stage), the(stage, Kind.APPROVAL_REQUESTED)
    assert (asked.run, asked.mode, asked.target, asked.episode) == (run.id, Mode.APPROVE, "api-1", run.episode)
    assert asked.detail == {
        "plan": run.plan,
        "plan_digest": run.plan_digest,
        "rule_digest": stage.engine.rules.rules[0].digest,
        "expires_at": rfc3339(stage.clock.now() + QUARTER),
    }
    await stage.clock.advance(QUARTER - 1)
    assert stage.action.done == []
    assert run.state is RunState.AWAITING_APPROVAL
    await stage.engine.stop()


async def test_an_approved_run_acts_and_is_verified(tmp_path: Path) -> None:
    """As a live one, both steps of its plan; the log tells who let it."""
    stage = await waiting(tmp_path)
    stage.action.answers = [Outcome(ok=False)]
    run = await approve(stage)
    assert run.approval is not None
    assert run.approval.by == "ann"
    granted = the(stage, Kind.APPROVAL_GRANTED)
    assert (granted.actor, granted.run, granted.correlation_id) == ("ann", run.id, "c1")
    assert granted.detail == {"plan_digest": run.plan_digest, "request_id": "c-ann"}
    assert [do for *_, do in stage.action.done] == ["restart api-1", "replace api-1"]
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    await stage.engine.stop()


async def test_a_denied_run_is_over_for_this_episode(tmp_path: Path) -> None:
    """Its target is free, and the rule asks nobody again until the alert has ended and come back."""
    stage = await waiting(tmp_path)
    run = await stage.engine.control.deny(the_run(stage).id, word(comment="not now"))
    await settle()
    assert (run.state, run.ended_by, run.reason) == (RunState.DENIED, "ann", "denied")
    denied = the(stage, Kind.APPROVAL_DENIED)
    assert denied.detail == {"comment": "not now", "plan_digest": run.plan_digest, "request_id": "c-ann"}
    assert stage.story()[-2:] == ["approval_denied denied", "decision run_ended"]
    assert stage.engine.state.locks == {}
    await stage.tell(stage.alert(resolved=True))
    await stage.clock.advance(3600)
    await stage.tell()
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    await stage.engine.stop()


async def test_it_expires(tmp_path: Path) -> None:
    """After fifteen minutes, or what the rule says; then it is over for this episode, and too late for everybody."""
    stage = await waiting(tmp_path, RULE.replace("cooldown: 10m", "cooldown: 10m\n        approval: {expires: 2m}"))
    await stage.clock.advance(119)
    assert stage.story()[-1] == "approval_requested"
    await stage.clock.advance(1)
    assert stage.story()[-2:] == ["approval_expired expired", "decision run_ended"]
    for ask in (stage.engine.control.approve, stage.engine.control.deny):
        with pytest.raises(ApprovalExpired):
            await ask(the_run(stage).id, word())
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_word_that_comes_too_late_does_not_count(tmp_path: Path) -> None:
    """Though the engine's own timer has not rung: the clock was set, or the machine slept."""
    stage = await waiting(tmp_path)
    stage.clock.set_now(stage.clock.now() + QUARTER)
    with pytest.raises(ApprovalExpired):
        await approve(stage)
    await settle()
    assert stage.story().count("approval_expired expired") == 1
    assert stage.action.done == []
    await stage.engine.stop()


async def test_the_first_of_two_wins(tmp_path: Path) -> None:
    """The other is told who was first; the action runs once."""
    stage = await waiting(tmp_path)
    control, run = stage.engine.control, the_run(stage)
    looked_at = {"plan_digest": run.plan_digest}
    words = (
        control.approve(run.id, word("ann", **looked_at)),
        control.approve(run.id, word("bob", **looked_at)),
        control.deny(run.id, word("eve")),
    )
    first, *others = await asyncio.gather(*words, return_exceptions=True)
    assert isinstance(first, Run)
    for other in others:
        assert isinstance(other, WrongTurn)
        assert str(other).endswith("waits for no approval: approved by ann")
    await settle()
    assert stage.story().count("approval_granted") == 1
    assert len(stage.action.done) == 1
    with pytest.raises(WrongTurn, match="approved by ann"):
        await control.deny(run.id, word("eve"))
    await stage.engine.stop()


async def test_whoever_is_second_to_a_denial_is_told(tmp_path: Path) -> None:
    """With the state that the run has, and who gave it that."""
    stage = await waiting(tmp_path)
    await stage.engine.control.deny(the_run(stage).id, word("eve"))
    with pytest.raises(WrongTurn, match="waits for no approval: denied by eve"):
        await approve(stage)
    await stage.engine.stop()


async def test_no_answer_tells_what_is_not_durable(tmp_path: Path) -> None:
    """Neither to the first nor to the second; when the log gives the first word up, both may try again."""
    stage = await waiting(tmp_path)
    stage.journal.held = True
    first, second = (asyncio.create_task(approve(stage, actor)) for actor in ("ann", "bob"))
    await settle()
    assert not first.done()
    assert not second.done()
    stage.journal.fail()
    for asking in (first, second):
        with pytest.raises(JournalUnavailable):
            await asking
    assert stage.action.done == []
    stage.journal.held, stage.journal.healthy = False, True
    await stage.clock.advance(1)
    await approve(stage, "bob")
    assert len(stage.action.done) == 1
    assert the(stage, Kind.APPROVAL_GRANTED).actor == "bob"
    await stage.engine.stop()


async def test_the_plan_that_was_looked_at_is_the_one_that_counts(tmp_path: Path) -> None:
    """Another digest is refused with the right one, whatever the word, and changes nothing."""
    stage = await waiting(tmp_path)
    run, control = the_run(stage), stage.engine.control
    for ask in (control.approve, control.deny, control.cancel):
        with pytest.raises(WrongTurn, match=run.plan_digest):
            await ask(run.id, word(plan_digest="0" * 64))
        with pytest.raises(NoRun):
            await ask("r999", word())
    assert run.state is RunState.AWAITING_APPROVAL
    await stage.engine.stop()


async def test_whoever_caused_a_run_does_not_approve_it(tmp_path: Path) -> None:
    """By the actor of its alert's record, who is whoever sent it; others may."""
    stage = Stage(tmp_path, RULE)
    await stage.start()
    await stage.engine.receive(Notification(alerts=(stage.alert(),)), "c1", "ann")
    await settle()
    (firing,) = [record for record in stage.journal.records if record.kind is Kind.ALERT_FIRING]
    assert firing.actor == "ann"
    with pytest.raises(OwnRun, match="ann"):
        await approve(stage, "ann")
    assert stage.action.done == []
    await approve(stage, "bob")
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_on_this_machine_the_local_operator_may(tmp_path: Path) -> None:
    """Without identities everybody on it has every role."""
    stage = await waiting(tmp_path)
    await approve(stage, "local")
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_end_of_the_alert_makes_it_void(tmp_path: Path) -> None:
    """The run is cancelled at once, and nobody can approve it any more."""
    stage = await waiting(tmp_path)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "action_cancelled resolved"
    with pytest.raises(WrongTurn, match=r"cancelled \(resolved\)"):
        await approve(stage)
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("edit", "why", "then"),
    [
        (("restart {{ target }}", "burn {{ target }}"), "plan_changed", "approval_requested"),
        (("cooldown: 10m", "cooldown: 9m"), "rule_changed", "approval_requested"),
        (("version: 1", "version: 1\n    defaults: {timeout: 5s}"), "rule_changed", "approval_requested"),
        (('"Down"', '"Down", tier="x"'), "rule_removed", "action_cancelled rule_removed"),
        (("mode: approve", "mode: dry_run"), "dry_run", "action_cancelled dry_run"),
        (("mode: approve", "mode: 'off'"), "rule_off", "action_cancelled rule_off"),
        (("version: 1", "version: 1\n    protect: ['instance=\"api-1\"']"), "protected", "action_cancelled protected"),
    ],
)
async def test_a_reload_that_changes_what_was_asked_makes_it_void(
    tmp_path: Path, edit: tuple[str, str], why: str, then: str
) -> None:
    """And the episode is decided on anew: nobody approves what they have not seen."""
    stage = await waiting(tmp_path)
    old = the_run(stage)
    stage.rules = RULE.replace(*edit)
    await stage.engine.reload()
    await settle()
    assert f"action_cancelled {why}" in stage.story()
    assert stage.story()[-1] == then
    assert stage.engine.state.runs[old.id].state is RunState.CANCELLED
    with pytest.raises(WrongTurn):
        await stage.engine.control.approve(old.id, word(plan_digest=old.plan_digest))
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_reload_that_changes_other_rules_does_not(tmp_path: Path) -> None:
    """Nor does one that changes nothing but how the rule is written."""
    stage = await waiting(tmp_path)
    other = "\n      - {name: other, match: a=b, mode: 'off'}\n"
    stage.rules = RULE.replace("cooldown: 10m", "cooldown:   '10m' # as ever") + other
    await stage.engine.reload()
    await settle()
    assert stage.story()[-1] == "approval_requested"
    await approve(stage)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_reload_after_the_approval_counts_too(tmp_path: Path) -> None:
    """Before the first step it asks anew; between two steps people are told."""
    stage = await waiting(tmp_path)
    stage.engine.wind_down()
    await approve(stage)
    await stage.engine.stop()
    stage.rules = RULE.replace("cooldown: 10m", "cooldown: 1s")
    await stage.start()
    assert stage.story()[-3:] == ["action_cancelled rule_changed", "decision awaiting_approval", "approval_requested"]
    assert stage.action.done == []
    await approve(stage)
    stage.rules = RULE
    await stage.engine.reload()
    await stage.clock.advance(301)
    assert len(stage.action.done) == 1
    assert stage.story()[-2:] == ["heal_failed not_resolved", "escalated rule_changed"]
    await stage.engine.stop()


async def test_guards_are_asked_again_after_the_approval(tmp_path: Path) -> None:
    """Here a pause that comes while the approval is being written: nothing is done, and it is asked for anew."""
    stage = await waiting(tmp_path)
    stage.journal.held = True
    approving = asyncio.create_task(approve(stage))
    pausing = asyncio.create_task(stage.engine.pause(None, "stop", None, By("bob", "c")))
    await settle()
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(approving, pausing)
    assert stage.action.done == []
    assert stage.story()[-3:] == ["paused", "decision paused", "action_cancelled paused"]
    await stage.engine.resume(None, "", By("bob", "c"))
    await settle()
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    await stage.engine.stop()


async def test_nobody_is_asked_while_it_is_paused(tmp_path: Path) -> None:
    """What waits is void from the pause on, and asked for anew afterwards."""
    stage = await waiting(tmp_path)
    await stage.engine.pause(None, "stop", None, By("bob", "c"))
    await settle()
    assert stage.story()[-2:] == ["decision paused", "action_cancelled paused"]
    await stage.engine.resume(None, "", By("bob", "c"))
    await settle()
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    await stage.engine.stop()


@pytest.mark.parametrize("held", [Kind.DECISION, Kind.APPROVAL_REQUESTED, Kind.APPROVAL_GRANTED, Kind.ACTION_STARTED])
async def test_a_crash_at_each_stage(tmp_path: Path, held: Kind) -> None:
    """What was asked for is asked for once more only where no record tells of it; an approval that was answered counts,
    one that was not does not, and no action runs twice.
    """
    stage = Stage(tmp_path, RULE)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.create_task(stage.tell())
    approving: asyncio.Task[Run] | None = None
    while held not in [record.kind for record in stage.journal.records]:
        await settle()
        if approving is None and stage.journal.records[-1].kind is Kind.APPROVAL_REQUESTED:
            approving = asyncio.create_task(approve(stage))
            await settle()
        stage.journal.release(stage.journal.pending()[0])
    await stage.crash()
    telling.cancel()
    await asyncio.gather(telling, *filter(None, [approving]), return_exceptions=True)
    await stage.start()
    granted = held in (Kind.APPROVAL_GRANTED, Kind.ACTION_STARTED)
    assert stage.story().count("approval_requested") == 1
    if not granted:
        assert the_run(stage).state is RunState.AWAITING_APPROVAL
        await approve(stage)
    await stage.clock.advance(2000)
    steps = [(run, step) for run, step, _ in stage.action.done]
    assert len(set(steps)) == len(steps)
    assert stage.story().count("approval_granted") == 1
    assert "escalated steps_exhausted" in stage.story()
    await stage.engine.stop()


async def test_the_time_to_answer_goes_on_while_the_service_is_down(tmp_path: Path) -> None:
    """It is a time for people, not for programs."""
    stage = await waiting(tmp_path)
    await stage.crash()
    await stage.clock.advance(QUARTER)
    await stage.start()
    assert "approval_expired expired" in stage.story()
    await stage.engine.stop()


async def test_an_approval_does_not_outlast_the_time_to_give_one(tmp_path: Path) -> None:
    """The gateway dies between a yes and the first step, and lives again hours later: nothing is done, and people are
    asked anew, for an action out of nowhere would come as a surprise.
    """
    stage = await writing_the_intent(tmp_path)
    await stage.crash()
    await stage.clock.advance(8 * 3600.0)
    await stage.start()
    assert stage.story()[-4:] == [
        "decision awaiting_approval",
        "action_cancelled expired",
        "decision awaiting_approval",
        "approval_requested",
    ]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_nor_does_it_outlast_a_slow_disk(tmp_path: Path) -> None:
    """The intent is written too late: nothing is done, and people are told."""
    stage = await writing_the_intent(tmp_path)
    await stage.clock.advance(QUARTER + 61.0)
    stage.journal.held = False
    stage.journal.release()
    await settle()
    assert stage.story()[-2:] == ["action_interrupted expired", "escalated expired"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_reload_while_the_intent_is_written_counts_too(tmp_path: Path) -> None:
    """People approved the rule as it was: the plan is the same, but not what stands around it."""
    stage = await writing_the_intent(tmp_path)
    stage.engine.rules = rules_from(RULE.replace("cooldown: 10m", "cooldown: 9m"))
    stage.journal.held = False
    stage.journal.release()
    await settle()
    assert stage.story()[-2:] == ["action_interrupted rule_changed", "escalated rule_changed"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_dry_run_above_all_asks_nobody(tmp_path: Path) -> None:
    """AUTOHEAL_DRY_RUN, whatever the rule says."""
    stage = await waiting(tmp_path, AUTOHEAL_DRY_RUN="true")
    assert stage.story() == ["alert_firing", "decision dry_run", "action_dry_run dry_run"]
    with pytest.raises(WrongTurn, match="waits for no approval: dry_run"):
        await approve(stage)
    await stage.engine.stop()


async def test_what_waits_holds_its_target_and_its_share_of_the_budget(tmp_path: Path) -> None:
    """So that what is approved can be done; both are free when it is denied."""
    stage = Stage(tmp_path, RULE.replace("cooldown: 10m", "cooldown: 10m\n        budget: {rule: [1/1h]}"))
    await stage.start()
    await stage.tell(stage.alert("api-1"), stage.alert("api-2"))
    assert stage.story()[-3:] == ["decision awaiting_approval", "decision budget", "approval_requested"]
    await stage.engine.control.deny(the_run(stage).id, word())
    await settle()
    assert stage.story().count("approval_requested") == 2
    assert list(stage.engine.state.locks) == ["api-2"]
    await stage.engine.stop()


async def test_who_waits_for_people_takes_no_room_and_who_is_approved_waits_for_it(tmp_path: Path) -> None:
    """People's yes is kept until it is the run's turn: one run at a time, each once."""
    stage = Stage(tmp_path, RULE, AUTOHEAL_MAX_RUNNING="1")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(3)))
    assert set(stage.decided().values()) == {"awaiting_approval"}
    for run in list(stage.engine.state.runs.values()):
        await stage.engine.control.approve(run.id, word(plan_digest=run.plan_digest))
    await settle()
    for n in range(3):
        await stage.clock.advance(2)
        assert [do for _, _, do in stage.action.done] == [f"restart api-{m}" for m in range(n + 1)]
        await stage.tell(stage.alert(f"api-{n}", resolved=True))
    await stage.engine.stop()


OTHER = """
      - {name: other, match: alertname="Slow", target: '{{ labels.instance }}', mode: live, steps: [fake: {do: tidy}]}
"""


async def test_a_want_of_room_takes_no_question_back(tmp_path: Path) -> None:
    """Whatever happens elsewhere while all places are taken: who is approved waits for room, too."""
    stage = await waiting(tmp_path, RULE + OTHER, AUTOHEAL_MAX_RUNNING="1")
    run = the_run(stage)
    await stage.tell(stage.alert("api-9", alertname="Slow"))
    assert [do for *_, do in stage.action.done] == ["tidy"]
    await stage.engine.pause("other", "hands off", None, By("bob", "c"))
    await settle()
    assert run.state is RunState.AWAITING_APPROVAL
    await stage.engine.control.approve(run.id, word(plan_digest=run.plan_digest))
    await stage.tell(stage.alert("api-9", alertname="Slow", resolved=True))
    await stage.clock.advance(2)
    assert [do for *_, do in stage.action.done] == ["tidy", "restart api-1"]
    await stage.engine.stop()


@pytest.mark.parametrize("approved", [False, True])
async def test_a_reload_counts_though_there_is_no_room(tmp_path: Path, approved: bool) -> None:
    """What was asked, or approved and waits for its turn, is void at once: nobody is to think that it will be done."""
    stage = await waiting(tmp_path, RULE + OTHER, AUTOHEAL_MAX_RUNNING="1")
    await stage.tell(stage.alert("api-9", alertname="Slow"))
    run = next(run for run in stage.engine.state.runs.values() if run.rule == "restart")
    if approved:
        await stage.engine.control.approve(run.id, word(plan_digest=run.plan_digest))
    stage.rules = (RULE + OTHER).replace("cooldown: 10m", "cooldown: 9m")
    await stage.engine.reload()
    await stage.clock.advance(2)
    assert run.state is RunState.CANCELLED
    await stage.tell(stage.alert("api-9", alertname="Slow", resolved=True))
    await stage.clock.advance(2)
    assert stage.story()[-2:] == ["decision awaiting_approval", "approval_requested"]
    await stage.engine.stop()


async def test_an_approved_run_that_waits_for_room_ends_with_its_alert(tmp_path: Path) -> None:
    """And asks all other guards as before: a pause meanwhile voids it."""
    stage = Stage(tmp_path, RULE, AUTOHEAL_MAX_RUNNING="1")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(3)))
    first, second, third = list(stage.engine.state.runs.values())
    for run in (first, second, third):
        await stage.engine.control.approve(run.id, word(plan_digest=run.plan_digest))
    await settle()
    await stage.tell(stage.alert("api-1", resolved=True))
    assert stage.engine.state.runs[second.id].state is RunState.CANCELLED
    await stage.engine.pause(None, "hands off", None, By("ann", "c1"))
    await stage.clock.advance(2)
    assert stage.engine.state.runs[third.id].reason == "paused"
    assert [do for _, _, do in stage.action.done] == ["restart api-0"]
    await stage.engine.stop()


async def test_a_storm_voids_what_people_were_asked(tmp_path: Path) -> None:
    """They were asked about one target; now it is many, and the one word to people is the storm's."""
    stage = await waiting(tmp_path, RULE.replace("mode: approve", "mode: approve\n        storm: 2/10m"))
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(2, 5)))
    assert the_run(stage).state is RunState.CANCELLED
    assert (the(stage, Kind.ACTION_CANCELLED).reason, set(stage.decided().values())) == ("storm", {"storm"})
    await stage.engine.stop()


async def test_a_rule_that_asks_nobody_any_more_takes_its_question_back(tmp_path: Path) -> None:
    """A reload made it live: the request is void (`rule_changed`), and the rule acts by what it says now."""
    stage = await waiting(tmp_path)
    stage.rules = ONE_RULE
    await stage.engine.reload()
    await settle()
    assert "action_cancelled rule_changed" in stage.story()
    assert [do for *_, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()
