"""Files that are written whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

import pytest

from autoheal.disk import Disk, exchange, write_whole


class Full(Disk):
    """A disk that takes `room` bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, fd: int, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", range(6))
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, room: int) -> None:
    """However much still fits, a reader finds the old content; with room again the new one, and no third file."""
    path = tmp_path / "keys" / "a.key"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"newer!", disk=Full(room))
    assert path.read_bytes() == b"old"
    write_whole(path, b"newer!")
    assert path.read_bytes() == b"newer!"
    assert list(path.parent.iterdir()) == [path]


def test_the_mode_does_not_hang_on_the_umask(tmp_path: Path) -> None:
    """A file that others are to read can be read by them, and a secret by nobody but its owner."""
    before = os.umask(0o077)
    try:
        for mode in (0o600, 0o640, 0o644):
            write_whole(tmp_path / "file", b"", mode)
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_two_files_change_names(tmp_path: Path) -> None:
    """Both at once; where one is missing nothing changes, and where the system cannot do it, it says so."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    exchange(one, other)
    assert (one.read_text(), other.read_text()) == ("2", "1")
    with pytest.raises(FileNotFoundError):
        exchange(one, tmp_path / "none")
    assert one.read_text() == "2"


def test_a_system_without_a_name_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the one that callers ask for."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(OSError, match="not implemented") as caught:
        exchange(tmp_path, tmp_path)
    assert caught.value.errno == errno.ENOSYS
