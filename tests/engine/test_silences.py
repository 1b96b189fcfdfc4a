"""How an acknowledgement's silence goes on, on a clock that tests move."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from autoheal.alertmanager.client import TIMEOUT_SECONDS
from autoheal.clock import Clock
from autoheal.engine import Ack, Acknowledged
from autoheal.errors import UpstreamError
from autoheal.model import Alert, Kind, Record, rfc3339
from autoheal.rules import parse_matchers
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE

SLOW = ONE_RULE.replace("mode: live", "mode: live\n        for: 12h")
"""Nothing is done: the alert is left to whoever minds it."""


async def acknowledged(tmp_path: Path, *, hours: float = 4.0, matchers: str = "alertname=Down") -> tuple[Stage, Api]:
    """A running engine whose one alert, which fires in Alertmanager too, somebody has just acknowledged."""
    stage = Stage(tmp_path, SLOW)
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    await stage.tell()
    await ack(stage, hours=hours, matchers=matchers)
    return stage, api


async def ack(stage: Stage, *, hours: float, matchers: str = "alertname=Down") -> Acknowledged:
    return await stage.engine.acknowledge(Ack(None, parse_matchers(matchers), hours * 3600, "on it"), "ann", "c7")


def told(stage: Stage) -> list[Record]:
    """What the log has of the silence after it was made."""
    kinds = (Kind.SILENCE_EXTENDED, Kind.SILENCE_EXPIRED, Kind.ACK_OLD)
    return [record for record in stage.journal.records if record.kind in kinds]


async def test_it_is_short_and_extended_while_the_alert_fires(tmp_path: Path) -> None:
    """At no moment does it reach more than five minutes ahead, and never less than one; the log is not told of it."""
    stage, api = await acknowledged(tmp_path)
    made = stage.clock.now()
    assert api.silenced[0].ends_at == made + 300
    lasts, least = made + 300, 300.0
    for _ in range(55):
        await stage.clock.advance(60)
        lasts = max([lasts, *(wanted.ends_at for _, wanted in api.extended)])
        least = min(least, lasts - stage.clock.now())
        assert lasts - stage.clock.now() <= 300
    assert least >= 60
    assert {known for known, _ in api.extended} == {"s1"}
    wanted = api.extended[-1][1]
    assert (wanted.created_by, wanted.comment, wanted.matchers) == ("ann", "on it", parse_matchers("alertname=Down"))
    assert told(stage) == []
    await stage.engine.stop()


async def test_it_does_not_outlast_the_acknowledgement(tmp_path: Path) -> None:
    """The last extension ends with the operator's time, and then nothing is asked for any more."""
    stage, api = await acknowledged(tmp_path, hours=0.2)
    until = stage.clock.now() + 720
    await stage.clock.advance(1500)
    assert max(wanted.ends_at for _, wanted in api.extended) == until
    asked = len(api.extended)
    await stage.clock.advance(600)
    assert len(api.extended) == asked
    await stage.engine.stop()


async def test_it_is_ended_when_what_it_covered_has_resolved(tmp_path: Path) -> None:
    """That is learnt from Alertmanager's API: the end of a silenced alert is told to nobody."""
    stage, api = await acknowledged(tmp_path)
    await stage.clock.advance(100)
    api.listed.clear()
    await stage.clock.advance(61)
    assert api.taken_back == ["s1"]
    assert stage.story()[-2:] == ["alert_resolved", "silence_expired resolved"]
    assert stage.engine.state.silences == {}
    await stage.engine.stop()


async def test_what_cannot_be_known_ends_nothing(tmp_path: Path) -> None:
    """An Alertmanager that does not answer, or has just begun, may not list what fires all the same."""
    stage, api = await acknowledged(tmp_path)
    api.listed.clear()
    api.answered = False
    await stage.clock.advance(600)
    api.answered, api.uptime = True, 10
    await stage.clock.advance(600)
    assert api.taken_back == []
    assert api.extended
    await stage.engine.stop()


async def test_an_alert_that_nobody_here_was_told_of_counts(tmp_path: Path) -> None:
    """It was silenced from its very beginning, so no webhook came of it."""
    stage, api = await acknowledged(tmp_path)
    api.listed = Api(stage.alert("api-9")).listed
    await stage.clock.advance(600)
    assert stage.engine.state.episodes == {}
    assert api.taken_back == []
    api.listed = {}
    await stage.clock.advance(61)
    assert api.taken_back == ["s1"]
    await stage.engine.stop()


async def test_one_that_is_made_ahead_lasts_for_its_whole_time(tmp_path: Path) -> None:
    """Nothing that it covers fires when it is made, so that nothing fires is no reason to end it."""
    stage = Stage(tmp_path, SLOW)
    stage.alertmanager = api = Api()
    await stage.start()
    await ack(stage, hours=1, matchers="job=nightly")
    await stage.clock.advance(3700)
    assert api.taken_back == []
    assert len(api.extended) > 10
    await stage.engine.stop()


