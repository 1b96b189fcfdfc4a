"""Copies of a log: verified when made, verified before they are used. The private key is never part of one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import orjson

from autoheal.age import Identities
from autoheal.disk import sync_directory
from autoheal.errors import JournalDamaged, JournalError
from autoheal.journal import manifest as manifests
from autoheal.journal.checkpoint import FOLDER_NAME as KEY_FOLDER
from autoheal.journal.checkpoint import PUBLIC_NAME, TrustedKey, load_public_keys, public_file
from autoheal.journal.files import FILE_NAME, LogFile, Storage, Strays, log_files, open_again, open_stored
from autoheal.journal.lock import Lock
from autoheal.journal.verify import Report, verify
from autoheal.model import MAX_RECORD_BYTES, rfc3339

ABOUT_NAME = "backup.json"
# Beside the log: the rule texts that decisions name by digest, and what repairs set aside.
ALSO = ("rules", "torn", "damaged")
UNVERIFIED = "-unverified"
_BLOCK_BYTES = 1024 * 1024
_MADE = re.compile(r"autoheal-([0-9a-f]{16})-([0-9]{8}T[0-9]{6}Z)(-unverified)?")
_PARTIAL = re.compile(r"\.autoheal-([0-9]{8}T[0-9]{6}Z)\.partial")


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made, what verifying it found, and which older copies went."""

    path: Path
    report: Report
    pruned: tuple[Path, ...]


