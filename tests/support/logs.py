"""Logs as tests want them: sealed records, spread over files as rotation leaves them."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from autoheal.journal import manifest
from autoheal.journal.files import FILE_NAME
from autoheal.journal.record import seal
from autoheal.model import Draft, Head, Record

START = 1_790_000_000.0


def chain(drafts: Sequence[Draft], *, step: float = 1.0) -> list[Record]:
    """`drafts` as a log whose records are `step` seconds apart, the first at `START`."""
    records: list[Record] = []
    head = Head()
    for number, draft in enumerate(drafts):
        records.append(seal(draft, head, START + number * step))
        head = records[-1].head
    return records


def text(records: Sequence[Record]) -> bytes:
    """The file that holds them."""
    return b"".join(record.line + b"\n" for record in records)


def spread(
    folder: Path, records: Sequence[Record], cuts: Sequence[int], storage: Sequence[Literal["plain", "gzip", "known"]]
) -> None:
    """Write `records` to files that end at `cuts`, the last one being the current file.

    `storage` says for each rotated one how: `known` is gzip'd with a manifest.
    """
    bounds = sorted({0, *cuts, len(records)})
    for number, (low, high) in enumerate(itertools.pairwise(bounds)):
        part = records[low:high]
        if high == len(records):
            (folder / FILE_NAME).write_bytes(text(part))
        elif (how := storage[number % len(storage)]) == "plain":
            (folder / f"{FILE_NAME}-{number}").write_bytes(text(part))
        else:
            (folder / f"{FILE_NAME}-{number}.gz").write_bytes(gzip.compress(text(part), 1))
            if how == "known":
                describe(folder, part)


def describe(folder: Path, part: Sequence[Record]) -> manifest.Manifest:
    """The manifest of a file with those records, written."""
    tally = manifest.Tally()
    for record in part:
        tally.add(record)
    found = tally.manifest("0" * 16)
    manifest.write(found, folder / manifest.FOLDER_NAME)
    return found
