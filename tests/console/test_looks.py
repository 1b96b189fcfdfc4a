"""How the console looks in the middle of a night, for docs/: `CONSOLE_SCREENSHOT=1` keeps the pictures."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.model import parse_rfc3339, rfc3339
from tests.support.consoles import Console, console, labels, picture
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULE = "{{name: {}, match: alertname={}, target: '{{{{ labels.instance }}}}', {}, steps: [{}]}}"
ECHO = "{{command: {{argv: [/bin/echo, {}, '{{{{ target }}}}']}}}}".format
PROBED = "{command: {argv: [/bin/echo, reload, '{{ target }}']}, verify: {probe: {tcp: '127.0.0.1:9', within: 1s}}}"
RULES = [
    RULE.format("restart-api", "ApiDown", "mode: live", f"{ECHO('restart')}, {ECHO('replace')}"),
    RULE.format("mend-checkout", "CheckoutErrors", "mode: live", f"{PROBED}, {ECHO('restart')}"),
    RULE.format("clean-disk", "DiskFull", "mode: live", "{command: {argv: [/bin/ls, /srv/cache/old]}}"),
    RULE.format("promote-replica", "PrimaryDown", "mode: approve", f"{ECHO('promote')}, {ECHO('page')}"),
    RULE.format("drain-queue", "QueueStuck", "mode: live", "{command: {argv: [/bin/sleep, '600'], timeout: 2m}}"),
    RULE.format("warm-cache", "CacheCold", "mode: dry_run", ECHO("warm")),
    RULE.format("restart-web", "WebSlow", "mode: live, 'for': 10m", ECHO("restart")),
]
"""Each with a target of its own, so that none stands in another's way."""
MAIN = "document.querySelector('main').innerText"
AGO = {"DiskFull": 1560.0, "CronLate": 1120.0, "CacheCold": 840.0, "CheckoutErrors": 610.0, "PrimaryDown": 372.0}
AGO |= {"WebSlow": 245.0, "ApiDown": 118.0}
"""How long ago each began, the oldest first; seconds."""
BETWEEN = {"alert_firing": 0.0, "decision": 0.2, "heal_failed": 14.0, "alert_resolved": 41.0}
"""How long after the one before it a record was written, where that is not 2 s; seconds."""


def alert(name: str, instance: str, summary: str, **more: str) -> dict[str, Any]:
    return {**labels(name, instance, **more), "startsAt": rfc3339(time.time()), "annotations": {"summary": summary}}


ALERTS = [
    alert("DiskFull", "db-2:9100", "/srv has 1 % left", severity="critical", job="db"),
    alert("CronLate", "batch-1", "the nightly report is 20 min late", severity="warning"),
    alert("CacheCold", "cache-3", "hit rate is 41 %", severity="warning", job="cache"),
    alert("CheckoutErrors", "shop-4:8080", "9 % of orders fail", severity="critical", job="shop"),
    alert("PrimaryDown", "db-7", "replication is 20 min behind", severity="critical", job="db"),
    alert("WebSlow", "web-4:80", "p99 is 2.3 s", severity="warning", job="web"),
    alert("ApiDown", "api-1:8080", "api-1 does not answer", severity="critical", job="api", namespace="shop"),
]
STUCK = alert("QueueStuck", "queue-7", "nothing has left the queue for 5 min", severity="warning", job="queue")
FAR = {
    "DiskFull": "escalated",
    "CronLate": "decision",
    "CacheCold": "action_dry_run",
    "CheckoutErrors": "action_ok",
    "PrimaryDown": "approval_requested",
    "WebSlow": "decision",
    "ApiDown": "action_ok",
}


