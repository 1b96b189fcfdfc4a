"""PagerDuty's Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from autoheal.clock import Clock
from autoheal.model import rfc3339
from autoheal.notify.contract import EVERYTHING, Notice, What, one_line
from autoheal.notify.post import Poster

SUMMARY_CHARACTERS = 1024
"""Of `payload.summary`, by PagerDuty's limit. A whole event may have 512 KB, of which these bounds leave most."""
VALUE_CHARACTERS = 1024
DETAILS = 30
LINES = 100
TIMEOUT_SECONDS = 10.0


class PagerDuty:
    """Sends events to the service of `routing_key`, which is a secret. `source` says whose they are."""

    name = "pagerduty"
    hears = EVERYTHING
    holds_incidents = True
    limit: int | None = None

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        routing_key: str,
        *,
        source: str,
        clock: Clock,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._routing_key = routing_key
        self._source = source
        self._poster = Poster(client, url, timeout=timeout, clock=clock, secrets=(routing_key,))

    async def send(self, notice: Notice) -> None:
        """See Channel."""
        body = {"routing_key": self._routing_key, **event(notice, self._source)}
        await self._poster.post(orjson.dumps(body), explain=_explain)


def event(notice: Notice, source: str) -> dict[str, Any]:
    """`notice` as an event, all but the routing key. Only a trigger has a payload."""
    told: dict[str, Any] = {"event_action": notice.what.value, "dedup_key": notice.key}
    if notice.what is not What.TRIGGER:
        return told
    details: dict[str, Any] = {
        one_line(name, 40): one_line(value, VALUE_CHARACTERS) for name, value in notice.context[:DETAILS]
    }
    if notice.lines:
        details["notices"] = [one_line(line, VALUE_CHARACTERS) for line in notice.lines[:LINES]]
    told["payload"] = {
        "summary": one_line(notice.summary, SUMMARY_CHARACTERS),
        "source": source,
        "severity": notice.severity.value,
        "timestamp": rfc3339(notice.at),
        "custom_details": details,
    }
    told["client"] = "autoheal"
    if notice.link:
        told["client_url"] = notice.link
        told["links"] = [{"href": notice.link, "text": "Open in autoheal"}]
    return told


def _explain(body: bytes) -> str:
    """What an answer's `message` and `errors` say."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(said, dict):
        return ""
    errors = said.get("errors")
    texts = [said.get("message"), *(errors if isinstance(errors, list) else ())]
    return "; ".join(text for text in texts if isinstance(text, str))
