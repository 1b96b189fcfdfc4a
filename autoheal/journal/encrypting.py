"""Rotated files give way to encrypted ones, while the service runs.

logrotate may rename, compress and remove the same files at any moment, and asks nobody. So a file is encrypted into
another one, under a name that does not count as the log; the two change names at one stroke; and what came out must be
the file that was read, or they change back. Nothing is ever removed that is not in the log encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

import structlog

from autoheal.age import Recipients
from autoheal.clock import Clock
from autoheal.disk import Disk, exchange, sync_directory, write_all
from autoheal.errors import JournalDamaged
from autoheal.journal import manifest as manifests
from autoheal.journal.encrypted import PART_BYTES, Header, encrypted
from autoheal.journal.files import FILE_NAME, LogFile, Storage, Strays, content, log_files, open_stored
from autoheal.journal.manifest import FOLDER_NAME, Manifest

LOOK_SECONDS = 5.0
SUFFIX = ".encrypting"
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)

_log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """The service ends; what was begun is begun anew by the next start."""


class Encryption:
    """Encrypts what rotation has put away in one data directory, whose lock the caller holds.

    A file's turn comes when its manifest tells what it holds, and a later file has been begun: then nobody writes to
    it any more. `min_free` bytes stay free on the disk. `left` is told after each look how many rotated files are not
    encrypted.
    """

    def __init__(
        self,
        data_dir: Path,
        recipients: Recipients,
        clock: Clock,
        *,
        min_free: int,
        left: Callable[[int], object],
        disk: Disk | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._recipients = recipients
        self._clock = clock
        self._min_free = min_free
        self._left = left
        self._disk = disk or Disk()
        self._stopping = False
        # What was told of each file: a damaged one is not read again as long as it stays what it is.
        self._failed: dict[str, tuple[tuple[int, ...], str]] = {}

    async def run(self) -> None:
        """Look every five seconds, in a thread, until cancelled; the thread has ended then."""
        while True:
            looking = asyncio.ensure_future(asyncio.to_thread(self.look))
            try:
                await asyncio.shield(looking)
            except asyncio.CancelledError:
                self._stopping = True
                await asyncio.wait([looking])
                raise
            except Exception as error:  # noqa: BLE001 a fault of ours must not end it unseen
                _log.critical("encryption_failed", exc_info=error)
            await self._clock.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Encrypt what can be, the oldest file first. Blocks; what goes wrong is logged, once for each file."""
        try:
            for draft in self._data_dir.glob(f".{FILE_NAME}*{SUFFIX}"):
                draft.unlink()
            described = {int(path.name[:15]): path for path in manifests.paths(self._data_dir / FOLDER_NAME)}
            strays: Strays = {}
            files = log_files(self._data_dir, strays)
            for path, error in strays.items():
                self._tell(path.name, (), str(error))
            for file in files:
                if not file.current and file.header is None and file.first in described:
                    self._try(file, described[file.first], files[-1].first)
            rotated = [file for file in log_files(self._data_dir, {}) if not file.current]
            self._left(sum(file.storage is not Storage.ENCRYPTED for file in rotated) + len(strays))
        except _Stopped:
            return
        except (OSError, JournalDamaged) as error:
            self._tell("", (), str(error))
        else:
            self._failed.pop("", None)

    def _try(self, file: LogFile, described: Path, newest: int) -> None:
        key: tuple[int, ...] = ()
        try:
            found = file.path.stat()
            key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if key in self._failed.get(file.path.name, ()):
                return
            manifest = manifests.read(described)
            if manifest.last.seq < newest:
                self._replace(file, manifest)
        except FileNotFoundError:
            return  # logrotate has it under another name by now, or has removed it
        except OSError as error:
            # It may pass: the next look tries again.
            self._tell(file.path.name, (), str(error))
        except JournalDamaged as error:
            self._tell(file.path.name, key, str(error))

    def _tell(self, name: str, key: tuple[int, ...], error: str) -> None:
        if self._failed.get(name) != (key, error):
            self._failed[name] = (key, error)
            _log.error("encryption_failed", file=name, error=error)

    def _replace(self, file: LogFile, manifest: Manifest) -> None:
        file, stored = open_stored(self._data_dir, file)
        draft = self._data_dir / f".{file.path.name}{SUFFIX}"
        with content(file, stored) as lines:
            before = os.fstat(stored.fileno())
            disk = os.statvfs(self._data_dir)
            if disk.f_bavail * disk.f_frsize < before.st_size + self._min_free:
                raise OSError(
                    errno.ENOSPC, f"encrypting {file.path} might need {before.st_size} bytes: too few are free"
                )
            begun = self._clock.monotonic()
            try:
                self._write(draft, lines, before, manifest)
                replaced = self._swap(draft, file.path, before)
            finally:
                draft.unlink(missing_ok=True)
        if replaced:
            seconds = round(self._clock.monotonic() - begun, 3)
            _log.info(
                "encrypted", file=file.path.name, first=manifest.first_seq, last=manifest.last.seq, seconds=seconds
            )

    def _write(self, draft: Path, lines: BinaryIO, before: os.stat_result, manifest: Manifest) -> None:
        """The encrypted file, durable. Raises JournalDamaged when `lines` are not those that the manifest describes."""
        header = Header(manifest.first_seq, manifest.last.seq, manifest.last.hash, manifest.size)
        sha256, size = hashlib.sha256(), 0
        fd = self._disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
            with contextlib.suppress(PermissionError):
                os.fchown(fd, before.st_uid, before.st_gid)
            write_all(self._disk, fd, header.line)
            while part := lines.read(PART_BYTES):
                if self._stopping:
                    raise _Stopped
                sha256.update(part)
                size += len(part)
                write_all(self._disk, fd, encrypted(part, self._recipients))
            if (size, sha256.hexdigest()) != (manifest.size, manifest.sha256):
                # As evidence it is worth more than as a secret.
                raise JournalDamaged(f"it does not hold what {manifest.name} describes, so it is left as it is")
            os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
            self._disk.sync(fd)
        finally:
            os.close(fd)

    def _swap(self, draft: Path, path: Path, before: os.stat_result) -> bool:
        """Let the draft take the file's place, unless another file, or none, is there by now."""
        try:
            exchange(draft, path)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _CANNOT_EXCHANGE:
                raise
            # Between look and rename logrotate has microseconds; a copy that it makes then counts once all the same.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), before):
                    draft.replace(path)
                    sync_directory(self._data_dir)
                    return True
            return False
        if not os.path.samestat(draft.stat(), before):
            _put_back(draft, path)
            return False
        sync_directory(self._data_dir)
        return True


def _put_back(draft: Path, path: Path) -> None:
    """Give a file that came to bear the name meanwhile its place again: nobody else has it now."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            exchange(draft, path)
            return
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            return


@contextlib.asynccontextmanager
async def encrypting(encryption: Encryption | None) -> AsyncIterator[None]:
    """Let `encryption` work, if there is one, until the end of the block."""
    if encryption is None:
        yield
        return
    task = asyncio.create_task(encryption.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
