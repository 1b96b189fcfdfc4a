"""What monitoring and people ask first: is it there, is it ready, what does it count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import takewhile

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal import __version__
from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.feed import Feed
from autoheal.metrics import Metrics
from autoheal.model import Mode, rfc3339
from autoheal.rules import RuleSet, asking_prometheus, naming_channels
from autoheal.state import RunState, SelfTest
from autoheal.web.parameters import parameters

FAILURES_TOLD = 2
"""Self-tests that fail in a row before people are warned; as AutohealSelftestFailing has it."""


def warnings(settings: Settings, rules: RuleSet) -> list[str]:
    """What an operator should be told loudly, at start and in `GET /`; one sentence each."""
    told = []
    blind = [rule.name for rule in rules.rules if rule.unless and rule.mode is not Mode.OFF]
    if blind and not settings.alertmanager_urls:
        more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
        told.append(
            f"Rule {blind[0]!r}{more} never acts: ALERTMANAGER_URL is not set, and only Alertmanager can tell whether"
            " an alert of its `unless` fires."
        )
    holding = [rule.name for rule in rules.rules if rule.page_hold and rule.mode is not Mode.OFF]
    if holding and not settings.alertmanager_urls:
        told.append(f"Rule {holding[0]!r} holds no page back (`page_hold`): ALERTMANAGER_URL is not set.")
    for channel, names in naming_channels(rules, settings.channels).items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        told.append(
            f"Rule {names[0]!r}{more} names the channel {channel}, which is not configured: nobody is told there."
        )
    unanswered = asking_prometheus(rules)
    if unanswered and not settings.prometheus_urls:
        more = f" and {len(unanswered) - 1} more" if len(unanswered) > 1 else ""
        told.append(
            f"Rule {unanswered[0]!r}{more} asks Prometheus, and PROMETHEUS_URL is not set: with `fleet` it never acts,"
            " and a `promql` probe is inconclusive."
        )
    if settings.on_loopback:
        return told
    live = [rule.name for rule in rules.rules if rule.mode is Mode.LIVE]
    anybody = not settings.alert_allowlist or any(network.prefixlen == 0 for network in settings.alert_allowlist)
    open_door = anybody and settings.webhook_auth == "none"
    if live and settings.enabled and not settings.dry_run and open_door:
        more = f" and {len(live) - 1} more" if len(live) > 1 else ""
        told.append(
            f"Whoever reaches {settings.address} can make rule {live[0]!r}{more} act: POST /alert asks for no "
            "credential. Set AUTOHEAL_WEBHOOK_AUTH=token, listen on loopback, or let AUTOHEAL_ALERT_ALLOWLIST admit"
            " Alertmanager alone."
        )
    if settings.oidc is None:
        told.append(
            f"AUTOHEAL_INSECURE: nobody logs in, and {settings.address} is open to other machines. They see"
            " counters, and what happens without its labels. Set OIDC_ENABLED=true, or listen on loopback."
        )
    return told


def troubles(engine: Engine) -> list[str]:
    """What is wrong right now beyond the settings, for `GET /`; one sentence each."""
    told = []
    if engine.watchdog is not None and engine.watchdog.missing:
        told.append(engine.watchdog.trouble)
    if engine.posting_fails:
        told.append("No Alertmanager takes the alerts that autoheal raises (AutohealFailed, AutohealActive).")
    recent = engine.selftests.recent
    if (failures := consecutive_failures(recent)) >= FAILURES_TOLD:
        names = ", ".join(recent[-1].failed)
        told.append(f"The last {failures} self-tests failed ({names}): autoheal selftest tells more.")
    return told


async def overview(request: Request, *, settings: Settings, engine: Engine, feed: Feed, clock: Clock) -> Response:
    """`GET /`: the gateway in a few words."""
    parameters(request, ())
    return _json(
        {
            "status": "ok" if engine.ready else "unavailable",
            "version": __version__,
            "enabled": settings.enabled,
            "dry_run": settings.dry_run,
            "paused": any(pause.rule is None for pause in engine.paused()),
            "oidc": settings.oidc is not None,
            "head": feed.head,
            "uptime_seconds": max(0, round(clock.now() - engine.started_at)),
            "warnings": warnings(settings, engine.rules) + troubles(engine),
        }
    )


async def healthz(request: Request) -> Response:
    """`GET /healthz`: the process answers; nothing else is asked."""
    parameters(request, ())
    return _json({"status": "ok"})


async def readyz(request: Request, *, engine: Engine) -> Response:
    """`GET /readyz`: 200 when an alert would be accepted durably now, else 503."""
    parameters(request, ())
    if not engine.ready:
        raise HTTPException(
            503,
            "No alert can be accepted now: the service starts or stops, or the audit log cannot be written.",
            {"Retry-After": "5"},
        )
    return _json({"status": "ready"})


async def selftest_health(request: Request, *, settings: Settings, engine: Engine) -> Response:
    """`GET /selftest/health`: how the last self-tests went; 503 while the last one failed, else 200."""
    parameters(request, ())
    recent = engine.selftests.recent
    failures = consecutive_failures(recent)
    body = {
        "status": "failing" if failures else "ok" if recent else "unknown",
        "pass_rate": round(sum(test.ok for test in recent) / len(recent), 3) if recent else None,
        "consecutive_failures": failures,
        "interval_seconds": settings.selftest_interval,
        "recent": [{"ts": rfc3339(test.ts), "ok": test.ok, "failed": test.failed} for test in reversed(recent)],
    }
    return Response(orjson.dumps(body), 503 if failures else 200, media_type="application/json")


def consecutive_failures(recent: Sequence[SelfTest]) -> int:
    """How many of the last self-tests failed in a row; `recent` has the newest last."""
    return sum(1 for _ in takewhile(lambda test: not test.ok, reversed(recent)))


async def exposition(request: Request, *, engine: Engine, metrics: Metrics, clock: Clock) -> Response:
    """`GET /metrics`: Prometheus text, or OpenMetrics when the Accept header names it first."""
    parameters(request, ())
    state = engine.state
    metrics.runs_in_progress.set(sum(not run.ended for run in state.runs.values()))
    metrics.approvals_waiting.set(sum(run.state is RunState.AWAITING_APPROVAL for run in state.runs.values()))
    metrics.set_paused({pause.rule or "" for pause in engine.paused()})
    breakers = state.breakers.items()
    metrics.set_breakers(
        {rule for rule, breaker in breakers if breaker.opened_at is not None},
        {rule for rule, breaker in breakers if breaker.demoted},
    )
    metrics.audit_space_low.set(state.space_low)
    acks = [ack.made_at for ack in state.silences.values() if ack.ends_at > clock.now()]
    metrics.acks.set(len(acks))
    metrics.ack_oldest.set(min(acks, default=0))
    metrics.posting_fails.set(engine.posting_fails)
    for channel, waiting in engine.notices_waiting.items():
        metrics.notices_waiting.labels(channel).set(waiting)
    tests = engine.selftests.recent
    metrics.selftest_interval.set(engine.settings.selftest_interval or 0)
    metrics.selftest_last_success.set(max((test.ts for test in tests if test.ok), default=0))
    metrics.selftest_consecutive_failures.set(consecutive_failures(tests))
    if engine.watchdog is not None:
        metrics.watchdog_seen.set(engine.watchdog.last_seen)
        metrics.watchdog_missing.set(engine.watchdog.missing)
    if (free := engine.free_bytes) is not None:
        metrics.audit_free.set(free)
    # Thousands of series take longer to write than a webhook may wait.
    body, content_type = await asyncio.to_thread(metrics.expose, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
