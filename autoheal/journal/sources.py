"""Where the bytes of a file come from: the disk, or what logrotate has compressed."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Protocol

from autoheal.errors import JournalDamaged

_BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


class Source(Protocol):
    """Bytes that can be read anywhere."""

    def read(self, view: memoryview, at: int) -> int:
        """Fill `view` from byte `at` on; how many bytes there were."""
        ...


class SizedSource(Source, Protocol):
    """Bytes of which it is known how many there are."""

    size: int


class OnDisk:
    """A file as it stands on disk; `size` is what it had when it was looked at first."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def read(self, view: memoryview, at: int) -> int:
        """As many bytes of it as fit."""
        return os.preadv(self._fd, [view], at)


class Unpacked:
    """What a gzip'd file holds, for reading forward: going back begins anew. zlib gives the GIL free while it works."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self._path = path
        self._content = gzip.GzipFile(fileobj=file)

    def read(self, view: memoryview, at: int) -> int:
        """As many bytes of it as fit. Raises JournalDamaged when the file is not whole."""
        done = 0
        try:
            self._content.seek(at)
            while done < len(view) and (data := self._content.read(len(view) - done)):
                view[done : done + len(data)] = data
                done += len(data)
        except _BAD_GZIP as error:
            raise JournalDamaged(f"{self._path}: not a whole gzip file: {error}") from None
        return done


class Stream(io.RawIOBase):
    """`source` from its beginning to its end; closing it closes `file`, which it comes from."""

    def __init__(self, source: Source, file: io.FileIO) -> None:
        self._source = source
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """The next bytes; none at the end. Raises JournalDamaged for what is not what was written."""
        done = self._source.read(memoryview(buffer), self._at)
        self._at += done
        return done

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
