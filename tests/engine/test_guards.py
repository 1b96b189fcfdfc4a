"""Freezes and concurrency in the engine: what ends a wait, and who is asked again then."""

from __future__ import annotations

from pathlib import Path

from autoheal.model import Kind
from autoheal.state import fold
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import with_keys


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


async def test_who_finds_no_room_waits_in_line(tmp_path: Path) -> None:
    """Over all rules: with each run that ends the one begins that has waited longest, and nobody else is asked."""
    stage = Stage(tmp_path, with_keys("storm: off"), AUTOHEAL_MAX_RUNNING="2")
    await stage.start()
    await stage.tell(*(stage.alert(f"api-{n}") for n in range(6)))
    assert [stage.decided()[f"api-{n}"] for n in range(6)] == ["act"] * 2 + ["concurrency"] * 4
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
    assert sorted(stage.decided().values()) == ["act", "concurrency"]
    await stage.tell(stage.alert("api-0", resolved=True), stage.alert("api-1", resolved=True))
    assert stage.engine.state.locks == {}
    await stage.engine.stop()
