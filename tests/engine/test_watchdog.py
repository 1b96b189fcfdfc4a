"""Whether alerts still arrive, told by one that always fires."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from autoheal.model import ALERTMANAGER, Kind, Notification, Receipt, Record, rfc3339
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE

ANY = ONE_RULE.replace('alertname="Down"', "alertname=~.+")
WATCHDOG = {"AUTOHEAL_WATCHDOG": 'alertname="Watchdog"', "AUTOHEAL_WATCHDOG_AFTER": "5m"}


async def stage_with(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path, ANY, **WATCHDOG)
    await stage.start()
    return stage


async def beat(stage: Stage, actor: str = ALERTMANAGER, **more: Any) -> Receipt:
    """The heartbeat arrives."""
    alert = stage.alert("prometheus", alertname="Watchdog", **more)
    receipt = await stage.engine.receive(Notification(alerts=(alert,)), "c1", actor)
    await settle()
    return receipt


def told(stage: Stage) -> list[Record]:
    kinds = (Kind.WATCHDOG_MISSING, Kind.WATCHDOG_BACK)
    return [record for record in stage.journal.records if record.kind in kinds]


async def test_one_that_comes_leaves_no_trace_in_the_log(tmp_path: Path) -> None:
    """However often it comes: no episode, and no rule asked, though one matches it. The sender hears it was taken."""
    stage = await stage_with(tmp_path)
    for _ in range(20):
        await stage.clock.advance(60)
        assert await beat(stage) == Receipt(accepted=1, firing=1, resolved=0, rejected=0)
    assert stage.story() == []
    assert stage.engine.state.episodes == {}
    assert stage.engine.watchdog is not None
    assert stage.engine.watchdog.last_seen == stage.clock.now()
    assert not stage.engine.watchdog.missing
    await stage.engine.stop()


async def test_alerts_beside_it_are_taken_as_ever(tmp_path: Path) -> None:
    """In the same notification, say."""
    stage = await stage_with(tmp_path)
    beside = (
        stage.alert(),
        stage.alert("prometheus", alertname="Watchdog"),
        stage.alert("api-2", alertname="Watchdogs"),
    )
    receipt = await stage.engine.receive(Notification(alerts=beside), "c1")
    await settle()
    assert receipt == Receipt(accepted=3, firing=3, resolved=0, rejected=0)
    assert {episode.alertname for episode in stage.engine.state.episodes.values()} == {"Down", "Watchdogs"}
    await stage.engine.stop()


async def test_one_that_stays_away_is_told_of_once_and_so_is_its_return(tmp_path: Path) -> None:
    """In the log and in the service's own, with when it last came."""
    stage = await stage_with(tmp_path)
    await stage.clock.advance(60)
    await beat(stage)
    seen = stage.clock.now()
    with capture_logs() as logs:
        await stage.clock.advance(299)
        assert told(stage) == []
        await stage.clock.advance(2000)
        (missing,) = told(stage)
        assert missing.detail == {"matchers": 'alertname="Watchdog"', "after": 300.0, "last_seen": rfc3339(seen)}
        assert missing.ts - seen == 300
        assert stage.engine.watchdog is not None
        assert rfc3339(seen) in stage.engine.watchdog.trouble
        await beat(stage)
        await beat(stage)
    assert [record.kind for record in told(stage)] == [Kind.WATCHDOG_MISSING, Kind.WATCHDOG_BACK]
    assert not stage.engine.watchdog.missing
    assert [log["event"] for log in logs] == ["watchdog_missing", "watchdog_back"]
    await stage.clock.advance(290)
    assert len(told(stage)) == 2
    await stage.clock.advance(20)
    assert len(told(stage)) == 3
    await stage.engine.stop()


async def test_its_return_bears_the_name_of_whoever_sent_it(tmp_path: Path) -> None:
    """As every record does that follows from a webhook: with credentials the sender is somebody."""
    stage = await stage_with(tmp_path)
    await stage.clock.advance(301)
    await beat(stage, "alertmanager-1")
    assert [record.actor for record in told(stage)] == ["system", "alertmanager-1"]
    await stage.clock.advance(301)
    await beat(stage)
    assert [record.actor for record in told(stage)[2:]] == ["system", ALERTMANAGER]
    await stage.engine.stop()


