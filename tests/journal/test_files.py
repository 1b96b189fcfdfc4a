"""Finding the log's files, whatever logrotate does to them meanwhile."""

from __future__ import annotations

import gzip
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from autoheal.errors import JournalDamaged
from autoheal.journal import files
from autoheal.journal.files import BLOCK_BYTES, FILE_NAME, Storage, log_files, open_again, open_plain
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record

CHAIN = seal_all([Draft(kind=Kind.DECISION, alertname=f"A{number}") for number in range(1, 31)], Head(), 1_790_000_000)


def text(records: Sequence[Record]) -> bytes:
    return b"".join(record.line + b"\n" for record in records)


def found(folder: Path) -> list[tuple[str, int, str]]:
    return [(file.path.name, file.first, file.storage) for file in log_files(folder)]


def test_files_are_in_the_order_of_their_records(tmp_path: Path) -> None:
    """Content decides: neither a name's date, nor its ending, nor the time of the file; the current one is last."""
    (tmp_path / "audit.jsonl-20990101-1").write_bytes(text(CHAIN[0:5]))
    (tmp_path / "audit.jsonl.2").write_bytes(gzip.compress(text(CHAIN[5:10])))
    (tmp_path / "audit.jsonl-20261121-1763690000.gz").write_bytes(text(CHAIN[10:20]))
    (tmp_path / FILE_NAME).write_bytes(text(CHAIN[20:30]))
    (tmp_path / "other.jsonl").write_bytes(b"x")
    (tmp_path / "audit.jsonlx").write_bytes(b"x")
    (tmp_path / "audit.jsonl.d").mkdir()
    assert found(tmp_path) == [
        ("audit.jsonl-20990101-1", 1, Storage.PLAIN),
        ("audit.jsonl.2", 6, Storage.GZIP),
        ("audit.jsonl-20261121-1763690000.gz", 11, Storage.PLAIN),
        (FILE_NAME, 21, Storage.PLAIN),
    ]
    assert [file.current for file in log_files(tmp_path)] == [False, False, False, True]


def test_what_holds_no_record_yet_is_left_out(tmp_path: Path) -> None:
    """A file that was just created, and one whose first record is being written, are no error."""
    (tmp_path / FILE_NAME).write_bytes(b"")
    assert found(tmp_path) == []
    (tmp_path / FILE_NAME).write_bytes(CHAIN[0].line[:6])
    assert found(tmp_path) == []


@pytest.mark.parametrize("length", [0, 5, 12, 200])
def test_while_a_file_is_compressed_the_plain_one_counts(tmp_path: Path, length: int) -> None:
    """A half-written .gz beside its plain file is not looked at, however far it has come."""
    (tmp_path / "audit.jsonl-1").write_bytes(text(CHAIN[:20]))
    (tmp_path / "audit.jsonl-1.gz").write_bytes(gzip.compress(text(CHAIN[:20]))[:length])
    assert found(tmp_path) == [("audit.jsonl-1", 1, Storage.PLAIN)]


def test_of_two_copies_the_longer_one_is_last(tmp_path: Path) -> None:
    """A copy that somebody made does not hide what came after it; the current file comes last whatever its size."""
    (tmp_path / "audit.jsonl.bak").write_bytes(text(CHAIN[:5]))
    (tmp_path / "audit.jsonl-1").write_bytes(text(CHAIN[:10]))
    assert [name for name, *_ in found(tmp_path)] == ["audit.jsonl.bak", "audit.jsonl-1"]
    (tmp_path / FILE_NAME).write_bytes(text(CHAIN[:2]))
    assert [name for name, *_ in found(tmp_path)] == ["audit.jsonl.bak", "audit.jsonl-1", FILE_NAME]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"notes about the log, long enough to be no beginning of a record", "another name"),
        (b"{}\n", "another name"),
        (gzip.compress(b"notes about the log, long enough to be no beginning of a record"), "another name"),
        (gzip.compress(text(CHAIN))[:15], "not a whole gzip file"),
        (b"\x1f\x8b" + b"x" * 100, "not a whole gzip file"),
    ],
)
def test_a_stranger_among_the_files_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    """A file that bears the log's name and is none is an error that names it: it may be a damaged part of the log."""
    (tmp_path / "audit.jsonl-1.gz").write_bytes(content)
    with pytest.raises(JournalDamaged, match=says) as caught:
        log_files(tmp_path)
    assert str(tmp_path / "audit.jsonl-1.gz") in str(caught.value)


