"""The end of the last file, looked at alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoheal.journal.verify import verify_tail
from autoheal.model import Head
from tests.journal.verify.conftest import put, said
from tests.support.audit_trail import Trail, rechain

ALL = 1 << 20


def lines_of(trail: Trail) -> list[bytes]:
    return trail.current.read_bytes().splitlines(keepends=True)


def test_a_whole_file(trail: Trail) -> None:
    """From its first record to its last."""
    found = verify_tail(trail.folder, ALL)
    assert (said(found), found.first_seq, found.last_seq, found.records) == ([], 1, 20, 20)


def test_a_file_behind_others(rotated: Trail) -> None:
    """It may begin anywhere: what stands before it is not asked for."""
    found = verify_tail(rotated.folder, ALL)
    assert (said(found), found.first_seq, found.last_seq) == ([], 21, 26)


@pytest.mark.parametrize("cut", [0, 1, 77])
def test_from_the_middle_on(trail: Trail, cut: int) -> None:
    """From the first line that begins within the bytes that are looked at."""
    lines = lines_of(trail)
    size = sum(map(len, lines[10:]))
    found = verify_tail(trail.folder, size + cut)
    assert (said(found), found.first_seq, found.last_seq) == ([], 11, 20)
    assert verify_tail(trail.folder, size - 1).first_seq == 12


def test_what_was_done_to_it(trail: Trail) -> None:
    """A changed line, one that is gone and one that comes from elsewhere are told by their seqs."""
    lines = lines_of(trail)
    put(trail, [*lines[:4], lines[4].replace(b"system", b"sistem"), *lines[5:]])
    assert said(verify_tail(trail.folder, ALL)) == [("changed", 5)]
    put(trail, [*lines[:4], *lines[5:]])
    assert said(verify_tail(trail.folder, ALL)) == [("missing", 5)]
    put(trail, [*lines[:5], b"not ours\n", *lines[5:]])
    assert said(verify_tail(trail.folder, ALL))[0] == ("changed", 6)
    put(trail, [b"nothing of ours\n"])
    assert said(verify_tail(trail.folder, ALL)) == [("changed", 1)]


def test_a_first_record_that_follows_something(trail: Trail) -> None:
    """Nothing can stand before seq 1."""
    lines = lines_of(trail)
    put(trail, rechain(lines, Head(0, "f" * 64)))
    assert said(verify_tail(trail.folder, ALL))[0] == ("torn apart", 1)


def test_a_line_that_is_being_written(trail: Trail) -> None:
    """It is no fault: it is not whole yet."""
    put(trail, [*lines_of(trail), b'{"seq":21,"ts":'])
    found = verify_tail(trail.folder, ALL)
    assert (said(found), found.last_seq) == ([], 20)


def test_an_empty_file_and_none(trail: Trail, tmp_path: Path) -> None:
    """Nothing is wrong with the first; the second cannot be looked at."""
    put(trail, [])
    assert (said(verify_tail(trail.folder, ALL)), verify_tail(trail.folder, ALL).records) == ([], 0)
    with pytest.raises(FileNotFoundError):
        verify_tail(tmp_path / "nowhere", ALL)
