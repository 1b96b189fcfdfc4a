"""Pause and resume: by people and by a file; what is begun, what goes on, and what a restart keeps."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from autoheal.actions import Outcome
from autoheal.errors import JournalUnavailable, NoRule
from autoheal.model import By, Kind, rfc3339
from tests.support.clock import settle
from tests.support.engine import Stage
from tests.support.rules import ONE_RULE

ANN = By("ann", "c7")
TWO_RULES = (
    ONE_RULE
    + """
      - name: other
        match: alertname="Other"
        target: '{{ labels.instance }}'
        mode: live
        steps: [{fake: {do: 'other {{ target }}'}}]
"""
)


async def stage_with(tmp_path: Path, rules: str = ONE_RULE) -> Stage:
    stage = Stage(tmp_path, rules)
    await stage.start()
    return stage


def done(stage: Stage) -> list[str]:
    return [what for *_, what in stage.action.done]


async def test_nothing_is_begun_until_it_is_resumed(tmp_path: Path) -> None:
    """Alerts are taken in and decided on as `paused`; then what still fires is acted on, without a repeat of it."""
    stage = await stage_with(tmp_path)
    await stage.engine.pause(None, "the database moves", None, ANN)
    await stage.tell()
    await stage.clock.advance(1200)
    assert stage.story() == ["paused", "alert_firing", "decision paused"]
    await stage.engine.resume(None, "it has moved", By("bob", "c8"))
    await settle()
    assert stage.story()[3:6] == ["resumed", "decision act", "action_started"]
    paused, resumed = (record for record in stage.journal.records if record.kind in (Kind.PAUSED, Kind.RESUMED))
    assert (paused.actor, paused.correlation_id, paused.rule) == ("ann", "c7", None)
    assert paused.detail == {"how": "api", "reason": "the database moves"}
    assert (resumed.actor, resumed.detail) == ("bob", {"how": "api", "reason": "it has moved"})
    await stage.engine.stop()


async def test_a_pause_of_a_rule_leaves_the_others_alone(tmp_path: Path) -> None:
    """And its end takes no pause of all back."""
    stage = await stage_with(tmp_path, TWO_RULES)
    await stage.engine.pause("restart", "it flaps", None, ANN)
    await stage.tell(stage.alert("api-1"), stage.alert("api-2", alertname="Other"))
    assert done(stage) == ["other api-2"]
    await stage.engine.pause(None, "all of it", None, ANN)
    await stage.engine.resume("restart", "", ANN)
    await settle()
    assert done(stage) == ["other api-2"]
    assert [(pause.rule, pause.reason) for pause in stage.engine.paused()] == [(None, "all of it")]
    await stage.engine.resume(None, "", ANN)
    await settle()
    assert done(stage) == ["other api-2", "restart api-1"]
    await stage.engine.stop()


async def test_a_pause_with_a_duration_ends_by_itself(tmp_path: Path) -> None:
    """At its time, by the engine's own timer."""
    stage = await stage_with(tmp_path)
    await stage.engine.pause(None, "a minute", 60.0, ANN)
    until = stage.clock.now() + 60
    await stage.tell()
    assert stage.journal.records[-1].detail["ask_again"] == rfc3339(until)
    await stage.clock.advance(59)
    assert done(stage) == []
    assert [pause.until for pause in stage.engine.paused()] == [until]
    await stage.clock.advance(2)
    assert done(stage) == ["restart api-1"]
    assert stage.engine.paused() == []
    await stage.engine.stop()


@pytest.mark.parametrize("seconds", [None, 3600.0])
async def test_a_pause_may_be_made_shorter(tmp_path: Path, seconds: float | None) -> None:
    """What was held until somebody resumes, or for an hour, is acted on when the pause in its place is over."""
    stage = await stage_with(tmp_path)
    await stage.engine.pause(None, "the database moves", seconds, ANN)
    await stage.tell()
    await stage.engine.pause(None, "a minute more", 60.0, ANN)
    await stage.clock.advance(59)
    assert done(stage) == []
    await stage.clock.advance(2)
    assert done(stage) == ["restart api-1"]
    await stage.engine.stop()


async def test_the_last_word_counts(tmp_path: Path) -> None:
    """A longer pause takes the place of a shorter one, also for what was decided under that; and the other way."""
    stage = await stage_with(tmp_path)
    await stage.engine.pause(None, "a minute", 60.0, ANN)
    await stage.tell()
    await stage.engine.pause(None, "an hour", 3600.0, ANN)
    await stage.clock.advance(3590)
    assert done(stage) == []
    await stage.clock.advance(20)
    assert done(stage) == ["restart api-1"]
    await stage.engine.stop()


