"""Slack's incoming webhooks: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from autoheal.clock import Clock
from autoheal.notify.contract import NO_ACKNOWLEDGEMENTS, Notice, Severity, What, one_line
from autoheal.notify.post import Poster

# Block Kit's limits (https://docs.slack.dev/reference/block-kit/blocks/section-block) are for escaped text, of which a
# character may take five: 3,000 for a section's text, 2,000 for each of at most ten fields.
SUMMARY_CHARACTERS = 500
FIELD_CHARACTERS = 300
FIELDS = 10
LINES_CHARACTERS = 3000
LINE_CHARACTERS = 200

_COLOURS: Mapping[Severity, str] = {
    Severity.CRITICAL: "#c4314b",
    Severity.ERROR: "#d9730d",
    Severity.WARNING: "#e5b000",
    Severity.INFO: "#4a7ebb",
}
_RESOLVED = "#2e8b57"
_WORD = re.compile(rb"[a-z_]{3,40}")


class Slack:
    """Posts to one incoming webhook, whose address `url` is a secret, at most `limit` messages in any hour."""

    name = "slack"
    hears = NO_ACKNOWLEDGEMENTS
    holds_incidents = False

    def __init__(self, client: httpx.AsyncClient, url: str, *, limit: int, timeout: float, clock: Clock) -> None:
        self.limit: int | None = limit
        self._poster = Poster(client, url, timeout=timeout, clock=clock)

    async def send(self, notice: Notice) -> None:
        """See Channel."""
        await self._poster.post(orjson.dumps(message(notice)), explain=_explain)


def message(notice: Notice) -> dict[str, Any]:
    """`notice` as a message with blocks. Not only the colour of the bar says how bad it is: a word does."""
    word = "resolved" if notice.what is What.RESOLVE else notice.severity.value
    title = f"[{word}] {escaped(one_line(notice.summary, SUMMARY_CHARACTERS))}"
    blocks = [_section(f"*{title}*")]
    if notice.lines:
        blocks.append(_section(_lines(notice.lines)))
    if notice.context:
        fields = [
            _text(f"*{escaped(one_line(name, 40))}*\n{escaped(one_line(value, FIELD_CHARACTERS))}")
            for name, value in notice.context[:FIELDS]
        ]
        blocks.append({"type": "section", "fields": fields})
    if notice.link:
        blocks.append(_section(f"<{escaped(notice.link).replace('|', '%7C')}|Open in autoheal>"))
    colour = _RESOLVED if notice.what is What.RESOLVE else _COLOURS[notice.severity]
    # `text` is what notifications on phones and screen readers get.
    return {"text": title, "attachments": [{"color": colour, "blocks": blocks}]}


def escaped(text: str) -> str:
    """`text` as Slack shows it literally: these three begin its entities, links and mentions (`<!channel>`).

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lines(lines: tuple[str, ...]) -> str:
    text = ""
    for line in lines:
        more = f"• {escaped(one_line(line, LINE_CHARACTERS))}\n"
        if len(text) + len(more) > LINES_CHARACTERS - 1:
            return f"{text}…"
        text += more
    return text.rstrip()


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, Any]:
    # Not verbatim, Slack would make links and mentions of what looks like some.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _explain(body: bytes) -> str:
    """Slack's errors are words such as `no_service`; anything else is not Slack's."""
    return body.decode() if _WORD.fullmatch(body) else ""
