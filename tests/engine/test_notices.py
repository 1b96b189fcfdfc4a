"""What people are told, on which channels, and what becomes of it: the engine on a clock that tests move."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from autoheal.actions import Outcome
from autoheal.engine import Ack
from autoheal.engine.addressing import QUEUE, Addressing
from autoheal.engine.control import Word
from autoheal.engine.notifier import LOG_DOWN_SECONDS, PAUSES
from autoheal.errors import ConfigError, Fault
from autoheal.model import By, Draft, Kind, Record
from autoheal.notify import Severity, Undelivered
from autoheal.rules import parse_matchers
from autoheal.state import State, fold
from tests.support.channels import FakeChannel
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE, with_keys

BY = By("ann", "c9")
BUSY = Undelivered("answered 500")
ASKS = ONE_RULE.replace("mode: live", "mode: approve")


async def begun(tmp_path: Path, *channels: FakeChannel, rules: str = ONE_RULE, **environ: str) -> Stage:
    stage = Stage(tmp_path, rules, **environ)
    stage.channels = channels
    await stage.start()
    return stage


async def failing(stage: Stage, *instances: str, **labels: str) -> None:
    """Alerts on which every step fails at once, until people are called."""
    stage.action.answers = [Outcome(ok=False)] * 2 * max(1, len(instances))
    await stage.tell(*(stage.alert(instance, **labels) for instance in instances or ("api-1",)))
    await settle()


def distinct(number: int) -> str:
    """The name of an instance whose alert has a fingerprint of its own (see Stage.alert)."""
    return "a" * (number + 1)


def words(stage: Stage) -> list[Record]:
    return [record for record in stage.journal.records if record.kind in (Kind.NOTIFIED, Kind.NOTIFY_FAILED)]


def last(stage: Stage, kind: Kind) -> Record:
    return [record for record in stage.journal.records if record.kind is kind][-1]


async def test_what_is_left_to_people_is_told_until_it_is_over(tmp_path: Path) -> None:
    """Once when the run is left to them, once when the alert has ended; the log tells both, and owes nothing."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, AUTOHEAL_PUBLIC_URL="https://heal.example.org")
    await failing(stage)
    (notice,) = channel.took
    escalated = last(stage, Kind.ESCALATED)
    log = stage.journal.log_id
    assert (notice.id, notice.key) == (f"autoheal-{log}-{escalated.seq}-0", f"autoheal-{log}-{escalated.seq}")
    assert notice.summary == "restart leaves Down on api-1 to people: steps_exhausted"
    assert notice.severity is Severity.CRITICAL
    assert notice.link == f"https://heal.example.org/console#/runs/{escalated.run}"
    assert dict(notice.context)["rule"] == "restart"
    word = words(stage)[-1]
    assert (word.kind, word.run, word.rule, word.target) == (Kind.NOTIFIED, escalated.run, "restart", "api-1")
    assert word.detail["channel"] == "webhook"
    assert word.detail["attempts"] == 1
    await stage.tell(stage.alert(resolved=True))
    assert channel.told() == ["trigger 0", "resolve 0"]
    assert stage.engine.state.owed == stage.engine.state.incidents == {}
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("label", "severity"),
    [("page", "critical"), ("Warning", "warning"), ("high", "error"), ("info", "info"), ("<script>", "critical")],
)
async def test_it_is_as_bad_as_its_alert_says(tmp_path: Path, label: str, severity: str) -> None:
    """In one of four words; what nobody knows is critical."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    await failing(stage, severity=label)
    assert channel.took[0].severity == severity
    await stage.engine.stop()


async def test_nothing_is_told_before_it_is_durable(tmp_path: Path) -> None:
    """A log that gives up its last batch decides anew: nobody may have heard of it."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    stage.action.answers = [Outcome(ok=False)] * 2
    await stage.tell()
    channel.took.clear()
    stage.journal.held = True
    stage.engine._ledger.commit([Draft(kind=Kind.WATCHDOG_MISSING, detail={"matchers": "x"})])
    await settle()
    assert channel.tried == channel.tried[:1]
    assert channel.took == []
    stage.journal.held = False
    stage.journal.release()
    await settle()
    assert len(channel.took) == 1
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("exhausted: {}", {"slack", "webhook"}),
        ("exhausted: {notify: [slack]}", {"slack"}),
        ("exhausted: {notify: [pagerduty, webhook]}", {"webhook"}),
        ("exhausted: {notify: []}", set()),
    ],
)
async def test_rules_say_who_is_told(tmp_path: Path, key: str, told: set[str]) -> None:
    """Those that `exhausted` names and that are there; all, where it names none."""
    channels = FakeChannel("slack"), FakeChannel()
    stage = await begun(tmp_path, *channels, rules=with_keys(key))
    await failing(stage)
    assert {channel.name for channel in channels if channel.took} == told
    await stage.engine.stop()


