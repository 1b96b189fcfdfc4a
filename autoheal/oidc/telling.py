"""What is told of tokens and keys: enough to see what is wrong, not so much that it fills a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from autoheal.clock import Clock
from autoheal.errors import FailureReason, JournalUnavailable, Unauthenticated
from autoheal.model import Draft, Kind

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


class KeyTrouble:
    """Has the audit log told once that the provider's keys cannot be fetched, and once that they can again.

    `note` records a draft; it may raise JournalUnavailable. `standing` is whether the last word of a life before was
    that they cannot. With `retries` a first attempt counts that failed and is made again.
    """

    def __init__(
        self, note: Callable[[Draft], Awaitable[None]], *, standing: Callable[[], bool], retries: bool
    ) -> None:
        self._note = note
        self._standing = standing
        self._retries = retries
        self._told: str | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def failed(self, error: str, *, again: bool) -> None:
        """A fetch has failed; `again`: another attempt follows at once."""
        word = "retry" if again else "given_up"
        if (again and not self._retries) or self._told in (word, "given_up"):
            return
        self._tell(word, Draft(kind=Kind.KEYS_FAILED, reason=word, detail={"error": error}))

    def back(self) -> None:
        """A fetch has succeeded."""
        if self._told is not None or self._standing():
            self._tell(None, Draft(kind=Kind.KEYS_BACK))

    def _tell(self, word: str | None, draft: Draft) -> None:
        before, self._told = self._told, word

        async def tell() -> None:
            try:
                await self._note(draft)
            except JournalUnavailable:
                self._told = before  # the next fetch tells it

        # Beside: whoever waits for the keys is not to wait for a disk.
        task = asyncio.create_task(tell())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