def test_gzip_reads_as_the_plain_file(tmp_path: Path) -> None:
    """The same bytes, also of several members (as concatenated files have) and longer than one block."""
    content = text(CHAIN) * 200
    assert len(content) > BLOCK_BYTES
    path = tmp_path / "audit.jsonl-1.gz"
    path.write_bytes(gzip.compress(content[:70_000]) + gzip.compress(content[70_000:]))
    with open_plain(path) as stream:
        assert stream.readline() == CHAIN[0].line + b"\n"
        assert CHAIN[0].line + b"\n" + stream.read() == content


def test_a_cut_or_flipped_gzip_file_is_damaged(tmp_path: Path) -> None:
    """Neither the end that is missing nor a wrong checksum passes for the end of the file."""
    path = tmp_path / "audit.jsonl-1.gz"
    whole = gzip.compress(text(CHAIN))
    for content in (whole[:-12], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
        path.write_bytes(content)
        with open_plain(path) as stream, pytest.raises(JournalDamaged, match=r"audit\.jsonl-1\.gz: not a whole gzip"):
            stream.read()


def test_a_file_is_found_again_under_its_new_name(tmp_path: Path) -> None:
    """Renamed, then compressed; what has taken its old name is not mistaken for it; removed, it is not there."""
    path = tmp_path / FILE_NAME
    path.write_bytes(text(CHAIN[:10]))
    (listed,) = log_files(tmp_path)
    path.rename(tmp_path / "audit.jsonl-1")
    path.write_bytes(text(CHAIN[10:]))
    file, stream = open_again(tmp_path, listed)
    assert (file.path.name, stream.read()) == ("audit.jsonl-1", text(CHAIN[:10]))
    stream.close()

    (tmp_path / "audit.jsonl-1.gz").write_bytes(gzip.compress(text(CHAIN[:10])))
    (tmp_path / "audit.jsonl-1").unlink()
    file, stream = open_again(tmp_path, listed)
    assert (file.storage, stream.read()) == (Storage.GZIP, text(CHAIN[:10]))
    stream.close()

    (tmp_path / "audit.jsonl-1.gz").unlink()
    with pytest.raises(FileNotFoundError, match="seq 1 is gone"):
        open_again(tmp_path, listed)


def test_no_file_is_missed_while_all_are_renamed(tmp_path: Path) -> None:
    """Numbered rotation renames every file again and again: each listing has all, each can be opened."""
    parts = [CHAIN[begin : begin + 3] for begin in range(0, 30, 3)]
    for number, part in enumerate(parts):
        (tmp_path / f"audit.jsonl.{number}").write_bytes(text(part))
    done = threading.Event()

    def rename() -> None:
        names = [f"audit.jsonl.{number}" for number in range(len(parts))]
        others = [f"audit.jsonl-{number}" for number in range(len(parts))]
        while not done.is_set():
            for name, other in zip([*names, *others], [*others, *names], strict=True):
                (tmp_path / name).rename(tmp_path / other)
            done.wait(0.0005)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for _ in range(100):
            listed = log_files(tmp_path)
            assert [file.first for file in listed] == [part[0].seq for part in parts]
            _, stream = open_again(tmp_path, listed[3])
            with stream:
                assert stream.read() == text(parts[3])
    finally:
        done.set()
        thread.join()


def test_a_listing_that_missed_a_file_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be read just while a file is renamed, and show it under neither name."""
    (tmp_path / "audit.jsonl-1").write_bytes(text(CHAIN[:10]))
    (tmp_path / FILE_NAME).write_bytes(text(CHAIN[10:]))
    names, looks = files._names, iter((FILE_NAME,))

    def look(folder: Path) -> dict[str, int]:
        found = names(folder)
        found.pop(next(looks, ""), None)
        return found

    monkeypatch.setattr(files, "_names", look)
    assert found(tmp_path) == [("audit.jsonl-1", 1, Storage.PLAIN), (FILE_NAME, 11, Storage.PLAIN)]


def test_a_directory_that_never_stands_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says so, instead of looking for ever."""
    (tmp_path / FILE_NAME).write_bytes(text(CHAIN))
    (listed,) = log_files(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(text(CHAIN[5:]))
    with monkeypatch.context() as patched:
        patched.setattr(files, "log_files", lambda *_: [listed])
        with pytest.raises(OSError, match="renamed faster"):
            open_again(tmp_path, listed)
    changing = ({FILE_NAME: number} for number in itertools.count())
    monkeypatch.setattr(files, "_names", lambda _: next(changing))
    with pytest.raises(OSError, match="change faster"):
        log_files(tmp_path)
