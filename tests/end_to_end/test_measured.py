"""Prometheus counts and judges, and a person's silence in Alertmanager is minded: all real programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.monitoring import World, world
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart-target
    match: 'alertname="TargetDown", job="target"'
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 0s
    fleet: {at_most: 100%, of: 'count(up{job="{{ labels.job }}"})'}
    steps:
      - command: {argv: ARGV}
        verify:
          probe:
            promql: 'up{job="{{ labels.job }}", instance=~"{{ labels.instance }}"} == 1'
            within: 30s
            stable: 5s
"""


def guard(here: World, name: str) -> dict[str, Any]:
    """What a guard saw when it was last asked."""
    decisions = [record for record in here.records() if record["kind"] == "decision"]
    return next(saw for saw in decisions[-1]["detail"]["guards"] if saw["guard"] == name)


def test_prometheus_counts_and_says_that_it_helped(tmp_path: Path) -> None:
    """The only one of its job may be treated, and it is healed when the next scrape says so."""
    with world(tmp_path, RULES, dry_run=False) as here:
        here.target.kill()
        wait_until(lambda: "heal_confirmed" in here.kinds(), seconds=60, what="heal_confirmed in the log")
        saw = guard(here, "fleet_guard")
        assert saw["query"] == 'count(up{job="target"})'
        assert (saw["population"], saw["allowed"], saw["treated"], saw["passed"]) == (1.0, 1, 1, True)
        confirmed = next(record for record in here.records() if record["kind"] == "heal_confirmed")
        assert confirmed["reason"] == "probe_held"
        probe = confirmed["detail"]["probe"]
        address = f"127.0.0.1:{here.target.port}".replace(".", "\\\\.")
        assert probe == {"promql": f'up{{job="target", instance=~"{address}"}} == 1', "values": 1, "held": 1}


def test_half_of_one_is_none(tmp_path: Path) -> None:
    """The target stays dead, and the log tells how many there are and how many are allowed."""
    with world(tmp_path, RULES.replace("100%", "99%"), dry_run=False) as here:
        here.target.kill()
        wait_until(lambda: "decision" in here.kinds(), seconds=60, what="a decision")
        saw = guard(here, "fleet_guard")
        assert (saw["population"], saw["at_most"], saw["allowed"], saw["passed"]) == (1.0, "99%", 0, False)
        assert here.kinds() == ["alert_firing", "decision"]
        assert here.target.pid is None


def test_what_a_person_has_silenced_is_left_to_them(tmp_path: Path) -> None:
    """The alert is silenced by hand while the rule waits: the run that follows does nothing."""
    rules = RULES.replace("mode: live", "mode: live\n    for: 6s")
    with world(tmp_path, rules, dry_run=False) as here:
        here.target.kill()
        wait_until(lambda: "alert_firing" in here.kinds(), seconds=60, what="the alert")
        silence = {
            "matchers": [{"name": "alertname", "value": "TargetDown", "isRegex": False}],
            "startsAt": "2020-01-01T00:00:00Z",
            "endsAt": "2099-01-01T00:00:00Z",
            "createdBy": "ann",
            "comment": "I am on it",
        }
        made = httpx.post(f"{here.alertmanager}/api/v2/silences", json=silence, timeout=5, trust_env=False)
        wait_until(lambda: "action_cancelled" in here.kinds(), seconds=60, what="the run's end")
        assert guard(here, "human_present")["silences"] == [made.raise_for_status().json()["silenceID"]]
        assert "action_started" not in here.kinds()
        assert here.target.pid is None
