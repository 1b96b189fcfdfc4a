"""A webhook of yours, signed as the Standard Webhooks specification has it: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import httpx
import orjson

from autoheal.clock import Clock
from autoheal.model import rfc3339
from autoheal.notify.contract import EVERYTHING, Notice
from autoheal.notify.post import Poster

PREFIX = "whsec_"
TIMEOUT_SECONDS = 10.0


class Webhook:
    """Posts to `url`, which may hold credentials; `secret` is the key of the signatures in base64, with `whsec_` before
    it or without.
    """

    name = "webhook"
    hears = EVERYTHING
    holds_incidents = False
    limit: int | None = None

    def __init__(
        self, client: httpx.AsyncClient, url: str, secret: str, *, clock: Clock, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._key = base64.b64decode(secret.removeprefix(PREFIX))
        self._clock = clock
        self._poster = Poster(client, url, timeout=timeout, clock=clock, secrets=(secret, secret.removeprefix(PREFIX)))

    async def send(self, notice: Notice) -> None:
        """See Channel. Each attempt is signed at its own time: a receiver refuses what is old."""
        sent = orjson.dumps(body(notice))
        timestamp = str(int(self._clock.now()))
        headers = {
            "webhook-id": notice.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._key, notice.id, timestamp, sent),
        }
        await self._poster.post(sent, headers)


def signature(key: bytes, message: str, timestamp: str, sent: bytes) -> str:
    """The `webhook-signature` of a body that is `sent` at `timestamp` as the message of that id."""
    mac = hmac.new(key, f"{message}.{timestamp}.".encode() + sent, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def body(notice: Notice) -> dict[str, Any]:
    """`notice` as the specification has payloads: a `type`, a `timestamp` and `data`."""
    return {
        "type": f"autoheal.{notice.what.value}",
        "timestamp": rfc3339(notice.at),
        "data": {
            "key": notice.key,
            "severity": notice.severity.value,
            "summary": notice.summary,
            "context": dict(notice.context),
            "lines": list(notice.lines),
            "link": notice.link,
        },
    }
