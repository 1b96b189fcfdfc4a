"""Decisions in the engine: timers, locks, budgets, dry runs, reloads."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from autoheal.engine.deciding import decision_draft
from autoheal.errors import ConfigError, Fault, JournalUnavailable
from autoheal.journal import seal
from autoheal.model import By, Draft, Head, Kind, Mode, Record, parse_rfc3339
from autoheal.rules import RuleSet
from autoheal.rules.decide import Switches, decide
from autoheal.rules.render import MAX_PLAN_BYTES
from autoheal.state import fold
from autoheal.wire import MAX_ALERTNAME_BYTES
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.faults import until
from tests.support.rules import ONE_RULE, rules_from


async def test_dry_run_renders_the_very_plan_of_live(tmp_path: Path) -> None:
    """AUTOHEAL_DRY_RUN: the plan and its digest are those that live decides on, and nothing is executed."""
    live, dry = Stage(tmp_path), Stage(tmp_path, AUTOHEAL_DRY_RUN="true")
    for stage in (live, dry):
        await stage.start()
        await stage.tell()
        await stage.clock.advance(60)
        await stage.engine.stop()
    acted = next(record for record in live.journal.records if record.kind is Kind.DECISION)
    shown = next(record for record in dry.journal.records if record.kind is Kind.ACTION_DRY_RUN)
    assert dry.story() == ["alert_firing", "decision dry_run", "action_dry_run dry_run"]
    assert dry.action.done == []
    assert shown.detail["plan"] == acted.detail["plan"]
    assert shown.detail["plan_digest"] == acted.detail["plan_digest"]
    assert shown.mode is Mode.DRY_RUN


async def test_a_repeat_is_not_decided_again(tmp_path: Path) -> None:
    """Decisions follow the open episodes and the time, not how often the sender repeats itself."""
    stage = Stage(tmp_path, AUTOHEAL_ENABLED="false")
    await stage.start()
    alert = stage.alert()
    for _ in range(5):
        await stage.tell(alert)
        await stage.clock.advance(30)
    assert stage.story() == ["alert_firing", "decision disabled"]
    await stage.engine.stop()


async def test_for_ends_by_the_engines_own_timer(tmp_path: Path) -> None:
    """A wait ends without a word from the sender."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", "mode: live\n        for: 30s"))
    await stage.start()
    await stage.tell(stage.alert(ago=10))
    assert stage.story() == ["alert_firing", "decision not_yet"]
    await stage.clock.advance(19.9)
    assert stage.action.done == []
    await stage.clock.advance(0.2)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_wait_that_the_alert_does_not_outlive_acts_never(tmp_path: Path) -> None:
    """An alert that resolves during `for` is left alone."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", "mode: live\n        for: 30s"))
    await stage.start()
    await stage.tell(stage.alert(ago=0))
    await stage.tell(stage.alert(resolved=True, ago=0))
    await stage.clock.advance(600)
    assert stage.action.done == []
    await stage.engine.stop()


async def test_one_target_has_one_run_at_a_time(tmp_path: Path) -> None:
    """Two alerts on one target: the second waits for the first run to end, then for the cooldown."""
    stage = Stage(tmp_path)
    await stage.start()
    second = dataclasses.replace(stage.alert("api-1", tier="x"), fingerprint="f" * 16)
    await stage.tell(stage.alert(), second)
    assert len(stage.action.done) == 1
    assert stage.story(of=lambda record: record.fingerprint == "f" * 16)[-1] == "decision in_progress"
    await stage.tell(stage.alert(resolved=True))
    assert stage.story(of=lambda record: record.fingerprint == "f" * 16)[-1] == "decision cooldown"
    await stage.clock.advance(600)
    assert len(stage.action.done) == 2
    await stage.engine.stop()


async def test_all_alerts_of_a_body_share_one_budget(tmp_path: Path) -> None:
    """A hundred alerts of one moment: three act, the rest wait until the window has room again."""
    rules = ONE_RULE.replace("version: 1", "version: 1\n    storm: off\n    budget: [3/1h]")
    stage = Stage(tmp_path, rules)
    await stage.start()
    alerts = [dataclasses.replace(stage.alert(f"api-{n}"), fingerprint=f"{n:016x}") for n in range(100)]
    await stage.tell(*alerts)
    assert len(stage.action.done) == 3
    story = stage.story()
    assert story[:100] == ["alert_firing"] * 100
    assert story.count("decision budget") == 97
    await stage.clock.advance(3599)
    assert len({run for run, _, _ in stage.action.done}) == 3
    await stage.clock.advance(2)
    assert len({run for run, _, _ in stage.action.done}) == 6
    await stage.engine.stop()


async def test_a_reload_decides_anew_or_changes_nothing(tmp_path: Path) -> None:
    """Good rules replace the old ones at once and open episodes are decided on; bad rules leave the old in force."""
    stage = Stage(tmp_path, ONE_RULE.replace('"Down"', '"Other"'))
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "decision no_rule"
    stage.rules = "version: 1\nrules: [{name: x}]"
    with pytest.raises(ConfigError):
        await stage.engine.reload()
    rejected = next(record for record in stage.journal.records if record.kind is Kind.CONFIG_REJECTED)
    assert any("match" in fault for fault in rejected.detail["faults"])
    assert stage.engine.rules.rules[0].name == "restart"
    stage.rules = ONE_RULE
    await stage.engine.reload()
    await stage.clock.advance(0)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_continue_lets_a_second_rule_decide(tmp_path: Path) -> None:
    """`continue: true` goes on to the next rule; on the same target it waits its turn."""
    rules = ONE_RULE.replace("mode: live", "mode: live\n        continue: true")
    rules += """
      - name: note
        match: alertname="Down"
        target: 'note-{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: note}}]
