"""Beginning with a log: the check of what is there, and the repair of its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from autoheal.age import Identities
from autoheal.clock import Clock
from autoheal.disk import Disk, sync_directory, write_all
from autoheal.errors import JournalDamaged
from autoheal.journal import manifest, snapshots
from autoheal.journal.files import FILE_NAME, LogFile, Storage, Strays, open_again
from autoheal.journal.history import distinct, founded
from autoheal.journal.manifest import Tally
from autoheal.journal.reading import BLOCK_BYTES, replay
from autoheal.journal.record import follow, parse, seal_all
from autoheal.journal.rotation import OPEN_FLAGS
from autoheal.journal.writer import End
from autoheal.model import MAX_RECORD_BYTES, Draft, Head, Kind, Record

OnSnapshot = Callable[[Sequence[str]], object]
"""Takes the parts of a whole snapshot, before the records behind it; raises JournalDamaged when they are no state."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Begun:
    """A log that has been read through: its last record, its id, and its newest file.

    `fd` is open for writing at the end of that file, of which `tally` tells the content; -1 when the file is
    compressed, or the log's name belongs to none. `snapshot` is the seq of the last record of a snapshot, 0 without
    one. `reports` are repairs that no record tells of yet.
    """

    last: Record
    log_id: str
    fd: int
    tally: Tally
    snapshot: int
    reports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def end(self) -> End:
        """Where the writer goes on."""
        return End(self.last.head, self.tally.size if self.fd >= 0 else 0, self.tally.first_seq)


def begin(
    data_dir: Path,
    clock: Clock,
    disk: Disk,
    on_replay: Callable[[Record], object],
    on_snapshot: OnSnapshot | None = None,
    accept_damage: str | None = None,
    identities: Identities | None = None,
) -> Begun:
    """Read what a state needs, checking every line; mend a torn end; begin a new log when there is none.

    With `on_snapshot`, what stands in the newest file before its last snapshot is checked as a whole and not read.

    Raises JournalDamaged for any other line that is not what was sealed: nothing is changed then. With
    `accept_damage`, the reason that somebody gave, the log ends before that line instead: it and all that follows
    is kept in `damaged/`, and a `log_repaired` says so. It stays where it is when it stands before all that the state
    needs: then only the record tells of it.
    Raises JournalEncrypted when a state needs an encrypted file that none of `identities` opens.
    """
    strays: Strays = {}
    files = distinct(data_dir, strays)
    if (own := strays.get(data_dir / FILE_NAME)) is not None:
        raise own
    if not files:
        if strays:
            raise next(iter(strays.values()))
        _refuse_lost(data_dir)
        return _new(data_dir / FILE_NAME, clock, disk, on_replay)
    folding = _Folding(data_dir, on_replay, on_snapshot, accept_damage, identities)
    repair = None
    try:
        folding.fold(files)
    except JournalDamaged as fault:
        # What is missing there may be in one of them.
        error = JournalDamaged("; ".join(map(str, (fault, *strays.values()))))
        if folding.last is None:
            raise error from None
        folding.accept(error)
        repair = _set_aside(folding, error)
    if folding.last is None:
        # Nothing but a torn beginning.
        return _new(data_dir / FILE_NAME, clock, disk, on_replay)
    if folding.accepted:
        errors = "; ".join(folding.accepted)[:1000]
        about = {"problem": "damage accepted", "reason": accept_damage, "error": errors}
        repair = about | (repair or {"kept_in": []})
    for path in strays:
        _log.error("file_passed_over", file=path.name, error=str(strays[path]))
    begun = _end(folding, clock, disk, repair)
    if repair is None and _followed(data_dir, *folding.begun[-1]):
        begun.reports.append({"problem": "file missing", "file": FILE_NAME})
    return begun


def _refuse_lost(data_dir: Path) -> None:
    """Raise JournalDamaged when manifests tell of a log that is gone: a new one must not take its place unnoticed."""
    if told := manifest.paths(data_dir / manifest.FOLDER_NAME):
        raise JournalDamaged(
            f"{data_dir} holds none of the log's files, but manifests of one ({manifest.FOLDER_NAME}/{told[-1].name}): "
            "bring its files back, or restore a copy; to begin a new log, move that folder away first"
        )


def _followed(data_dir: Path, newest: LogFile, tally: Tally) -> bool:
    """Whether a file had been begun behind the newest one: its manifest is made in that moment."""
    described = manifest.paths(data_dir / manifest.FOLDER_NAME)
    return not newest.current and any(path.name == tally.manifest("", "").name for path in described)


