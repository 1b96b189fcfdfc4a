"""GET /, /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from autoheal import __version__
from autoheal.actions import ACTIONS
from autoheal.clock import SystemClock
from autoheal.config import load as load_settings
from autoheal.model import Draft, Kind, Reason
from autoheal.rules import load
from autoheal.state import SelfTest, Silence
from autoheal.web.health import warnings as told_of
from tests.support.gateway import RULES, Gateway, decision, firing, gateway, of_run

OPEN = {"AUTOHEAL_HOST": "0.0.0.0", "AUTOHEAL_INSECURE": "true", "AUTOHEAL_DRY_RUN": "false"}


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


async def test_the_overview(gate: Gateway) -> None:
    """What it is, how it is set, and since when it runs."""
    gate.engine.started_at -= 90
    body = (await gate.client.get("/")).json()
    assert 90 <= body.pop("uptime_seconds") <= 100
    assert body == {
        "status": "ok",
        "version": __version__,
        "enabled": True,
        "dry_run": True,
        "paused": False,
        "oidc": False,
        "head": gate.journal.durable.seq,
        "warnings": [],
    }


async def test_ready_only_while_an_alert_would_be_safe(gate: Gateway) -> None:
    """Not ready: /readyz is 503 and / says so; alive all the same."""
    assert (await gate.client.get("/readyz")).json() == {"status": "ready"}
    gate.engine.ready = False
    answer = await gate.client.get("/readyz")
    assert answer.status_code == 503
    assert "audit log" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert (await gate.client.get("/")).json()["status"] == "unavailable"
    assert (await gate.client.get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("env", "warned"),
    [
        (OPEN, True),
        (OPEN | {"AUTOHEAL_HOST": "::"}, True),
        ({"AUTOHEAL_HOST": "127.0.0.1", "AUTOHEAL_DRY_RUN": "false"}, False),
        ({"AUTOHEAL_HOST": "::1", "AUTOHEAL_DRY_RUN": "false"}, False),
        ({"AUTOHEAL_HOST": "0.0.0.0", "AUTOHEAL_INSECURE": "true"}, False),
        (OPEN | {"AUTOHEAL_ENABLED": "false"}, False),
        (OPEN | {"AUTOHEAL_ALERT_ALLOWLIST": "172.30.9.10,fd00::/8"}, False),
        (OPEN | {"AUTOHEAL_ALERT_ALLOWLIST": "172.30.9.10,::/0"}, True),
    ],
)
async def test_an_open_door_to_a_live_rule_is_a_warning(tmp_path: Path, env: dict[str, str], warned: bool) -> None:
    """Live rule, not loopback, open to everybody: said in `GET /`, with the rule's name and what to do."""
    async with gateway(tmp_path, env) as gate:
        warnings = (await gate.client.get("/")).json()["warnings"]
    assert [one for one in warnings if "restart-api" in one and "ALLOWLIST" in one] == (warnings[:1] if warned else [])


