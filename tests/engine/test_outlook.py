"""`unless` in the engine: Alertmanager is asked about other alerts, and not knowing is no permission."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoheal.model import Alert, Kind
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.facts import made_again
from tests.support.rules import rules_from, with_keys

CAREFUL = with_keys('unless: [{match: alertname="Upgrade", equal: [zone]}]')


def another(stage: Stage, zone: str = "a", fingerprint: str = "9" * 16) -> Alert:
    return dataclasses.replace(stage.alert("x", alertname="Upgrade", zone=zone), fingerprint=fingerprint)


def seen(alert: Alert, *, silenced: bool = False) -> SimpleNamespace:
    return SimpleNamespace(alert=alert, silenced=silenced, inhibited=False)


async def test_an_alert_beside_which_a_rule_does_not_act(tmp_path: Path) -> None:
    """Alertmanager is asked, at once and again every half minute: while it fires nothing begins, then it does."""
    stage = Stage(tmp_path, CAREFUL)
    stage.alertmanager = Api(another(stage))
    await stage.start()
    await stage.tell(stage.alert(zone="a"), stage.alert("api-2", zone="b"))
    assert stage.decided() == {"api-1": "unless", "api-2": "act"}
    decision = next(record for record in stage.journal.records if record.reason == "unless")
    (guard,) = [guard for guard in decision.detail["guards"] if guard["guard"] == "unless"]
    assert guard["firing"] == {
        "fingerprint": "9" * 16,
        "alertname": "Upgrade",
        "unless": 'alertname="Upgrade", equal: zone',
    }
    await stage.clock.advance(31)
    assert len(stage.action.done) == 1
    stage.alertmanager.listed.clear()
    stage.alertmanager.listed |= {alert.fingerprint: seen(alert) for alert in (stage.alert(zone="a"),)}
    await stage.clock.advance(31)
    assert stage.decided()["api-1"] == "act"
    await stage.engine.stop()


async def test_a_silenced_alert_and_ones_own_stand_in_nobodys_way(tmp_path: Path) -> None:
    """Somebody has said that it does not matter now; and an alert is no other one to itself."""
    stage = Stage(tmp_path, CAREFUL.replace('"Upgrade"', '"Upgrade|Down"').replace("alertname=", "alertname=~"))
    stage.alertmanager = Api(stage.alert(zone="a"))
    stage.alertmanager.listed["9" * 16] = seen(another(stage), silenced=True)
    await stage.start()
    await stage.tell(stage.alert(zone="a"))
    assert stage.decided() == {"api-1": "act"}
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("lack", "by", "why"),
    [
        ("answered", False, "down"),
        ("uptime", 10.0, "started less than 300 s ago"),
        ("url", None, "ALERTMANAGER_URL is not set"),
    ],
)
async def test_what_is_not_known_is_not_acted_on(tmp_path: Path, lack: str, by: float | None, why: str) -> None:
    """Alertmanager does not answer, has just started, or is not configured: `unless`, and the record says why."""
    stage = Stage(tmp_path, CAREFUL)
    if lack != "url":
        stage.alertmanager = Api()
        setattr(stage.alertmanager, lack, by)
    await stage.start()
    await stage.tell(stage.alert(zone="a"))
    assert stage.story() == ["alert_firing", "decision unless"]
    (guard,) = [guard for guard in stage.journal.records[-1].detail["guards"] if guard["guard"] == "unless"]
    assert guard["known"] is False
    assert [error for error in guard["errors"] if why in error] == guard["errors"] != []
    await stage.clock.advance(31)
    assert stage.action.done == []
    if lack != "url":
        stage.alertmanager.answered, stage.alertmanager.uptime = True, 3600.0
        stage.alertmanager.listed = Api(stage.alert(zone="a")).listed
        await stage.clock.advance(31)
        assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_others_do_not_wait_for_alertmanagers_answer(tmp_path: Path) -> None:
    """While it is being asked for one rule, another acts; and it is asked once for all who wait."""
    rules = (
        CAREFUL
        + """
      - name: note
        match: alertname="Note"
        target: 'note-{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: note}}]
"""
    )
    stage = Stage(tmp_path, rules)
    api = stage.alertmanager = Api()
    api.let.clear()
    await stage.start()
    await stage.tell(stage.alert("api-1"), stage.alert("api-2"), stage.alert("b", alertname="Note"))
    assert stage.decided() == {"note-b": "act"}
    api.let.set()
    await settle()
    assert stage.decided() == {"note-b": "act", "api-1": "act", "api-2": "act"}
    assert len(api.asked) == 1
    await stage.engine.stop()


async def test_the_next_step_asks_anew(tmp_path: Path) -> None:
    """Minutes after the first step the other alert fires: the ladder stops, and people are told."""
    stage = Stage(tmp_path, CAREFUL)
    stage.alertmanager = Api(stage.alert(zone="a"))
    await stage.start()
    await stage.tell(stage.alert(zone="a"))
    assert stage.story()[-1] == "action_ok"
    await stage.clock.advance(200)
    stage.alertmanager.listed["9" * 16] = seen(another(stage))
    await stage.clock.advance(101)
    assert stage.story()[-3:] == ["heal_failed not_resolved", "decision unless", "escalated unless"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_decision_by_facts_can_be_computed_again(tmp_path: Path) -> None:
    """What the guard saw is all that Alertmanager's answer had to do with it."""
    stage = Stage(tmp_path, CAREFUL)
    stage.alertmanager = Api(another(stage))
    await stage.start()
    await stage.tell(stage.alert(zone="a"), stage.alert("api-2", zone="b"))
    records = stage.journal.records
    decisions = [record for record in records if record.kind is Kind.DECISION]
    assert {record.reason for record in decisions} == {"act", "unless"}
    for record in decisions:
        assert made_again(record, records, rules_from(stage.rules)) == record.line
    await stage.engine.stop()


async def test_those_who_wait_for_alertmanagers_answer_are_a_storm_together(tmp_path: Path) -> None:
    """They came one by one while it was being asked: not one of them is acted on once it has answered."""
    stage = Stage(tmp_path, CAREFUL.replace("unless:", "storm: 3/10m\n        unless:"))
    api = stage.alertmanager = Api()
    api.let.clear()
    await stage.start()
    for n in range(5):
        await stage.tell(stage.alert(f"api-{n}"))
    api.let.set()
    await settle()
    assert set(stage.decided().values()) == {"storm"}
    assert stage.action.done == []
    await stage.engine.stop()