class _Folding:
    """A log that is being read: the files that were begun, with what they hold, and the last good record."""

    def __init__(
        self,
        data_dir: Path,
        on_replay: Callable[[Record], object],
        on_snapshot: OnSnapshot | None,
        reason: str | None,
        identities: Identities | None,
    ) -> None:
        """`reason` is why damage is accepted; what was accepted comes to stand in `accepted`."""
        self.data_dir = data_dir
        self.on_replay = on_replay
        self.on_snapshot = on_snapshot
        self.reason = reason
        self.identities = identities
        self.accepted: list[str] = []
        self.last: Record | None = None
        self.log_id = ""
        self.snapshot = 0
        self.begun: list[tuple[LogFile, Tally]] = []
        self.left: list[LogFile] = []

    def fold(self, files: Sequence[LogFile]) -> None:
        """Read the newest of `files` that found a state, checking the chain, also across files."""
        if self.on_snapshot is not None and self._resume(files, self.on_snapshot):
            return
        self.left = founded(self.data_dir, files, self.identities)
        before = files[: len(files) - len(self.left)]
        while self.left:
            file, stream = open_again(self.data_dir, self.left.pop(0), self.identities)
            tally = Tally()
            self.begun.append((file, tally))
            for record in replay(file.path, stream=stream, last=self.last):
                self._join(before, file, record)
                before = []
                tally.add(record)
                self.take(record)

    def _resume(self, files: Sequence[LogFile], on_snapshot: OnSnapshot) -> bool:
        """Read the newest file from its last snapshot on; False, and nothing is done, where that cannot be."""
        file, stream = open_again(self.data_dir, files[-1], self.identities)
        with stream:
            if file.storage is not Storage.PLAIN or (found := snapshots.newest(file, stream)) is None:
                return False
            try:
                on_snapshot(found.parts)
            except JournalDamaged as error:
                # Those before it will be no better, and to look at each means to hash the file again.
                _log.warning("snapshot_passed_over", file=file.path.name, after=found.last.seq, error=str(error))
                return False
            stream.seek(0)
            first = parse(stream.readline(MAX_RECORD_BYTES)[:-1])
            self.begun.append((file, found.tally))
            self._join(files[:-1], file, first)
            self.last, self.log_id = found.last, found.log_id
            stream.seek(found.tally.size)
            for record in replay(file.path, stream=stream, last=found.last, number=found.lines):
                found.tally.add(record)
                self.take(record)
        return True

    def _join(self, before: Sequence[LogFile], file: LogFile, first: Record) -> None:
        """Hold `first`, the first record of `file`, against the last of the files `before`, of which none is read."""
        if before and _rotated(first):
            try:
                _check_follows(self.data_dir, before[-1], file, first)
            except JournalDamaged as error:
                # Nothing of that file is needed: it stays where it is.
                self.accept(error)

    def accept(self, error: JournalDamaged) -> None:
        """Go on in spite of `error`, or raise it with the way out."""
        if self.reason is None:
            remedy = "to go on from what is whole: autoheal serve --accept-damage REASON"
            raise JournalDamaged(f"{error} ({remedy})") from None
        self.accepted.append(str(error))

    def take(self, record: Record) -> None:
        """Fold one record."""
        if record.seq == 1:
            self.log_id = record.hash[:16]
        elif record.kind is Kind.LOG_OPENED:
            self.log_id = record.detail["log"]
        elif record.kind is Kind.SNAPSHOT:
            self.snapshot = record.seq
            # The file was truncated, and its `log_opened` lost with the process that had that still to write.
            if not self.log_id and "file" in record.detail:
                self.log_id = manifest.parse(record.detail["file"]).log
        self.on_replay(record)
        self.last = record


def _rotated(record: Record) -> bool:
    # After a truncation the records between the copy and this file are lost, and verify tells which.
    return record.kind is Kind.LOG_OPENED and record.detail["how"] == "renamed"


def _check_follows(data_dir: Path, before: LogFile, file: LogFile, record: Record) -> None:
    """Raise JournalDamaged when `record`, the first of `file`, does not continue the file before."""
    if (told := before.header) is not None:
        # What it says in the clear is enough: a start should not need the key, nor the time.
        if (record.seq, record.prev) != (told.last + 1, told.hash):
            raise JournalDamaged(f"{file.path} does not continue {before.path}, which ends with seq {told.last}")
        return
    found, stream = open_again(data_dir, before)
    line = b""
    with stream:
        for each in stream:
            line = each if each.endswith(b"\n") else line
    try:
        follow(record.line, parse(line[:-1]))
    except JournalDamaged as error:
        raise JournalDamaged(f"{file.path} does not continue {found.path}: {error}") from None


def _set_aside(folding: _Folding, error: JournalDamaged) -> dict[str, Any]:
    """Take the damage, and all that follows it, out of the log; where it was, and where it is now."""
    folder = _folder(folding.data_dir, "damaged")
    file, tally = folding.begun[-1]
    if tally.size and file.storage is not Storage.PLAIN:
        raise JournalDamaged(f"{error}: gunzip that file first, then accept the damage")
    kept = []
    moved = [*folding.left, *([] if tally.size else [file])]
    for each in moved:
        to = _unused(folder, each.path.name)
        each.path.replace(to)
        kept.append(f"{folder.name}/{to.name}")
    if tally.size:
        with file.path.open("rb") as stream:
            kept.append(_copy_rest(stream, tally.size, folder, f"{file.path.name}-{tally.size}"))
    else:
        folding.begun.pop()
    sync_directory(folder)
    sync_directory(folding.data_dir)
    return {"file": file.path.name, "offset": tally.size, "kept_in": kept}


