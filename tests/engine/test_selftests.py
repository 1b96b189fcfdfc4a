"""What the engine makes of the alert of a self-test, and what it remembers of how tests went."""

from __future__ import annotations

import asyncio
from pathlib import Path

from autoheal.metrics import Metrics
from autoheal.model import Alert, AlertStatus, Check, Draft, Kind, Notification, OwnName, Reason
from autoheal.selftest import Result, SelfTesting, report
from autoheal.state import SELFTESTS_KEPT
from tests.support.channels import FakeChannel
from tests.support.clock import FakeClock, settle
from tests.support.engine import Stage

ANY = """\
version: 1
rules:
  - name: any
    match: 'alertname=~".+"'
    target: '{{ alertname }}'
    mode: live
    steps: [{fake: {do: harm}}]
"""


def own(stage: Stage, number: int = 1) -> Alert:
    labels = {"alertname": OwnName.SELFTEST.value, "selftest": str(number)}
    return Alert(AlertStatus.FIRING, f"{number:016x}", labels, {}, stage.clock.now())


def outcome(*, ok: bool) -> Draft:
    return report([Result(Check.DISK, ok=ok, text="told"), Result(Check.KEYS, None, "skipped")])


async def test_no_rule_of_people_sees_it_and_nothing_is_done(tmp_path: Path) -> None:
    """Live rules that match everything act on others; on this one there is a dry run, and no run is kept of it."""
    stage = Stage(tmp_path, ANY)
    await stage.start()
    await stage.tell(own(stage), stage.alert())
    assert [do for _, _, do in stage.action.done] == ["harm"]
    told = [record for record in stage.journal.records if record.alertname == OwnName.SELFTEST]
    assert [(record.kind, record.rule) for record in told] == [
        (Kind.ALERT_FIRING, None),
        (Kind.DECISION, "autoheal/selftest"),
        (Kind.ACTION_DRY_RUN, "autoheal/selftest"),
    ]
    state = stage.engine.state
    assert {run.alertname for run in state.runs.values()} == {"Down"}
    assert (state.ended_runs, state.charges[0].rule, len(state.charges)) == ([], "any", 1)
    await stage.engine.stop()


async def test_a_sender_that_has_died_leaves_nothing_open(tmp_path: Path) -> None:
    """Its alert is ended after a minute, also by the next life of the gateway, and never one of others."""
    stage = Stage(tmp_path, ANY)
    await stage.start()
    await stage.tell(own(stage), stage.alert())
    await stage.clock.advance(30)
    await stage.crash()
    await stage.start()
    await stage.tell(own(stage, 2))
    await stage.clock.advance(20)
    assert len(stage.engine.state.episodes) == 3
    await stage.clock.advance(25)
    assert {one.labels.get("selftest") for one in stage.engine.state.episodes.values()} == {None, "2"}
    await stage.clock.advance(60)
    assert {one.alertname for one in stage.engine.state.episodes.values()} == {"Down"}
    ended = [record for record in stage.journal.records if record.kind is Kind.ALERT_RESOLVED]
    assert [record.detail["how"] for record in ended] == ["abandoned", "abandoned"]
    await stage.engine.stop()


async def test_a_pause_holds_it_like_others(tmp_path: Path) -> None:
    """What stands above all rules stands above this one: the decision says so."""
    stage = Stage(tmp_path, ANY, AUTOHEAL_ENABLED="false")
    await stage.start()
    await stage.tell(own(stage))
    assert [record.reason for record in stage.journal.records if record.kind is Kind.DECISION] == [Reason.DISABLED]
    await stage.engine.stop()


async def test_how_tests_went_outlasts_the_process(tmp_path: Path) -> None:
    """The last twenty, with the checks that failed; one that could not be made is no failure."""
    stage = Stage(tmp_path)
    await stage.start()
    for number in range(SELFTESTS_KEPT + 2):
        await stage.engine.selftested(outcome(ok=number % 2 == 0))
    await stage.crash()
    await stage.start()
    recent = stage.engine.selftests.recent
    assert [test.ok for test in recent] == [True, False] * (SELFTESTS_KEPT // 2)
    assert recent[-1].failed == ["disk"]
    await stage.engine.stop()


async def test_a_log_that_takes_nothing_does_not_look_well(tmp_path: Path) -> None:
    """What cannot be recorded counts all the same, until the next that can."""
    stage = Stage(tmp_path)
    await stage.start()
    await stage.engine.selftested(outcome(ok=True))
    stage.journal.healthy = False
    await stage.engine.selftested(outcome(ok=False))
    assert [test.ok for test in stage.engine.selftests.recent] == [True, False]
    stage.journal.healthy = True
    await stage.engine.selftested(outcome(ok=True))
    assert [test.ok for test in stage.engine.selftests.recent] == [True, True]
    await stage.engine.stop()


async def test_it_says_that_it_was_its_own(tmp_path: Path) -> None:
    """A notification of nothing else is no sign of life of Alertmanager's; one with another alert is."""
    stage = Stage(tmp_path, ANY)
    engine = await stage.start()
    assert (await engine.receive(Notification(alerts=(own(stage),)), "c")).selftest
    assert not (await engine.receive(Notification(alerts=(own(stage), stage.alert())), "c")).selftest
    assert not (await engine.receive(Notification(alerts=()), "c")).selftest
    await engine.stop()


async def test_tests_go_on_after_one_that_broke() -> None:
    """The first comes a minute after the start, the others at the interval, whatever became of those before."""
    clock, metrics = FakeClock(), Metrics()
    at: list[float] = []
    recorded: list[Kind] = []
    begun = clock.monotonic()

    async def test() -> list[Result]:
        at.append(clock.monotonic() - begun)
        if len(at) == 2:
            raise ValueError("broken")
        return [Result(Check.CLOCK, ok=len(at) != 3, text="told")]

    async def record(draft: Draft) -> None:
        recorded.append(draft.kind)

    task = asyncio.create_task(SelfTesting(test, record, metrics, clock, 600.0).run())
    await settle()
    await clock.advance(1300)
    task.cancel()
    assert at == [60, 660, 1260]
    assert recorded == [Kind.SELFTEST_OK, Kind.SELFTEST_FAIL]
    assert b'autoheal_selftest_failures_total{check="clock"} 1.0' in metrics.expose()[0]


async def test_people_hear_of_the_first_failure_and_of_the_recovery(tmp_path: Path) -> None:
    """Not every quarter of an hour anew, nor after a restart; of the test's own alert they hear nothing."""
    channel = FakeChannel()
    stage = Stage(tmp_path, ANY)
    stage.channels = (channel,)
    await stage.start()
    await stage.tell(own(stage))
    await stage.engine.selftested(outcome(ok=True))
    for _ in range(3):
        await stage.engine.selftested(outcome(ok=False))
    await settle()
    (notice,) = channel.took
    assert (notice.summary, notice.severity) == ("autoheal finds fault with itself: disk: told", "warning")
    await stage.crash()
    await stage.start()
    await stage.engine.selftested(outcome(ok=False))
    await stage.engine.selftested(outcome(ok=True))
    await stage.engine.selftested(outcome(ok=True))
    await settle()
    assert channel.told() == ["trigger 0", "resolve 0"]
    assert stage.engine.state.owed == stage.engine.state.incidents == {}
    await stage.engine.stop()
