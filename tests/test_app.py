"""The application as a whole: its routes, its life, and the journey from a webhook to all that tells of it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import orjson
import pytest

from autoheal.actions import ACTIONS
from autoheal.app import build
from autoheal.clock import SystemClock
from autoheal.config import load as load_settings
from autoheal.engine import Engine
from autoheal.feed import Feed
from autoheal.journal import FileJournal
from autoheal.journal.search import Search
from autoheal.metrics import Metrics
from autoheal.model import Draft, Kind, Record, Role
from autoheal.redaction import Redaction
from autoheal.rules import load
from autoheal.state import State
from autoheal.web.security import PUBLIC, Door, Guard
from tests.support.gateway import StubEngine, decision, firing, gateway, until
from tests.support.server import serving
from tests.support.sse import Reader

DOCS = Path(__file__).parents[1] / "docs" / "api.md"
PAYLOAD = Path(__file__).parent / "payloads" / "01_firing_single.json"
ROW = re.compile(r"^\| (GET|POST) \| \[`(/[^`]*)`\]\(#([^)]*)\) \| (\w+) \|", re.MULTILINE)


ON = {"OIDC_ENABLED": "true", "OIDC_ISSUER": "https://idp.example", "OIDC_AUDIENCE": "autoheal"}
LOGIN = {**ON, "OIDC_CLIENT_ID": "console"}


def doors(tmp_path: Path, env: Mapping[str, str] = LOGIN) -> list[Door]:
    """The routes of the application; with OIDC and a login there are most."""
    journal = FileJournal.open(tmp_path, SystemClock(), on_durable=lambda _: None)
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: []\n")
    settings = load_settings({"AUTOHEAL_DATA_DIR": str(tmp_path), "AUTOHEAL_RULES": str(rules), **env})
    feed = Feed(0, lambda after, limit: asyncio.to_thread(journal.read, after, limit), SystemClock())
    engine = StubEngine(journal, load(rules, actions={}), State())
    app = build(settings, engine, journal, feed, Metrics(), provider=httpx.AsyncClient())  # type: ignore[arg-type]
    asyncio.run(journal.close())
    assert all(isinstance(route, Door) for route in app.routes), "a route that does not say who may use it"
    return [route for route in app.routes if isinstance(route, Door)]


def test_docs_and_code_have_the_same_routes_and_roles(tmp_path: Path) -> None:
    """Each route is documented with its method and role, and each documented one exists."""
    documented = {(method, path, role) for method, path, _, role in ROW.findall(DOCS.read_text())}
    built = {(method, door.path, door.role) for door in doors(tmp_path) for method in (door.methods or set())}
    named = {(method, path, role if role == PUBLIC else role.label) for method, path, role in built if method != "HEAD"}
    assert documented == named


@pytest.mark.parametrize("env", [{}, ON, LOGIN, {**LOGIN, "AUTOHEAL_EVENTS_AUTH": "true"}])
def test_every_route_says_who_may_use_it(tmp_path: Path, env: dict[str, str]) -> None:
    """However it is configured: a role, or that it is public, and a guard in front of every one that is not."""
    for door in doors(tmp_path, env):
        assert door.role == PUBLIC or isinstance(door.role, Role)
        assert isinstance(door.app, Guard) == (door.role != PUBLIC)
        if isinstance(door.app, Guard):
            assert door.app.role is door.role


def test_every_route_has_its_section() -> None:
    """And the table links to it."""
    text = DOCS.read_text()
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {anchor for *_, anchor, _ in ROW.findall(text)} <= anchors


def test_whoever_may_do_anything_is_asked_for(tmp_path: Path) -> None:
    """Public is only what tells nothing of alerts, or shows no more than an envelope of them."""
    public = {door.path for door in doors(tmp_path) if door.role == PUBLIC}
    assert public == {
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/selftest/health",
        "/alert",
        "/events",
        "/console/login.html",
        "/console/login.js",
        "/login",
        "/login/callback",
        "/logout",
        "/.well-known/oauth-protected-resource",
    }
    strict = doors(tmp_path, {**LOGIN, "AUTOHEAL_EVENTS_AUTH": "true"})
    assert {door.path for door in strict if door.role == PUBLIC} == public - {"/events"}


async def test_the_engine_lives_as_long_as_the_application(tmp_path: Path) -> None:
    """Started before the first request is answered, stopped with the server; then readers of the feed end too."""

    async def drain(feed: Feed) -> None:
        async with feed.subscribe(0) as pages:
            async for _ in pages:
                pass

    async with gateway(tmp_path) as gate:
        assert gate.engine.life == ["started"]
        reader = asyncio.create_task(drain(gate.feed))
        await until(lambda: gate.feed.subscribers == 1)
    assert gate.engine.life == ["started", "stopped"]
    await asyncio.wait_for(reader, 5)


class Searches:
    """Stands for the log's readers: each waits to be let go, and how many do at the same time is counted."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *_: object) -> list[Record]:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.let_go.wait(10)
        with self._lock:
            self.running -= 1
        return []