async def test_defaults_say_it_for_all_rules(tmp_path: Path) -> None:
    """And faults of autoheal's own reach everybody all the same."""
    channels = FakeChannel("slack"), FakeChannel()
    rules = ONE_RULE.replace("rules:", "defaults: {exhausted: {notify: [slack]}}\n    rules:", 1)
    stage = await begun(tmp_path, *channels, rules=rules)
    await failing(stage)
    assert [len(channel.took) for channel in channels] == [1, 0]
    await stage.engine.note(Draft(kind=Kind.KEYS_FAILED, reason="given_up", detail={"error": "gone"}))
    await settle()
    assert [len(channel.took) for channel in channels] == [2, 1]
    await stage.engine.stop()


async def test_an_acknowledgement_is_told_once(tmp_path: Path) -> None:
    """Of what it covers and people were told; to those who keep incidents and not to those who only talk."""
    pagerduty, slack = FakeChannel("pagerduty"), FakeChannel("slack", acks=False)
    stage = Stage(tmp_path)
    stage.channels = pagerduty, slack
    stage.alertmanager = Api(stage.alert(), stage.alert("api-2"))
    await stage.start()
    await failing(stage, "api-1", "api-2")
    one = stage.alert().fingerprint
    await stage.engine.acknowledge(Ack(one, (), 3600, "on it"), "ann", "c1")
    await settle()
    assert pagerduty.told() == ["trigger 0", "trigger 1", "acknowledge 0"]
    assert dict(pagerduty.took[-1].context)["by"] == "ann"
    await stage.engine.acknowledge(Ack(None, parse_matchers("alertname=Down"), 3600, "all"), "bob", "c2")
    await settle()
    assert pagerduty.told()[3:] == ["acknowledge 1"]
    assert slack.told() == ["trigger 0", "trigger 1"]
    await stage.engine.stop()


async def test_another_try_that_heals_ends_it(tmp_path: Path) -> None:
    """And one that fails belongs to the same incident."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    await failing(stage)
    for answers in ([Outcome(ok=False)] * 2, []):
        run = last(stage, Kind.ESCALATED).run
        assert run is not None
        await stage.clock.advance(601)
        stage.action.answers = list(answers)
        await stage.engine.control.rerun(run, Word(BY, "again"))
        await settle()
    assert channel.told() == ["trigger 0", "trigger 0"]
    await stage.tell(stage.alert(resolved=True))
    assert channel.told()[2:] == ["resolve 0"]
    await stage.engine.stop()


async def test_people_are_asked_and_told_what_came_of_it(tmp_path: Path) -> None:
    """A question ends with its answer; one that nobody answers is a failure that lasts as long as the alert."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, rules=ASKS)
    await stage.tell(stage.alert("api-1"), stage.alert("api-2"))
    assert channel.told() == ["trigger 0", "trigger 1"]
    assert {notice.severity for notice in channel.took} == {Severity.WARNING}
    run = last(stage, Kind.APPROVAL_REQUESTED).run
    assert run is not None
    await stage.engine.control.deny(run, Word(BY, "no"))
    await settle()
    assert channel.told()[2:] == ["resolve 1"]
    await stage.clock.advance(901)
    assert channel.told()[3:] == ["trigger 0"]
    assert channel.took[-1].severity is Severity.CRITICAL
    await stage.tell(stage.alert("api-1", resolved=True))
    assert channel.told()[4:] == ["resolve 0"]
    await stage.engine.stop()


