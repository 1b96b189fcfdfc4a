"""Errors as answers: the one place where an exception becomes an HTTP status (RFC 9457, problem details)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoheal.errors import (
    ApprovalExpired,
    CannotSilence,
    ConfigError,
    JournalDamaged,
    JournalUnavailable,
    KeysUnavailable,
    NoEpisode,
    NoRule,
    NoRun,
    NotRecordedYet,
    OtherBatch,
    OwnRun,
    QueryError,
    TooManyOpen,
    UpstreamError,
    WrongTurn,
)
from autoheal.web.correlation import correlation_id
from autoheal.web.payload import BadPayload
from autoheal.wire import FAULTS_NAMED

RETRY_AFTER_SECONDS = 5

_log = structlog.get_logger(__name__)


class BadParameter(Exception):
    """A query parameter that is unknown, repeated, out of range or unreadable."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        super().__init__(f"{name}: {what}")


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is an error. `extra` are members beside those of RFC 9457 section 3.1."""

    status: int
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Problem:
    """What a client is told of `error`. Total: whatever is not named here is a 500 that tells nothing."""
    match error:
        case BadPayload():
            return Problem(400, str(error), {"errors": list(error.faults)})
        case QueryError():
            return Problem(400, f"q: {error}", {"parameter": "q", "column": error.column})
        case BadParameter():
            return Problem(400, str(error), {"parameter": error.name})
        case ClientDisconnect():
            return Problem(400, "The connection was closed before the request was complete.")
        case CannotSilence():
            return Problem(400, _sentence(error))
        case ConfigError():
            # Not the request is wrong: the rules on disk are.
            faults = [str(fault) for fault in error.faults[:FAULTS_NAMED]]
            detail = "The rules on disk have faults, so those in force stay."
            return Problem(409, detail, {"errors": faults, "more": len(error.faults) - len(faults)})
        case OwnRun():
            return Problem(403, _sentence(error))
        case OtherBatch():
            return Problem(409, _sentence(error), {"batch_digest": error.digest})
        case WrongTurn():
            return Problem(409, _sentence(error))
        case ApprovalExpired():
            return Problem(410, _sentence(error))
        case NoEpisode() | NoRule() | NoRun():
            return Problem(404, _sentence(error))
        case UpstreamError():
            return Problem(502, _sentence(error))
        case NotRecordedYet():
            detail = f"{_sentence(error)} It will be recorded as soon as that goes; to ask again is safe."
            return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case JournalUnavailable():
            detail = "The audit log takes no records now, so nothing was accepted. Try again."
            return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case TooManyOpen():
            return Problem(503, f"{_sentence(error)} Try again.", headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        case KeysUnavailable():
            detail = "The identity provider cannot be asked now, so nobody can be known here. Try again."
            return Problem(503, detail, headers={"Retry-After": str(error.retry_after)})
        case JournalDamaged():
            return Problem(500, "The audit log is damaged; the service's own log says where.")
        case HTTPException():
            # As they are: a Set-Cookie may stand among them more than once.
            headers = error.headers or {}
            if "Allow" in headers:
                headers = {**headers, "Allow": ", ".join(sorted(headers["Allow"].split(", ")))}
            # Starlette's own exceptions repeat the status' phrase as their detail.
            known = error.detail != HTTPStatus(error.status_code).phrase
            return Problem(
                error.status_code,
                error.detail if known else _PLAIN.get(error.status_code, error.detail),
                headers=headers,
            )
        case _:
            return Problem(500, "Something went wrong here; the service's own log tells more by the correlation id.")


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


_EXPECTED = (JournalUnavailable, NotRecordedYet, TooManyOpen, UpstreamError, HTTPException)
"""Errors of the world around, not of this program: their text says all."""
_PLAIN = {
    404: "There is nothing at this path; docs/api.md lists what there is.",
    405: "This path does not take this method; the Allow header says which it takes.",
}


class Errors:
    """ASGI middleware that answers every exception from inside with its problem, and logs those that are ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or leave what was already begun cut short: the client sees that it is incomplete."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 this is the last catch before the server
            problem = problem_of(error)
            # Why keys are missing is in the log already, and strangers' tokens must not fill it.
            if problem.status >= 500 and not isinstance(error, KeysUnavailable):
                unexpected = not isinstance(error, _EXPECTED)
                _log.error(
                    "request_failed",
                    method=scope["method"],
                    path=scope["path"],
                    status=problem.status,
                    error=str(error),
                    exc_info=error if unexpected else None,
                )
            if not started:
                await answer(problem, scope)(scope, receive, send)


def answer(problem: Problem, scope: Scope) -> Response:
    """`problem` as a response. Its type is about:blank: the status and the detail say all (RFC 9457 section 4.2.1)."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "correlation_id": correlation_id(scope),
        **problem.extra,
    }
    return Response(
        orjson.dumps(body),
        problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )
