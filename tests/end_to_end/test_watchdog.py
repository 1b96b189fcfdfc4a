"""A real Alertmanager whose always-firing alert comes, stays away, and comes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.model import rfc3339
from tests.support.monitoring import alertmanager, gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.component


def test_a_dead_alertmanager_is_noticed_by_what_no_longer_comes(tmp_path: Path) -> None:
    """Said in the log, in `GET /` and by a metric, and taken back by the first that comes."""
    port, behind = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"AUTOHEAL_WATCHDOG": 'alertname="Watchdog"', "AUTOHEAL_WATCHDOG_AFTER": "4s"}

    def kinds() -> list[str]:
        lines = (tmp_path / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        return [orjson.loads(line)["kind"] for line in lines]

    def warnings() -> list[str]:
        told: list[str] = httpx.get(url, trust_env=False).raise_for_status().json()["warnings"]
        return told

    def measured(name: str) -> float:
        text = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text
        return next(float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def heartbeat() -> Any:
        now = SystemClock().now()
        body = [{"labels": {"alertname": "Watchdog"}, "startsAt": rfc3339(now), "endsAt": rfc3339(now + 600)}]
        return httpx.post(f"http://127.0.0.1:{behind}/api/v2/alerts", json=body, trust_env=False).raise_for_status()

    with gateway(tmp_path, port, "{version: 1, rules: []}", env):
        with alertmanager(tmp_path, behind, f"{url}/alert"):
            heartbeat()
            wait_until(lambda: measured("autoheal_watchdog_last_seen_timestamp_seconds") > 0, what="the first beat")
            first = measured("autoheal_watchdog_last_seen_timestamp_seconds")
            wait_until(
                lambda: measured("autoheal_watchdog_last_seen_timestamp_seconds") > first + 5, what="a beat much later"
            )
            assert "watchdog_missing" not in kinds()
            assert "alert_firing" not in kinds()
        wait_until(lambda: "watchdog_missing" in kinds(), what="watchdog_missing")
        assert [told for told in warnings() if "AUTOHEAL_WATCHDOG" in told] == warnings() != []
        assert measured("autoheal_watchdog_missing") == 1
        with alertmanager(tmp_path, behind, f"{url}/alert"):
            heartbeat()
            wait_until(lambda: "watchdog_back" in kinds(), what="watchdog_back")
            assert warnings() == []
            assert measured("autoheal_watchdog_missing") == 0
