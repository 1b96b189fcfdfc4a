"""`GET /rules`: the rules in force."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.engine import Engine
from autoheal.rules import Rule, Window
from autoheal.web.operate import about_pause
from autoheal.web.parameters import parameters


async def rules(request: Request, *, engine: Engine) -> Response:
    """Every rule in the order in which they are tried, what is paused, and the digest that decisions' records name."""
    parameters(request, ())
    body = {
        "rules": [_rule(rule) for rule in engine.rules.rules],
        "paused": [about_pause(pause) for pause in engine.paused()],
        "digest": engine.rules.digest,
    }
    return Response(orjson.dumps(body), media_type="application/json")


def _rule(rule: Rule) -> dict[str, object]:
    """Durations in seconds, windows as `{count, seconds}`."""
    return {
        "name": rule.name,
        "mode": rule.mode,
        "match": ", ".join(map(str, rule.matchers)),
        "for": rule.for_,
        "cooldown": rule.cooldown,
        "budget": {
            "target": [_window(window) for window in rule.budget.target],
            "rule": [_window(window) for window in rule.budget.rule],
        },
        "approval": {"expires": rule.approval.expires},
        "cancel_on_resolve": rule.cancel_on_resolve,
        "continue": rule.continue_,
        "steps": [step.action for step in rule.steps],
    }


def _window(window: Window) -> dict[str, float]:
    return {"count": window.count, "seconds": window.seconds}
