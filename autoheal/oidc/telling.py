"""Refused tokens in the service's own log: enough lines to see what is wrong, not so many that they fill a disk."""

from __future__ import annotations

from typing import Final

import structlog

from autoheal.clock import Clock
from autoheal.errors import FailureReason, Unauthenticated

LINES: Final = 60
WINDOW_SECONDS: Final = 60.0

_log = structlog.get_logger(__name__)


class Refusals:
    """At most `LINES` lines a reason in `WINDOW_SECONDS`; the next after that tells how many it stands for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = dict.fromkeys(FailureReason, -WINDOW_SECONDS)
        self._told = dict.fromkeys(FailureReason, 0)
        self._untold = dict.fromkeys(FailureReason, 0)

    def tell(self, error: Unauthenticated, *, unexpected: str | None = None) -> None:
        """Log `error`; `unexpected` is the type of what was raised in its place, by a fault of ours."""
        reason, now = error.reason, self._clock.monotonic()
        if now - self._began[reason] >= WINDOW_SECONDS:
            self._began[reason], self._told[reason] = now, 0
        if self._told[reason] >= LINES:
            self._untold[reason] += 1
            return
        self._told[reason] += 1
        more: dict[str, object] = {"unexpected": unexpected} if unexpected else {}
        if untold := self._untold[reason]:
            more["not_logged_before"] = untold
            self._untold[reason] = 0
        _log.warning("jwt_validation_failed", reason=reason, kid=error.kid, **more)