async def test_its_end_is_none_of_its_beats(tmp_path: Path) -> None:
    """A resolved one says that it fires no more, and is no episode's end either."""
    stage = await stage_with(tmp_path)
    receipt = await beat(stage, resolved=True)
    assert receipt == Receipt(accepted=1, firing=0, resolved=1, rejected=0)
    await stage.clock.advance(301)
    assert stage.story() == ["watchdog_missing"]
    await stage.engine.stop()


async def test_after_a_restart_it_has_the_whole_time_again(tmp_path: Path) -> None:
    """Nobody could hear it meanwhile; what the log says of it holds until it comes."""
    stage = await stage_with(tmp_path)
    await stage.clock.advance(250)
    await stage.crash()
    await stage.start()
    await stage.clock.advance(299)
    assert told(stage) == []
    await stage.clock.advance(2)
    (missing,) = told(stage)
    assert "last_seen" not in missing.detail
    await stage.crash()
    await stage.start()
    await stage.clock.advance(600)
    assert len(told(stage)) == 1
    await beat(stage)
    assert [record.kind for record in told(stage)] == [Kind.WATCHDOG_MISSING, Kind.WATCHDOG_BACK]
    await stage.engine.stop()


async def test_a_log_that_refuses_is_told_afterwards(tmp_path: Path) -> None:
    """What cannot be recorded now is recorded as soon as it can be."""
    stage = await stage_with(tmp_path)
    stage.journal.healthy = False
    await stage.clock.advance(400)
    stage.journal.healthy = True
    await stage.clock.advance(2)
    assert [record.kind for record in told(stage)] == [Kind.WATCHDOG_MISSING]
    await stage.engine.stop()


async def test_a_word_that_the_log_gave_up_is_said_again(tmp_path: Path) -> None:
    """Else a disk that failed in that moment would keep it for as long again."""
    stage = await stage_with(tmp_path)
    stage.journal.held = True
    await stage.clock.advance(301)
    stage.journal.fail()
    stage.journal.held, stage.journal.healthy = False, True
    await stage.clock.advance(2)
    assert [record.kind for record in told(stage)] == [Kind.WATCHDOG_MISSING]
    await stage.engine.stop()


async def test_alertmanager_s_api_tells_nothing_of_it_either(tmp_path: Path) -> None:
    """What a truncated group left out may hold it: that it fires there does not show that webhooks arrive."""
    stage = Stage(tmp_path, ANY, **WATCHDOG)
    stage.alertmanager = Api(stage.alert("prometheus", alertname="Watchdog"), stage.alert("api-2"))
    await stage.start()
    await stage.engine.receive(Notification(alerts=(stage.alert(),), truncated=2), "c1")
    await settle()
    assert {episode.alertname for episode in stage.engine.state.episodes.values()} == {"Down"}
    assert len(stage.engine.state.episodes) == 2
    await stage.clock.advance(301)
    assert len(told(stage)) == 1
    await stage.engine.stop()


async def test_an_episode_of_before_the_setting_ends_as_it_began(tmp_path: Path) -> None:
    """Else it would stand open for ever."""
    stage = Stage(tmp_path, ANY)
    await stage.start()
    await beat(stage)
    await stage.engine.stop()
    stage.environ |= WATCHDOG
    await stage.start()
    await beat(stage, resolved=True)
    assert stage.engine.state.episodes == {}
    await stage.engine.stop()


async def test_without_the_setting_it_is_an_alert_like_others(tmp_path: Path) -> None:
    """Nobody has said that it always fires."""
    stage = Stage(tmp_path, ANY)
    await stage.start()
    await beat(stage)
    assert stage.engine.watchdog is None
    assert stage.story()[:2] == ["alert_firing", "decision act"]
    await stage.engine.stop()
