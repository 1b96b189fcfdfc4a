"""`GET /rules` and `POST /rules/{name}/reset`: the rules in force, and a breaker closed by an operator's word."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal.clock import Clock
from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.model import rfc3339
from autoheal.rules import Rule, Window
from autoheal.rules.decide import Switches, mode_of
from autoheal.state import Spent, State
from autoheal.web.fields import Fields
from autoheal.web.operate import about_pause, by
from autoheal.web.parameters import parameters


async def rules(request: Request, *, settings: Settings, engine: Engine, clock: Clock) -> Response:
    """Every rule in the order in which they are tried, what is paused and spent, and the digest that decisions' records
    name.
    """
    parameters(request, ())
    state, now = engine.state, clock.now()
    switches = Switches(settings.enabled, settings.dry_run)
    targets = state.spent_by_target()
    body = {
        "rules": [
            {
                **_rule(rule),
                "state": {
                    "mode": mode_of(state, rule, switches),
                    **_state(rule.name, state),
                    "budget": _budget(rule, state, targets.get(rule.name, {}), now),
                },
            }
            for rule in engine.rules.rules
        ],
        "budget": [_spent(state.spent_on(), window, now) for window in engine.rules.budget],
        "paused": [about_pause(pause) for pause in engine.paused()],
        "digest": engine.rules.digest,
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def reset(request: Request, *, engine: Engine) -> Response:
    """Close the rule's breaker and lift its demotion; what its alerts wait for is decided anew."""
    parameters(request, ())
    Fields(await request.body(), ()).done()
    name = request.path_params["name"]
    if all(rule.name != name for rule in engine.rules.rules):
        raise HTTPException(404, "No rule of this name is in force.")
    changed = await engine.reset(name, by(request))
    return Response(orjson.dumps({"rule": name, "changed": changed}), media_type="application/json")


def _state(name: str, state: State) -> dict[str, object]:
    """What guards remember of the rule."""
    breaker = state.breakers.get(name)
    storm = state.storms.get(name)
    opened_at = None if breaker is None else breaker.opened_at
    return {
        "failures": 0 if breaker is None else breaker.failures,
        "breaker_open_since": None if opened_at is None else rfc3339(opened_at),
        "storm_since": None if storm is None or storm.over else rfc3339(storm.began_at),
        "held": 0 if storm is None else len(storm.held),
        "demoted": breaker is not None and breaker.demoted,
    }


def _budget(rule: Rule, state: State, targets: Mapping[str, Spent], now: float) -> dict[str, object]:
    """Of a window for each target the one on which most is spent; `target` is null where nothing is on any."""
    return {
        "target": [_most_spent(targets, window, now) for window in rule.budget.target],
        "rule": [_spent(state.spent_on(rule.name), window, now) for window in rule.budget.rule],
    }


def _most_spent(targets: Mapping[str, Spent], window: Window, now: float) -> dict[str, object]:
    used, target = max(((spent.used(window.seconds, now), name) for name, spent in targets.items()), default=(0, None))
    return {"used": used, **_window(window), "target": target if used else None}


def _spent(spent: Spent, window: Window, now: float) -> dict[str, object]:
    return {"used": spent.used(window.seconds, now), **_window(window)}


def _rule(rule: Rule) -> dict[str, object]:
    """Durations in seconds, windows as `{count, seconds}`."""
    return {
        "name": rule.name,
        "mode": rule.mode,
        "rollout": rule.rollout,
        "match": ", ".join(map(str, rule.matchers)),
        "for": rule.for_,
        "cooldown": rule.cooldown,
        "budget": {
            "target": [_window(window) for window in rule.budget.target],
            "rule": [_window(window) for window in rule.budget.rule],
        },
        "breaker": None if rule.breaker is None else rule.breaker.model_dump(),
        "storm": None if rule.storm is None else _window(rule.storm),
        "fleet": None if rule.fleet is None else {"at_most": str(rule.fleet.at_most), "of": rule.fleet.of.source},
        "concurrency": rule.concurrency,
        "unless": [str(unless) for unless in rule.unless],
        "freeze": [str(window) for window in rule.freeze],
        "approval": {"expires": rule.approval.expires},
        "cancel_on_resolve": rule.cancel_on_resolve,
        "rerun_interrupted": rule.rerun_interrupted,
        "notify": rule.notify,
        "continue": rule.continue_,
        "steps": [step.action for step in rule.steps],
    }


def _window(window: Window) -> dict[str, float]:
    return {"count": window.count, "seconds": window.seconds}
