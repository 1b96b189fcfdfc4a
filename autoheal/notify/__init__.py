"""Ways to people: one file each, and what they promise in `contract`.

None of them decides what is told, waits, or tries again: that is the engine's business.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from autoheal.clock import Clock
from autoheal.notify.apprise import Apprise
from autoheal.notify.contract import Channel, Notice, Severity, Undelivered, What, one_line
from autoheal.notify.pagerduty import PagerDuty
from autoheal.notify.slack import Slack
from autoheal.notify.webhook import Webhook

__all__ = ["Channel", "Notice", "Severity", "Undelivered", "What", "channels", "one_line"]


def channels(
    client: httpx.AsyncClient,
    clock: Clock,
    *,
    source: str,
    slack_url: str | None,
    slack_limit: int,
    slack_timeout: float,
    pagerduty_key: str | None,
    pagerduty_url: str,
    webhook_url: str | None,
    webhook_secret: str | None,
    apprise_urls: Sequence[str],
) -> list[Channel]:
    """Those that are configured. `source` is by what people know this gateway.

    Raises ConfigError for one that needs what is not installed.
    """
    found: list[Channel] = []
    if slack_url is not None:
        found.append(Slack(client, slack_url, limit=slack_limit, timeout=slack_timeout, clock=clock))
    if pagerduty_key is not None:
        found.append(PagerDuty(client, pagerduty_url, pagerduty_key, source=source, clock=clock))
    if webhook_url is not None and webhook_secret is not None:
        found.append(Webhook(client, webhook_url, webhook_secret, clock=clock))
    if apprise_urls:
        found.append(Apprise(apprise_urls))
    return found
