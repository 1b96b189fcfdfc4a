"""One file of the log while a verifier reads it: its lines, and the manifest that it should have."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import BinaryIO

from autoheal.journal.files import LogFile
from autoheal.journal.manifest import MAX_ALERTNAMES, Manifest
from autoheal.model import Head, parse_rfc3339

BLOCK_BYTES = 1024 * 1024


class Reading:
    """A file of the log that is being read, and what its manifest should say of it."""

    def __init__(self, file: LogFile, stream: BinaryIO) -> None:
        self.file = file
        self.stream = stream
        self.rest = b""
        self.skipping = False
        self.size = 0
        self.sha256 = sha256()
        self.first: tuple[int, str] | None = None
        self.kinds: Counter[str] = Counter()
        self.alertnames: set[str] = set()
        self.broken = False
        self.problems = 0

    def lines(self) -> list[bytes] | None:
        """The next whole lines, without their newlines; None at the end of what is there now."""
        data = b"" if self.broken else self.stream.read(BLOCK_BYTES)
        if not data:
            return None
        self.size += len(data)
        self.sha256.update(data)
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        if self.skipping and lines:
            # The end of a line that was reported when it had become too long.
            del lines[0]
            self.skipping = False
        return lines

    def manifest(self, log: str, last: Head, previous: str) -> Manifest | None:
        """The manifest that the file should have; None for a file with no record."""
        if self.first is None:
            return None
        return Manifest(
            log=log,
            first_seq=self.first[0],
            first_ts=parse_rfc3339(self.first[1]),
            last=last,
            size=self.size,
            sha256=self.sha256.hexdigest(),
            previous=previous,
            kinds=dict(sorted(self.kinds.items())),
            alertnames=None if len(self.alertnames) > MAX_ALERTNAMES else tuple(sorted(self.alertnames)),
        )
