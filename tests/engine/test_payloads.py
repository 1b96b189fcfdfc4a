"""Bodies that real Alertmanagers sent (tests/payloads), taken in by the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoheal.model import Kind, parse_rfc3339
from autoheal.web.payload import decode
from tests.support.clock import settle
from tests.support.engine import Api, Stage
from tests.support.rules import ONE_RULE

PAYLOADS = Path(__file__).parents[1] / "payloads"
BODIES = sorted(path.name for path in PAYLOADS.glob("*.json"))
RULES = ONE_RULE.replace('alertname="Down"', 'alertname=~"TargetDown|Basic"').replace(
    "'{{ labels.instance }}'", "'{{ fingerprint }}'"
)
SOON_AFTER = parse_rfc3339("2026-11-21T06:00:00Z")


class Sent(Stage):
    """An engine that is sent payloads, a second apart, with a clock that fits them."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path, RULES)
        self.clock.set_now(SOON_AFTER)

    async def send(self, name: str) -> None:
        notification = decode((PAYLOADS / name).read_bytes())
        receipt = await self.engine.receive(notification, f"c-{name}")
        assert receipt.accepted == len(notification.alerts)
        await self.clock.advance(1)

    def opened(self) -> list[str]:
        return [str(r.fingerprint) for r in self.journal.records if r.kind is Kind.ALERT_FIRING]


@pytest.mark.parametrize("name", BODIES)
async def test_each_body_is_taken_whole(tmp_path: Path, name: str) -> None:
    """One episode and one run for each firing alert, none for a resolved one, whatever the group's own status says."""
    stage = Sent(tmp_path)
    await stage.start()
    await stage.send(name)
    firing = [a.fingerprint for a in decode((PAYLOADS / name).read_bytes()).alerts if a.status == "firing"]
    assert stage.opened() == firing
    assert [run.fingerprint for run in stage.engine.state.runs.values()] == firing
    assert len(stage.action.done) == len(firing)
    await stage.engine.stop()


async def test_a_mesh_that_tells_firing_after_resolved(tmp_path: Path) -> None:
    """05a-d: firing, resolved, stale firing, resolved is one episode and one run per fingerprint."""
    stage = Sent(tmp_path)
    await stage.start()
    for letter in ("a_mesh_firing", "b_mesh_resolved", "c_mesh_stale_firing_after_resolved", "d_mesh_resolved_again"):
        await stage.send(f"05{letter}.json")
    assert len(stage.opened()) == len(set(stage.opened())) == 2
    assert len(stage.action.done) == 2
    kinds = [record.kind for record in stage.journal.records]
    assert kinds.count(Kind.ALERT_SUSPECT) == 2
    assert kinds.count(Kind.HEAL_CONFIRMED) == 2
    assert not stage.engine.state.episodes
    await stage.engine.stop()


async def test_an_unmeshed_pair_makes_one_run(tmp_path: Path) -> None:
    """06a/b: exact duplicates from two Alertmanagers are one episode and one run."""
    stage = Sent(tmp_path)
    await stage.start()
    await stage.send("06a_duplicate_from_am_a.json")
    await stage.send("06b_duplicate_from_am_b.json")
    assert len(stage.opened()) == 1
    assert len(stage.action.done) == 1
    await stage.engine.stop()


async def test_a_truncated_group_is_asked_for(tmp_path: Path) -> None:
    """07: with truncatedAlerts the rest comes from the API, by the group's labels and receiver; each has its run."""
    body = decode((PAYLOADS / "02_firing_group_of_3.json").read_bytes())
    stage = Sent(tmp_path)
    stage.alertmanager = api = Api(*body.alerts)
    await stage.start()
    await stage.send("07_truncated_max_alerts_2.json")
    assert [about for about in api.asked if about] == [{"filters": ['alertname="TargetDown"'], "receiver": "autoheal"}]
    assert len(stage.opened()) == 3
    assert len(stage.action.done) == 3
    assert {r.detail["how"] for r in stage.journal.records if r.kind is Kind.ALERT_FIRING} == {"webhook", "api"}
    await stage.engine.stop()


async def test_a_truncated_group_is_asked_for_again_until_all_answer(tmp_path: Path) -> None:
    """An API that is down when a truncated group arrives is asked again, a few times, further and further apart."""
    stage = Sent(tmp_path)
    stage.alertmanager = api = Api()
    api.answered = False
    await stage.start()
    await stage.send("07_truncated_max_alerts_2.json")
    await stage.clock.advance(1)
    assert len([about for about in api.asked if about]) == 2
    api.answered = True
    await stage.clock.advance(10)
    rest = [about for about in api.asked if about]
    assert len(rest) == 3
    await stage.engine.stop()


async def test_a_suspect_is_settled_by_the_api(tmp_path: Path) -> None:
    """With an API a stale firing is asked about at once: firing there opens an episode, gone there forgets it."""
    for fires in (True, False):
        stage = Sent(tmp_path)
        stage.alertmanager = api = Api()
        await stage.start()
        await stage.send("05a_mesh_firing.json")
        await stage.send("05b_mesh_resolved.json")
        if fires:
            body = decode((PAYLOADS / "05c_mesh_stale_firing_after_resolved.json").read_bytes())
            api.listed = Api(*body.alerts).listed
        await stage.send("05c_mesh_stale_firing_after_resolved.json")
        assert len(stage.opened()) == (4 if fires else 2)
        assert not stage.engine.state.suspects
        await stage.engine.stop()


async def test_an_open_episode_is_asked_about_every_five_minutes(tmp_path: Path) -> None:
    """An end that no webhook told of is found by asking; an Alertmanager that has just started proves nothing."""
    stage = Sent(tmp_path)
    stage.alertmanager = api = Api()
    api.uptime = 10.0
    stage.rules = RULES.replace("mode: live", "mode: dry_run")
    await stage.start()
    await stage.send("06a_duplicate_from_am_a.json")
    await stage.clock.advance(700)
    assert len(stage.engine.state.episodes) == 1
    api.uptime = 1000.0
    await stage.clock.advance(300)
    await settle()
    assert not stage.engine.state.episodes
    resolved = next(record for record in stage.journal.records if record.kind is Kind.ALERT_RESOLVED)
    assert resolved.detail["how"] == "api"
    await stage.engine.stop()
