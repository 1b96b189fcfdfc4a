"""Asking again: one more run of a rule on an episode that it had finished with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoheal.actions import Outcome
from autoheal.engine import Word, batch_digest
from autoheal.errors import NoRun, OwnRun, WrongTurn
from autoheal.model import By, Kind
from autoheal.state import Run, RunState, fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE, with_keys

FREE = ONE_RULE.replace("cooldown: 10m", "cooldown: 0s")
ANN = Word(By("ann", "c-ann"), comment="the disk is in")


async def failed(tmp_path: Path, rules: str = FREE) -> Stage:
    """An engine whose run has been escalated while its alert goes on."""
    stage = Stage(tmp_path, rules)
    stage.action.answers = [Outcome(ok=False), Outcome(ok=False)]
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "escalated steps_exhausted"
    return stage


def last_run(stage: Stage) -> Run:
    return list(stage.engine.state.runs.values())[-1]


async def ask_again(stage: Stage, run: Run | None = None) -> Run:
    answer = await stage.engine.control.rerun((run or last_run(stage)).id, ANN)
    await settle()
    return answer


async def test_the_rule_tries_once_more(tmp_path: Path) -> None:
    """With a run of its own, in the operator's name; then the episode is over for it again, until it is asked anew."""
    stage = await failed(tmp_path)
    first = last_run(stage)
    stage.action.answers = [Outcome(ok=False), Outcome(ok=False)]
    assert (await ask_again(stage)).id == first.id
    asked = next(record for record in stage.journal.records if record.kind is Kind.RERUN_REQUESTED)
    assert (asked.run, asked.rule, asked.episode, asked.actor) == (first.id, "restart", first.episode, "ann")
    assert asked.detail == {"comment": "the disk is in", "request_id": "c-ann"}
    second = last_run(stage)
    assert (second.id != first.id, second.episode, second.state) == (True, first.episode, RunState.ESCALATED)
    assert len(stage.action.done) == 4
    await stage.engine.reload()
    await stage.clock.advance(3600)
    assert stage.decided() == {"api-1": "run_ended"}
    await stage.crash()
    await stage.start()
    await ask_again(stage)
    assert len(stage.action.done) == 5
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_all_guards_are_asked(tmp_path: Path) -> None:
    """A cooldown is waited out; what is to be approved is asked for anew."""
    stage = await failed(tmp_path, ONE_RULE)
    await ask_again(stage)
    assert stage.decided() == {"api-1": "cooldown"}
    assert len(stage.action.done) == 2
    await stage.clock.advance(601)
    assert len(stage.action.done) == 3
    await stage.engine.stop()


@pytest.mark.parametrize("end", ["deny", "cancel"])
async def test_what_people_have_ended_may_be_asked_for_again(tmp_path: Path, end: str) -> None:
    """And waits for an approval of its own."""
    stage = Stage(tmp_path, FREE.replace("mode: live", "mode: approve"))
    await stage.start()
    await stage.tell()
    await getattr(stage.engine.control, end)(last_run(stage).id, ANN)
    await settle()
    await ask_again(stage)
    assert stage.story()[-1] == "approval_requested"
    assert last_run(stage).state is RunState.AWAITING_APPROVAL
    await stage.engine.stop()


async def test_who_asked_for_it_cannot_approve_it(tmp_path: Path) -> None:
    """Somebody else has to, also in the next life."""
    stage = Stage(tmp_path, FREE.replace("mode: live", "mode: approve"))
    await stage.start()
    await stage.tell()
    await stage.engine.control.deny(last_run(stage).id, Word(By("bob", "c-bob")))
    await settle()
    await ask_again(stage)
    await stage.crash()
    await stage.start()
    digest = last_run(stage).plan_digest
    with pytest.raises(OwnRun, match="ann has asked for"):
        await stage.engine.control.approve(last_run(stage).id, Word(ANN.by, plan_digest=digest))
    assert stage.action.done == []
    await stage.engine.control.approve(last_run(stage).id, Word(By("bob", "c-bob"), plan_digest=digest))
    await settle()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_it_is_refused_where_it_would_do_nothing(tmp_path: Path) -> None:
    """The run or another of its rule goes on, it was asked for already, the rule is for others now, the alert has ended
    or fires anew, nobody knows the run.
    """
    stage = await failed(tmp_path)
    first = last_run(stage)

    async def refused(why: str, run: Run = first) -> None:
        with pytest.raises(WrongTurn, match=why):
            await ask_again(stage, run)

    with pytest.raises(NoRun):
        await stage.engine.control.rerun("r999", ANN)
    stage.rules = FREE.replace('alertname="Down"', 'alertname="Other"')
    await stage.engine.reload()
    await refused("no rule 'restart' that is for this alert is in force")
    stage.rules = FREE.replace("cooldown: 0s", "cooldown: 1h")
    await stage.engine.reload()
    answers = await asyncio.gather(
        *(stage.engine.control.rerun(first.id, ANN) for _ in range(2)), return_exceptions=True
    )
    assert [isinstance(answer, WrongTurn) for answer in answers] == [False, True]
    await refused("may act on this alert already: nothing has to be asked for")
    await stage.clock.advance(3601)
    second = last_run(stage)
    assert second.id != first.id
    await refused(f"may act on this alert already: its run {second.id} goes on")
    await refused(f"the run {second.id} goes on: verifying", second)
    await stage.tell(stage.alert(resolved=True))
    await refused("was about has ended")
    await stage.tell(stage.alert(ago=-1.0))
    await refused("was about has ended")
    await stage.engine.stop()


async def test_a_dry_run_has_used_nothing_up(tmp_path: Path) -> None:
    """There is nothing to ask for: the rule acts as soon as it may."""
    stage = Stage(tmp_path, FREE.replace("mode: live", "mode: dry_run"))
    await stage.start()
    await stage.tell()
    with pytest.raises(WrongTurn, match="nothing has to be asked for"):
        await ask_again(stage)
    await stage.engine.stop()


async def test_a_storms_release_was_for_one_run(tmp_path: Path) -> None:
    """An operator asks again for an alert that an approver has let go: while the storm lasts it is held again, and
    afterwards people are asked.
    """
    rules = with_keys("storm: 3/10m").replace("cooldown: 10m", "cooldown: 0s").replace("mode: live", "mode: approve")
    stage = Stage(tmp_path, rules)
    stage.action.answers = [Outcome(ok=False)] * 8
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    batch = batch_digest(stage.engine.rules.rules[0], stage.engine.state.batch("restart"))
    await stage.engine.releases.release("restart", batch, "", ANN.by)
    await settle()
    assert len(stage.action.done) == 8
    runs = list(stage.engine.state.runs.values())
    await ask_again(stage, runs[0])
    assert stage.decided()["api-0"] == "storm"
    await stage.clock.advance(700)
    await ask_again(stage, runs[1])
    assert stage.story()[-1] == "approval_requested"
    assert stage.decided()["api-0"] == "storm"
    assert len(stage.action.done) == 8
    await stage.engine.stop()
