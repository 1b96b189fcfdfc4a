"""Guards in the engine: what ends a wait, and who is asked again then."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from autoheal.actions import Outcome
from autoheal.engine import guards
from autoheal.errors import JournalUnavailable
from autoheal.model import Kind
from autoheal.rules import Rule
from autoheal.rules.render import Firing
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE


def with_keys(*keys: str) -> str:
    """ONE_RULE with further `keys` in its rule."""
    return ONE_RULE.replace("mode: live", "\n        ".join(("mode: live", *keys)))


async def test_a_freeze_ends_by_the_engines_own_timer(tmp_path: Path) -> None:
    """Hours later, without a word from the sender; the clock stands at Monday, 14:13:20 UTC."""
    stage = Stage(tmp_path, with_keys("freeze: [{from: Mon 14:00, to: Mon 16:00, zone: UTC}]"))
    await stage.start()
    await stage.tell()
    assert stage.story() == ["alert_firing", "decision frozen"]
    await stage.clock.advance(3600 + 46 * 60 + 39)
    assert stage.action.done == []
    await stage.clock.advance(2)
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_a_freeze_that_begins_stops_the_ladder(tmp_path: Path) -> None:
    """The step under way is verified to its end; the next one does not begin, and people are told."""
    stage = Stage(tmp_path, with_keys("freeze: [{from: Mon 14:14, to: Mon 15:00, zone: UTC}]"))
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(301)
    assert stage.story()[-3:] == ["heal_failed not_resolved", "decision frozen", "escalated frozen"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


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


async def test_a_rule_that_fails_rests_and_then_tries_once(tmp_path: Path) -> None:
    """Two failures open the breaker; after `reset` one run is tried while all others wait; its success closes it."""
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
    assert runs.guards() == ["breaker_opened"]
    opened = stage.journal.records[-1].detail
    assert (opened["failures"], opened["opens"]) == (2, 1)
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
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
    for instance in ("api-3", "api-4"):
        await runs.fail(instance)
        assert runs.last(instance) == "decision breaker_open"
        await stage.clock.advance(3601)
        assert "escalated steps_exhausted" in stage.story(of=lambda record, of=instance: record.target == of)
    assert runs.guards() == ["breaker_opened"] * 3 + ["rule_demoted"]
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
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
    await stage.tell(stage.alert("api-3"))
    assert await stage.engine.reset("restart", "ann", "c9")
    await settle()
    closed = next(record for record in stage.journal.records if record.kind is Kind.BREAKER_CLOSED)
    assert (closed.actor, closed.reason, closed.correlation_id) == ("ann", "operator", "c9")
    assert runs.last("api-3") == "action_ok"
    assert not await stage.engine.reset("restart", "ann", "c9")
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await stage.engine.reset("restart", "ann", "c9")


async def test_what_a_breaker_has_to_tell_survives_a_crash(tmp_path: Path) -> None:
    """The gateway dies between the second failure and the record of the opening: the next life tells of it."""
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.BREAKER_OPENED) :]
    await stage.start()
    assert runs.guards() == ["breaker_opened"]
    await stage.tell(stage.alert("api-3"))
    assert runs.last("api-3") == "decision breaker_open"
    await stage.engine.stop()


async def test_a_trial_that_never_began_lets_the_next_one_try(tmp_path: Path) -> None:
    """Its alert resolved before its action: who waited behind it is asked again."""
    stage = Stage(tmp_path, BREAKER_RULES)
    runs = Runs(stage)
    await stage.start()
    await runs.fail("api-1", "api-2")
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


STORM = with_keys("storm: 3/10m")


def story_of_storms(stage: Stage) -> list[str]:
    """What was told of storms, and to people."""
    kinds = (Kind.STORM_BEGAN, Kind.STORM_ENDED, Kind.ESCALATED)
    return stage.story(of=lambda record: record.kind in kinds)


def decided(stage: Stage) -> dict[str, str]:
    """The last decision on each target."""
    last = {record.target: record.reason for record in stage.journal.records if record.kind is Kind.DECISION}
    return {str(target): str(reason) for target, reason in last.items()}


async def test_a_storm_holds_all_of_a_body_from_the_first_alert_on(tmp_path: Path) -> None:
    """One target too many: not one of them is acted on, and people are told once."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    assert decided(stage) == {f"api-{n}": "storm" for n in range(4)}
    assert stage.action.done == []
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    began, escalated = (record for record in stage.journal.records if record.kind in (Kind.STORM_BEGAN, Kind.ESCALATED))
    assert began.detail == escalated.detail
    assert {"targets": 4, "of": 3, "window": 600.0}.items() <= began.detail.items()
    assert began.detail["some"] == [f"api-{n}" for n in range(4)]
    assert (escalated.rule, escalated.run) == ("restart", None)
    await stage.tell(stage.alert("api-9"))
    assert decided(stage)["api-9"] == "storm"
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_so_many_targets_are_no_storm(tmp_path: Path) -> None:
    """Those that are allowed; and repeats, further alerts on the same targets and ends are no more targets."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    for _ in range(2):
        await stage.tell(*(stage.alert(f"api-{n}") for n in range(3)))
    await stage.tell(dataclasses.replace(stage.alert("api-1", tier="x"), fingerprint="f" * 16))
    await stage.tell(stage.alert("api-2", resolved=True))
    await stage.tell(stage.alert("api-2", ago=-1.0))
    assert story_of_storms(stage) == []
    assert len(stage.action.done) == 3
    await stage.engine.stop()


async def test_what_a_storm_held_stays_held_until_it_resolves(tmp_path: Path) -> None:
    """The storm is over when no more than so many of its targets are new or still fire; what comes then is acted on,
    what it held is not, until it fires anew. A restart in between changes nothing.
    """
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(5)))
    await stage.clock.advance(900)
    await stage.tell(stage.alert("api-4", resolved=True))
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    await stage.crash()
    await stage.start()
    await stage.tell(stage.alert("api-3", resolved=True))
    assert story_of_storms(stage)[2:] == ["storm_ended"]
    await stage.tell(stage.alert("api-7"))
    assert decided(stage)["api-7"] == "act"
    await stage.clock.advance(86_400)
    assert {do for _, _, do in stage.action.done} == {"restart api-7", "replace api-7"}
    assert decided(stage)["api-1"] == "storm"
    for n in range(3):
        await stage.tell(stage.alert(f"api-{n}", resolved=True))
    assert stage.engine.state.storms == {}
    await stage.tell(stage.alert("api-1", ago=-1.0))
    assert decided(stage)["api-1"] == "act"
    await stage.engine.stop()


async def test_a_storm_whose_alerts_are_gone_ends_by_time(tmp_path: Path) -> None:
    """They all resolve at once: as long as the window shows too many the rule stays held, then a timer ends that."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    await stage.tell(*(stage.alert(f"api-{n}", resolved=True) for n in range(4)))
    await stage.clock.advance(599)
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    await stage.clock.advance(2)
    assert story_of_storms(stage)[2:] == ["storm_ended"]
    await stage.engine.stop()


