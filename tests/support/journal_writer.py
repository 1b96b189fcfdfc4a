"""A program for tests: appends to the log of a data directory until it is killed or has done enough.

    journal_writer.py DATA_DIR CLIENTS TURNS [UID]

Becomes the user UID first. Prints `seq hash` of each record once it is durable, and `unavailable` for each append that
failed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from autoheal.clock import SystemClock
from autoheal.errors import JournalUnavailable
from autoheal.journal import FileJournal
from autoheal.model import Draft, Kind
from tests.support.faults import until


def say(text: str) -> None:
    """Straight to the pipe: what was said is out, whatever happens next."""
    os.write(1, text.encode() + b"\n")


async def client(journal: FileJournal, number: int, turns: int) -> None:
    for turn in range(turns):
        drafts = [Draft(kind=Kind.DECISION, target=f"{number}.{turn}", detail={"fill": "x" * (97 * turn % 2000)})] * 2
        try:
            records = journal.append(drafts, journal.head)
            await journal.wait(records[-1].seq)
        except JournalUnavailable:
            say("unavailable")
            await until(lambda: journal.healthy)
        else:
            say("\n".join(f"{record.seq} {record.hash}" for record in records))


async def main(data_dir: Path, clients: int, turns: int) -> None:
    journal = FileJournal.open(data_dir, SystemClock(), on_durable=lambda _: None, retry_after=0.02)
    await asyncio.gather(*(client(journal, number, turns) for number in range(clients)))
    await journal.close()


if sys.argv[4:]:
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[4]))
asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