def aged(folder: Path, now: float) -> None:
    """Write the log as if what it holds had happened over the last half hour; each time in a record moves with it."""
    path = folder / "data" / "audit.jsonl"
    prev, lines, at = "0" * 64, [], now - 1800.0
    for line in path.read_bytes().splitlines():
        record = orjson.loads(line)
        name, kind = record.get("alertname"), record["kind"]
        at = max(at, now - AGO[name]) if kind == "alert_firing" and name in AGO else at + BETWEEN.get(kind, 2.0)
        record = orjson.loads(moved(line, at - parse_rfc3339(record["ts"])))
        del record["hash"]
        body = orjson.dumps(record | {"prev": prev})[:-1]
        prev = hashlib.sha256(body).hexdigest()
        lines.append(body + b',"hash":"' + prev.encode() + b'"}\n')
    path.write_bytes(b"".join(lines))


def moved(line: bytes, shift: float) -> bytes:
    """A record's line with each time in it so many seconds later."""
    return re.sub(
        rb'"(\d{4}-\d\d-\d\dT[\d:.]+Z)"',
        lambda found: f'"{rfc3339(parse_rfc3339(found[1].decode()) + shift)}"'.encode(),
        line,
    )


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path, RULES, AUTOHEAL_DRY_RUN="false") as made:
        with made.running():
            for one in ALERTS:
                happens(made, one)
            healed = {**ALERTS[3], "status": "resolved", "endsAt": rfc3339(time.time())}
            made.fire(healed)
            wait_until(lambda: made.records()[-1]["kind"] == "heal_confirmed", what="the heal")
        aged(tmp_path, time.time())
        with made.running():
            made.fire(STUCK)
            yield made


def happens(here: Console, one: Mapping[str, Any]) -> None:
    """Fire it, and return once it has come as far as it comes by itself."""
    name = one["labels"]["alertname"]
    here.fire(one)
    times = 2 if name == "CheckoutErrors" else 1
    wait_until(
        lambda: (
            [record["kind"] for record in here.records() if record.get("alertname") == name].count(FAR[name]) == times
        ),
        what=name,
    )


def test_a_night(here: Console) -> None:
    """Now on a desk and on a phone, the log and a search in it, and the timeline of a run whose second step helped."""
    page = here.page
    page.size(1280, 900, dark=True)
    here.look("#/now")
    page.until(f"{MAIN}.includes('Does step 1 of 1')")
    page.until(f"{MAIN}.includes('for 26 min')")
    picture(page, "console-now")
    page.size(360, 780, dark=True)
    picture(page, "console-now-phone")
    page.size(1280, 720, dark=True)
    pause = {"rule": "warm-cache", "reason": "deploying 4.2", "duration": "1h"}
    httpx.post(f"{here.origin}/pause", json=pause, trust_env=False).raise_for_status()
    page.until("document.getElementById('notices').innerText.includes('Rule warm-cache is paused.')")
    page.ask("scrollTo(0, 200); location.hash = '#/live'")
    page.until("document.querySelectorAll('.log > li').length > 20")
    page.until("scrollY === 0 && document.activeElement.id === 'view'")
    picture(page, "console")
    page.ask("location.hash = '#/audit?since=1h&q=rule%3Dmend-checkout'")
    page.until("document.querySelectorAll('.log > li').length === 7")
    page.ask("document.querySelectorAll('.log details')[5].open = true")
    page.ask("(document.getElementById('audit-query').focus(), document.activeElement.setSelectionRange(99, 99))")
    page.type(" AND kind=heal")
    page.until("document.querySelectorAll('[role=option]').length === 3")
    page.press("ArrowDown")
    picture(page, "console-audit")
    (run,) = (record["run"] for record in here.records() if record["kind"] == "heal_confirmed")
    page.size(1280, 900)
    page.ask(f"location.hash = {json.dumps(f'#/runs/{run}')}")
    page.until(f"{MAIN}.includes('Healed: the alert has ended.')")
    page.ask("document.querySelector('.timeline li:nth-child(2) details').open = true")
    page.size(1280, page.ask("document.documentElement.scrollHeight"))
    picture(page, "console-run")
    assert page.complaints == []
