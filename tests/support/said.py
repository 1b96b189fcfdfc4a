"""What the service's own log says, but for the line that each request has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, WrappedLogger


@contextmanager
def capture_logs() -> Iterator[list[EventDict]]:
    """As structlog's."""
    with structlog.testing.capture_logs([_no_requests]) as logs:
        yield logs


def _no_requests(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if event["event"] == "request":
        raise structlog.DropEvent
    return event
