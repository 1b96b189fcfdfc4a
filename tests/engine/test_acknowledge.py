"""An operator's acknowledgement: a silence, what the log tells of it, and no new run while it lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoheal.actions import Outcome
from autoheal.engine import Ack, Acknowledged
from autoheal.errors import CannotSilence, JournalUnavailable, NoEpisode, NotRecordedYet, UpstreamError
from autoheal.model import Kind, rfc3339
from autoheal.rules import parse_matchers
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE

SLOW = ONE_RULE.replace("mode: live", "mode: live\n        for: 5m")
"""Nothing is done before five minutes have passed: time for an operator to be faster."""


async def stage_with(tmp_path: Path, *, rules: str = SLOW) -> tuple[Stage, Api]:
    """A running engine with an Alertmanager at which everything it was told of fires."""
    stage = Stage(tmp_path, rules)
    stage.alertmanager = api = Api(*(stage.alert(f"api-{number}") for number in range(4)))
    await stage.start()
    return stage, api


async def ack(stage: Stage, matchers: str = "", *, seconds: float = 900.0, actor: str = "ann") -> Acknowledged:
    """As `POST /ack`: of the alert of api-1, or by `matchers`."""
    fingerprint = None if matchers else stage.alert().fingerprint
    asked = Ack(fingerprint, parse_matchers(matchers) if matchers else (), seconds, "on it")
    return await stage.engine.acknowledge(asked, actor, "c7")


def silences(stage: Stage) -> list[str]:
    return stage.story(of=lambda record: record.kind.value.startswith("silence_"))


async def test_the_alert_of_a_fingerprint_is_silenced_by_all_its_labels(tmp_path: Path) -> None:
    """From now on, in the operator's name; the log tells request and outcome, whose, of what, and under which id."""
    stage, api = await stage_with(tmp_path)
    await stage.tell(stage.alert(severity="critical"))
    made = await ack(stage)
    now = stage.clock.now()
    (wanted,) = api.silenced
    assert made == Acknowledged("s1", now + 900)
    assert (wanted.starts_at, wanted.ends_at, wanted.created_by, wanted.comment) == (now, now + 300, "ann", "on it")
    matchers = 'alertname="Down", instance="api-1", severity="critical"'
    assert wanted.matchers == parse_matchers(matchers)
    requested, created = (record for record in stage.journal.records if record.kind.value.startswith("silence_"))
    asked = {"matchers": matchers, "ends_at": rfc3339(now + 900), "comment": "on it"}
    assert requested.detail == asked
    assert created.detail == {
        "request": requested.seq,
        **asked,
        "silence_id": "s1",
        "silenced_until": rfc3339(now + 300),
        "alertmanager": "http://am",
        "covers": 1,
    }
    for record in (requested, created):
        assert (record.actor, record.correlation_id) == ("ann", "c7")
        assert (record.alertname, record.fingerprint) == ("Down", stage.alert().fingerprint)
        assert record.episode == stage.engine.state.episodes[stage.alert().fingerprint].id
    await stage.engine.stop()


async def test_no_run_begins_while_it_lasts_and_then_one_does(tmp_path: Path) -> None:
    """Not on what fires already and not on what comes later; the engine's own timer asks again at the end."""
    stage, _ = await stage_with(tmp_path, rules=ONE_RULE)
    await ack(stage, 'instance=~"api-[12]"')
    await stage.tell(stage.alert("api-1"), stage.alert("api-2"), stage.alert("api-3"))
    assert [done for *_, done in stage.action.done] == ["restart api-3"]
    assert stage.story().count("decision acked") == 2
    await stage.clock.advance(899)
    assert all(done.endswith("api-3") for *_, done in stage.action.done)
    await stage.clock.advance(2)
    assert {done for *_, done in stage.action.done[-2:]} == {"restart api-1", "restart api-2"}
    await stage.engine.stop()


