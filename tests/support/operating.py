"""The whole gateway over a real log, its engine included, with an action that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from autoheal.actions import Action
from autoheal.app import build
from autoheal.clock import Clock, SystemClock
from autoheal.config import load as load_settings
from autoheal.engine import Engine
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.metrics import Metrics
from autoheal.model import Draft, Kind, Record, rfc3339
from autoheal.redaction import Redaction
from autoheal.rules import load
from autoheal.state import State
from autoheal.wire import fingerprint
from tests.support.engine import FakeAction
from tests.support.server import serving


@dataclass
class Operated:
    """A gateway that decides and acts, and what people have of it."""

    client: httpx.AsyncClient
    engine: Engine
    action: FakeAction
    rules: Path
    journal: FileJournal

    async def post(self, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers)

    async def fire(self, instance: str = "api-1", *others: str, status: str = "firing") -> str:
        """As Alertmanager posts alerts, in one request; the fingerprint of the last."""
        now = SystemClock().now()
        about = {"status": status, "annotations": {}, "startsAt": rfc3339(now - 5), "endsAt": rfc3339(now)}
        alerts = []
        for each in (instance, *others):
            labels = {"alertname": "Down", "instance": each}
            alerts.append({**about, "labels": labels, "fingerprint": fingerprint(labels)})
        body = {"version": "4", "status": status, "alerts": alerts}
        (await self.client.post("/alert", json=body)).raise_for_status()
        return fingerprint(labels)

    async def run(self, state: str) -> dict[str, Any]:
        """The newest run, as soon as it stands there."""
        async with asyncio.timeout(10):
            while True:
                runs = (await self.client.get("/runs")).json()["runs"]
                if runs and runs[0]["state"] == state:
                    found: dict[str, Any] = runs[0]
                    return found

    async def records(self, *kinds: Kind) -> list[Record]:
        """The records of those kinds, oldest first, once all that were made are durable."""
        await self.journal.wait(self.journal.head.seq)
        found = await asyncio.to_thread(self.journal.read, 0, 10_000)
        return [record for record in found if record.kind in kinds]


@asynccontextmanager
async def operating(
    tmp_path: Path,
    rules: str,
    env: Mapping[str, str] | None = None,
    *,
    actions: Mapping[str, Action] | None = None,
    http: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Operated]:
    """Such a gateway on loopback, its data in `tmp_path`; `http` is by what it asks others, `actions` what it can do
    beside the fake one.
    """
    file = tmp_path / "rules.yaml"
    file.write_text(rules)
    given = {"AUTOHEAL_DATA_DIR": str(tmp_path / "data"), "AUTOHEAL_RULES": str(file), "AUTOHEAL_DRY_RUN": "false"}
    settings = load_settings({**given, **(env or {})})
    clock, metrics, state, action = clock or SystemClock(), Metrics(), State(), FakeAction()
    can: dict[str, Action] = {"fake": action, **(actions or {})}
    feeds: list[Feed] = []

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        for feed in feeds:
            feed.publish(records)

    journal = FileJournal.open(settings.data_dir, clock, on_durable=durable, on_replay=state.apply)
    feeds.append(Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock))
    engine = Engine(
        settings=settings,
        journal=journal,
        state=state,
        load_rules=lambda: load(file, actions={name: one.Params for name, one in can.items()}),
        actions=can,
        alertmanager=None,
        prometheus=None,
        redaction=Redaction(settings.redact, b"key"),
        sign=lambda *_: Draft(kind=Kind.CHECKPOINT),
        clock=clock,
    )
    asking = http or httpx.AsyncClient()
    app = build(settings, engine, journal, feeds[0], metrics, provider=asking, clock=clock)
    try:
        async with (
            serving(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client,
        ):
            yield Operated(client, engine, action, file, journal)
    finally:
        await asking.aclose()
        await journal.close()