async def test_a_storm_is_told_once(tmp_path: Path) -> None:
    """However many alerts it holds; and its end."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, rules=with_keys("storm: 2/10m"))
    alerts = [stage.alert(distinct(number)) for number in range(50)]
    await stage.tell(*alerts)
    assert [notice.summary for notice in channel.took] == [
        "restart leaves a storm to people: its alerts are about 50 targets at once"
    ]
    await stage.tell(*(stage.alert(distinct(number), resolved=True) for number in range(50)))
    await stage.clock.advance(601)
    assert channel.told() == ["trigger 0", "resolve 0"]
    await stage.engine.stop()


async def test_a_breaker_is_told(tmp_path: Path) -> None:
    """When it opens, and when somebody closes it."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, rules=with_keys("breaker: {failures: 1, reset: 1h}"))
    await failing(stage)
    assert [notice.summary for notice in channel.took][1:] == ["restart rests: it has failed 1 times in a row"]
    await stage.engine.reset("restart", BY)
    await settle()
    assert channel.told() == ["trigger 0", "trigger 1", "resolve 1"]
    await stage.engine.stop()


async def test_faults_of_its_own_are_told(tmp_path: Path) -> None:
    """The watchdog, the log's disk, rules that cannot be loaded: each from its beginning to its end."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, AUTOHEAL_WATCHDOG='alertname="Always"', AUTOHEAL_WATCHDOG_AFTER="10m")
    await stage.clock.advance(601)
    stage.journal.free_bytes = 0
    await stage.clock.advance(2)
    fine = stage.load_rules
    stage.engine._load_rules = _broken
    with pytest.raises(ConfigError):
        await stage.engine.reload(BY)
    await settle()
    assert channel.told() == ["trigger 0", "trigger 1", "trigger 2"]
    assert channel.took[2].summary.endswith("rules.yaml:1:1: broken")
    stage.engine._load_rules = fine
    await stage.engine.reload(BY)
    stage.journal.free_bytes = 2**40
    await stage.clock.advance(2)
    await stage.tell(stage.alert(alertname="Always"))
    assert channel.told()[3:] == ["resolve 2", "resolve 1", "resolve 0"]
    await stage.engine.stop()


def _broken() -> Any:
    raise ConfigError([Fault("rules.yaml:1:1", "broken")])


async def test_a_reminder_has_no_end(tmp_path: Path) -> None:
    """Where incidents stand until they are resolved nobody hears of an old acknowledgement: it would stand for ever."""
    pagerduty, slack = FakeChannel("pagerduty"), FakeChannel("slack")
    stage = await begun(tmp_path, pagerduty, slack)
    detail = {"silence_id": "s1", "matchers": 'a="b"', "by": "ann", "since": "x", "ends_at": "y"}
    await stage.engine.note(Draft(kind=Kind.ACK_OLD, detail=detail))
    await settle()
    assert [notice.summary for notice in slack.took] == [
        'ann has acknowledged a="b" since x, and nobody is called for it'
    ]
    assert pagerduty.took == []
    assert stage.engine.state.incidents == {}
    await stage.engine.stop()


async def test_a_message_is_tried_five_times_in_ten_minutes(tmp_path: Path) -> None:
    """Then it is given up, in the log; the next one is tried all the same."""
    channel = FakeChannel()
    channel.answers = [BUSY] * 5
    stage = await begun(tmp_path, channel)
    await failing(stage)
    for attempts, pause in enumerate(PAUSES, 1):
        assert len(channel.tried) == attempts
        await stage.clock.advance(pause - 1)
        assert len(channel.tried) == attempts
        await stage.clock.advance(1)
    (word,) = words(stage)
    assert (word.kind, word.detail["attempts"], word.detail["error"]) == (Kind.NOTIFY_FAILED, 5, "answered 500")
    assert len({notice.id for notice in channel.tried}) == 1
    await stage.tell(stage.alert(resolved=True))
    assert channel.told() == ["resolve 0"]
    await stage.engine.stop()


async def test_a_channel_that_asks_for_rest_gets_it(tmp_path: Path) -> None:
    """As long as Retry-After says, where that is longer; an hour at most."""
    channel = FakeChannel()
    channel.answers = [Undelivered("answered 429", retry_after=200), Undelivered("answered 429", retry_after=1e9)]
    stage = await begun(tmp_path, channel)
    await failing(stage)
    await stage.clock.advance(199)
    assert len(channel.tried) == 1
    await stage.clock.advance(1)
    assert len(channel.tried) == 2
    await stage.clock.advance(3599)
    assert channel.took == []
    await stage.clock.advance(1)
    assert len(channel.took) == 1
    await stage.engine.stop()


async def test_what_was_refused_is_not_sent_again(tmp_path: Path) -> None:
    """And what a channel raises that it must not is told by its type alone: it may quote a secret."""
    channel = FakeChannel()
    channel.answers = [Undelivered("answered 400", permanent=True), ValueError("planted")]
    stage = await begun(tmp_path, channel)
    await failing(stage, "api-1", "api-2")
    assert [word.detail["error"] for word in words(stage)] == ["answered 400", "a fault of autoheal's own: ValueError"]
    assert len(channel.tried) == 2
    await stage.engine.stop()


async def test_a_dead_channel_delays_no_other_and_no_run(tmp_path: Path) -> None:
    """One that never answers is waited for by itself."""
    dead, alive = FakeChannel("pagerduty"), FakeChannel()
    dead.answers = [asyncio.Event()]
    stage = await begun(tmp_path, dead, alive)
    await failing(stage, "api-1", "api-2")
    assert alive.told() == ["trigger 0", "trigger 1"]
    assert len(dead.tried) == 1
    await stage.tell(stage.alert("api-3"))
    assert stage.action.done[-1][2] == "restart api-3"
    assert stage.engine.notices_waiting == {"pagerduty": 2, "webhook": 0}
    await stage.engine.stop()


async def test_others_hear_of_a_channel_that_takes_nothing(tmp_path: Path) -> None:
    """Once, until it takes something again; and nobody hears for ever that nobody can be told."""
    bad, good = FakeChannel("pagerduty"), FakeChannel()
    bad.dead = Undelivered("answered 403", permanent=True)
    stage = await begun(tmp_path, bad, good)
    await failing(stage, "api-1", "api-2")
    assert [notice.summary for notice in good.took][2:] == ["Notices do not reach pagerduty: answered 403"]
    bad.dead = None
    await stage.tell(stage.alert("api-1", resolved=True))
    assert good.told() == ["trigger 0", "trigger 1", "trigger 2", "resolve 0", "resolve 2"]
    good.dead = bad.dead = Undelivered("answered 403", permanent=True)
    await stage.tell(stage.alert("api-2", resolved=True))
    before = len(stage.journal.records)
    await stage.clock.advance(60)
    assert len(words(stage)) < 20
    assert len(stage.journal.records) == before
    await stage.engine.stop()


@pytest.mark.parametrize("wanted", [True, False])
async def test_retries_are_told_to_those_who_want_it(tmp_path: Path, *, wanted: bool) -> None:
    """NOTIFY_RETRIES: the first attempt that fails is recorded, settles nothing, and others hear of it."""
    slow, other = FakeChannel("pagerduty"), FakeChannel()
    slow.answers = [BUSY]
    stage = await begun(tmp_path, slow, other, NOTIFY_RETRIES=str(wanted).lower())
    await failing(stage)
    assert [word.detail.get("again") for word in words(stage) if word.detail["channel"] == "pagerduty"] == (
        [True] if wanted else []
    )
    assert other.told() == (["trigger 0", "trigger 1"] if wanted else ["trigger 0"])
    if wanted:
        assert other.took[1].severity is Severity.WARNING
    await stage.clock.advance(20)
    assert slow.told() == ["trigger 0"]
    assert other.told()[2:] == (["resolve 1"] if wanted else [])
    await stage.engine.stop()


@pytest.mark.parametrize("wanted", [True, False])
async def test_key_errors_are_told_to_those_who_want_it(tmp_path: Path, *, wanted: bool) -> None:
    """NOTIFY_KEY_ERRORS; a first attempt, which NOTIFY_RETRIES has told, is only a warning."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel, NOTIFY_KEY_ERRORS=str(wanted).lower())
    for reason in ("retry", "given_up"):
        await stage.engine.note(Draft(kind=Kind.KEYS_FAILED, reason=reason, detail={"error": "answered 500"}))
    await stage.engine.note(Draft(kind=Kind.KEYS_BACK))
    await settle()
    assert channel.told() == (["trigger 0", "trigger 0", "resolve 0"] if wanted else [])
    assert [notice.severity for notice in channel.took] == (["warning", "error", "error"] if wanted else [])
    await stage.engine.stop()


