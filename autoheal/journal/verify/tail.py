"""The end of the log's last file alone: cheap enough to be looked at every few minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from autoheal.journal.files import FILE_NAME
from autoheal.journal.verify.chain import Chain, Report
from autoheal.model import MAX_RECORD_BYTES, ZERO_HASH


def verify_tail(data_dir: Path, at_most: int) -> Report:
    """Check the chain in the last `at_most` bytes of the file that the service writes to, up to its last whole line.

    Nothing is said of checkpoints and older files: `verify` looks at those. Blocks. Raises OSError.
    """
    report = Report(files=1)
    chain = Chain(report.add, lambda _first, _last: "in the file")
    with (data_dir / FILE_NAME).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = _line_after(file, size - at_most)
        chain.file = f"{FILE_NAME} from byte {begin}" if begin else FILE_NAME
        while file.tell() < size and (line := file.readline(MAX_RECORD_BYTES + 1)).endswith(b"\n"):
            if not report.records:
                report.first_seq = _seq(line)
                # What stands before it is not looked at, so its `prev` cannot be judged.
                chain.seq, chain.hash = report.first_seq - 1, ZERO_HASH if report.first_seq == 1 else None
            report.records += 1
            chain.take(line[:-1])
    report.last_seq, report.last_hash, report.last_ts = chain.seq, chain.hash or "", chain.ts
    return report


def _line_after(file: BinaryIO, position: int) -> int:
    """Go to where the first line begins at or after `position`: the byte."""
    if position > 0:
        file.seek(position - 1)
        file.readline()
    return file.tell()


def _seq(line: bytes) -> int:
    digits = line[len(b'{"seq":') :][:16].split(b",", 1)[0]
    return int(digits) if digits.isdigit() else 1
