"""Logs that put their state down every few records, and what starts make of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoheal.disk import Disk
from autoheal.errors import JournalDamaged
from autoheal.journal import start
from autoheal.journal.reading import replay
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record
from autoheal.state import State
from tests.support.book import Book
from tests.support.clock import FakeClock

EVERY = 10


def places(path: Path) -> list[int]:
    """The seqs of the records that begin a snapshot."""
    found = [record for record in replay(path) if record.kind is Kind.SNAPSHOT and record.detail["part"] == 1]
    return [record.seq for record in found]


async def grown(data_dir: Path, names: int, **more: Any) -> Book:
    """A log of so many episodes, put down one by one, and closed."""
    async with Book(data_dir, **more) as book:
        for number in range(names):
            book.clock.set_now(book.clock.now() + 1.0)
            await book.put(f"a{number}")
    return book


def resealed(path: Path, change: Callable[[Draft], Draft]) -> None:
    """The same records after `change`, sealed anew: the chain is whole, as if another version had written it."""
    records = list(replay(path))
    head = Head(records[0].seq - 1, records[0].prev, 0.0)
    lines = []
    for record in records:
        draft = Draft(**{name: getattr(record, name) for name in Draft.__dataclass_fields__})
        (sealed,) = seal_all([change(draft)], head, record.ts)
        head = sealed.head
        lines.append(sealed.line + b"\n")
    path.write_bytes(b"".join(lines))


def outcome(data_dir: Path, reason: str | None = None) -> tuple[object, ...]:
    """What a start makes of a copy, behind a snapshot and, alike, by reading every line.

    `reason` is why damage may be accepted.
    """
    found = []
    for resume in (True, False):
        # By the same name: repairs tell of it.
        copy = data_dir.with_name("started")
        shutil.copytree(data_dir, copy)
        found.append(_outcome(copy, resume, reason))
        shutil.rmtree(copy)
    assert found[0] == found[1]
    return found[0]


def _outcome(data_dir: Path, resume: bool, reason: str | None) -> tuple[object, ...]:
    """What a start makes of it: the error, or the state, what was found to go on with, and all that was written."""
    state = State()
    seen: list[Record] = []

    def replayed(record: Record) -> None:
        seen.append(record)
        state.apply(record)

    try:
        begun = start.begin(
            data_dir, FakeClock(), Disk(), replayed, state.restore if resume else None, accept_damage=reason
        )
    except JournalDamaged as error:
        return ("damaged", str(error).replace(str(data_dir), "DIR"), _files(data_dir))
    if begun.fd >= 0:
        os.close(begun.fd)
    described = begun.tally.manifest(begun.log_id)
    assert begun.snapshot <= begun.last.seq
    return (
        "begun",
        state,
        begun.last,
        begun.log_id,
        begun.fd >= 0,
        begun.reports,
        described,
        begun.snapshot,
        _files(data_dir),
        seen[-1],
    )


def _files(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes() for path in sorted(data_dir.rglob("*")) if path.is_file()
    }