async def test_forty_failures_in_a_minute_are_ten_messages_and_a_digest(tmp_path: Path) -> None:
    """As SLACK_MAX_ALERTS_PER_HOUR has it: the digest comes when the hour allows it, also after a restart."""
    channel = FakeChannel("slack", limit=10)
    stage = await begun(
        tmp_path, channel, rules=with_keys("storm: off"), AUTOHEAL_PUBLIC_URL="https://heal.example.org"
    )
    for number in range(40):
        await failing(stage, distinct(number))
        await stage.clock.advance(1.5)
    assert [bool(notice.lines) for notice in channel.took] == [False] * 10
    await stage.crash()
    await stage.start()
    await stage.clock.advance(3500)
    assert len(channel.took) == 10
    await stage.clock.advance(100)
    assert len(channel.took) == 11
    digest = channel.took[-1]
    assert digest.summary == "30 notices at once"
    assert len(digest.lines) == 30
    assert digest.lines[0] == "[critical] restart leaves Down on aaaaaaaaaaa to people: steps_exhausted"
    assert words(stage)[-1].detail["what"] == "digest"
    assert stage.engine.state.owed == {}
    await stage.clock.advance(7200)
    assert len(channel.took) == 11
    await stage.engine.stop()


async def test_a_crowd_leaves_the_last_message_to_a_digest(tmp_path: Path) -> None:
    """What comes at once need not wait an hour: nine by themselves, and the tenth message has the others."""
    channel = FakeChannel("slack", limit=10)
    stage = await begun(tmp_path, channel, rules=with_keys("storm: off"))
    held = asyncio.Event()
    channel.answers = [held]
    await failing(stage, *(distinct(number) for number in range(40)))
    held.set()
    await stage.clock.advance(1)
    assert [len(notice.lines) for notice in channel.took] == [0] * 9 + [31]
    await stage.engine.stop()


