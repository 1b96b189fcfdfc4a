"""Searching a log while it is written, renamed and compressed."""

from __future__ import annotations

import asyncio
import gzip
import itertools
from pathlib import Path

import orjson

from autoheal.clock import SystemClock
from autoheal.journal import FileJournal
from autoheal.journal.files import FILE_NAME, Storage, log_files
from autoheal.journal.search import Ask, Search
from autoheal.model import Draft, Kind
from autoheal.query import parse

ROTATIONS = 25
DRAFT = Draft(kind=Kind.DECISION, rule="r", detail={"text": "x" * 3000})


async def test_every_walk_is_whole(tmp_path: Path) -> None:
    """Pages that are followed from the newest record to seq 1 have no gap and no repeat, whatever happens meanwhile."""
    journal = FileJournal.open(tmp_path, SystemClock(), on_durable=lambda _: None)
    search, clock = Search(tmp_path, lambda: journal.durable.seq), SystemClock()
    done = False

    async def write_and_rotate() -> None:
        """As logrotate does, with delaycompress: the last file but one is compressed."""
        for number in range(ROTATIONS):
            for _ in range(3):
                journal.turn(list, journal.head)
                await journal.wait(journal.append([DRAFT] * 20, journal.head)[-1].seq)
            (last,) = journal.append([DRAFT], journal.head)
            # While that record is on its way to it.
            (tmp_path / FILE_NAME).rename(tmp_path / f"{FILE_NAME}-{number}")
            await journal.wait(last.seq)
            if number:
                await asyncio.to_thread(compress, tmp_path / f"{FILE_NAME}-{number - 1}")

    def walk(text: str | None) -> int:
        asked = None if text is None else parse(text)
        head, found, before = journal.durable.seq, [], None
        while True:
            ask = Ask(limit=300, query=asked, before=before)
            page = search.page(ask, clock, seconds=60, max_bytes=1 << 30)
            found += [orjson.loads(line)["seq"] for line in page.lines]
            before = page.next
            if before is None:
                break
        assert found[0] >= head
        assert found == list(range(found[0], 0, -1))
        return len(found)

    async def walks(text: str | None) -> int:
        for count in itertools.count():
            if done:
                return count
            await asyncio.to_thread(walk, text)
        raise AssertionError

    walking = [
        asyncio.ensure_future(walks(text)) for text in (None, "seq>0", "kind IN (decision, log_created, log_opened)")
    ]
    try:
        await write_and_rotate()
    finally:
        done = True
        counts = await asyncio.gather(*walking)
        await journal.close()
    assert min(counts) > 2
    assert sum(file.storage is Storage.GZIP for file in log_files(tmp_path)) == ROTATIONS - 1


def compress(path: Path) -> None:
    """In pieces, as gzip writes them, and only then is the plain file removed."""
    data = gzip.compress(path.read_bytes(), 1)
    with path.with_name(f"{path.name}.gz").open("wb", buffering=0) as file:
        for begin in range(0, len(data), 1000):
            file.write(data[begin : begin + 1000])
    path.unlink()
