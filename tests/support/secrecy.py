"""Keys, and log files that are encrypted with them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pyrage

from autoheal.age import Identities, Recipients
from autoheal.clock import Clock
from autoheal.journal.encrypted import Header, encrypted
from autoheal.journal.encrypting import Encryption
from autoheal.model import Record
from tests.support.book import Book
from tests.support.clock import FakeClock

PRIVATE, OTHER_PRIVATE = (str(pyrage.x25519.Identity.generate()) for _ in range(2))
PUBLIC, OTHER_PUBLIC = (
    str(pyrage.x25519.Identity.from_str(private).to_public()) for private in (PRIVATE, OTHER_PRIVATE)
)
IDENTITIES, OTHERS = Identities.parse(PRIVATE), Identities.parse(OTHER_PRIVATE)
RECIPIENTS = Recipients.parse(PUBLIC)


def encrypted_file(records: Sequence[Record], *, part_bytes: int = 700, packed: bool = False) -> bytes:
    """A file with those records, in parts of a few lines; `packed`: logrotate has gzip'd it afterwards."""
    lines = b"".join(record.line + b"\n" for record in records)
    header = Header(records[0].seq, records[-1].seq, records[-1].hash, len(lines), part_bytes)
    parts = [encrypted(lines[at : at + part_bytes], RECIPIENTS) for at in range(0, len(lines), part_bytes)]
    data = b"".join([header.line, *parts])
    return gzip.compress(data, 1) if packed else data


def encryption(
    data_dir: Path, clock: Clock | None = None, left: list[float] | None = None, **more: object
) -> Encryption:
    """What the service does, with our key; `left` collects what it tells."""
    told = (left if left is not None else []).append
    return Encryption(data_dir, RECIPIENTS, clock or FakeClock(), min_free=0, left=told, **more)  # type: ignore[arg-type]


async def two_files(data_dir: Path, *, compress: bool = False) -> Path:
    """A log of the service's own making: a rotated file with seq 1 to 4, and the current one; the rotated file."""
    async with Book(data_dir) as book:
        await book.put("a", "b", "c")
        rotated = book.rename()
        await book.turn()
        await book.put("d")
        if compress:
            book.gzip(rotated)
            rotated = rotated.with_name(f"{rotated.name}.gz")
    return rotated
