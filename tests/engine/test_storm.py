"""Storms in the engine: what is held, for how long, and who is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from autoheal.engine import guards
from autoheal.model import By, Kind
from autoheal.rules import Rule
from autoheal.rules.render import Firing
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys

STORM = with_keys("storm: 3/10m")


def story_of_storms(stage: Stage) -> list[str]:
    """What was told of storms, and to people."""
    kinds = (Kind.STORM_BEGAN, Kind.STORM_ENDED, Kind.ESCALATED)
    return stage.story(of=lambda record: record.kind in kinds)


async def test_a_storm_holds_all_of_a_body_from_the_first_alert_on(tmp_path: Path) -> None:
    """One target too many: not one of them is acted on, and people are told once."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    assert stage.decided() == {f"api-{n}": "storm" for n in range(4)}
    assert stage.action.done == []
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    began, escalated = (record for record in stage.journal.records if record.kind in (Kind.STORM_BEGAN, Kind.ESCALATED))
    assert began.detail == escalated.detail
    assert {"targets": 4, "of": 3, "window": 600.0}.items() <= began.detail.items()
    assert began.detail["some"] == [f"api-{n}" for n in range(4)]
    assert (escalated.rule, escalated.run) == ("restart", None)
    await stage.tell(stage.alert("api-9"))
    assert stage.decided()["api-9"] == "storm"
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
    assert stage.decided()["api-7"] == "act"
    await stage.clock.advance(3600)
    assert {do for _, _, do in stage.action.done} == {"restart api-7", "replace api-7"}
    assert stage.decided()["api-1"] == "storm"
    for n in range(3):
        await stage.tell(stage.alert(f"api-{n}", resolved=True))
    assert stage.engine.state.storms == {}
    await stage.tell(stage.alert("api-1", ago=-1.0))
    assert stage.decided()["api-1"] == "act"
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


@pytest.mark.parametrize("dry_run", [False, True])
async def test_people_are_told_of_a_storm_though_the_gateway_died_before_that(tmp_path: Path, dry_run: bool) -> None:
    """Its begin is on disk and what follows from it is not: the next life tells them, once, unless it is a dry run."""
    stage = Stage(tmp_path, STORM, AUTOHEAL_DRY_RUN=str(dry_run).lower())
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    await stage.crash()
    kinds = [record.kind for record in stage.journal.records]
    del stage.journal.records[kinds.index(Kind.STORM_BEGAN) + 1 :]
    await stage.start()
    told = ["storm_began"] if dry_run else ["storm_began", "escalated storm"]
    assert story_of_storms(stage) == told
    if not dry_run:
        began, escalated = (one for one in stage.journal.records if one.kind in (Kind.STORM_BEGAN, Kind.ESCALATED))
        assert escalated.detail["targets"] == began.detail["targets"]
        assert stage.engine.state.storms["restart"].escalated_at is not None
    await stage.engine.reload()
    await settle()
    assert story_of_storms(stage) == told
    await stage.engine.stop()


async def test_people_are_told_of_a_storm_that_a_dry_run_has_not_told_of(tmp_path: Path) -> None:
    """Once the rule would act, and for as long as the storm lasts: they have something to do from then on."""
    stage = Stage(tmp_path, STORM, AUTOHEAL_DRY_RUN="true")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    await stage.engine.stop()
    stage.environ["AUTOHEAL_DRY_RUN"] = "false"
    await stage.start()
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_storm_ends_after_a_restart_with_nothing_left_to_decide(tmp_path: Path) -> None:
    """Its alerts resolved, and the gateway died: time alone ends it, without another alert."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    await stage.tell(*(stage.alert(f"api-{n}", resolved=True) for n in range(4)))
    await stage.crash()
    await stage.start()
    await stage.clock.advance(601)
    assert story_of_storms(stage)[2:] == ["storm_ended"]
    await stage.engine.stop()


async def test_a_storm_under_a_pause_holds_what_it_hits(tmp_path: Path) -> None:
    """Who pauses everything in the middle of it, and resumes later, finds no crowd of actions let loose."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    await stage.engine.pause(None, "what happens here?", None, By("ann", "c7"))
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(4)))
    assert stage.decided() == {f"api-{n}": "paused" for n in range(4)}
    await stage.clock.advance(601)
    assert story_of_storms(stage) == ["storm_began", "escalated storm"]
    await stage.engine.resume(None, "", By("ann", "c8"))
    await settle()
    assert stage.decided() == {f"api-{n}": "storm" for n in range(4)}
    assert stage.action.done == []
    await stage.engine.stop()


async def test_targets_that_come_one_by_one_are_a_storm_too(tmp_path: Path) -> None:
    """Runs that had begun go on; all that follows is held, until the first has left the window."""
    stage = Stage(tmp_path, STORM)
    await stage.start()
    for n in range(6):
        await stage.tell(stage.alert(f"api-{n}"))
        await stage.clock.advance(60)
    assert {do for _, _, do in stage.action.done} >= {f"restart api-{n}" for n in range(3)}
    assert {target for target, reason in stage.decided().items() if reason == "storm"} == {"api-3", "api-4", "api-5"}
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
    assert stage.decided()["api-1"] == "act"
    assert stage.engine.ready
    await stage.engine.stop()


async def test_a_reload_that_tells_targets_apart_can_be_a_storm(tmp_path: Path) -> None:
    """Five alerts were about one target, and are about one each now."""
    stage = Stage(
        tmp_path,
        STORM.replace("{{ labels.instance }}", "{{ labels.rack }}").replace(
            "mode: live", "for: 1m\n        mode: live"
        ),
    )
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}", rack="r1") for n in range(5)))
    assert stage.decided() == {"r1": "not_yet"}
    stage.rules = STORM
    await stage.engine.reload()
    await settle()
    assert {f"api-{n}": "storm" for n in range(5)}.items() <= stage.decided().items()
    assert stage.action.done == []
    await stage.engine.stop()
