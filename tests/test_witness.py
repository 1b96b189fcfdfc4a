"""What leaves the host: every checkpoint, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import structlog

from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record
from autoheal.witness import KEPT, TRIES, Witness
from tests.support.clock import FakeClock, settle

NOW = 1_790_000_000.0


def records(*kinds: Kind) -> tuple[Record, ...]:
    return seal_all([Draft(kind=kind) for kind in kinds], Head(), NOW)


class Receiver:
    """An address that answers as a test says, 204 by default."""

    def __init__(self) -> None:
        self.got: list[httpx.Request] = []
        self.answers: list[int | Exception] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)


@asynccontextmanager
async def witness(receiver: Receiver, clock: FakeClock) -> AsyncIterator[Witness]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(receiver.answer)) as client:
        made = Witness(lambda _: None, "http://u:s3cret@archive.test/in?token=s3cret", client, clock)
        task = asyncio.create_task(made.run())
        yield made
        task.cancel()


async def test_every_checkpoint_is_printed_as_it_stands_in_the_log() -> None:
    """One line each, byte for byte; other kinds stay here. A closed output costs nothing but a line in the log."""
    written: list[bytes] = []
    two = records(Kind.LOG_CREATED, Kind.CHECKPOINT, Kind.DECISION, Kind.CHECKPOINT)
    async with httpx.AsyncClient() as client:
        Witness(written.append, None, client, FakeClock()).tell(two)
        assert written == [two[1].line + b"\n", two[3].line + b"\n"]

        def closed(_: bytes) -> None:
            raise BrokenPipeError(32, "Broken pipe")

        unheard = Witness(closed, None, client, FakeClock())
        with structlog.testing.capture_logs() as logs:
            unheard.tell(two)
        assert [log["event"] for log in logs] == ["checkpoint_not_printed"] * 2
        await unheard.told()


async def test_every_checkpoint_is_posted_with_its_credentials() -> None:
    """To the address as configured, in order, as JSON; `told` returns when all are."""
    receiver = Receiver()
    three = records(Kind.LOG_CREATED, Kind.CHECKPOINT, Kind.CHECKPOINT)
    async with witness(receiver, FakeClock()) as made:
        made.tell(three)
        await asyncio.wait_for(made.told(), 5)
    assert [request.content for request in receiver.got] == [three[1].line, three[2].line]
    assert receiver.got[0].headers["Content-Type"] == "application/json"
    assert receiver.got[0].headers["Authorization"].startswith("Basic ")
    assert receiver.got[0].url.query == b"token=s3cret"


async def test_an_address_that_fails_is_tried_again() -> None:
    """Errors, refusals and redirects are tried again with growing pauses; no log line repeats a credential."""
    receiver, clock = Receiver(), FakeClock()
    receiver.answers = [httpx.ConnectError("refused"), 503, 302]
    with structlog.testing.capture_logs() as logs:
        async with witness(receiver, clock) as made:
            made.tell(records(Kind.LOG_CREATED, Kind.CHECKPOINT))
            await settle()
            assert len(receiver.got) == 1
            await clock.advance(2 + 4 + 8)
            await asyncio.wait_for(made.told(), 5)
    assert len(receiver.got) == 4
    assert [log["error"] for log in logs] == ["refused", "answered 503", "answered 302"]
    assert "s3cret" not in repr(logs)


async def test_a_dead_address_costs_bounded_memory() -> None:
    """A checkpoint is given up after some tries; of those that wait, the newest are kept."""
    receiver, clock = Receiver(), FakeClock()
    receiver.answers = [503] * TRIES * (KEPT + 1)
    first, *many = records(Kind.LOG_CREATED, *[Kind.CHECKPOINT] * (KEPT + 50))
    async with witness(receiver, clock) as made:
        made.tell([first, *many])
        for _ in range(KEPT + 1):
            await clock.advance(2 + 4 + 8 + 16)
        await asyncio.wait_for(made.told(), 5)
    contents = [request.content for request in receiver.got]
    assert contents[:TRIES] == [many[-KEPT].line] * TRIES
    assert contents[-1] == many[-1].line