async def test_targets_that_come_one_by_one_are_a_storm_too(tmp_path: Path) -> None:
    """Runs that had begun go on; all that follows is held, until the first has left the window."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    for n in range(6):
        await stage.tell(stage.alert(f"api-{n}"))
        await stage.clock.advance(60)
    assert {do for _, _, do in stage.action.done} >= {f"restart api-{n}" for n in range(3)}
    assert {target for target, reason in decided(stage).items() if reason == "storm"} == {"api-3", "api-4", "api-5"}
    assert story_of_storms(stage)[:2] == ["storm_began", "escalated storm"]
    await stage.engine.stop()


async def test_a_dry_run_has_storms_and_calls_nobody(tmp_path: Path) -> None:
    """It shows what would be held; there is nothing to do for people."""
    stage = Stage(tmp_path, STORM, AUTOHEAL_DRY_RUN="true")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    assert story_of_storms(stage) == ["storm_began"]
    await stage.engine.stop()


async def test_off_lets_go_of_what_a_storm_holds(tmp_path: Path) -> None:
    """A reload with `storm: off` is a person's word that each may be acted on; protected alerts were never counted."""
    stage = Stage(tmp_path, STORM.replace("storm:", "protect: ['tier=\"gold\"']\n        storm:"))
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}", tier="gold") for n in range(10, 20)))
    assert story_of_storms(stage) == []
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    stage.rules = with_keys("storm: off")
    await stage.engine.reload()
    await settle()
    assert story_of_storms(stage)[2:] == ["storm_ended"]
    assert {f"restart api-{n}" for n in range(4)} <= {do for _, _, do in stage.action.done}
    await stage.engine.stop()


