"""Breakers in the engine: when a rule rests, what it tries, and how it comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from autoheal.actions import Outcome
from autoheal.engine import Word
from autoheal.errors import JournalUnavailable
from autoheal.model import By, Kind
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys

BREAKER_RULES = with_keys("breaker: {failures: 2, reset: 1h}")


class Runs:
    """Alerts on targets of their own whose actions end as a test says."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def fail(self, *instances: str) -> None:
        """Tell of an alert each; both steps of its run fail."""
        for instance in instances:
            self.stage.action.answers += [Outcome(ok=False), Outcome(ok=False)]
            await self.stage.tell(self.stage.alert(instance))

    def last(self, instance: str) -> str:
        """What the log last told of it."""
        return self.stage.story(of=lambda record: record.target == instance)[-1]

    def guards(self) -> list[str]:
        """What guards told."""
        kinds = (Kind.BREAKER_OPENED, Kind.BREAKER_CLOSED, Kind.RULE_DEMOTED)
        return self.stage.story(of=lambda record: record.kind in kinds)


async def opened(tmp_path: Path) -> tuple[Stage, Runs]:
    """A stage whose rule's breaker two failures have opened."""
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
    assert runs.guards() == ["breaker_opened"]
    return stage, runs


async def demoted(tmp_path: Path) -> tuple[Stage, Runs]:
    """As `opened`, and two trials have failed, so that the rule is a dry run."""
    stage, runs = await opened(tmp_path)
    for instance in ("api-3", "api-4"):
        await runs.fail(instance)
        assert runs.last(instance) == "decision breaker_open"
        await stage.clock.advance(3601)
        assert "escalated steps_exhausted" in stage.story(of=lambda record, of=instance: record.target == of)
    assert runs.guards() == ["breaker_opened"] * 3 + ["rule_demoted"]
    return stage, runs


async def test_an_alert_that_comes_and_goes_opens_it(tmp_path: Path) -> None:
    """Each time it fires anew under verification the run has failed, however many steps its ladder has left."""
    stage = Stage(tmp_path, BREAKER_RULES.replace("cooldown: 10m", "cooldown: 0s"))
    runs = Runs(stage)
    await stage.start()
    for _ in range(4):
        await stage.tell(stage.alert(ago=0))
        await stage.clock.advance(100)
    assert runs.guards() == ["breaker_opened"]
    assert len(stage.action.done) == 2
    assert runs.last("api-1") == "decision breaker_open"
    await stage.engine.stop()


async def test_a_rule_that_fails_rests_and_then_tries_once(tmp_path: Path) -> None:
    """Two failures open the breaker; after `reset` one run is tried while all others wait; its success closes it."""
    stage, runs = await opened(tmp_path)
    detail = stage.journal.records[-1].detail
    assert (detail["failures"], detail["opens"]) == (2, 1)
    await stage.tell(stage.alert("api-3"))
    await stage.tell(stage.alert("api-4"))
    assert runs.last("api-3") == runs.last("api-4") == "decision breaker_open"
    await stage.clock.advance(3599)
    assert len(stage.action.done) == 4
    await stage.clock.advance(2)
    assert runs.last("api-3") == "action_ok"
    assert runs.last("api-4") == "decision breaker_open"
    await stage.tell(stage.alert("api-3", resolved=True))
    assert runs.guards() == ["breaker_opened", "breaker_closed healed"]
    assert runs.last("api-4") == "action_ok"
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_a_trial_that_fails_opens_it_again_and_at_last_demotes_the_rule(tmp_path: Path) -> None:
    """Three openings without a heal: from then on the rule is a dry run, until somebody changes it."""
    stage, runs = await demoted(tmp_path)
    before = len(stage.action.done)
    await stage.tell(stage.alert("api-5"))
    assert runs.last("api-5") == "action_dry_run dry_run"
    decision = [record for record in stage.journal.records if record.kind is Kind.DECISION][-1]
    assert {"guard": "rule_off", "passed": True, "mode": "live", "demoted": True} in decision.detail["guards"]
    await stage.engine.reload()
    await stage.clock.advance(7200)
    assert len(stage.action.done) == before
    stage.rules = BREAKER_RULES.replace("reset: 1h", "reset: 2h")
    await stage.engine.reload()
    await settle()
    assert runs.guards()[4:] == ["breaker_closed rule_changed"]
    assert runs.last("api-5") == "action_ok"
    await stage.engine.stop()


async def test_a_word_of_an_operator_closes_it(tmp_path: Path) -> None:
    """At once and in his name; what waited acts. There is nothing to close afterwards, nor once the service stops."""
    stage, runs = await opened(tmp_path)
    await stage.tell(stage.alert("api-3"))
    assert await stage.engine.reset("restart", By("ann", "c9"))
    await settle()
    closed = next(record for record in stage.journal.records if record.kind is Kind.BREAKER_CLOSED)
    assert (closed.actor, closed.reason, closed.correlation_id) == ("ann", "operator", "c9")
    assert runs.last("api-3") == "action_ok"
    assert not await stage.engine.reset("restart", By("ann", "c9"))
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await stage.engine.reset("restart", By("ann", "c9"))