def backup(
    data_dir: Path,
    public_keys: Path,
    folder: Path,
    now: float,
    keep: float | None = None,
    identities: Identities | None = None,
) -> Backup:
    """Copy the log in `data_dir`, up to its last whole line, into a folder of its own in `folder`.

    The service may write and logrotate rotate meanwhile. A copy that does not verify is kept, and named so: it is
    what there is of the log. After one that does, older copies of the same log go that are older than `keep`
    seconds. `now` is in seconds since the epoch. Encrypted files are copied as they are; `identities` open them.
    Raises FileNotFoundError when there is no log, JournalEncrypted when it could not be verified for want of a key
    (nothing is copied then), JournalDamaged for a file that is none, OSError otherwise.
    """
    _open_all(data_dir, identities)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    stamp = _stamp(now)
    partial = folder / f".autoheal-{stamp}.partial"
    partial.mkdir(mode=0o750)
    try:
        newest = _copy_log(data_dir, partial)
        _copy_manifests(data_dir, partial, newest)
        for name in ALSO:
            _copy_files(data_dir / name, partial / name)
        if public_keys.exists():
            _copy_files(public_keys.parent, partial / KEY_FOLDER, (PUBLIC_NAME,))
        report = _verify(partial, None, identities)
        _write(partial / ABOUT_NAME, _about(report, now))
        sync_directory(partial)
        name = f"autoheal-{report.log or '0' * 16}-{stamp}{UNVERIFIED if report.problems else ''}"
        made = partial.rename(folder / name)
        sync_directory(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    pruned = () if report.problems or keep is None else _prune(folder, made, now - keep)
    return Backup(made, report, pruned)


def restore(copy: Path, data_dir: Path, key_file: Path | None = None, identities: Identities | None = None) -> Report:
    """Put the copy's log into `data_dir`, which must be empty or missing; what verifying it there found.

    Nothing is written unless `copy` verifies, with the keys in `key_file` or else its own, and ends where it ended
    when it was made. The keys' time ends with it: the service will make a new one.
    Raises JournalEncrypted when none of `identities` opens it, JournalError when it is refused for another reason, or
    `data_dir` is not empty, and OSError.
    """
    if data_dir.exists() and any(path.name != "lost+found" for path in data_dir.iterdir()):
        raise JournalError(f"{data_dir} is not empty: restore into a new directory, or move away what is there")
    _open_all(copy, identities)
    report = _verify(copy, key_file, identities)
    if report.problems:
        raise JournalDamaged(f"{copy} does not verify, so it is not restored: {report.first}")
    _check_end(copy, report)
    lock = Lock(data_dir)
    try:
        for name in (manifests.FOLDER_NAME, *ALSO):
            _copy_files(copy / name, data_dir / name)
        public = key_file or copy / KEY_FOLDER / PUBLIC_NAME
        if public.exists():
            keys = load_public_keys(public)
            ended = (*keys[:-1], TrustedKey(keys[-1].key, keys[-1].last_seq or report.last_seq))
            (data_dir / KEY_FOLDER).mkdir(mode=0o750)
            _write(data_dir / KEY_FOLDER / PUBLIC_NAME, public_file(ended))
            sync_directory(data_dir / KEY_FOLDER)
        # The newest first, each whole or not at all: cut short here, the log may lack its past, but never its end.
        for file in reversed(log_files(copy)):
            with file.path.open("rb") as stored:
                _append(stored, data_dir / ".restoring")
            (data_dir / ".restoring").rename(data_dir / file.path.name)
        sync_directory(data_dir)
        restored = _verify(data_dir, None, identities)
    finally:
        lock.release()
    if restored.problems or restored.last_hash != report.last_hash:
        raise JournalDamaged(f"{data_dir} is not what {copy} is, so do not use it: {restored.first}")
    return restored


def _copy_log(data_dir: Path, to: Path) -> int:
    """Every file of the log, under the name that it has at the end; the first seq of the newest one."""
    found: dict[int, LogFile] = {}
    strays: Strays = {}
    with ExitStack() as stack:
        last: tuple[BinaryIO, Path] | None = None
        while files := [file for file in log_files(data_dir, strays) if file.first not in found]:
            # Of two that begin alike the last one is the log's.
            for first, file in {file.first: file for file in files}.items():
                if last is not None:
                    # It was the current one: what was written there before this one was begun belongs to it.
                    _append(*last)
                try:
                    there, stored = open_stored(data_dir, file)
                except FileNotFoundError:
                    if found:
                        raise
                    # The oldest one: retention took it a moment ago.
                    continue
                found[first], last = there, (stack.enter_context(stored), to / str(first))
                _append(*last)
    if last is None:
        raise FileNotFoundError(f"there is no audit log in {data_dir}")
    newest = max(found)
    if found[newest].storage is Storage.PLAIN:
        _cut_to_lines(to / str(newest))
    # They make the copy one that does not verify, and are worth keeping all the same.
    for path in strays:
        with suppress(FileNotFoundError), path.open("rb") as strange:
            _append(strange, to / path.name)
    names = {file.first: file.path.name for file in log_files(data_dir, {})}
    for first, file in found.items():
        suffix = ".gz" if file.packed else ""
        named = to / f"{names.get(first, file.path.name).removesuffix('.gz')}{suffix}"
        # A name that was given on while this went: the content counts, any name of the log will do.
        (to / str(first)).rename(to / f"{FILE_NAME}.{first}{suffix}" if named.exists() else named)
    return newest


def _append(stored: BinaryIO, to: Path) -> None:
    """What `stored` holds from where it was read to, at the end of a file, durably."""
    with to.open("ab") as copy:
        to.chmod(0o640)
        shutil.copyfileobj(stored, copy, _BLOCK_BYTES)
        copy.flush()
        os.fsync(copy.fileno())


def _cut_to_lines(path: Path) -> None:
    """Cut away a line that is only half there: the service was writing it, or died doing so."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_RECORD_BYTES))
        tail = file.read()
        file.truncate(size - len(tail) + tail.rfind(b"\n") + 1)
        os.fsync(file.fileno())


def _copy_manifests(data_dir: Path, to: Path, newest: int) -> None:
    """The manifests of all files but the newest: that one's has a meaning only with the file that follows."""
    wanted = [path.name for path in manifests.paths(data_dir / manifests.FOLDER_NAME) if int(path.name[:15]) < newest]
    _copy_files(data_dir / manifests.FOLDER_NAME, to / manifests.FOLDER_NAME, wanted)


def _copy_files(folder: Path, to: Path, names: Collection[str] | None = None) -> None:
    """The regular files in `folder`, or those of them that are named; nothing when there is no folder."""
    if not folder.is_dir():
        return
    to.mkdir(mode=0o750)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink() and (names is None or path.name in names):
            with path.open("rb") as file:
                _append(file, to / path.name)
    sync_directory(to)


def _open_all(folder: Path, identities: Identities | None) -> None:
    """Raise JournalEncrypted when there is a file that none of `identities` opens."""
    for file in log_files(folder, {}):
        if file.header is not None:
            # Retention may take the oldest one just now.
            with suppress(FileNotFoundError):
                open_again(folder, file, identities)[1].close()


def _verify(folder: Path, key_file: Path | None, identities: Identities | None) -> Report:
    public = key_file or folder / KEY_FOLDER / PUBLIC_NAME
    keys = load_public_keys(public) if key_file or public.exists() else ()
    return verify(folder, keys, identities=identities)


def _about(report: Report, now: float) -> bytes:
    about = {
        "version": 1,
        "log": report.log,
        "made": rfc3339(now),
        "first": report.first_seq,
        "head": {"seq": report.last_seq, "hash": report.last_hash, "ts": report.last_ts},
        "verified": not report.problems,
    }
    return orjson.dumps(about, option=orjson.OPT_APPEND_NEWLINE)


def _check_end(copy: Path, report: Report) -> None:
    """Raise JournalDamaged when the copy ends elsewhere than it did when it was made."""
    try:
        head = orjson.loads((copy / ABOUT_NAME).read_bytes())["head"]["hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JournalDamaged(f"{copy} is no copy that `autoheal audit backup` made: {ABOUT_NAME}: {error}") from None
    if head != report.last_hash:
        raise JournalDamaged(f"{copy} ends with seq {report.last_seq}, not where {ABOUT_NAME} says: it was changed")


def _prune(folder: Path, made: Path, before: float) -> tuple[Path, ...]:
    """Remove the copies of the same log that were made before that time, and what killed runs left."""
    log = made.name.split("-")[1]
    gone = []
    for path in sorted(folder.iterdir()):
        copied, partial = _MADE.fullmatch(path.name), _PARTIAL.fullmatch(path.name)
        stamp = partial[1] if partial else copied[2] if copied and copied[1] == log else None
        # Never what is not ours, nor what a link leads to, nor the copy that was made just now.
        if stamp is None or path == made or path.is_symlink() or not path.is_dir():
            continue
        if copied and not (path / ABOUT_NAME).is_file():
            continue
        if _time(stamp) < before:
            shutil.rmtree(path)
            gone.append(path)
    return tuple(gone)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        path.chmod(0o640)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stamp(now: float) -> str:
    return re.sub(r"[-:]|\.[0-9]+", "", rfc3339(now))


def _time(stamp: str) -> float:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S%z").timestamp()