async def test_the_queue_of_a_channel_is_bounded(tmp_path: Path) -> None:
    """What is more than it holds is counted, and people are told the number; no end of an incident is left out."""
    channel = FakeChannel()
    held = asyncio.Event()
    channel.answers = [held]
    stage = await begun(tmp_path, channel)
    for number in range(QUEUE + 40):
        detail = {"failures": 3, "rule_digest": "d"}
        await stage.engine.note(Draft(kind=Kind.BREAKER_OPENED, rule=f"r{number}", detail=detail))
    await settle()
    assert stage.engine.state.unsaid == {"webhook": 40}
    assert stage.engine.notices_waiting == {"webhook": QUEUE}
    await stage.engine.reset("r0", BY)
    assert stage.engine.notices_waiting == {"webhook": QUEUE + 1}
    held.set()
    await stage.clock.advance(1)
    for _ in range(60):
        await settle()
    assert len(channel.took) == QUEUE + 2
    assert channel.took[-1].summary == "40 notices of which only the audit log tells"
    assert stage.engine.state.unsaid == {}
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_what_was_owed_when_the_gateway_died_is_told_by_the_next(tmp_path: Path) -> None:
    """Kill -9 between the cause and its delivery, and between the delivery and its record: the same id both times."""
    channel = FakeChannel()
    channel.answers = [asyncio.Event()]
    stage = await begun(tmp_path, channel)
    await failing(stage)
    assert channel.took == []
    await stage.crash()
    stage.journal.held = False
    await stage.start()
    (notice,) = channel.took
    assert notice.id == channel.tried[0].id
    await stage.engine.stop()

    channel = FakeChannel()
    stage = await begun(tmp_path / "two", channel)
    stage.action.answers = [Outcome(ok=False)] * 2
    channel.answers = [release := asyncio.Event()]
    await stage.tell()
    stage.journal.held = True
    release.set()
    await settle()
    assert len(channel.took) == 1
    await stage.crash()
    await stage.start()
    assert [one.id for one in channel.took] == [channel.took[0].id] * 2
    await stage.engine.stop()


