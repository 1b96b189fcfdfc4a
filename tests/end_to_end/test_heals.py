"""The main job on real programs: Prometheus sees a process die, Alertmanager tells, the gateway acts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.monitoring import World, world
from tests.support.processes import wait_until
from tests.support.sse import Reader

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart-target
    match: 'alertname="TargetDown", job="target"'
    target: '{{ labels.instance }}'
    mode: live
    steps:
      - command: {argv: ARGV}
        verify: {resolved_within: 60s, probe: {http: 'http://{{ target }}/'}}
"""
HEALED = ["alert_firing", "decision", "action_started", "action_ok", "alert_resolved", "heal_confirmed"]


async def test_a_killed_process_is_back_and_the_log_tells_how(tmp_path: Path) -> None:
    """From the kill on nobody lends a hand; the log, /events and Prometheus tell the same story."""
    with world(tmp_path, RULES, dry_run=False) as here:
        async with httpx.AsyncClient(base_url=here.gateway, timeout=10, trust_env=False) as client:
            async with client.stream("GET", "/events") as live:
                before = here.records()[-1]["seq"]
                dead = here.target.pid
                here.target.kill()
                await asyncio.to_thread(
                    wait_until, lambda: "heal_confirmed" in here.kinds(), seconds=60, what="heal_confirmed in the log"
                )
                assert here.kinds() == HEALED
                assert here.target.pid not in (None, dead)
                written = here.log.read_text().rpartition("\n")[0].splitlines()
                followed = await Reader(live).take(len(written) - before)
            assert [event.data for event in followed] == written[before:]
            async with client.stream("GET", "/events", params={"after": 0}) as replay:
                replayed = await Reader(replay).take(len(written))
            assert [event.data for event in replayed] == written
        _check_story(here)
        for query in (
            'autoheal_alerts_received_total{status="resolved"}',
            'autoheal_decisions_total{rule="restart-target",reason="act"}',
            'autoheal_actions_total{rule="restart-target",action="command",outcome="ok"}',
            'autoheal_heals_total{rule="restart-target",outcome="confirmed"}',
            'autoheal_journal_records_total{kind="heal_confirmed"}',
        ):
            await asyncio.to_thread(
                wait_until, lambda query=query: (here.measured(query) or 0) >= 1, seconds=20, what=query
            )
        assert here.measured('autoheal_heals_total{rule="restart-target",outcome="confirmed"}') == 1


def _check_story(here: World) -> None:
    firing, decision, started, ok, resolved, confirmed = (r for r in here.records() if "alertname" in r)
    assert firing["labels"]["instance"] == decision["target"] == f"127.0.0.1:{here.target.port}"
    assert decision["reason"] == "act"
    assert all(guard["passed"] for guard in decision["detail"]["guards"] if guard["guard"] != "act")
    assert ok["detail"]["exit_code"] == 0
    assert {record["run"] for record in (decision, started, ok, confirmed)} == {decision["run"]}
    assert {record["episode"] for record in (firing, decision, resolved)} == {firing["episode"]}


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    """With AUTOHEAL_DRY_RUN=true a live rule's plan is rendered and recorded, and the target stays dead."""
    with world(tmp_path, RULES, dry_run=True) as here:
        here.target.kill()
        wait_until(lambda: "action_dry_run" in here.kinds(), seconds=60, what="action_dry_run in the log")
        # Alertmanager goes on telling; that changes nothing.
        told = here.measured('autoheal_webhooks_total{code="200"}') or 0
        wait_until(
            lambda: (here.measured('autoheal_webhooks_total{code="200"}') or 0) >= told + 2,
            seconds=30,
            what="two more webhooks",
        )
        # On a machine that stands still for four seconds Prometheus lets its alert end: that may follow.
        assert here.kinds()[:3] == ["alert_firing", "decision", "action_dry_run"]
        assert not {"action_started", "action_ok", "action_fail"} & set(here.kinds())
        decision, dry_run = [each for each in here.records() if each["kind"] in ("decision", "action_dry_run")][:2]
        assert decision["reason"] == "dry_run"
        step = dry_run["detail"]["plan"]["steps"][0]
        assert step["params"]["argv"] == here.target.argv
        assert step["verify"]["probe"]["http"]["url"] == f"http://127.0.0.1:{here.target.port}/"
        assert here.target.pid is None
        counted = 'autoheal_actions_total{rule="restart-target",outcome="dry_run"}'
        wait_until(lambda: (here.measured(counted) or 0) >= 1, seconds=20, what="a scrape of the dry run")