async def test_nobody_hears_that_there_is_nothing_to_reset_before_that_is_durable(tmp_path: Path) -> None:
    """The first of two operators has closed it, and the log may give that up: then it is open still."""
    stage, _ = await opened(tmp_path)
    stage.journal.held = True
    asked = [asyncio.ensure_future(stage.engine.reset("restart", By(who, "c9"))) for who in ("ann", "bob")]
    await settle()
    assert not any(one.done() for one in asked)
    stage.journal.fail()
    for one in asked:
        with pytest.raises(JournalUnavailable):
            await one
    stage.journal.held, stage.journal.healthy = False, True
    assert await stage.engine.reset("restart", By("bob", "c9"))
    await stage.engine.stop()


async def test_what_a_breaker_has_to_tell_survives_a_crash(tmp_path: Path) -> None:
    """The gateway dies between the second failure and the record of the opening: the next life tells of it."""
    stage, runs = await opened(tmp_path)
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.BREAKER_OPENED) :]
    await stage.start()
    assert runs.guards() == ["breaker_opened"]
    await stage.tell(stage.alert("api-3"))
    assert runs.last("api-3") == "decision breaker_open"
    await stage.engine.stop()


async def test_a_demotion_is_told_though_the_gateway_died_before_it(tmp_path: Path) -> None:
    """The third opening is on disk and what follows from it is not: the next life demotes the rule, once."""
    stage, runs = await demoted(tmp_path)
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.RULE_DEMOTED) :]
    await stage.start()
    assert runs.guards() == ["breaker_opened"] * 3 + ["rule_demoted"]
    await stage.tell(stage.alert("api-5"))
    assert runs.last("api-5") == "action_dry_run dry_run"
    await stage.engine.stop()


async def test_a_trial_that_never_began_lets_the_next_one_try(tmp_path: Path) -> None:
    """Its alert resolved before its action: who waited behind it is asked again."""
    stage, runs = await opened(tmp_path)
    await stage.tell(stage.alert("api-3"), stage.alert("api-4"))
    stage.engine.wind_down()
    await stage.clock.advance(3601)
    assert (runs.last("api-3"), runs.last("api-4")) == ("decision act", "decision breaker_open")
    await stage.engine.stop()
    stage.journal.held = True
    starting = asyncio.ensure_future(stage.start())
    await settle()
    ending = asyncio.ensure_future(stage.tell(stage.alert("api-3", resolved=True)))
    await settle()
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(starting, ending)
    await settle()
    assert runs.last("api-3") == "action_cancelled resolved"
    assert runs.last("api-4") == "action_ok"
    await stage.engine.stop()


async def test_a_demoted_rule_may_ask_people_instead(tmp_path: Path) -> None:
    """With `demote: approve` each run waits for somebody's word from then on, whatever the breaker says, and neither
    failures nor heals change that; a word of an operator does.
    """
    stage = Stage(tmp_path, with_keys("breaker: {failures: 1, reset: 1h, demote: approve}"))
    runs = Runs(stage)
    await stage.start()
    for instance in ("api-1", "api-2", "api-3"):
        await runs.fail(instance)
        await stage.clock.advance(3601)
    assert runs.guards() == ["breaker_opened"] * 3 + ["rule_demoted"]
    demoted = next(record for record in stage.journal.records if record.kind is Kind.RULE_DEMOTED)
    assert (demoted.detail["from"], demoted.detail["to"]) == ("live", "approve")
    for instance in ("api-4", "api-5"):
        await runs.fail(instance)
        assert runs.last(instance) == "approval_requested"
        run = list(stage.engine.state.runs.values())[-1]
        await stage.engine.control.approve(run.id, Word(By("ann", "c"), plan_digest=run.plan_digest))
        await settle()
        assert runs.last(instance) == "escalated steps_exhausted"
    assert runs.guards() == ["breaker_opened"] * 3 + ["rule_demoted"]
    await stage.engine.reset("restart", By("ann", "c9"))
    await stage.tell(stage.alert("api-6"))
    assert runs.last("api-6") == "action_ok"
    await stage.engine.stop()


async def test_a_word_of_an_operator_takes_the_questions_of_a_demoted_rule_back(tmp_path: Path) -> None:
    """It acts by itself again: nobody has to answer what it had asked before."""
    stage = Stage(tmp_path, with_keys("breaker: {failures: 1, reset: 1h, demote: approve}"))
    runs = Runs(stage)
    await stage.start()
    for instance in ("api-1", "api-2", "api-3"):
        await runs.fail(instance)
        await stage.clock.advance(3601)
    await stage.tell(stage.alert("api-4"))
    assert runs.last("api-4") == "approval_requested"
    await stage.engine.reset("restart", By("ann", "c9"))
    await settle()
    assert "action_cancelled rule_changed" in stage.story(of=lambda record: record.target == "api-4")
    assert runs.last("api-4") == "action_ok"
    await stage.engine.stop()


async def test_a_rule_that_asks_anyway_is_not_demoted_to_asking(tmp_path: Path) -> None:
    """It would be none: its breaker goes on to open and to let one run try again."""
    rules = with_keys("breaker: {failures: 1, reset: 1h, demote: approve}").replace("mode: live", "mode: approve")
    stage = Stage(tmp_path, rules)
    runs = Runs(stage)
    await stage.start()
    for instance in ("api-1", "api-2", "api-3", "api-4"):
        await runs.fail(instance)
        run = list(stage.engine.state.runs.values())[-1]
        await stage.engine.control.approve(run.id, Word(By("ann", "c"), plan_digest=run.plan_digest))
        await stage.clock.advance(3601)
    assert runs.guards() == ["breaker_opened"] * 4
    await stage.engine.stop()
