"""What people hold back, let go and allow: pauses, single runs, and other rules."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.engine import Engine, Word
from autoheal.errors import JournalUnavailable
from autoheal.model import By, rfc3339
from autoheal.rules.units import MAX_DURATION
from autoheal.state import Pause, Run
from autoheal.web.correlation import correlation_id
from autoheal.web.fields import Fields
from autoheal.web.parameters import parameters
from autoheal.web.runs import summary
from autoheal.web.security import actor

SHORTEST_SECONDS = 1.0


async def pause(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with all that is paused, once the pause is durable."""
    parameters(request, ())
    fields = Fields(await request.body(), ("rule", "reason", "duration"))
    rule = fields.text("rule")
    reason = fields.words("reason", needed="must say why, for whoever wonders at night why nothing is done")
    duration = fields.duration("duration", SHORTEST_SECONDS, MAX_DURATION)
    fields.done()
    await engine.pause(rule, reason, duration, by(request))
    return _paused(engine)


async def resume(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with all that is paused still, once the end of the pause is durable."""
    parameters(request, ())
    fields = Fields(await request.body(), ("rule", "reason"))
    rule, reason = fields.text("rule"), fields.words("reason")
    fields.done()
    await engine.resume(rule, reason, by(request))
    return _paused(engine)


async def approve(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with the run, once its approval is durable. The digest shows which plan was looked at."""
    word = await _word(request, digest_needed=True)
    return _run(await engine.control.approve(_id(request), word))


async def deny(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with the run, once its denial is durable."""
    word = await _word(request)
    return _run(await engine.control.deny(_id(request), word))


async def cancel(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with the run, once it is durable that it is to end."""
    word = await _word(request)
    return _run(await engine.control.cancel(_id(request), word))


async def rerun(request: Request, *, engine: Engine) -> Response:
    """Answer 200, with the run that is over, once it is durable that its rule may try again."""
    word = await _word(request)
    return _run(await engine.control.rerun(_id(request), word))


async def reload(request: Request, *, engine: Engine) -> Response:
    """Answer 200 once other rules are in force and the log says so. What is wrong with them is a 409."""
    parameters(request, ())
    Fields(await request.body(), ()).done()
    if not engine.ready:
        raise JournalUnavailable("rules come into force with their record")
    await engine.reload(by(request))
    body = {"rules": len(engine.rules.rules), "digest": engine.rules.digest}
    return Response(orjson.dumps(body), media_type="application/json")


def by(request: Request) -> By:
    """Whose word a request is."""
    return By(actor(request), correlation_id(request.scope))


def about_pause(pause: Pause) -> dict[str, object]:
    """A pause as answers show it."""
    return {
        "rule": pause.rule,
        "reason": pause.reason,
        "by": pause.actor,
        "how": pause.how,
        "since": rfc3339(pause.since),
        "until": None if pause.until is None else rfc3339(pause.until),
    }


def _id(request: Request) -> str:
    found: str = request.path_params["id"]
    return found


async def _word(request: Request, *, digest_needed: bool = False) -> Word:
    parameters(request, ())
    fields = Fields(await request.body(), ("plan_digest", "comment"))
    digest, comment = fields.text("plan_digest"), fields.words("comment")
    if digest_needed and "plan_digest" not in fields.raw:
        fields.faults.add("must be that of the plan which you have looked at (GET /runs/{id})", "plan_digest")
    fields.done()
    return Word(by(request), comment, digest)


def _run(run: Run) -> Response:
    return Response(orjson.dumps({**summary(run), "plan": run.plan}), media_type="application/json")


def _paused(engine: Engine) -> Response:
    body = {"paused": [about_pause(pause) for pause in engine.paused()]}
    return Response(orjson.dumps(body), media_type="application/json")
