"""An acknowledgement beside a real Alertmanager, from its silence to the alert's end, on a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoheal.clock import SystemClock
from autoheal.engine import Ack
from autoheal.model import Alert, AlertStatus, parse_rfc3339, rfc3339
from autoheal.wire import fingerprint
from tests.support.engine import Stage
from tests.support.gateway import until
from tests.support.monitoring import alertmanager
from tests.support.ports import free_port
from tests.support.settled import clock_of_today, settled

pytestmark = pytest.mark.component

LABELS = {"alertname": "Down", "instance": "api-1"}


class Manager:
    """A real Alertmanager."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def tell(self, *, firing: bool) -> None:
        """As Prometheus does."""
        now = SystemClock().now()
        body = [{"labels": LABELS, "startsAt": rfc3339(now - 9), "endsAt": rfc3339(now + 600 if firing else now)}]
        (await self.client.post("/api/v2/alerts", json=body)).raise_for_status()

    async def silences(self, state: str = "active") -> list[dict[str, Any]]:
        found = (await self.client.get("/api/v2/silences")).raise_for_status().json()
        return [silence for silence in found if silence["status"]["state"] == state]


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with alertmanager(tmp_path, port, "http://127.0.0.1:1/nobody"):
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client:
            yield Manager(client)


async def test_from_the_silence_to_the_end_of_the_alert(tmp_path: Path, manager: Manager) -> None:
    """While it fires the one silence is extended, in the operator's name. Of its end Alertmanager sends nobody a word;
    the run's verification learns it all the same, and the silence is ended.
    """
    stage = Stage(tmp_path)
    stage.clock = clock_of_today()
    stage.journal._clock = stage.clock
    stage.alertmanager = settled(str(manager.client.base_url), manager.client)
    await manager.tell(firing=True)
    await stage.start()
    await stage.tell(Alert(AlertStatus.FIRING, fingerprint(LABELS), LABELS, {}, stage.clock.now() - 9))
    await until(lambda: stage.story()[-1] == "action_ok")
    made = await stage.engine.acknowledge(Ack(fingerprint(LABELS), (), 7200, "on it"), "ann", "c1")
    (first,) = await manager.silences()
    assert (first["id"], first["createdBy"], first["comment"]) == (made.silence_id, "ann", "on it")

    for _ in range(4):
        await stage.clock.advance(60)
        await until(lambda: not stage.engine._acks._turn.locked())
    (longer,) = await manager.silences()
    assert (longer["id"], longer["createdBy"], longer["comment"]) == (first["id"], "ann", "on it")
    assert parse_rfc3339(longer["endsAt"]) - parse_rfc3339(first["endsAt"]) >= 120
    assert "silence_expired resolved" not in stage.story()

    await manager.tell(firing=False)
    for _ in range(30):
        if stage.story()[-1] == "silence_expired resolved":
            break
        await stage.clock.advance(2)
        await until(lambda: not stage.engine._acks._turn.locked())
    await until(lambda: {"heal_confirmed resolved", "silence_expired resolved"} <= set(stage.story()))
    assert await manager.silences() == []
    assert [one["id"] for one in await manager.silences("expired")] == [first["id"]]
    await stage.engine.stop()
