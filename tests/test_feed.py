"""Fan-out of durable records to readers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.errors import JournalDamaged
from autoheal.feed import PAGE_BYTES, RING_BYTES, Feed
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record
from tests.support.clock import FakeClock, settle


def chain(count: int, size: int = 0) -> tuple[Record, ...]:
    return seal_all([Draft(kind=Kind.DECISION, target="x" * size)] * count, Head(), 1.0)


RECORDS = chain(300)


class World:
    """A log in memory, its feed, and how often the log was read."""

    def __init__(self, records: Sequence[Record] = RECORDS, durable: int = 0, **more: Any) -> None:
        self.clock = FakeClock()
        self.records = records
        self.reads = 0
        self.durable = durable
        self.feed = Feed(durable, self.read, self.clock, **more)

    async def read(self, after: int, limit: int) -> list[Record]:
        self.reads += 1
        await asyncio.sleep(0)
        return list(self.records[after : min(after + limit, self.durable)])

    def publish(self, count: int) -> None:
        begin, self.durable = self.durable, self.durable + count
        self.feed.publish(self.records[begin : self.durable])


class Reader:
    """A task that collects what a subscription yields; it may be made to stop taking."""

    def __init__(self, feed: Feed, after: int) -> None:
        self.pages: list[list[Record]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.task = asyncio.ensure_future(self._run(feed, after))

    async def _run(self, feed: Feed, after: int) -> None:
        async with feed.subscribe(after) as pages:
            async for page in pages:
                self.pages.append(page)
                await self.taking.wait()

    @property
    def seqs(self) -> list[int]:
        return [record.seq for page in self.pages for record in page]


async def test_a_reader_gets_replay_and_then_what_comes() -> None:
    """From the log, then from the ring, then live: each record once, in order."""
    world = World(durable=10)
    world.publish(5)
    reader = Reader(world.feed, 3)
    await settle()
    assert reader.seqs == list(range(4, 16))
    world.publish(2)
    await world.clock.advance(0.05)
    assert reader.seqs == list(range(4, 18))
    assert [record.line for page in reader.pages for record in page] == [record.line for record in RECORDS[3:17]]
    world.feed.close()
    await reader.task


async def test_a_burst_is_one_wake_up() -> None:
    """Readers who wait are woken once in 50 ms with all that came meanwhile, not once a record."""
    world = World()
    readers = [Reader(world.feed, 0) for _ in range(3)]
    await settle()
    for _ in range(20):
        world.publish(1)
        await world.clock.advance(0.002)
    assert [reader.pages for reader in readers] == [[], [], []]
    await world.clock.advance(0.011)
    assert [[len(page) for page in reader.pages] for reader in readers] == [[20], [20], [20]]
    world.publish(1)
    await world.clock.advance(0.05)
    assert readers[0].seqs == list(range(1, 22))
    world.feed.close()
    await asyncio.gather(*(reader.task for reader in readers))


async def test_a_reader_at_the_head_never_reads_the_log() -> None:
    """Following costs no file access."""
    world = World(durable=7)
    reader = Reader(world.feed, 7)
    await settle()
    world.publish(3)
    await world.clock.advance(0.05)
    assert reader.seqs == [8, 9, 10]
    assert world.reads == 0
    world.feed.close()
    await reader.task


async def test_a_reader_who_fell_out_of_the_ring_goes_on_from_the_log() -> None:
    """A slow reader misses nothing when the ring has moved on, and the others do not wait for it."""
    world = World(ring_records=10)
    slow, quick = Reader(world.feed, 0), Reader(world.feed, 0)
    slow.taking.clear()
    world.publish(3)
    await world.clock.advance(0.05)
    for _ in range(20):
        world.publish(10)
        await world.clock.advance(0.05)
    assert slow.seqs == [1, 2, 3]
    assert quick.seqs == list(range(1, 204))
    assert world.reads == 0
    assert (world.feed.first, world.feed.head) == (194, 203)
    slow.taking.set()
    await settle()
    assert slow.seqs == list(range(1, 204))
    assert world.reads > 0
    world.feed.close()
    await asyncio.gather(slow.task, quick.task)


async def test_memory_is_bounded_in_bytes() -> None:
    """Large records shorten the ring and the lists, so that hostile labels times slow readers stay small."""
    world = World(chain(300, 60_000))
    world.publish(300)
    held = sum(len(record.line) for record in world.records[world.feed.first - 1 :])
    assert RING_BYTES - 2 * 65_536 < held <= RING_BYTES
    reader = Reader(world.feed, world.feed.first - 1)
    await settle()
    assert {sum(len(record.line) for record in page) <= PAGE_BYTES for page in reader.pages} == {True}
    assert reader.seqs == list(range(world.feed.first, 301))
    world.feed.close()
    await reader.task


async def test_a_cursor_beyond_the_head_waits_for_it() -> None:
    """What a client says that it has seen is not shown again, even when this feed has not heard of it yet."""
    world = World(durable=5)
    reader = Reader(world.feed, 8)
    await settle()
    world.publish(2)
    await world.clock.advance(0.05)
    assert reader.pages == []
    world.publish(3)
    await world.clock.advance(0.05)
    assert reader.seqs == [9, 10]
    world.feed.close()
    await reader.task


async def test_closing_ends_every_reader_after_one_more_list() -> None:
    """Waiting, busy and new readers end; the last records published before reach those who follow."""
    world = World(ring_records=10)
    waiting, busy = Reader(world.feed, 0), Reader(world.feed, 0)
    world.publish(1)
    await world.clock.advance(0.05)
    busy.taking.clear()
    world.publish(1)
    world.feed.close()
    world.publish(1)
    await settle()
    assert waiting.task.done()
    assert waiting.seqs[-1] == 3
    busy.taking.set()
    late = Reader(world.feed, 3)
    await asyncio.gather(waiting.task, busy.task, late.task)
    assert late.pages == []
    assert world.feed.subscribers == 0


async def test_subscribers_are_counted() -> None:
    """The count is of those inside `async with` now, however they leave."""
    world = World()
    readers = [Reader(world.feed, 0) for _ in range(3)]
    await settle()
    assert world.feed.subscribers == 3
    readers[0].task.cancel()
    await asyncio.gather(readers[0].task, return_exceptions=True)
    assert world.feed.subscribers == 2
    async with world.feed.subscribe(0):
        assert world.feed.subscribers == 3
    world.feed.close()
    await asyncio.gather(*(reader.task for reader in readers[1:]))
    assert world.feed.subscribers == 0


async def test_a_log_that_lost_records_ends_the_stream() -> None:
    """A gap is an error for the one who would have to skip it, never a silent jump."""
    world = World(durable=10)
    world.records = ()
    reader = Reader(world.feed, 3)
    with pytest.raises(JournalDamaged, match="does not give seq 4"):
        await reader.task
    assert world.feed.subscribers == 0


async def test_only_what_continues_the_head_is_published() -> None:
    """A gap or a repeat in what is published is a fault of the caller."""
    world = World()
    world.publish(2)
    for wrong in (RECORDS[1], RECORDS[3]):
        with pytest.raises(ValueError, match="where 3 was due"):
            world.feed.publish([wrong])
    world.feed.close()


steps = st.one_of(
    st.tuples(st.just("publish"), st.integers(1, 9)),
    st.tuples(st.just("advance"), st.integers(0, 80)),
    st.tuples(st.just("yield"), st.integers(1, 4)),
    st.tuples(st.just("subscribe"), st.integers(0, 60)),
    st.tuples(st.just("toggle"), st.integers(0, 9)),
)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 30), st.integers(1, 12), st.lists(steps, max_size=25))
def test_no_gap_and_no_repeat(durable: int, ring: int, actions: list[tuple[str, int]]) -> None:
    """However subscribing, publishing, reading the log and slowness fall together, each reader gets every record
    after its cursor exactly once.
    """

    async def scenario() -> None:
        world = World(durable=durable, ring_records=ring)
        readers: list[tuple[int, Reader]] = []
        for action, number in actions:
            match action:
                case "publish":
                    world.publish(number)
                case "advance":
                    await world.clock.advance(number / 1000)
                case "yield":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "subscribe":
                    after = min(number, world.durable)
                    readers.append((after, Reader(world.feed, after)))
                case _ if readers:
                    taking = readers[number % len(readers)][1].taking
                    taking.clear() if taking.is_set() else taking.set()
        for _, reader in readers:
            reader.taking.set()
        for _ in range(30):
            await world.clock.advance(0.06)
        for after, reader in readers:
            assert reader.seqs == list(range(after + 1, world.durable + 1))
        world.feed.close()
        await asyncio.gather(*(reader.task for _, reader in readers))

    asyncio.run(scenario())


async def test_a_reader_may_be_ended_alone() -> None:
    """Asked before each list and when it is woken: what came since is not shown any more, and others go on."""
    world = World()
    let_in = True
    seen: list[int] = []

    async def read() -> None:
        async with world.feed.subscribe(0, lambda: let_in) as pages:
            async for page in pages:
                seen.extend(record.seq for record in page)

    ended, other = asyncio.create_task(read()), Reader(world.feed, 0)
    world.publish(2)
    await world.clock.advance(0.06)
    let_in = False
    world.publish(1)
    world.feed.wake()
    await asyncio.wait_for(ended, 5)
    await world.clock.advance(0.06)
    assert (seen, other.seqs) == ([1, 2], [1, 2, 3])
    assert world.feed.subscribers == 1
    world.feed.close()
    await other.task