async def test_a_wait_that_ends_meanwhile_begins_nothing(tmp_path: Path) -> None:
    """An alert whose `for` is over during the acknowledgement stays with the operator."""
    stage, _ = await stage_with(tmp_path)
    await stage.tell()
    await ack(stage)
    assert stage.story()[-1] == "silence_created"
    await stage.clock.advance(890)
    assert stage.story(of=lambda record: record.kind is Kind.DECISION) == ["decision not_yet", "decision acked"]
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_run_under_way_takes_no_further_step(tmp_path: Path) -> None:
    """Its action ends and is judged; what would follow is left to the people who mind the alert now."""
    stage, _ = await stage_with(tmp_path, rules=ONE_RULE)
    executing = asyncio.Event()

    async def fails() -> Outcome:
        await executing.wait()
        return Outcome(ok=False)

    stage.action.answers = [fails]
    await stage.tell()
    await ack(stage)
    assert stage.story()[-1] == "silence_created"
    executing.set()
    await settle()
    assert stage.story()[-4:] == [
        "action_fail",
        "heal_failed action_failed",
        "decision acked",
        "escalated acked",
    ]
    await stage.clock.advance(2000)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_request_is_durable_before_alertmanager_is_asked(tmp_path: Path) -> None:
    """No record, no silence: neither while the disk is slow nor when it refuses."""
    stage, api = await stage_with(tmp_path)
    await stage.tell()
    stage.journal.held = True
    asking = asyncio.create_task(ack(stage))
    await settle()
    assert stage.journal.pending() == [Kind.SILENCE_REQUESTED]
    assert api.silenced == []
    stage.journal.fail()
    with pytest.raises(JournalUnavailable):
        await asking
    assert api.silenced == []
    stage.journal.held, stage.journal.healthy = False, True
    await ack(stage)
    assert silences(stage) == ["silence_requested", "silence_created"]
    await stage.engine.stop()


async def test_a_silence_whose_record_is_refused_is_told_of_and_recorded_later(tmp_path: Path) -> None:
    """Whoever asked hears that it stands and is not recorded; so does the service's log, and then the log itself."""
    stage, api = await stage_with(tmp_path, rules=ONE_RULE)

    async def disk_full() -> None:
        stage.journal.fail()

    api.answer = disk_full
    with capture_logs() as logs, pytest.raises(NotRecordedYet, match="has made the silence s1"):
        await ack(stage, "alertname=Down")
    (told,) = [log for log in logs if log["event"] == "outcome_of_a_silence_not_recorded_yet"]
    assert (told["silence_id"], told["kind"]) == ("s1", Kind.SILENCE_CREATED)
    assert silences(stage) == ["silence_requested"]
    stage.journal.healthy = True
    await stage.clock.advance(5)
    assert silences(stage) == ["silence_requested", "silence_created"]
    await stage.tell()
    assert stage.story()[-1] == "decision acked"
    await stage.engine.stop()


async def test_a_batch_that_is_given_up_behind_the_silence_is_written_again(tmp_path: Path) -> None:
    """The record was handed over and never became durable: it is offered again, once, and nothing is asked anew."""
    stage, api = await stage_with(tmp_path)

    async def slow_disk() -> None:
        stage.journal.held = True

    api.answer = slow_disk
    asking = asyncio.create_task(ack(stage, "alertname=Down"))
    await settle()
    assert stage.journal.pending() == [Kind.SILENCE_CREATED]
    stage.journal.fail()
    with pytest.raises(NotRecordedYet):
        await asking
    stage.journal.held, stage.journal.healthy = False, True
    await stage.clock.advance(5)
    assert silences(stage) == ["silence_requested", "silence_created"]
    assert len(api.silenced) == 1
    await stage.engine.stop()