async def test_two_searches_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of /audit and of /runs/{id} together; the next wait their turn, and others are answered meanwhile."""
    async with gateway(tmp_path) as gate:
        await gate.log(firing(1), decision(3))
        searches = Searches()
        monkeypatch.setattr(Search, "newest_first", lambda *_: (step for step in searches()))
        monkeypatch.setattr(gate.journal, "read", searches)
        asked = [asyncio.create_task(gate.client.get(path)) for path in ("/audit", "/runs/r3") * 4]
        try:
            await until(lambda: searches.running == 2)
            for _ in range(20):
                assert (await gate.client.get("/healthz")).status_code == 200
            assert searches.running == 2
        finally:
            searches.let_go.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert searches.most == 2


RULES = """\
version: 1
rules:
  - name: touch
    match: 'alertname=~".+"'
    target: '{{ labels.alertname }}'
    mode: live
    steps: [{command: {argv: [/usr/bin/touch, MARK]}}]
"""


async def test_one_webhook_and_all_that_tells_of_it(tmp_path: Path) -> None:
    """The journey: POST /alert, and the same records on /events, in /audit, in /runs/{id} and in /metrics."""
    mark, rules = tmp_path / "mark", tmp_path / "rules.yaml"
    rules.write_text(RULES.replace("MARK", str(mark)))
    settings = load_settings(
        {"AUTOHEAL_DATA_DIR": str(tmp_path / "data"), "AUTOHEAL_RULES": str(rules), "AUTOHEAL_DRY_RUN": "false"}
    )
    clock, metrics, state = SystemClock(), Metrics(), State()
    published: list[Feed] = []

    def durable(records: Sequence[Record]) -> None:
        metrics.count(records)
        for feed in published:
            feed.publish(records)

    journal = FileJournal.open(settings.data_dir, clock, on_durable=durable, on_replay=state.apply)
    feed = Feed(journal.durable.seq, lambda after, limit: asyncio.to_thread(journal.read, after, limit), clock)
    published.append(feed)
    engine = Engine(
        settings=settings,
        journal=journal,
        state=state,
        load_rules=lambda: load(rules, actions={name: action.Params for name, action in ACTIONS.items()}),
        actions=ACTIONS,
        alertmanager=None,
        prometheus=None,
        redaction=Redaction(settings.redact, b"key"),
        sign=lambda *_: Draft(kind=Kind.CHECKPOINT),
        clock=clock,
    )
    try:
        async with (
            httpx.AsyncClient() as http,
            serving(build(settings, engine, journal, feed, metrics, provider=http)) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            assert (await client.get("/readyz")).status_code == 200
            async with client.stream("GET", "/events?after=0&q=alertname EXISTS") as response:
                stream = Reader(response)
                answer = (await client.post("/alert", content=PAYLOAD.read_bytes())).json()
                events = [event.record for event in await stream.take(4)]
            assert [event["kind"] for event in events] == ["alert_firing", "decision", "action_started", "action_ok"]
            assert {event["correlation_id"] for event in events} == {answer["correlation_id"]}
            assert mark.exists()
            about = (await client.get(f"/audit?q=correlation_id={answer['correlation_id']}")).json()["records"]
            assert about[::-1] == events
            run = (await client.get(f"/runs/{events[1]['run']}")).json()
            assert run["records"] == events[1:]
            assert (run["state"], run["rule"]) == ("verifying", "touch")
            assert run["plan_digest"] == events[1]["detail"]["plan_digest"]  # type: ignore[index]
            text = (await client.get("/metrics")).text
            for sample in (
                'autoheal_alerts_received_total{status="firing"} 1.0',
                'autoheal_decisions_total{reason="act",rule="touch"} 1.0',
                'autoheal_actions_total{action="command",outcome="ok",rule="touch"} 1.0',
                "autoheal_runs_in_progress 1.0",
                "autoheal_config_last_reload_successful 1.0",
            ):
                assert sample in text
    finally:
        await journal.close()
    last = (await asyncio.to_thread(journal.read, 0, 1000))[-2:]
    assert [record.kind for record in last] == ["service_stopped", "checkpoint"]


@pytest.mark.parametrize("name", sorted(path.name for path in PAYLOAD.parent.glob("*.json")))
async def test_every_real_body_is_accepted(tmp_path: Path, name: str) -> None:
    """What Alertmanager really sent, with every alert in it."""
    body = (PAYLOAD.parent / name).read_bytes()
    async with gateway(tmp_path) as gate:
        answer = await gate.client.post("/alert", content=body)
        assert answer.status_code == 200
        assert answer.json()["accepted"] == len(orjson.loads(body)["alerts"])
        assert len(gate.engine.received) == 1