async def test_an_alert_that_trips_the_look_ahead_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in one alert's target: all others are decided on."""
    real = guards.target_of

    def broken(rule: Rule, alert: Firing) -> str:
        if alert.labels["instance"] == "api-0":
            raise ZeroDivisionError
        return real(rule, alert)

    monkeypatch.setattr(guards, "target_of", broken)
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(stage.alert("api-0"), stage.alert("api-1"))
    assert decided(stage)["api-1"] == "act"
    assert stage.engine.ready
    await stage.engine.stop()


async def test_who_finds_no_room_waits_in_line(tmp_path: Path) -> None:
    """Over all rules: with each run that ends the one begins that has waited longest, and nobody else is asked."""
    stage = Stage(tmp_path, with_keys("storm: off"), AUTOHEAL_MAX_RUNNING="2")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(6)))
    assert [decided(stage)[f"api-{n}"] for n in range(6)] == ["act"] * 2 + ["concurrency"] * 4
    await stage.tell(stage.alert("api-2", resolved=True))
    before = len(stage.journal.records)
    await stage.tell(stage.alert("api-1", resolved=True))
    assert [do for _, _, do in stage.action.done] == ["restart api-0", "restart api-1", "restart api-3"]
    later = [record.target for record in stage.journal.records[before:] if record.kind is Kind.DECISION]
    assert later == ["api-3"]
    await stage.clock.advance(601)
    assert {"restart api-4", "restart api-5"} <= {do for _, _, do in stage.action.done}
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_a_rules_own_limit_is_not_another_rules(tmp_path: Path) -> None:
    """One run of this rule at a time, until it is verified; the other rule goes its way."""
    rules = with_keys("concurrency: 1")
    rules += """
      - name: note
        match: alertname="Note"
        target: 'note-{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: 'note {{ target }}'}}]
"""
    stage = Stage(tmp_path, rules)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(3)))
    await stage.tell(*(stage.alert(f"b-{n}", alertname="Note") for n in range(2)))
    assert [do for _, _, do in stage.action.done] == ["restart api-0", "note note-b-0", "note note-b-1"]
    await stage.tell(stage.alert("api-0", resolved=True))
    assert [do for _, _, do in stage.action.done][3:] == ["restart api-1"]
    stage.rules = rules.replace("        concurrency: 1\n", "")
    await stage.engine.reload()
    await settle()
    assert [do for _, _, do in stage.action.done][4:] == ["restart api-2"]
    await stage.engine.stop()


async def test_a_lower_limit_holds_for_runs_that_had_not_begun(tmp_path: Path) -> None:
    """Decided by a life that allowed two, and begun by one that allows one: the second waits for the first."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.engine.wind_down()
    await stage.tell(stage.alert("api-0"), stage.alert("api-1"))
    await stage.engine.stop()
    stage.environ["AUTOHEAL_MAX_RUNNING"] = "1"
    await stage.start()
    assert len(stage.action.done) == 1
    assert sorted(decided(stage).values()) == ["act", "concurrency"]
    await stage.tell(stage.alert("api-0", resolved=True), stage.alert("api-1", resolved=True))
    assert stage.engine.state.locks == {}
    await stage.engine.stop()
