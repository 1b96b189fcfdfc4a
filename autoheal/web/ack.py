"""`POST /ack`: an operator minds an alert. Alertmanager silences it, and no new run begins meanwhile."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.config import Settings
from autoheal.engine import Ack, Engine
from autoheal.model import rfc3339
from autoheal.redaction import without_userinfo
from autoheal.rules import Matcher, parse_matchers
from autoheal.rules.match import all_match, matches_everything
from autoheal.web.correlation import correlation_id
from autoheal.web.fields import Fields
from autoheal.web.parameters import parameters
from autoheal.web.security import actor
from autoheal.wire import Faults, excerpt, read_fingerprint

DEFAULT_SECONDS = 15 * 60.0
SHORTEST_SECONDS = 1.0
"""A silence that ends sooner would be over before Alertmanager has made it."""
DEFAULT_COMMENT = "acknowledged through autoheal"
MAX_MATCHERS_CHARACTERS = 4096
"""Of all matchers together, as they were sent."""
_ANY_NAMES = ("AnyNameAtAll", "Quite_another 2")
"""Every alert has a name, so `alertname=~".+"` covers all: what holds for both of these asks for no name at all."""
_FIELDS = ("fingerprint", "matchers", "duration", "comment")


async def acknowledge(request: Request, *, settings: Settings, engine: Engine) -> Response:
    """Answer 201 once the silence stands and its record is durable."""
    parameters(request, ())
    ack = decode(await request.body(), settings.redact, settings.ack_max)
    made = await engine.acknowledge(ack, actor(request), correlation_id(request.scope))
    body = {"silence_id": made.silence_id, "until": rfc3339(made.until)}
    return Response(orjson.dumps(body), 201, media_type="application/json")


def decode(body: bytes, hidden: Container[str], longest: float) -> Ack:
    """What `body` asks for. `hidden` are the names that no matcher may have; `longest` is in seconds.

    Raises BadPayload with every fault.
    """
    fields = Fields(body, _FIELDS)
    raw, faults = fields.raw, fields.faults
    if ("fingerprint" in raw) == ("matchers" in raw):
        faults.add("one of fingerprint and matchers must say what to silence, and not both")
    fingerprint = _fingerprint(raw, faults) if "fingerprint" in raw else None
    matchers = _matchers(raw["matchers"], hidden, faults) if "matchers" in raw else ()
    duration = fields.duration("duration", SHORTEST_SECONDS, longest, " (AUTOHEAL_ACK_MAX)")
    ack = Ack(
        fingerprint=fingerprint,
        matchers=matchers,
        duration=min(DEFAULT_SECONDS, longest) if duration is None else duration,
        comment=fields.words("comment") or DEFAULT_COMMENT,
    )
    fields.done()
    return ack


def _fingerprint(raw: dict[str, Any], faults: Faults) -> str | None:
    found = read_fingerprint(raw["fingerprint"])
    if found is None:
        faults.add(
            f"must be 16 lowercase hexadecimal digits, not {excerpt(raw['fingerprint'])}",
            "fingerprint",
        )
    return found


def _matchers(raw: object, hidden: Container[str], faults: Faults) -> Sequence[Matcher]:
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        faults.add(f"must be a string or an array of strings, not {excerpt(raw)}", "matchers")
        return ()
    if (size := sum(map(len, texts))) > MAX_MATCHERS_CHARACTERS:
        faults.add(f"too long: {size:,} characters, at most {MAX_MATCHERS_CHARACTERS:,}", "matchers")
        return ()
    before = faults.total
    matchers: list[Matcher] = []
    for index, text in enumerate(texts):
        try:
            matchers += parse_matchers(text)
        except ValueError as error:
            faults.add(str(error), f"matchers[{index}]" if isinstance(raw, list) else "matchers")
    for matcher in matchers:
        if matcher.name in hidden:
            faults.add(f"the label {excerpt(matcher.name)} is hidden here (AUTOHEAL_REDACT): leave it out", "matchers")
        elif without_userinfo(matcher.value) != matcher.value:
            faults.add(f"the value of {excerpt(matcher.name)} holds the credentials of a URL: leave it out", "matchers")
    if faults.total == before and _cover_every_alert(matchers):
        faults.add(
            "would silence every alert: at least one must not hold for an alert that has no label but any name",
            "matchers",
        )
    return matchers


def _cover_every_alert(matchers: Sequence[Matcher]) -> bool:
    return matches_everything(matchers) or all(all_match(matchers, {"alertname": name}) for name in _ANY_NAMES)
