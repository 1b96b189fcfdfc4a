"""`GET /storms` and `POST /rules/{name}/release`: what storms hold, and letting it go as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.engine import Engine, batch_digest
from autoheal.errors import RenderError
from autoheal.model import plan_digest, rfc3339
from autoheal.rules import Rule
from autoheal.rules.render import plan
from autoheal.state import Episode
from autoheal.web.fields import Fields
from autoheal.web.operate import by
from autoheal.web.parameters import parameters

ALERTS_SHOWN = 1000
SHOWN_BYTES = 4 * 1024 * 1024
"""What all alerts of an answer may take: plans are made anew for it, up to 32 KiB each."""
AT_ONCE = 50
"""Plans made before others on the event loop get their turn."""


async def storms(request: Request, *, engine: Engine) -> Response:
    """Every storm that holds an alert or lasts still, with the batch that may be let go."""
    parameters(request, ())
    rules = {rule.name: rule for rule in engine.rules.rules}
    told: list[dict[str, Any]] = []
    room = SHOWN_BYTES
    for name, storm in list(engine.state.storms.items()):
        rule, batch = rules.get(name), engine.state.batch(name)
        about: dict[str, Any] = {
            "rule": name,
            "since": rfc3339(storm.began_at),
            "over": storm.over,
            "held": len(storm.held),
            "batch_digest": None,
            "alerts": [],
            "more": 0,
        }
        if rule is not None and batch:
            # First: the plans take a while, and the digest is to be that of what is shown.
            about["batch_digest"] = batch_digest(rule, batch)
            planned = [(episode, str(episode.decisions[name].plan_digest)) for episode in batch]
            about["alerts"], room = await _alerts(rule, planned, room)
            about["more"] = len(batch) - len(about["alerts"])
        told.append(about)
    return Response(orjson.dumps({"storms": told}), media_type="application/json")


async def release(request: Request, *, engine: Engine) -> Response:
    """Answer 200 once it is durable that the batch is let go. The digest shows which one was looked at."""
    parameters(request, ())
    fields = Fields(await request.body(), ("batch_digest", "comment"))
    digest, comment = fields.text("batch_digest"), fields.words("comment")
    if "batch_digest" not in fields.raw:
        fields.faults.add("must be that of the batch which you have looked at (GET /storms)", "batch_digest")
    fields.done()
    name = request.path_params["name"]
    released = await engine.releases.release(name, str(digest), comment, by(request))
    body = {"rule": name, "batch_digest": digest, "released": released}
    return Response(orjson.dumps(body), media_type="application/json")


async def _alerts(rule: Rule, planned: Sequence[tuple[Episode, str]], room: int) -> tuple[list[dict[str, Any]], int]:
    """The first of the alerts, as far as there is `room` (bytes), and what is left of it."""
    shown: list[dict[str, Any]] = []
    for number, (episode, digest) in enumerate(planned[:ALERTS_SHOWN], 1):
        alert = _alert(rule, episode, digest)
        room -= len(orjson.dumps(alert))
        if room < 0:
            break
        shown.append(alert)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return shown, max(room, 0)


def _alert(rule: Rule, episode: Episode, digest: str) -> dict[str, Any]:
    """`plan` is null for the moment between a reload and the decision that follows from it."""
    try:
        made = plan(rule, episode)
    except RenderError:
        made = None
    return {
        "fingerprint": episode.fingerprint,
        "alertname": episode.alertname,
        "episode": episode.id,
        "target": episode.decisions[rule.name].target,
        "plan_digest": digest,
        "plan": made if made is not None and plan_digest(made) == digest else None,
    }
