"""The true application over a real log, with only the engine replaced: what `autoheal.web` promises on its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette

from autoheal.actions import ACTIONS
from autoheal.app import build
from autoheal.clock import Clock, SystemClock
from autoheal.config import Settings
from autoheal.config import load as load_settings
from autoheal.engine import Ack, Acknowledged
from autoheal.errors import JournalUnavailable
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.metrics import Metrics
from autoheal.model import AlertStatus, By, Draft, Kind, Mode, Notification, Receipt, Record, plan_digest
from autoheal.rules import RuleSet, load
from autoheal.slices import Slices, at_once
from autoheal.state import Pause, Run, State
from tests.support.server import serving

RULES = """\
version: 1
rules:
  - name: restart-api
    match: 'alertname="ApiDown", job=~"api|web"'
    target: '{{ labels.job }}'
    mode: live
    cooldown: 1m
    budget: [3/1h]
    for: 5s
    steps: [{command: {argv: [/bin/true]}}]
"""
PLAN = {"rule": "restart-api", "target": "api", "steps": [{"action": "command", "params": {}, "verify": {}}]}
OUTSIDE = {"X-Forwarded-For": "203.0.113.7"}
"""A header that makes a request one that may have come from anywhere."""


class StubEngine:
    """Records what it is told of, without deciding anything; raises `error` when there is one."""

    def __init__(self, journal: FileJournal, rules: RuleSet, state: State) -> None:
        self.journal = journal
        self.rules = rules
        self.state = state
        self.ready = True
        self.free_bytes: int | None = 2**30
        self.posting_fails = False
        self.notices_waiting: Mapping[str, int] = {}
        self.watchdog: Any = None
        self.settings = SimpleNamespace(selftest_interval=900.0)
        self.selftests = SimpleNamespace(recent=[])
        self.started_at = SystemClock().now()
        self.life: list[str] = []
        self.error: Exception | None = None
        self.received: list[tuple[Notification, str]] = []
        self.actors: list[str] = []
        """Of what was received."""
        self.noted: list[Draft] = []
        self.acknowledged: list[tuple[Ack, str, str]] = []
        self.resets: list[tuple[str, By]] = []

    async def acknowledge(self, ack: Ack, actor: str, correlation_id: str) -> Acknowledged:
        if self.error is not None:
            raise self.error
        self.acknowledged.append((ack, actor, correlation_id))
        return Acknowledged("5d1a", 1_790_000_900.5)

    async def reset(self, rule: str, by: By) -> bool:
        if self.error is not None:
            raise self.error
        self.resets.append((rule, by))
        return rule in self.state.breakers

    def promises(self, run: Run) -> list[dict[str, Any]]:
        return [{"action": step["action"], "description": f"of {run.id}"} for step in run.steps]

    def paused(self) -> list[Pause]:
        return self.state.paused(SystemClock().now())

    async def start(self) -> None:
        self.life.append("started")

    async def stop(self) -> None:
        self.life.append("stopped")

    async def note(self, draft: Draft) -> None:
        if self.error is not None:
            raise self.error
        self.noted.append(draft)
        await self.journal.wait(self.journal.append([draft], self.journal.head)[-1].seq)

    async def receive(self, sent: Notification | Slices[Notification], correlation_id: str, actor: str) -> Receipt:
        if self.error is not None:
            raise self.error
        notification = sent if isinstance(sent, Notification) else at_once(sent)
        self.received.append((notification, correlation_id))
        self.actors.append(actor)
        firing = sum(alert.status is AlertStatus.FIRING for alert in notification.alerts)
        resolved = len(notification.alerts) - firing
        return Receipt(len(notification.alerts), firing, resolved, len(notification.rejected))


@dataclass
class Gateway:
    """A running gateway and all that it is made of."""

    client: httpx.AsyncClient
    port: int
    engine: StubEngine
    journal: FileJournal
    feed: Feed
    metrics: Metrics
    app: Starlette

    async def log(self, *drafts: Draft) -> Sequence[Record]:
        """Append `drafts` and fold them, as the engine does; they are durable on return."""
        records = self.journal.append(drafts, self.journal.head)
        for record in records:
            self.engine.state.apply(record)
        await self.journal.wait(records[-1].seq)
        return records


@asynccontextmanager
async def gateway(
    tmp_path: Path,
    env: Mapping[str, str] | None = None,
    *,
    http: httpx.AsyncClient | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway on loopback, its data in `tmp_path`, and a client that speaks to it.

    `http` is by what it asks others, the identity provider say; by default nobody answers.
    """
    rules_file = tmp_path / "rules.yaml"
    rules_file.write_text(RULES)
    settings: Settings = load_settings(
        {"AUTOHEAL_DATA_DIR": str(tmp_path / "data"), "AUTOHEAL_RULES": str(rules_file), **(env or {})}
    )
    metrics, state = Metrics(), State()
    clock = clock or SystemClock()
    http = http or httpx.AsyncClient(transport=httpx.MockTransport(_nobody))
    feed: Feed | None = None

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        assert feed is not None
        feed.publish(records)

    journal = FileJournal.open(
        settings.data_dir, clock, on_durable=durable, on_replay=state.apply, identities=settings.audit_identity
    )
    feed = Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock)
    rules = load(rules_file, actions={name: action.Params for name, action in ACTIONS.items()})
    engine = StubEngine(journal, rules, state)
    app = build(settings, engine, journal, feed, metrics, provider=http, clock=clock)  # type: ignore[arg-type]
    # As a browser at the gateway's own address: the tests' port is another one.
    headers = {"Host": urlsplit(settings.origin).netloc} if settings.oidc and settings.origin else {}
    try:
        async with (
            serving(app) as port,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=10, verify=False
            ) as client,
        ):
            yield Gateway(client, port, engine, journal, feed, metrics, app)
    finally:
        await http.aclose()
        await journal.close()


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody is there", request=request)


def firing(number: int = 1, **labels: str) -> Draft:
    """An `alert_firing` record of an alert of its own."""
    return Draft(
        kind=Kind.ALERT_FIRING,
        alertname=labels.get("alertname", "ApiDown"),
        fingerprint=f"{number:016x}",
        episode=f"e{number}",
        actor="alertmanager",
        labels={"alertname": "ApiDown", "job": "api", **labels},
        annotations={"summary": "the API is down"},
        detail={"starts_at": "2026-05-01T12:00:00.000000Z", "how": "webhook"},
    )


def decision(seq: int, number: int = 1) -> Draft:
    """The decision to act on that alert; `seq` is the one that its record will have."""
    return Draft(
        kind=Kind.DECISION,
        alertname="ApiDown",
        fingerprint=f"{number:016x}",
        episode=f"e{number}",
        rule="restart-api",
        target=f"api-{number}",
        run=f"r{seq}",
        mode=Mode.LIVE,
        reason="act",
        detail={"plan": PLAN, "plan_digest": plan_digest(PLAN)},
    )


def of_run(kind: Kind, run: str, number: int = 1, **detail: object) -> Draft:
    """A later record of that run."""
    return Draft(
        kind=kind,
        alertname="ApiDown",
        fingerprint=f"{number:016x}",
        episode=f"e{number}",
        rule="restart-api",
        target=f"api-{number}",
        run=run,
        step=1,
        mode=Mode.LIVE,
        detail=detail,
    )


def unavailable() -> JournalUnavailable:
    """What the engine raises while the disk is full."""
    return JournalUnavailable("the audit log /data/audit.jsonl cannot be written: disk full")


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return as soon as `condition()` holds; TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 some conditions are another thread's or the server's
            await asyncio.sleep(0.005)
