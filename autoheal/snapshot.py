"""A state's text as `snapshot` records, and back: what a fresh file begins with, so that it can be folded alone."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from autoheal.errors import JournalDamaged
from autoheal.model import Draft, Kind

VERSION = 1
"""Of what the text means. A log whose snapshots have another one is folded from older files."""
PART_BYTES = 24 * 1024
"""Of the compressed text in one record: 32 KiB as base64."""

# Speed matters more than size: this runs between two turns of the event loop.
_LEVEL = 1


def drafts(text: bytes) -> list[Draft]:
    """The records, to be appended in one batch, that hold `text`."""
    packed = zlib.compress(text, _LEVEL)
    pieces = [packed[at : at + PART_BYTES] for at in range(0, len(packed), PART_BYTES)]
    return [
        Draft(
            kind=Kind.SNAPSHOT,
            detail={
                "version": VERSION,
                "part": number,
                "parts": len(pieces),
                "data": base64.b64encode(piece).decode(),
            },
        )
        for number, piece in enumerate(pieces, 1)
    ]


def collect(parts: Sequence[str], detail: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The parts seen so far with that of a record's `detail`, and whether these are all of them.

    Part 1 begins anew. A part that does not follow those before, or of an unknown version, leaves nothing.
    """
    if detail["version"] != VERSION or detail["part"] not in (1, len(parts) + 1):
        return [], False
    found = [*(parts if detail["part"] > 1 else ()), detail["data"]]
    return found, len(found) == detail["parts"]


def text(parts: Sequence[str]) -> bytes:
    """What `drafts` was given. Raises JournalDamaged for parts that it did not make."""
    try:
        return zlib.decompress(b"".join(base64.b64decode(part, validate=True) for part in parts))
    except (ValueError, zlib.error) as error:
        raise JournalDamaged(f"a snapshot cannot be unpacked: {error}") from None
