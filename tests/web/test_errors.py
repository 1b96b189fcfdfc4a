"""The shape of an error, and which exception becomes which."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException

from autoheal.errors import JournalConflict, JournalDamaged, JournalUnavailable, QueryError, RenderError
from autoheal.web.errors import BadParameter, Problem, problem_of
from autoheal.web.payload import BadPayload
from tests.support.gateway import Gateway, gateway


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadPayload(["alerts: missing"]), 400),
        (QueryError("what?", 7), 400),
        (BadParameter("n", "must be a number"), 400),
        (JournalUnavailable("disk full"), 503),
        (JournalDamaged("line 7"), 500),
        (JournalConflict("moved on"), 500),
        (RenderError("no such label"), 500),
        (HTTPException(403, "because"), 403),
        (HTTPException(418), 418),
        (ValueError("secret"), 500),
        (KeyError("secret"), 500),
    ],
)
def test_every_exception_has_its_status(error: Exception, status: int) -> None:
    """What is not named is a 500 that repeats nothing of the exception."""
    problem = problem_of(error)
    assert problem.status == status
    if status == 500:
        assert str(error) not in problem.detail


def test_a_bad_filter_carries_its_column() -> None:
    """For programs as a member, for people in the detail."""
    problem = problem_of(QueryError("an operator is missing", 7))
    assert problem.extra == {"parameter": "q", "column": 7}
    assert problem.detail == "q: column 7: an operator is missing"


def test_unavailable_says_when_to_come_again() -> None:
    """RFC 9110 section 10.2.3."""
    assert problem_of(JournalUnavailable("x")).headers == {"Retry-After": "5"}
    assert isinstance(problem_of(JournalUnavailable("x")), Problem)


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/audit?n=0", 400), ("/runs/r999", 404)])
async def test_errors_have_one_shape(gate: Gateway, path: str, status: int) -> None:
    """RFC 9457: the five members, the media type, and the status in both places."""
    answer = await gate.client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "correlation_id"} <= set(body)
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["correlation_id"] == answer.headers["x-correlation-id"]
    assert len(body["detail"]) > 10
    assert (await gate.client.head(path)).content == b""
