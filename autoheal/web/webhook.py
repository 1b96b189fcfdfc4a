"""`POST /alert`: where Alertmanager's webhook receiver (version 4) delivers.

Alertmanager sends again after a 5xx and drops a notification at any 4xx: 503 stands for "not now", 400 for "never".
"""

from __future__ import annotations

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.metrics import Metrics
from autoheal.model import ALERTMANAGER, Receipt, Role
from autoheal.web.correlation import correlation_id
from autoheal.web.errors import problem_of
from autoheal.web.parameters import parameters
from autoheal.web.payload import decoding
from autoheal.web.security import access, from_browser, is_allowed


async def receive_alert(
    request: Request, *, settings: Settings, engine: Engine, metrics: Metrics, clock: Clock
) -> Response:
    """Answer 200 once everything that the notification changed is durable. Every answer is counted by its status."""
    begun = clock.monotonic()
    status = 500
    try:
        receipt = await _take(request, settings, engine)
        status = 200
    except Exception as error:
        status = problem_of(error).status
        raise
    finally:
        metrics.webhooks.labels(status).inc()
        metrics.webhook_duration.observe(clock.monotonic() - begun)
    if not receipt.selftest:
        # What autoheal sends to itself must not hide that Alertmanager is silent.
        metrics.last_webhook.set(clock.now())
        metrics.alerts_received.labels("firing").inc(receipt.firing)
        metrics.alerts_received.labels("resolved").inc(receipt.resolved)
        metrics.alerts_received.labels("rejected").inc(receipt.rejected)
    body = {
        "accepted": receipt.accepted,
        "firing": receipt.firing,
        "resolved": receipt.resolved,
        "rejected": receipt.rejected,
        "correlation_id": correlation_id(request.scope),
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def _take(request: Request, settings: Settings, engine: Engine) -> Receipt:
    if not is_allowed(request.scope, settings.alert_allowlist):
        raise HTTPException(403, "This address is not in AUTOHEAL_ALERT_ALLOWLIST.")
    # A page can post a form anywhere, to loopback too, and with DNS rebinding even as the same origin.
    if from_browser(request.scope):
        raise HTTPException(
            403, "Alerts are taken from programs, not from web pages (Origin or Sec-Fetch-Site is set)."
        )
    actor = ALERTMANAGER
    if settings.webhook_auth == "token":
        # Here and not at the route's door: who is refused is to be counted like every answer.
        actor = (await access(request.scope).admit(request.scope, Role.SENDER)).operator.subject
    parameters(request, ())
    body = await request.body()
    return await engine.receive(decoding(body), correlation_id(request.scope), actor)
