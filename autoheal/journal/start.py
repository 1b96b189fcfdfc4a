"""Taking possession of a data directory: its lock, the check of the whole log, the repair of a torn end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoheal.clock import Clock
from autoheal.errors import JournalDamaged, JournalUnavailable
from autoheal.journal.disk import Disk, sync_directory, write_all
from autoheal.journal.reading import BLOCK_BYTES, replay
from autoheal.journal.record import seal_all
from autoheal.model import MAX_RECORD_BYTES, Draft, Head, Kind, Record


@dataclass(frozen=True, slots=True)
class Begun:
    """A log that has been read through: its end, its durable size in bytes and its id."""

    head: Head
    size: int
    log_id: str


def lock(data_dir: Path) -> int:
    """Make the directory when it is missing and own it: a descriptor that holds the lock until it is closed.

    Raises JournalUnavailable when another process owns it.
    """
    if not data_dir.is_dir():
        data_dir.mkdir(mode=0o750, parents=True)
        sync_directory(data_dir.parent)
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise
        raise JournalUnavailable(
            f"another autoheal (pid {owner or 'unknown'}) owns {data_dir}: stop it, or use another data directory"
        ) from None
    # For people only; a start on a full disk must not fail for want of it.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, os.pwrite(fd, b"%d\n" % os.getpid(), 0))
    return fd


def begin(path: Path, clock: Clock, disk: Disk, on_replay: Callable[[Record], object]) -> Begun:
    """Read the log through, checking every line; mend a torn end; begin a new log when there is none.

    Raises JournalDamaged for any other line that is not what was sealed: nothing is changed then.
    """
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    try:
        sync_directory(path.parent)
        size, log_id = 0, ""
        last: Record | None = None
        for record in replay(path):
            size += len(record.line) + 1
            log_id = log_id or record.hash[:16]
            on_replay(record)
            last = record
        head = last.head if last else Head()
        drafts = [] if last else [Draft(kind=Kind.LOG_CREATED)]
        if torn := os.fstat(fd).st_size - size:
            kept = _keep(path, size)
            detail = {"problem": "torn last line", "file": path.name, "offset": size, "bytes": torn, "kept_in": kept}
            drafts.append(Draft(kind=Kind.LOG_REPAIRED, detail=detail))
        if not drafts:
            # What a crashed process wrote may have been read from memory alone: durable before it is folded.
            disk.sync(fd)
            return Begun(head, size, log_id)
        records = seal_all(drafts, head, clock.now())
        data = b"".join(record.line + b"\n" for record in records)
        # Over the torn text, so that no crash can leave it cut away and unreported.
        os.lseek(fd, size, os.SEEK_SET)
        write_all(disk, fd, data)
        disk.cut(fd, size + len(data))
        disk.sync(fd)
        for record in records:
            on_replay(record)
        return Begun(records[-1].head, size + len(data), log_id or records[0].hash[:16])
    finally:
        os.close(fd)


def _keep(path: Path, offset: int) -> str:
    """Copy what follows the last whole line to a file of its own; its name, relative to the data directory."""
    with path.open("rb") as log:
        log.seek(offset)
        while block := log.read(BLOCK_BYTES):
            if b"\n" in block:
                # A torn write has no newline: this is a line that nobody sealed.
                raise JournalDamaged(f"{path}, byte {offset}: a line is longer than {MAX_RECORD_BYTES} bytes")
        folder = path.parent / "torn"
        folder.mkdir(mode=0o750, exist_ok=True)
        count = 1
        # The same place can tear again, when the machine dies during the repair.
        while (kept := folder / (f"{offset}.txt" if count == 1 else f"{offset}-{count}.txt")).exists():
            count += 1
        log.seek(offset)
        with kept.open("xb") as copy:
            kept.chmod(0o640)
            shutil.copyfileobj(log, copy)
            copy.flush()
            os.fsync(copy.fileno())
    sync_directory(folder)
    sync_directory(path.parent)
    return f"{folder.name}/{kept.name}"
