"""A channel that keeps what it is told, and fails as a test says."""

from __future__ import annotations

import asyncio

from autoheal.notify import Notice, Undelivered, What


class FakeChannel:
    """`answers` are taken in order: an error to raise, an event to wait for, None to take the notice."""

    def __init__(self, name: str = "webhook", *, limit: int | None = None, acks: bool = True) -> None:
        self.name = name
        self.hears = frozenset(What) if acks else frozenset((What.TRIGGER, What.RESOLVE))
        self.holds_incidents = name == "pagerduty"
        self.limit = limit
        self.answers: list[Exception | asyncio.Event | None] = []
        self.dead: Undelivered | None = None
        self.tried: list[Notice] = []
        self.took: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        self.tried.append(notice)
        answer = self.answers.pop(0) if self.answers else self.dead
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await answer.wait()
        self.took.append(notice)

    def told(self) -> list[str]:
        """What became of which incident, as `trigger 0`: the number is that of the key, by first sight."""
        keys = list(dict.fromkeys(notice.key for notice in self.took))
        return [f"{notice.what.value} {keys.index(notice.key)}" for notice in self.took]