async def test_asked_again_it_is_one_silence_until_the_later_word_s_end(tmp_path: Path) -> None:
    """The last word of an operator counts, a shorter one too: that is how an acknowledgement is taken back."""
    stage, _ = await stage_with(tmp_path, rules=ONE_RULE)
    await ack(stage, "alertname=Down", seconds=7200)
    await stage.tell()
    await stage.clock.advance(60)
    assert (await ack(stage, "alertname=Down", seconds=3600)).silence_id == "s2"
    assert stage.journal.records[-1].detail["replaces"] == "s1"
    assert list(stage.engine.state.silences) == ["s2"]
    await ack(stage, "alertname=Down", seconds=1)
    await stage.clock.advance(2)
    assert [done for *_, done in stage.action.done] == ["restart api-1"]
    await stage.engine.stop()


async def test_operators_do_not_end_each_other_s(tmp_path: Path) -> None:
    """As long as one of them minds the alert it is acked."""
    stage, _ = await stage_with(tmp_path, rules=ONE_RULE)
    await ack(stage, "alertname=Down", seconds=7200, actor="ann")
    await ack(stage, "alertname=Down", seconds=1, actor="bob")
    await stage.tell()
    await stage.clock.advance(7190)
    assert stage.action.done == []
    await stage.engine.stop()


async def test_two_at_once_are_made_one_after_the_other(tmp_path: Path) -> None:
    """The second sees the first and takes its place, however often a button is pressed."""
    stage, api = await stage_with(tmp_path)
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    api.answer = wait
    both = asyncio.gather(ack(stage, "a=b"), ack(stage, "a=b"))
    await settle()
    assert len(api.silenced) == 1
    release.set()
    assert [made.silence_id for made in await both] == ["s1", "s2"]
    assert list(stage.engine.state.silences) == ["s2"]
    await stage.engine.stop()


async def test_a_dead_alertmanager_leaves_a_record_and_no_acknowledgement(tmp_path: Path) -> None:
    """What it said is in the log; the alert is not acked, for nobody was silenced."""
    stage, api = await stage_with(tmp_path, rules=ONE_RULE)
    api.refusal = UpstreamError("no Alertmanager made the silence: it is down")
    with pytest.raises(UpstreamError):
        await ack(stage, "alertname=Down")
    requested, failed = stage.journal.records[-2:]
    assert (failed.kind, failed.actor, failed.detail["request"]) == (Kind.SILENCE_FAILED, "ann", requested.seq)
    assert failed.detail["error"] == "no Alertmanager made the silence: it is down"
    await stage.tell()
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_fault_of_ours_is_recorded_without_its_text(tmp_path: Path) -> None:
    """The text of an unexpected exception may quote a secret."""
    stage, api = await stage_with(tmp_path)
    api.refusal = RuntimeError("hunter2")
    with pytest.raises(RuntimeError):
        await ack(stage, "a=b")
    assert stage.journal.records[-1].detail["error"] == "fault here: RuntimeError"
    await stage.engine.stop()


async def test_without_an_alertmanager_nothing_is_asked_for(tmp_path: Path) -> None:
    """There is nobody to make a silence, and the log tells of no request."""
    stage = Stage(tmp_path, SLOW)
    await stage.start()
    await stage.tell()
    with pytest.raises(UpstreamError, match="ALERTMANAGER_URL is not set"):
        await ack(stage)
    assert silences(stage) == []
    await stage.engine.stop()


async def test_an_unknown_fingerprint_is_none(tmp_path: Path) -> None:
    """Also that of an alert that has ended."""
    stage, api = await stage_with(tmp_path)
    await stage.tell()
    await stage.tell(stage.alert(resolved=True))
    with pytest.raises(NoEpisode, match=stage.alert().fingerprint):
        await ack(stage)
    assert api.silenced == []
    assert silences(stage) == []
    await stage.engine.stop()