async def test_a_pause_lasts_where_the_clock_was_set_back(tmp_path: Path) -> None:
    """The gateway was restarted behind the time of its log: what is recorded next does not make the pause look over."""
    stage = await stage_with(tmp_path, TWO_RULES)
    await stage.crash()
    stage.clock.set_now(stage.clock.now() - 3600.0)
    await stage.start()
    await stage.engine.pause(None, "ten minutes", 600.0, ANN)
    await stage.engine.pause("other", "too", None, ANN)
    assert [pause.rule for pause in stage.engine.paused()] == [None, "other"]
    await stage.tell()
    assert done(stage) == []
    await stage.clock.advance(601)
    assert done(stage) == ["restart api-1"]
    await stage.engine.stop()


async def test_what_runs_is_let_finish_and_takes_no_further_step(tmp_path: Path) -> None:
    """Its action ends and is judged; where the next would follow, people are told."""
    stage = await stage_with(tmp_path)
    executing = asyncio.Event()

    async def fails() -> Outcome:
        await executing.wait()
        return Outcome(ok=False)

    stage.action.answers = [fails]
    await stage.tell()
    await stage.engine.pause(None, "stop", None, ANN)
    executing.set()
    await settle()
    assert stage.story()[-5:] == [
        "paused",
        "action_fail",
        "heal_failed action_failed",
        "decision paused",
        "escalated paused",
    ]
    await stage.clock.advance(2000)
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_what_is_verified_is_let_heal(tmp_path: Path) -> None:
    """A pause takes nothing from what was done before it."""
    stage = await stage_with(tmp_path)
    await stage.tell()
    await stage.engine.pause(None, "stop", None, ANN)
    await stage.tell(stage.alert(resolved=True))
    assert stage.story()[-1] == "heal_confirmed resolved"
    await stage.engine.stop()


async def test_a_run_that_was_decided_and_has_not_begun_does_not_begin(tmp_path: Path) -> None:
    """It is cancelled, and decided on anew when the pause ends."""
    stage = await stage_with(tmp_path)
    stage.engine.wind_down()
    await stage.tell()
    await stage.engine.pause(None, "stop", None, ANN)
    await stage.engine.stop()
    await stage.start()
    assert stage.story()[1:] == ["decision act", "paused", "decision paused", "action_cancelled paused"]
    await stage.engine.resume(None, "", ANN)
    await settle()
    assert done(stage) == ["restart api-1"]
    await stage.engine.stop()


@pytest.mark.parametrize("rotated", [False, True])
async def test_it_survives_a_restart(tmp_path: Path, rotated: bool) -> None:
    """Also when all that the next life reads is a fresh file that begins with a snapshot."""
    stage = await stage_with(tmp_path, TWO_RULES)
    await stage.engine.pause("restart", "it flaps", 3600.0, ANN)
    if rotated:
        first = len(stage.journal.records)
        stage.journal.rotated = True
        await stage.clock.advance(1)
        stage.journal.records = stage.journal.records[first:]
    before = stage.engine.paused()
    await stage.crash()
    await stage.start()
    assert stage.engine.paused() == before
    await stage.tell()
    assert stage.story()[-1] == "decision paused"
    await stage.engine.stop()


async def test_a_file_pauses_everything(tmp_path: Path) -> None:
    """What stands in it is the reason; nothing is begun from the moment when it is there, and is when it is gone."""
    stage = await stage_with(tmp_path)
    file = tmp_path / "PAUSE"
    file.write_text("  see http://ann:hunter2@wiki/\n\n the  database moves\n")
    await stage.tell()
    assert stage.story() == ["alert_firing", "paused", "decision paused"]
    (pause,) = stage.engine.paused()
    assert (pause.rule, pause.how, pause.actor, pause.until) == (None, "file", "system", None)
    assert pause.reason == "see http://*@wiki/ the database moves"
    await stage.clock.advance(100)
    assert stage.story().count("paused") == 1
    file.unlink()
    await stage.clock.advance(1)
    assert stage.story()[-4:] == ["resumed", "decision act", "action_started", "action_ok"]
    await stage.engine.stop()