@pytest.mark.parametrize(
    ("env", "warned"),
    [
        ({"AUTOHEAL_HOST": "0.0.0.0", "AUTOHEAL_INSECURE": "true"}, True),
        ({"AUTOHEAL_HOST": "127.0.0.1", "AUTOHEAL_INSECURE": "true"}, False),
        (
            {
                "AUTOHEAL_HOST": "0.0.0.0",
                "OIDC_ENABLED": "true",
                "OIDC_ISSUER": "https://idp.example",
                "OIDC_AUDIENCE": "autoheal",
            },
            False,
        ),
    ],
)
async def test_an_open_address_without_identities_is_a_warning(
    tmp_path: Path, env: dict[str, str], warned: bool
) -> None:
    """Whoever set AUTOHEAL_INSECURE is reminded of it, at each start and in `GET /`."""
    async with gateway(tmp_path, env) as gate:
        warnings = (await gate.client.get("/")).json()["warnings"]
    assert ["AUTOHEAL_INSECURE" in one and "0.0.0.0" in one for one in warnings] == ([True] if warned else [])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html, */*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;q=1, application/openmetrics-text;q=0.1", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("application/openmetrics-text;version=x", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
async def test_metrics_come_in_the_format_asked_for(gate: Gateway, accept: str | None, content_type: str) -> None:
    """Both formats have their exact media type, and OpenMetrics its end."""
    answer = await gate.client.get("/metrics", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200
    assert answer.headers.get_list("content-type") == [content_type]
    assert answer.text.endswith("# EOF\n") is content_type.startswith("application/")
    assert f'autoheal_build_info{{version="{__version__}"}} 1.0' in answer.text


async def test_runs_in_progress_are_those_not_ended(gate: Gateway) -> None:
    """Looked up at each scrape."""
    await gate.log(firing(1), decision(3))
    assert "autoheal_runs_in_progress 1.0" in (await gate.client.get("/metrics")).text
    await gate.log(of_run(Kind.ACTION_STARTED, "r3"), of_run(Kind.ESCALATED, "r3"))
    assert "autoheal_runs_in_progress 0.0" in (await gate.client.get("/metrics")).text


async def test_what_guards_and_people_hold_back_is_looked_up_at_each_scrape(gate: Gateway) -> None:
    """Approvals that are waited for; breakers and demotions by rule, whose series go when they are over."""

    async def told() -> dict[str, str]:
        names = ("autoheal_approvals", "autoheal_breaker", "autoheal_rule")
        lines = (await gate.client.get("/metrics")).text.splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith(names))

    assert await told() == {"autoheal_approvals_waiting": "0.0"}
    await gate.log(firing(1), replace(decision(3), reason=Reason.AWAITING_APPROVAL))
    assert await told() == {"autoheal_approvals_waiting": "1.0"}
    about = {"rule_digest": "sha256:9f2c"}
    await gate.log(
        Draft(kind=Kind.APPROVAL_EXPIRED, rule="restart-api", run="r3"),
        Draft(kind=Kind.BREAKER_OPENED, rule="restart-api", detail=about),
        Draft(kind=Kind.RULE_DEMOTED, rule="restart-api", detail=about),
    )
    assert await told() == {
        "autoheal_approvals_waiting": "0.0",
        'autoheal_breaker_open{rule="restart-api"}': "1.0",
        'autoheal_rule_demoted{rule="restart-api"}': "1.0",
    }
    await gate.log(Draft(kind=Kind.BREAKER_CLOSED, rule="restart-api"))
    assert await told() == {"autoheal_approvals_waiting": "0.0"}


async def test_a_page_hold_that_nobody_hears_of_is_a_warning(tmp_path: Path) -> None:
    """Without ALERTMANAGER_URL nothing is held back."""
    text = RULES + "    page_hold: true\n"
    (tmp_path / "rules.yaml").write_text(text)
    rules = load(tmp_path / "rules.yaml", actions={name: action.Params for name, action in ACTIONS.items()})
    (told,) = told_of(load_settings({}), rules)
    assert told == "Rule 'restart-api' holds no page back (`page_hold`): ALERTMANAGER_URL is not set."
    assert told_of(load_settings({"ALERTMANAGER_URL": "http://am:9093"}), rules) == []


async def test_what_goes_wrong_now_is_a_warning_and_a_metric(gate: Gateway) -> None:
    """Alerts that no longer arrive, and alerts of autoheal's own that nobody takes."""
    assert (await gate.client.get("/")).json()["warnings"] == []
    gate.engine.posting_fails = True
    gate.engine.watchdog = SimpleNamespace(missing=True, trouble="Nothing comes.", last_seen=1_790_000_000.0)
    first, second = (await gate.client.get("/")).json()["warnings"]
    assert first == "Nothing comes."
    assert "AutohealFailed" in second
    lines = (await gate.client.get("/metrics")).text.splitlines()
    assert "autoheal_alertmanager_posts_failing 1.0" in lines
    assert "autoheal_watchdog_missing 1.0" in lines
    assert "autoheal_watchdog_last_seen_timestamp_seconds 1.79e+09" in lines
    gate.engine.watchdog.missing = gate.engine.posting_fails = False
    assert (await gate.client.get("/")).json()["warnings"] == []
    assert "autoheal_watchdog_missing 0.0" in (await gate.client.get("/metrics")).text.splitlines()


async def test_acknowledgements_in_force_are_counted(gate: Gateway) -> None:
    """With the time of the oldest; one whose time is over is none."""
    now = SystemClock().now()
    silences = [
        Silence(name, "a=b", "ann", ends, made_at=made)
        for name, ends, made in (("s1", now + 60, now - 100), ("s2", now + 60, now - 50), ("s3", now - 1, now - 900))
    ]
    gate.engine.state.silences = {silence.id: silence for silence in silences}
    samples = dict(line.rsplit(" ", 1) for line in (await gate.client.get("/metrics")).text.splitlines())
    assert float(samples["autoheal_acks"]) == 2
    assert float(samples["autoheal_ack_oldest_timestamp_seconds"]) == pytest.approx(now - 100)


@pytest.mark.parametrize(
    ("old", "new"),
    [("for: 5s", "fleet: {at_most: 1, of: count(up)}"), ("}}]", "}, verify: {probe: {promql: up}}}]")],
)
async def test_a_rule_that_asks_a_prometheus_that_is_not_there_is_a_warning(tmp_path: Path, old: str, new: str) -> None:
    """With `fleet` it never acts, and what a `promql` probe is to tell stays unknown; one that is off asks nothing."""
    text = RULES.replace(old, new)
    (tmp_path / "rules.yaml").write_text(text)
    params = {name: action.Params for name, action in ACTIONS.items()}
    rules = load(tmp_path / "rules.yaml", actions=params)
    (told,) = told_of(load_settings({}), rules)
    assert told.startswith("Rule 'restart-api' asks Prometheus, and PROMETHEUS_URL is not set")
    assert told_of(load_settings({"PROMETHEUS_URL": "http://p:9090"}), rules) == []
    (tmp_path / "rules.yaml").write_text(text.replace("mode: live", "mode: off"))
    assert told_of(load_settings({}), load(tmp_path / "rules.yaml", actions=params)) == []


async def test_a_rule_that_nobody_can_answer_is_a_warning(tmp_path: Path) -> None:
    """`unless` without ALERTMANAGER_URL never acts, on loopback too; a rule that is off is nobody's concern."""
    text = RULES + "    unless: [alertname=Upgrade]\n"
    (tmp_path / "rules.yaml").write_text(text)
    params = {name: action.Params for name, action in ACTIONS.items()}
    rules = load(tmp_path / "rules.yaml", actions=params)
    (told,) = told_of(load_settings({}), rules)
    assert "'restart-api' never acts" in told
    assert told_of(load_settings({"ALERTMANAGER_URL": "http://am:9093"}), rules) == []
    (tmp_path / "rules.yaml").write_text(text.replace("mode: live", "mode: off"))
    assert told_of(load_settings({}), load(tmp_path / "rules.yaml", actions=params)) == []


async def test_a_channel_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    """Whoever wrote the rule believes that people are told there."""
    (tmp_path / "rules.yaml").write_text(RULES + "    exhausted: {notify: [webhook, slack]}\n")
    rules = load(tmp_path / "rules.yaml", actions={name: action.Params for name, action in ACTIONS.items()})
    environ = {"NOTIFY_WEBHOOK_URL": "http://a", "NOTIFY_WEBHOOK_SECRET": "A" * 32}
    (told,) = told_of(load_settings(environ), rules)
    assert told.startswith("Rule 'restart-api' names the channel slack, which is not configured")


async def test_what_waits_to_be_told_is_measured(tmp_path: Path) -> None:
    """By channel."""
    async with gateway(tmp_path) as gate:
        gate.engine.notices_waiting = {"slack": 3, "webhook": 0}
        text = (await gate.client.get("/metrics")).text
    assert 'autoheal_notices_waiting{channel="slack"} 3.0' in text
    assert 'autoheal_notices_waiting{channel="webhook"} 0.0' in text


async def test_how_self_tests_went(gate: Gateway) -> None:
    """Unknown before the first, 503 while the last one failed; the newest first, and of the checks the names alone."""
    recent = gate.engine.selftests.recent
    unknown = await gate.client.get("/selftest/health")
    assert (unknown.status_code, unknown.json()["status"], unknown.json()["pass_rate"]) == (200, "unknown", None)
    recent.append(SelfTest(1_790_000_000.0, ["clock"]))
    assert (await gate.client.get("/")).json()["warnings"] == []
    recent += [SelfTest(1_790_000_900.0), SelfTest(1_790_001_800.0, ["disk"])]
    recent.append(SelfTest(1_790_002_700.0, ["disk", "alert"]))
    failing = await gate.client.get("/selftest/health")
    assert failing.status_code == 503
    assert failing.json() | {"recent": []} == {
        "status": "failing",
        "pass_rate": 0.25,
        "consecutive_failures": 2,
        "interval_seconds": 900.0,
        "recent": [],
    }
    (warning,) = (await gate.client.get("/")).json()["warnings"]
    assert warning.startswith("The last 2 self-tests failed (disk, alert)")
    newest = {"ts": "2026-09-21T14:58:20.000000Z", "ok": False, "failed": ["disk", "alert"]}
    assert failing.json()["recent"][0] == newest
    text = (await gate.client.get("/metrics")).text.splitlines()
    assert "autoheal_selftest_last_success_timestamp_seconds 1.7900009e+09" in text
    assert "autoheal_selftest_consecutive_failures 2.0" in text
    assert "autoheal_selftest_interval_seconds 900.0" in text
    recent.append(SelfTest(1_790_003_600.0))
    well = await gate.client.get("/selftest/health")
    assert (well.status_code, well.json()["status"]) == (200, "ok")
