"""`GET /state`: what the log adds up to, for a page that follows `/events` from there on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from autoheal.config import Settings
from autoheal.engine import Engine
from autoheal.journal import FileJournal
from autoheal.state import Episode, Run, State, Suspect
from autoheal.web.parameters import parameters

ENDED_SHOWN = 200
"""How many of the runs that have ended are shown, the newest. The console keeps as many (console/fold-runs.js)."""
SHOWN = (
    "locks",
    "working",
    "space_low",
    "breakers",
    "storms",
    "pauses",
    "silences",
    "silence_requests",
    "failures",
    "watchdog_missing",
)
"""The fields of State that are shown as they are. What cooldowns, budgets and storms count by grows with the past, and
no page needs it: `/rules` tells what comes of it.
"""


async def state(request: Request, *, settings: Settings, engine: Engine, journal: FileJournal) -> Response:
    """Answer with the state once all that it tells of is durable, and the head that it belongs to."""
    parameters(request, ())
    known = engine.state
    head = known.head
    body = orjson.dumps(
        {
            "head": {"seq": head.seq, "ts": head.ts, "log": journal.log_id},
            "links": {
                "alertmanager": [_link(url) for url in settings.alertmanager_urls],
                "prometheus": [_link(url) for url in settings.prometheus_urls],
                "grafana": [settings.grafana_url] if settings.grafana_url else [],
            },
            "state": page(known),
        }
    )
    await journal.wait(head.seq)
    return Response(body, media_type="application/json")


def page(known: State) -> dict[str, Any]:
    """The state as a page shows it. The console's reducer makes the same of the same records; tests compare the two."""
    gone = set(known.ended_runs[:-ENDED_SHOWN])
    return {
        **{name: getattr(known, name) for name in SHOWN},
        "episodes": {fingerprint: _open(episode) for fingerprint, episode in known.episodes.items()},
        "suspects": {fingerprint: _open(suspect) for fingerprint, suspect in known.suspects.items()},
        "runs": {run.id: _run(run) for run in known.runs.values() if run.id not in gone},
        "ended_runs": known.ended_runs[-ENDED_SHOWN:],
    }


def _open(known: Episode | Suspect) -> dict[str, Any]:
    """All but how much memory it may take, which is the service's own business."""
    return {each.name: getattr(known, each.name) for each in fields(known) if each.name != "size"}


def _run(run: Run) -> dict[str, Any]:
    """Of a run that has ended all but its plan, which `/runs/{id}` tells."""
    return {each.name: getattr(run, each.name) for each in fields(run)} | {"plan": None if run.ended else run.plan}


def _link(url: str) -> str:
    """The address for a browser: without the service's own credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