async def test_the_file_is_seen_before_the_next_step(tmp_path: Path) -> None:
    """Though nothing else has happened since it came."""
    stage = await stage_with(tmp_path)

    async def fails() -> Outcome:
        (tmp_path / "PAUSE").touch()
        return Outcome(ok=False)

    stage.action.answers = [fails]
    await stage.tell()
    assert stage.story()[-3:] == ["paused", "decision paused", "escalated paused"]
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_the_file_counts_from_the_start_on(tmp_path: Path) -> None:
    """It may be the only thing that anybody could do while the service was down."""
    stage = await stage_with(tmp_path)
    stage.engine.wind_down()
    await stage.tell()
    await stage.engine.stop()
    (tmp_path / "PAUSE").write_text("no")
    await stage.start()
    assert stage.action.done == []
    assert stage.story()[-3:] == ["paused", "decision paused", "action_cancelled paused"]
    await stage.engine.stop()


async def test_no_request_takes_the_file_s_word_back(tmp_path: Path) -> None:
    """Who resumes still sees it; and a changed text is a new word."""
    stage = await stage_with(tmp_path)
    (tmp_path / "PAUSE").write_text("one")
    await stage.clock.advance(1)
    await stage.engine.resume(None, "", ANN)
    assert [pause.reason for pause in stage.engine.paused()] == ["one"]
    (tmp_path / "PAUSE").write_text("two")
    await stage.clock.advance(1)
    assert [pause.reason for pause in stage.engine.paused()] == ["two"]
    assert stage.story() == ["paused", "paused"]
    await stage.engine.stop()


def _pipe(file: Path) -> None:
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.touch, "PAUSE is there"),
        (Path.mkdir, "PAUSE cannot be read: Is a directory"),
        (_pipe, "PAUSE is there"),
        (lambda file: file.symlink_to(file), "PAUSE cannot be read: Too many levels of symbolic links"),
        (lambda file: file.write_bytes(b"\xff\x00ok"), "\ufffd\x00ok"),
        (lambda file: file.write_text("ü" * 5000), "ü" * 1000),
    ],
)
async def test_whatever_it_is_it_pauses(tmp_path: Path, make: object, says: str) -> None:
    """An empty file, a directory, a pipe, what is no text or too long: it is there, and nothing hangs."""
    make(tmp_path / "PAUSE")  # type: ignore[operator]
    stage = await stage_with(tmp_path)
    await stage.tell()
    assert stage.engine.paused()[0].reason == says
    assert stage.action.done == []
    await stage.engine.stop()


async def test_while_the_log_refuses_nothing_is_paused_or_begun(tmp_path: Path) -> None:
    """Whoever asks is told; the file's word is recorded as soon as that goes, before anything is decided."""
    stage = await stage_with(tmp_path)
    stage.journal.fail()
    with pytest.raises(JournalUnavailable):
        await stage.engine.pause(None, "stop", None, ANN)
    (tmp_path / "PAUSE").touch()
    await stage.clock.advance(5)
    assert stage.story() == []
    stage.journal.healthy = True
    await stage.tell()
    await stage.clock.advance(5)
    assert stage.story()[-1] == "decision paused"
    assert stage.action.done == []
    await stage.engine.stop()


async def test_a_rule_that_is_not_there_cannot_be_paused(tmp_path: Path) -> None:
    """A misspelt name must not look like a pause. One that a reload took away can still be resumed."""
    stage = await stage_with(tmp_path, TWO_RULES)
    with pytest.raises(NoRule, match="'restrat'"):
        await stage.engine.pause("restrat", "x", None, ANN)
    with pytest.raises(NoRule, match="'restrat'"):
        await stage.engine.resume("restrat", "", ANN)
    await stage.engine.pause("other", "x", None, ANN)
    stage.rules = ONE_RULE
    await stage.engine.reload()
    await stage.engine.resume("other", "", ANN)
    assert stage.engine.paused() == []
    await stage.engine.stop()


async def test_to_resume_what_is_not_paused_changes_nothing(tmp_path: Path) -> None:
    """It is no fault, and no record."""
    stage = await stage_with(tmp_path)
    await stage.engine.resume(None, "", ANN)
    await stage.engine.resume("restart", "", ANN)
    assert stage.story() == []
    await stage.engine.stop()
    with pytest.raises(JournalUnavailable):
        await stage.engine.resume(None, "", ANN)


async def test_a_reload_that_somebody_asked_for_bears_their_name(tmp_path: Path) -> None:
    """Whether the rules could be used or not."""
    stage = await stage_with(tmp_path)
    await stage.engine.reload(ANN)
    stage.rules = "version: 2"
    with pytest.raises(Exception, match="version"):
        await stage.engine.reload(ANN)
    loaded, refused = stage.journal.records[-2:]
    assert [(record.kind, record.actor, record.correlation_id) for record in (loaded, refused)] == [
        (Kind.CONFIG_LOADED, "ann", "c7"),
        (Kind.CONFIG_REJECTED, "ann", "c7"),
    ]
    await stage.engine.stop()