"""
    stage = Stage(tmp_path, rules)
    await stage.start()
    await stage.tell()
    assert sorted(do for _, _, do in stage.action.done) == ["note", "restart api-1"]
    await stage.engine.stop()


async def test_a_dry_run_does_not_use_up_the_episode(tmp_path: Path) -> None:
    """Dry runs charge nothing: switched to live, the same open episode is acted on."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", "mode: dry_run"))
    await stage.start()
    await stage.tell()
    assert stage.story()[-1] == "action_dry_run dry_run"
    stage.rules = ONE_RULE
    await stage.engine.reload()
    await stage.clock.advance(0)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_rules_texts_are_kept_by_digest(tmp_path: Path) -> None:
    """Each decision names a rules digest, under which the texts lie in the data directory."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.tell()
    decision = next(record for record in stage.journal.records if record.kind is Kind.DECISION)
    assert (tmp_path / "rules" / f"{decision.detail['rules_digest']}.json").is_file()
    await stage.engine.stop()


async def test_texts_are_kept_before_the_log_tells_of_them(tmp_path: Path) -> None:
    """Rules are in force from the reload on: when a disk takes records again, decisions may come first."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    stage.rules = ONE_RULE.replace("restart {{", "reboot {{")
    reloading = asyncio.create_task(stage.engine.reload())
    await until(lambda: stage.journal.pending() == [Kind.CONFIG_LOADED])
    assert (tmp_path / "rules" / f"{stage.engine.rules.digest}.json").is_file()
    stage.journal.held = False
    stage.journal.release()
    await reloading
    await stage.engine.stop()


async def test_what_the_log_gave_up_is_decided_again(tmp_path: Path) -> None:
    """The firing is durable and its decision is not: after the log has recovered it is decided without a repeat."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.journal.held = True
    telling = asyncio.ensure_future(stage.tell())
    await settle()
    stage.journal.release(Kind.ALERT_FIRING)
    stage.journal.fail()
    await settle()
    await asyncio.gather(telling, return_exceptions=True)
    assert stage.story() == ["alert_firing"]
    stage.journal.healthy, stage.journal.held = True, False
    await stage.clock.advance(2)
    assert stage.story() == ["alert_firing", "decision act", "action_started", "action_ok"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_what_came_in_before_the_log_refused_is_decided(tmp_path: Path) -> None:
    """The first half of a body is in when the log refuses the second: it is acted on, repeats or not."""
    stage = Stage(tmp_path)
    await stage.start()
    append, calls = stage.journal.append, []

    def once(drafts: Sequence[Draft], expected: Head) -> tuple[Record, ...]:
        calls.append(len(drafts))
        if len(calls) == 2:
            raise JournalUnavailable("the queue is full")
        return append(drafts, expected)

    stage.journal.append = once  # type: ignore[method-assign]
    with pytest.raises(JournalUnavailable):
        await stage.tell(stage.alert(), stage.alert(resolved=True))
    await settle()
    assert stage.story()[:2] == ["alert_firing", "decision act"]
    await stage.engine.stop()


async def test_an_engine_whose_vital_work_failed_is_not_ready(tmp_path: Path) -> None:
    """A fault of ours that ends the decisions must not leave a gateway that says 200 and does nothing."""
    stage = Stage(tmp_path)
    await stage.start()

    async def broken() -> None:
        raise RuntimeError("a fault of ours")

    stage.engine._decider._decide_all = broken  # type: ignore[method-assign]
    await stage.tell()
    assert not stage.engine.ready
    assert stage.engine.failed.is_set()
    with pytest.raises(JournalUnavailable):
        await stage.tell()
    await stage.engine.stop()


async def test_a_decision_can_be_computed_again(tmp_path: Path) -> None:
    """The records before it, the rules' texts and what it tells itself (`now`, `settings`) give the same decision."""
    stage = Stage(tmp_path, ONE_RULE.replace("mode: live", "mode: live\n        for: 30s"))
    await stage.start()
    await stage.tell()
    await stage.clock.advance(100.123456789)
    records = stage.journal.records
    decisions = [record for record in records if record.kind is Kind.DECISION]
    assert [record.reason for record in decisions] == ["not_yet", "act"]
    for record in decisions:
        state = fold(records[: record.seq - 1])
        episode = state.episodes[str(record.fingerprint)]
        rules = rules_from(stage.rules)
        switches = Switches(**record.detail["settings"])
        again = decide(
            state, episode, rules.match(episode.labels)[0], rules, switches, parse_rfc3339(record.detail["now"])
        )
        draft = decision_draft(episode, again, switches, record.detail["rules_digest"], record.run)
        assert seal(draft, records[record.seq - 2].head, record.ts).line == record.line
    await stage.engine.stop()


async def test_what_fits_no_record_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a plan too long for a record, the decision would be `bad_target` and say so; nothing is executed."""
    monkeypatch.setattr("autoheal.rules.render.MAX_PLAN_BYTES", 1_000_000)
    stage = Stage(tmp_path, ONE_RULE.replace("{{ target }}", "{{ labels.big }}"))
    await stage.start()
    await stage.tell(stage.alert(big="x" * 40_000))
    decision = stage.journal.records[-1]
    assert (decision.kind, decision.reason) == (Kind.DECISION, "bad_target")
    assert "would not fit" in decision.detail["guards"][-1]["error"]
    assert stage.action.done == []
    await stage.tell(stage.alert(big="x" * 40_000))
    assert stage.story() == ["alert_firing", "decision bad_target"]
    await stage.engine.stop()


@pytest.mark.parametrize("filler", ["x", "\x01", "é", '"'])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
async def test_every_alert_that_is_taken_gets_its_decision(tmp_path: Path, filler: str, share: float) -> None:
    """The longest alertname beside the longest plan, however its characters are escaped, fits a record."""
    rules = ONE_RULE.replace("restart {{ target }}", "{{ labels.big }}").replace('alertname="Down"', 'job="x"')
    stage = Stage(tmp_path, rules)
    await stage.start()
    width = len(orjson.dumps(filler)) - 2
    name = filler * ((MAX_ALERTNAME_BYTES - 2) // width)
    big = filler * int(share * MAX_PLAN_BYTES / width)
    await stage.tell(stage.alert(alertname=name, job="x", big=big))
    decided = [record for record in stage.journal.records if record.kind is Kind.DECISION]
    assert [record.reason for record in decided] == ["act" if share < 1 else "bad_target"]
    await stage.engine.stop()


async def test_a_refused_reload_is_recorded_however_much_is_wrong(tmp_path: Path) -> None:
    """Faults beyond what a record holds are counted; one is cut; none is lost silently."""
    stage = Stage(tmp_path)
    await stage.start()
    faults = [Fault("rules.yaml:1:1", "y" * 100_000), *(Fault(f"rules.yaml:{n}:1", "\ud800z" * 50) for n in range(500))]

    def load() -> RuleSet:
        raise ConfigError(faults)

    stage.engine._load_rules = load
    with pytest.raises(ConfigError):
        await stage.engine.reload(By("ann", "c7"))
    record = stage.journal.records[-1]
    assert (record.kind, record.actor) == (Kind.CONFIG_REJECTED, "ann")
    assert len(record.detail["faults"]) > 10
    assert len(record.detail["faults"]) + record.detail["more"] == 501
    assert len(record.line) < 20_000
    await stage.engine.stop()


async def test_what_a_cancelled_run_had_reserved_is_free_for_others(tmp_path: Path) -> None:
    """A run that is cancelled before it begins gives its share of the budget to an alert that waits for one."""
    stage = Stage(tmp_path, ONE_RULE.replace("version: 1", "version: 1\n    budget: [1/1h]"))
    await stage.start()
    stage.engine.wind_down()
    await stage.tell(stage.alert("api-1"))
    await stage.tell(stage.alert("api-2"))
    assert stage.story()[-2:] == ["alert_firing", "decision budget"]
    await stage.engine.stop()
    before = len(stage.journal.records)
    stage.journal.held = True
    starting = asyncio.ensure_future(stage.start())
    await settle()
    ending = asyncio.ensure_future(stage.tell(stage.alert("api-1", resolved=True)))
    await settle()
    stage.journal.held = False
    stage.journal.release()
    await asyncio.gather(starting, ending)
    await settle()
    story = [record.kind.value for record in stage.journal.records[before:]]
    assert "action_cancelled" in story
    assert [do for _, _, do in stage.action.done] == ["restart api-2"]
    await stage.engine.stop()


async def test_a_rule_that_comes_back_acts(tmp_path: Path) -> None:
    """Its run was cancelled because a reload removed it: when a reload brings it back the episode is acted on."""
    stage = Stage(tmp_path)
    await stage.start()
    stage.engine.wind_down()
    await stage.tell()
    await stage.engine.stop()
    stage.rules = ONE_RULE.replace('"Down"', '"Other"')
    await stage.start()
    assert sorted(stage.story()[-2:]) == ["action_cancelled rule_removed", "decision no_rule"]
    stage.rules = ONE_RULE
    await stage.engine.reload()
    await settle()
    assert [do for _, _, do in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_what_others_did_is_noted_durably(tmp_path: Path) -> None:
    """A login, say: in the log on return; refused while the log takes nothing, and after the stop."""
    stage = Stage(tmp_path)
    draft = Draft(kind=Kind.LOGIN, actor="olga")
    await stage.start()
    await stage.engine.note(draft)
    assert (stage.journal.records[-1].kind, stage.journal.records[-1].actor) == (Kind.LOGIN, "olga")
    stage.journal.fail()
    with pytest.raises(JournalUnavailable):
        await stage.engine.note(draft)
    stage.journal.healthy = True
    await stage.clock.advance(2)
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await stage.engine.note(draft)
    assert [record.kind for record in stage.journal.records].count(Kind.LOGIN) == 1