def _end(folding: _Folding, clock: Clock, disk: Disk, repair: dict[str, Any] | None) -> Begun:
    """Go on at the end of the newest file, after the repair that is due there."""
    assert folding.last is not None, "a file that founds a state holds records"
    newest, tally = folding.begun[-1]
    file, stream = open_again(folding.data_dir, newest, folding.identities)
    with stream:
        if file.storage is not Storage.PLAIN:
            reports = [] if repair is None else [repair]
            return Begun(folding.last, folding.log_id, -1, tally, folding.snapshot, reports)
        # By this name it is the same file, should it be renamed meanwhile.
        path = Path(f"/proc/self/fd/{stream.fileno()}")
        if repair is None and (torn := os.fstat(stream.fileno()).st_size - tally.size):
            kept = _keep_torn(stream, file.path, tally.size)
            about = {"file": file.path.name, "offset": tally.size, "bytes": torn, "kept_in": kept}
            repair = {"problem": "torn last line", **about}
        fd = disk.open(path, os.O_RDWR)
        try:
            if repair is None:
                # What a crashed process wrote may have been read from memory alone: durable before it is folded.
                disk.sync(fd)
            else:
                (record,) = seal_all([Draft(kind=Kind.LOG_REPAIRED, detail=repair)], folding.last.head, clock.now())
                _write_over(disk, fd, tally.size, [record])
                tally.add(record)
                folding.take(record)
        finally:
            os.close(fd)
        return Begun(folding.last, folding.log_id, disk.open(path, OPEN_FLAGS), tally, folding.snapshot)


def _new(path: Path, clock: Clock, disk: Disk, on_replay: Callable[[Record], object]) -> Begun:
    """Begin a log; a beginning that was torn is kept."""
    drafts = [Draft(kind=Kind.LOG_CREATED)]
    fd = disk.open(path, os.O_RDWR | os.O_CREAT)
    try:
        sync_directory(path.parent)
        if torn := os.fstat(fd).st_size:
            with path.open("rb") as stream:
                kept = _keep_torn(stream, path, 0)
            detail = {"problem": "torn last line", "file": path.name, "offset": 0, "bytes": torn, "kept_in": kept}
            drafts.append(Draft(kind=Kind.LOG_REPAIRED, detail=detail))
        records = seal_all(drafts, Head(), clock.now())
        _write_over(disk, fd, 0, records)
    finally:
        os.close(fd)
    tally = Tally()
    for record in records:
        tally.add(record)
        on_replay(record)
    return Begun(records[-1], records[0].hash[:16], disk.open(path, OPEN_FLAGS), tally, 0)


def _write_over(disk: Disk, fd: int, offset: int, records: Sequence[Record]) -> None:
    """Put `records` where the torn text begins, so that no crash can leave that cut away and unreported."""
    data = b"".join(record.line + b"\n" for record in records)
    os.lseek(fd, offset, os.SEEK_SET)
    write_all(disk, fd, data)
    disk.cut(fd, offset + len(data))
    disk.sync(fd)


def _keep_torn(stream: BinaryIO, path: Path, offset: int) -> str:
    """Copy what follows the last whole line to a file of its own; its name, relative to the data directory."""
    stream.seek(offset)
    while block := stream.read(BLOCK_BYTES):
        if b"\n" in block:
            # A torn write has no newline: this is a line that nobody sealed.
            raise JournalDamaged(f"{path}, byte {offset}: a line is longer than {MAX_RECORD_BYTES} bytes")
    folder = _folder(path.parent, "torn")
    kept = _copy_rest(stream, offset, folder, f"{offset}.txt")
    sync_directory(folder)
    sync_directory(path.parent)
    return kept


def _copy_rest(stream: BinaryIO, offset: int, folder: Path, name: str) -> str:
    kept = _unused(folder, name)
    stream.seek(offset)
    with kept.open("xb") as copy:
        kept.chmod(0o640)
        shutil.copyfileobj(stream, copy, BLOCK_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
    return f"{folder.name}/{kept.name}"


def _folder(data_dir: Path, name: str) -> Path:
    folder = data_dir / name
    folder.mkdir(mode=0o750, exist_ok=True)
    return folder


def _unused(folder: Path, name: str) -> Path:
    """A path for `name`: the same place can break again, when the machine dies during the repair."""
    path, count = folder / name, 1
    while path.exists():
        count += 1
        path = folder / f"{Path(name).stem}-{count}{Path(name).suffix}"
    return path
