"""docs/notifications.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from autoheal.clock import SystemClock
from autoheal.engine import notifier
from autoheal.engine.addressing import ENDS, ENTRIES, QUEUE, TRIGGERS
from autoheal.model import CHANNELS
from autoheal.notify import Notice, Severity, What
from autoheal.notify.webhook import Webhook
from tests.support.webserver import answer, web_server

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
SECRET = "whsec_" + "A" * 32


def test_the_page_lists_every_channel() -> None:
    """In the order in which rules name them."""
    table = PAGE.split("| channel |")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CHANNELS


def test_the_page_lists_everything_that_is_told() -> None:
    """Each kind that begins something, and each that ends it."""
    rows = [row.split("|")[1:3] for row in PAGE.split("| begins with |")[1].split("\n\n")[0].splitlines()[2:]]
    begins, ends = ({word for row in rows for word in re.findall(r"`(\w+)`", row[side])} for side in (0, 1))
    assert {kind.value for kind in TRIGGERS} == begins - {"NOTIFY_KEY_ERRORS", "false"}
    spelt_out = {"approval_granted", "approval_denied", "action_cancelled", "heal_confirmed"}
    assert {kind.value for kind in ENDS} - spelt_out == ends - {"alert_resolved", "escalated"}


def test_the_page_knows_the_bounds() -> None:
    """How often, how long, how many."""
    assert notifier.PAUSES == (15, 45, 135, 405)
    assert "after 15 s, 45 s, 2¼ and 6¾ minutes" in PAGE
    assert f"At most {QUEUE} beginnings" in PAGE
    assert ENTRIES == 50
    assert "fifty incidents at most" in PAGE


@pytest.mark.parametrize("changed", [None, "body", "age", "secret"])
async def test_the_pages_check_takes_what_autoheal_sends(client: httpx.AsyncClient, changed: str | None) -> None:
    """And nothing that was changed, is old, or is somebody else's."""
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    notice = Notice(id="a-1", key="a", what=What.TRIGGER, severity=Severity.INFO, summary="x")
    async with web_server(answer(204)) as web:
        await Webhook(client, web.url, SECRET, clock=SystemClock()).send(notice)
    (asked,) = web.asked
    headers = dict(asked.headers)
    if changed == "age":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 301)
    body = asked.body.replace(b'"x"', b'"y"') if changed == "body" else asked.body
    secret = "whsec_" + "B" * 32 if changed == "secret" else SECRET
    assert names["verified"](secret, headers, body) is (changed is None)
