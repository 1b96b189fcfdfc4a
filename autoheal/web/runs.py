"""`GET /runs` and `/runs/{id}`: what was planned and done, and how far it has come."""

from __future__ import annotations

import asyncio

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal.clock import Clock
from autoheal.engine import Engine
from autoheal.errors import JournalEncrypted
from autoheal.journal import FileJournal
from autoheal.model import rfc3339
from autoheal.state import Approval, Run, RunState
from autoheal.web.audit import BUDGET_SECONDS, MAX_ANSWER_BYTES
from autoheal.web.errors import BadParameter
from autoheal.web.parameters import number, parameters

READ_RECORDS = 1000


async def runs(request: Request, *, engine: Engine) -> Response:
    """Newest first: every run that has not ended, and the last 1,000 that have."""
    given = parameters(request, ("n", "before", "rule", "state"))
    limit = number(given, "n", low=1, high=1000)
    limit = 100 if limit is None else limit
    before = number(given, "before", low=1, high=2**53)
    state = given.get("state")
    if state is not None and state not in set(RunState):
        raise BadParameter("state", f"must be one of {', '.join(RunState)}")
    found = [
        run
        for run in reversed(engine.state.runs.values())
        if (before is None or seq_of(run) < before)
        and (state is None or run.state == state)
        and ("rule" not in given or run.rule == given["rule"])
    ]
    page = found[:limit]
    body = {
        "runs": [summary(run) for run in page],
        "next": seq_of(page[-1]) if len(found) > limit else None,
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def run(
    request: Request, *, engine: Engine, journal: FileJournal, clock: Clock, scans: asyncio.Semaphore
) -> Response:
    """One run with its plan, what its steps promise, and its records, oldest first."""
    parameters(request, ())
    found = engine.state.runs.get(request.path_params["id"])
    if found is None:
        raise HTTPException(404, "No such run, or it ended so long ago that only /audit knows it (q=run=ID).")
    about = orjson.dumps({**summary(found), "plan": found.plan, "promises": engine.promises(found)})
    async with scans:
        lines, partial = await asyncio.to_thread(_records, journal, found.id, seq_of(found), found.ended_at, clock)
    body = b'%b,"records":[%b],"partial":%b}' % (about[:-1], b",".join(lines), orjson.dumps(partial))
    return Response(body, media_type="application/json")


def seq_of(run: Run) -> int:
    """The seq of the decision that made the run: its id is `r` and that number."""
    return int(run.id[1:])


def _records(
    journal: FileJournal, run_id: str, first: int, ended_at: float | None, clock: Clock
) -> tuple[list[bytes], bool]:
    """The run's lines, and whether the search was cut short or some are encrypted and cannot be read. Blocks."""
    deadline = clock.monotonic() + BUDGET_SECONDS
    lines: list[bytes] = []
    size, after, unread = 0, first - 1, False
    while True:
        try:
            batch = journal.read(after, READ_RECORDS)
        except JournalEncrypted as error:
            after, unread = error.last, True
            continue
        if not batch:
            return lines, unread
        for record in batch:
            if ended_at is not None and record.ts > ended_at:
                return lines, unread
            if record.run == run_id:
                lines.append(record.line)
                size += len(record.line)
        after = batch[-1].seq
        if size > MAX_ANSWER_BYTES or clock.monotonic() > deadline:
            return lines, True


def summary(run: Run) -> dict[str, object]:
    """A run as lists show it."""
    return {
        "id": run.id,
        "rule": run.rule,
        "target": run.target,
        "mode": run.mode,
        "state": run.state,
        "reason": run.reason,
        "step": run.step,
        "steps": len(run.steps),
        "alertname": run.alertname,
        "fingerprint": run.fingerprint,
        "episode": run.episode,
        "plan_digest": run.plan_digest,
        "approval": None if run.approval is None else _approval(run.approval),
        "correlation_id": run.correlation_id,
        "created_at": rfc3339(run.created_at),
        "ended_at": None if run.ended_at is None else rfc3339(run.ended_at),
        "ended_by": run.ended_by,
    }


def _approval(approval: Approval) -> dict[str, object]:
    return {
        "requested_at": rfc3339(approval.requested_at),
        "expires_at": rfc3339(approval.expires_at),
        "by": approval.by,
        "observed": approval.observed,
    }
