"""Did it help? A step's outcome is judged by the world, never by an exit code; unknown is never success."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from autoheal.clock import Clock
from autoheal.engine.waiting import event_or_time

ASK_SECONDS = 15.0
"""How often Alertmanager's API is asked whether an alert under verification still fires."""
PROBE_SECONDS = 1.0
"""Pause between two tries of a probe."""

Standing = Literal["firing", "silenced", "ended", "disputed", "unknown"]
"""`disputed`: one Alertmanager lists the alert and another says that it has ended."""


class Outcome(StrEnum):
    """What became of a step, in the words of `heal_*` records."""

    CONFIRMED = "confirmed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with its reason and what was seen."""

    outcome: Outcome
    reason: str
    saw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """How verification looks at the world.

    `resolution` tells how the episode ended (`webhook`, `api`, `superseded`) or None while it is open, and `changed`
    is set when that may have changed. `ask` asks Alertmanager's API how the alert stands (None: no API configured).
    `probe` tries a rendered probe once and tells whether it held (None: that cannot be known), and what it saw.
    """

    resolution: Callable[[], str | None]
    changed: asyncio.Event
    ask: Callable[[], Awaitable[Standing]] | None
    probe: Callable[[Mapping[str, Any]], Awaitable[tuple[bool | None, dict[str, Any]]]]


async def verify(spec: Mapping[str, Any], acted_at: float, evidence: Evidence, clock: Clock) -> Verdict:
    """Judge a step whose action ended at `acted_at` (epoch seconds) by all that `spec` names.

    One definite failure decides at once. Otherwise the weakest answer counts: inconclusive before confirmed.
    """
    passed = max(0.0, clock.now() - acted_at)
    checks: list[asyncio.Future[Verdict]] = []
    if spec.get("resolved_within") is not None:
        checks.append(asyncio.ensure_future(_resolution(spec["resolved_within"] - passed, evidence, clock)))
    if spec.get("probe") is not None:
        checks.append(asyncio.ensure_future(_probe(spec["probe"], passed, evidence, clock)))
    verdicts: list[Verdict] = []
    try:
        for check in asyncio.as_completed(checks):
            verdict = await check
            verdicts.append(verdict)
            if verdict.outcome is Outcome.FAILED:
                break
    finally:
        for future in checks:
            future.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
    order = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.CONFIRMED)
    worst = min(verdicts, key=lambda verdict: order.index(verdict.outcome))
    saw = {key: value for verdict in verdicts for key, value in verdict.saw.items()}
    return Verdict(worst.outcome, worst.reason, saw)


async def _resolution(seconds: float, evidence: Evidence, clock: Clock) -> Verdict:
    deadline = clock.monotonic() + seconds
    while True:
        evidence.changed.clear()
        if (how := evidence.resolution()) is not None:
            # Superseded: the alert went and came back while this step was being judged.
            outcome = Outcome.FAILED if how == "superseded" else Outcome.CONFIRMED
            return Verdict(outcome, "fired_anew" if how == "superseded" else "resolved", {"resolved": how})
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            break
        pause = min(remaining, ASK_SECONDS) if evidence.ask is not None else remaining
        await event_or_time(clock, evidence.changed, pause)
        if evidence.ask is not None and evidence.resolution() is None:
            await evidence.ask()
    if evidence.ask is None:
        return Verdict(Outcome.FAILED, "not_resolved")
    standing = await evidence.ask()
    if standing == "ended":
        return Verdict(Outcome.CONFIRMED, "resolved", {"resolved": "api"})
    saw = {"alertmanager": standing}
    if standing == "firing":
        return Verdict(Outcome.FAILED, "not_resolved", saw)
    if standing == "silenced":
        return Verdict(Outcome.INCONCLUSIVE, "silenced", saw)
    if standing == "disputed":
        return Verdict(Outcome.INCONCLUSIVE, "disputed", saw)
    return Verdict(Outcome.INCONCLUSIVE, "alertmanager_unknown", saw)


async def _probe(spec: Mapping[str, Any], passed: float, evidence: Evidence, clock: Clock) -> Verdict:
    within, stable = spec["within"], spec["stable"]
    deadline = clock.monotonic() + within - passed
    held_since: float | None = None
    while True:
        held, saw = await evidence.probe(spec)
        now = clock.monotonic()
        if held:
            held_since = now if held_since is None else held_since
            if now - held_since >= stable:
                return Verdict(Outcome.CONFIRMED, "probe_held", {"probe": saw})
        else:
            held_since = None
        # It must begin to hold in time; `stable` may then run past `within`.
        if held_since is None and now >= deadline:
            if held is None:
                return Verdict(Outcome.INCONCLUSIVE, "prometheus_unknown", {"probe": saw})
            return Verdict(Outcome.FAILED, "probe_failed", {"probe": saw})
        until = PROBE_SECONDS if held_since is None else min(PROBE_SECONDS, stable - (now - held_since))
        await clock.sleep(until)