async def test_what_is_owed_to_a_channel_that_is_gone_is_ended(tmp_path: Path) -> None:
    """Whoever takes a channel out of the settings is not to find its messages waiting for ever."""
    slack, other = FakeChannel("slack"), FakeChannel()
    slack.answers = [asyncio.Event()]
    stage = await begun(tmp_path, slack, other)
    await failing(stage)
    await stage.crash()
    stage.channels = (other,)
    await stage.start()
    assert [word.detail["error"] for word in words(stage) if word.detail["channel"] == "slack"] == [
        "this channel is not configured any more"
    ]
    assert stage.engine.state.owed == {}
    await stage.tell(stage.alert(resolved=True))
    assert other.told() == ["trigger 0", "resolve 0"]
    assert stage.engine.state.incidents == {}
    await stage.engine.stop()


async def test_a_log_that_cannot_be_written_is_told_all_the_same(tmp_path: Path) -> None:
    """No record can say so, so nothing is owed; what was told is recorded once there is a log again."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    stage.journal.healthy = False
    await stage.clock.advance(LOG_DOWN_SECONDS - 1)
    assert channel.took == []
    await stage.clock.advance(10)
    assert [notice.summary for notice in channel.took] == [
        "The audit log cannot be written: no alert is taken in, and nothing is acted on"
    ]
    stage.journal.healthy = True
    await stage.clock.advance(2)
    assert channel.told() == ["trigger 0", "resolve 0"]
    assert [(word.kind, word.detail["what"]) for word in words(stage)] == [
        (Kind.NOTIFIED, "trigger"),
        (Kind.NOTIFIED, "resolve"),
    ]
    assert stage.engine.state == fold(stage.journal.replay())
    await stage.engine.stop()


async def test_a_short_trouble_of_the_log_calls_nobody(tmp_path: Path) -> None:
    """Less than half a minute; and one that comes and goes calls once an hour at most."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    for _ in range(20):
        stage.journal.healthy = False
        await stage.clock.advance(20)
        stage.journal.healthy = True
        await stage.clock.advance(40)
    assert channel.took == []
    for _ in range(20):
        stage.journal.healthy = False
        await stage.clock.advance(60)
        stage.journal.healthy = True
        await stage.clock.advance(60)
    assert len(channel.took) == 2
    await stage.engine.stop()