async def test_hidden_labels_are_left_out(tmp_path: Path) -> None:
    """What the log holds of them is not what Alertmanager has: the others make the silence, which covers the alert."""
    stage, api = await stage_with(tmp_path)
    await stage.tell(stage.alert(db_secret="hunter2", url="http://ann:hunter2@db/", job="db"))
    await ack(stage)
    assert api.silenced[0].matchers == parse_matchers('alertname="Down", instance="api-1", job="db"')
    await stage.clock.advance(301)
    assert stage.story()[-1] == "decision acked"
    await stage.engine.stop()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"instance": "http://ann:hunter2@db/"}, "say what to silence by matchers"),
        ({"alertname": "", "instance": ""}, "say what to silence by matchers"),
        ({"big": '"' * 12_000}, "too long for a silence"),
    ],
)
async def test_what_would_be_too_wide_or_too_long_is_refused(tmp_path: Path, labels: dict[str, str], says: str) -> None:
    """A silence of one alert must not silence all of that name because the rest of its labels is hidden."""
    stage, api = await stage_with(tmp_path)
    alert = stage.alert()
    object.__setattr__(alert, "labels", {**alert.labels, **labels})
    await stage.tell(alert)
    with pytest.raises(CannotSilence, match=says):
        await ack(stage)
    assert api.silenced == []
    assert silences(stage) == []
    await stage.engine.stop()


async def test_it_outlives_a_restart(tmp_path: Path) -> None:
    """The log is all that stays, and it is enough."""
    stage, _ = await stage_with(tmp_path)
    await stage.tell()
    await ack(stage)
    await stage.engine.stop()
    await stage.start()
    await stage.clock.advance(890)
    assert stage.action.done == []
    await stage.clock.advance(20)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_request_that_died_with_the_gateway_is_closed_at_the_next_start(tmp_path: Path) -> None:
    """Nobody knows what came of it, and the record says so; the operator heard nothing and asks again."""
    stage, api = await stage_with(tmp_path)

    async def never() -> None:
        await asyncio.Event().wait()

    api.answer = never
    asking = asyncio.create_task(ack(stage, "a=b"))
    await settle()
    assert len(api.silenced) == 1
    await stage.crash()
    assert asking.cancelled()
    api.answer = None
    await stage.start()
    assert silences(stage) == ["silence_requested", "silence_failed"]
    assert stage.engine.state.silence_requests == []
    await ack(stage, "a=b")
    assert stage.journal.records[-1].detail["replaces"] == "s1"
    await stage.engine.stop()


async def test_a_silence_that_is_ended_in_alertmanager_covers_nothing_any_more(tmp_path: Path) -> None:
    """It is looked at once a minute, while there is one; the log tells of it once."""
    stage, api = await stage_with(tmp_path, rules=ONE_RULE)
    await ack(stage, "alertname=Down", seconds=7200)
    await stage.tell()
    api.ended = {"s1", "foreign"}
    await stage.clock.advance(180)
    assert silences(stage) == ["silence_requested", "silence_created", "silence_expired withdrawn"]
    (record,) = [record for record in stage.journal.records if record.kind is Kind.SILENCE_EXPIRED]
    assert (record.actor, record.detail) == ("alertmanager", {"silence_id": "s1", "matchers": 'alertname="Down"'})
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_look_that_goes_wrong_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a log that refuses nor a fault in reading an answer ends a silence, or the looking."""
    stage, api = await stage_with(tmp_path)
    await ack(stage, "alertname=Down", seconds=7200)
    api.ended = {"s1"}
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(api, "withdrawn", None)
        await stage.clock.advance(61)
    assert "silences_not_looked_at" in {log["event"] for log in logs}
    stage.journal.healthy = False
    await stage.clock.advance(61)
    stage.journal.healthy = True
    assert list(stage.engine.state.silences) == ["s1"]
    await stage.clock.advance(61)
    assert list(stage.engine.state.silences) == []
    await stage.engine.stop()


async def test_a_service_that_stops_makes_no_silence(tmp_path: Path) -> None:
    """Its outcome could not be recorded any more."""
    stage, api = await stage_with(tmp_path)
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await ack(stage, "a=b")
    assert api.silenced == []