async def test_one_that_alertmanager_has_lost_is_made_anew(tmp_path: Path) -> None:
    """Under another id, which the log tells: by it the acknowledgement is found and ended."""
    stage, api = await acknowledged(tmp_path)
    api.lost = {"s1": "s7"}
    await stage.clock.advance(300)
    (record,) = told(stage)
    assert (record.kind, record.actor) == (Kind.SILENCE_EXTENDED, "system")
    made = next(wanted for known, wanted in api.extended if known == "s1")
    assert record.detail == {
        "silence_id": "s7",
        "replaces": "s1",
        "matchers": 'alertname="Down"',
        "silenced_until": rfc3339(made.ends_at),
        "alertmanager": "http://am",
    }
    assert list(stage.engine.state.silences) == ["s7"]
    api.listed.clear()
    await stage.clock.advance(61)
    assert api.taken_back == ["s7"]
    await stage.engine.stop()


async def test_a_dead_alertmanager_is_asked_again(tmp_path: Path) -> None:
    """Neither an extension nor an end that fails is the last word; the log has no end that did not happen."""
    stage, api = await acknowledged(tmp_path)
    api.refusal = UpstreamError("down")
    with capture_logs() as logs:
        await stage.clock.advance(301)
        api.listed.clear()
        await stage.clock.advance(60)
    assert {log["event"] for log in logs} >= {"silence_not_extended", "silence_not_ended"}
    assert told(stage) == []
    api.refusal = None
    await stage.clock.advance(60)
    assert api.taken_back == ["s1"]
    await stage.engine.stop()


async def test_after_a_restart_it_goes_on_at_once(tmp_path: Path) -> None:
    """Nobody knows how long the silence still lasts: the first look is at the start, and extends it."""
    stage, api = await acknowledged(tmp_path)
    await stage.crash()
    stage.clock.set_now(stage.clock.now() + 250)
    await stage.start()
    assert [wanted.ends_at for _, wanted in api.extended] == [stage.clock.now() + 300]
    api.listed.clear()
    await stage.clock.advance(61)
    assert api.taken_back == ["s1"]
    await stage.engine.stop()


async def test_a_later_word_during_a_look_counts(tmp_path: Path) -> None:
    """What it took the place of is neither extended nor ended any more, and nobody waits for the look to be over."""
    stage, api = await acknowledged(tmp_path)
    api.let.clear()
    await stage.clock.advance(60)
    made = await ack(stage, hours=1)
    assert made.silence_id == "s2"
    api.let.set()
    await settle()
    assert {known for known, _ in api.extended} <= {"s2"}
    assert api.taken_back == []
    assert list(stage.engine.state.silences) == ["s2"]
    await stage.engine.stop()


async def test_an_old_one_is_told_of_each_hour(tmp_path: Path) -> None:
    """With whose it is and since when, also after a restart, and no oftener than that."""
    stage, _ = await acknowledged(tmp_path)
    made = stage.clock.now()
    with capture_logs() as logs:
        await stage.clock.advance(5400)
    await stage.crash()
    await stage.start()
    await stage.clock.advance(1000)
    assert [record.kind for record in told(stage)] == [Kind.ACK_OLD]
    await stage.clock.advance(1000)
    first, second = told(stage)
    assert first.detail == {
        "silence_id": "s1",
        "matchers": 'alertname="Down"',
        "by": "ann",
        "since": rfc3339(made),
        "ends_at": rfc3339(made + 4 * 3600),
    }
    assert 3600 <= second.ts - first.ts <= 3700
    assert [log["by"] for log in logs if log["event"] == "ack_old"] == ["ann"]
    await stage.engine.stop()


async def test_what_somebody_ends_in_the_midst_of_a_look_stays_ended(tmp_path: Path) -> None:
    """It is neither made anew nor are people reminded of it, and the alert is no longer acknowledged."""
    stage = Stage(tmp_path, SLOW)
    stage.alertmanager = api = Api(stage.alert())
    await stage.start()
    await stage.tell()
    await stage.clock.advance(30)  # so that the look that would remind people is one that would extend
    await ack(stage, hours=4)
    await stage.clock.advance(3590)

    async def too_early(ids: Collection[str]) -> frozenset[str]:
        api.ended |= set(ids)
        return frozenset()

    api.withdrawn = too_early  # type: ignore[method-assign]
    await stage.clock.advance(240)
    assert [record.kind for record in told(stage)] == [Kind.SILENCE_EXPIRED]
    assert (told(stage)[0].actor, told(stage)[0].reason) == ("alertmanager", "withdrawn")
    assert stage.engine.state.silences == {}
    await stage.engine.stop()


class Hanging(Api):
    """One of whose members takes all the time that it has."""

    def __init__(self, clock: Clock, *alerts: Alert) -> None:
        super().__init__(*alerts)
        self.clock = clock
        self.hangs = False

    async def poll(self, **about: Any) -> Any:
        if self.hangs:
            await self.clock.sleep(TIMEOUT_SECONDS + 0.01)
        return await super().poll(**about)


async def test_one_over_many_alerts_does_not_run_out_while_alertmanager_hangs(tmp_path: Path) -> None:
    """What it covers is one question, however many alerts that are: there is time left for the extension."""
    stage = Stage(tmp_path, SLOW)
    alerts = [stage.alert("x" * length) for length in range(1, 81)]
    stage.alertmanager = api = Hanging(stage.clock, *alerts)
    await stage.start()
    await stage.tell(*alerts)
    await ack(stage, hours=4)
    api.hangs = True
    lasts, least = stage.clock.now() + 300, 300.0
    for _ in range(900):
        await stage.clock.advance(1)
        lasts = max([lasts, *(wanted.ends_at for _, wanted in api.extended)])
        least = min(least, lasts - stage.clock.now())
    assert least >= 60
    await stage.engine.stop()