async def test_a_gateway_without_channels_owes_nothing(tmp_path: Path) -> None:
    """Its log is as it was before there were channels."""
    stage = await begun(tmp_path)
    await failing(stage)
    assert "tell" not in last(stage, Kind.ESCALATED).detail
    assert words(stage) == []
    assert stage.engine.state.owed == {}
    await stage.engine.stop()


def test_what_an_action_answers_is_owed_to_nobody() -> None:
    """A plugin may put anything into its outcome, `tell` as well."""
    from autoheal.journal.record import seal

    record = seal(Draft(kind=Kind.ACTION_OK, run="r1", detail={"tell": "x"}), State().head, 1.0)
    state = State(founded=True)
    with pytest.raises(KeyError, match="r1"):
        state.apply(record)
    assert state.owed == {}


async def test_a_fault_in_saying_whom_to_tell_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records are written, and told to nobody: without them nothing would be done at all."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    monkeypatch.setattr(Addressing, "_entries", lambda *_: 1 / 0)
    await failing(stage)
    assert "tell" not in last(stage, Kind.ESCALATED).detail
    assert channel.tried == []
    await stage.engine.stop()


async def test_what_fails_after_its_alert_has_ended_is_told_without_an_end(tmp_path: Path) -> None:
    """The alert will not end again: nothing may stand for ever in the state for it."""
    channel = FakeChannel("pagerduty")
    stage = await begun(tmp_path, channel)
    draft = Draft(kind=Kind.BREAKER_OPENED, rule="gone", detail={"failures": 1, "rule_digest": "d"})
    escalated = Draft(kind=Kind.ESCALATED, run="r1", rule="gone", fingerprint="0" * 16, target="t", reason="x")
    (addressed, other) = stage.engine._ledger._address(stage.engine.state, [escalated, draft])
    assert [entry["incident"] for entry in addressed.detail["tell"]] == [None]
    assert addressed.detail["tell"][0]["to"] == ["pagerduty"]
    assert [entry["incident"] for entry in other.detail["tell"]] == ["breaker gone"]
    await stage.engine.stop()


async def test_what_the_log_gave_up_is_not_told(tmp_path: Path) -> None:
    """It has not happened, as far as anybody can know."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    stage.journal.held = True
    stage.engine._ledger.commit([Draft(kind=Kind.WATCHDOG_MISSING, detail={"matchers": "x"})])
    await settle()
    stage.journal.fail()
    await settle()
    stage.journal.held, stage.journal.healthy = False, True
    await stage.clock.advance(5)
    assert channel.tried == []
    await failing(stage)
    assert channel.told() == ["trigger 0"]
    await stage.engine.stop()


async def test_an_unexpected_fault_ends_no_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told by its type, in the service's own log, and the next look goes on."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr("autoheal.engine.telling.turn", lambda *_: 1 / 0)
        await failing(stage)
    (fault,) = [entry for entry in logs if entry["event"] == "notifier_raised"]
    assert (fault["channel"], fault["error"]) == ("webhook", "ZeroDivisionError")
    await stage.clock.advance(60)
    assert channel.told() == ["trigger 0"]
    await stage.engine.stop()


async def test_a_self_test_that_fails_is_told_once(tmp_path: Path) -> None:
    """It is made again and again: people hear of the first that fails, with what failed, and of its end."""
    channel = FakeChannel()
    stage = await begun(tmp_path, channel)
    fine, bad, unknown = ({"ok": ok, "text": text} for ok, text in ((True, "fine"), (False, "full"), (None, "-")))
    for kind in (Kind.SELFTEST_FAIL, Kind.SELFTEST_FAIL, Kind.SELFTEST_OK, Kind.SELFTEST_OK):
        await stage.engine.note(Draft(kind=kind, detail={"checks": {"clock": fine, "disk": bad, "oidc": unknown}}))
        await settle()
    assert channel.told() == ["trigger 0", "resolve 0"]
    assert channel.took[0].summary == "autoheal finds fault with itself: disk: full"
    await stage.engine.stop()
