"""Everything that may be done to a log's lines is found out, and a second verifier agrees in each case."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.verify import Finding, verify
from tests.journal.verify.conftest import both, independent, put, said
from tests.support.audit_trail import BEGUN, Trail, rechain

LINES = range(1, 21)
SAMPLED = pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.hammer)])
"""Every 37th place (prime, so that all bits of a byte and all places of a line have their turn), or all of them."""


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_both_accept_what_was_written(trail: Trail, rotated: Trail, tmp_path: Path) -> None:
    """One file, and a trail with rotated and gzip'd ones; with checkpoints kept elsewhere and without."""
    for made in (trail, rotated):
        report = both(made.folder)
        assert (report.first_seq, report.last_seq, report.last_hash) == (1, made.head.seq, made.head.hash)
        assert report.log == made.log
        assert (report.checkpoints, report.signed) == (len(made.checkpoints), made.checkpoints[-1].seq - 1)
        assert both(made.folder, made.kept(tmp_path / "kept")).kept == len(made.checkpoints)


@SAMPLED
def test_every_bit(trail: Trail, step: int) -> None:
    """One bit of one byte of the file flipped: both find it, and ours names the line and its seq."""
    keys, pem = load_public_keys(trail.folder / "keys/checkpoint.pub.pem"), trail.folder / "keys/checkpoint.pub.pem"
    data = trail.current.read_bytes()
    with trail.current.open("r+b", buffering=0) as file:
        for number in (numbers := range(0, 8 * len(data), step)):
            place, bit = divmod(number, 8)
            line = 1 + data.count(b"\n", 0, place)
            file.seek(place)
            file.write(bytes((data[place] ^ 1 << bit,)))
            first = verify(trail.folder, keys).first
            assert first is not None, f"bit {bit} of byte {place}"
            if line > 1:
                assert (first.line, first.seq) == (line, line), f"bit {bit} of byte {place}: {first}"
            assert independent(trail.folder, pem) is not None, f"bit {bit} of byte {place}"
            file.seek(place)
            file.write(data[place : place + 1])
    print(f"{len(numbers):,} of {8 * len(data):,} bits flipped, each found by both")
    assert not both(trail.folder).problems


@SAMPLED
def test_truncation(trail: Trail, tmp_path: Path, step: int) -> None:
    """Inside a line it is a torn last line; at a line's end only a checkpoint kept elsewhere tells."""
    data, kept = trail.current.read_bytes(), trail.kept(tmp_path / "kept")
    ends = [place + 1 for place, byte in enumerate(data) if byte == 0x0A]
    around = {size + by for size in (0, *ends) for by in (-1, 0, 1)}
    sizes = sorted({*range(1, len(data), step), *around} & {*range(1, len(data))}, reverse=True)
    for size in sizes:
        trail.current.write_bytes(data[:size])
        whole = data.count(b"\n", 0, size)
        if size in ends:
            assert not both(trail.folder).problems
            assert (Finding.CUT, whole + 1) in said(both(trail.folder, kept))
        elif whole:
            assert said(both(trail.folder)) == [(Finding.TORN, whole + 1)]
        else:
            # The beginning of one line: no file of the log any more, or one that holds nothing whole.
            with pytest.raises((FileNotFoundError, AssertionError)):
                assert not verify(trail.folder, ()).problems
    print(f"cut to {len(sizes):,} of {len(data) - 1:,} sizes")


@pytest.mark.parametrize("number", LINES[:-1])
def test_a_dropped_line(trail: Trail, number: int) -> None:
    """It is missing, and named."""
    lines = lines_of(trail.current)
    put(trail, lines[: number - 1] + lines[number:])
    assert said(both(trail.folder)) == [(Finding.MISSING, number)]


@pytest.mark.parametrize("number", LINES)
def test_a_doubled_line(trail: Trail, number: int) -> None:
    """Right behind itself, and at the end."""
    lines = lines_of(trail.current)
    put(trail, [*lines[:number], lines[number - 1], *lines[number:]])
    assert said(both(trail.folder)) == [(Finding.DOUBLED, number)]
    put(trail, [*lines, lines[number - 1]])
    assert said(both(trail.folder)) == [(Finding.DOUBLED, number)]


@pytest.mark.parametrize("number", LINES[:-1])
def test_swapped_lines(trail: Trail, number: int) -> None:
    """A line that stands behind its successor, or far from its place, was moved."""
    lines = lines_of(trail.current)
    put(trail, [*lines[: number - 1], lines[number], lines[number - 1], *lines[number + 1 :]])
    assert said(both(trail.folder)) == [(Finding.MISSING, number), (Finding.MOVED, number)]
    far = [*lines[: number - 1], *lines[number:], lines[number - 1]]
    put(trail, far)
    assert said(both(trail.folder)) == [(Finding.MISSING, number), (Finding.MOVED, number)]


@pytest.mark.parametrize("number", LINES)
def test_a_line_spliced_from_another_log(trail: Trail, tmp_path: Path, number: int) -> None:
    """A whole line with the right seq and a right hash, but of another log: the chain is torn apart there."""
    other = Trail(tmp_path / "other", begun=BEGUN + 0.5)
    other.work(8)
    other.checkpoint()
    other.work(8)
    other.checkpoint()
    lines, foreign = lines_of(trail.current), lines_of(other.current)
    put(trail, [*lines[: number - 1], foreign[number - 1], *lines[number:]])
    report = both(trail.folder)
    assert report.problems
    torn = [seq for finding, seq in said(report) if finding == Finding.TORN_APART]
    assert torn == [seq for seq in (number, number + 1) if 1 < seq <= 20]
    put(trail, [*lines[: number - 1], *foreign[number - 1 :]])
    assert both(trail.folder).problems


@pytest.mark.parametrize("number", LINES)
def test_an_inserted_line(trail: Trail, number: int) -> None:
    """A line that is none: reported once, and the lines behind it are not blamed."""
    lines = lines_of(trail.current)
    for junk in (b"\n", b"{}\n", b"\0" * 100 + b"\n", b"x" * 70000 + b"\n", b"x" * 3_000_000 + b"\n"):
        put(trail, [*lines[:number], junk, *lines[number:]])
        report = both(trail.folder)
        assert said(report) == [(Finding.CHANGED, number + 1)]
        assert report.problems[0].line == number + 1


def test_lines_shuffled_at_random(trail: Trail) -> None:
    """Whatever the order, both object; and the file as it was is accepted again."""
    chance = random.Random(7)
    lines = lines_of(trail.current)
    for _ in range(300):
        taken = chance.choices(lines, k=chance.randrange(1, 25))
        put(trail, taken)
        if taken != lines[: len(taken)]:
            assert both(trail.folder).problems
    put(trail, lines)
    assert not both(trail.folder).problems


@pytest.mark.parametrize("times", [100, pytest.param(1500, marks=pytest.mark.hammer)])
def test_bytes_changed_at_random_in_any_file(rotated: Trail, times: int) -> None:
    """Rotated, gzip'd, current, manifests: one byte of any of them, and both object."""
    chance = random.Random(8)
    files = [path for path in rotated.folder.glob("*.jsonl*") if not path.name.endswith(".gz")]
    files += (rotated.folder / "manifests").iterdir()
    for _ in range(times):
        path = chance.choice(files)
        data = path.read_bytes()
        changed = bytearray(data)
        place = chance.randrange(len(data))
        changed[place] ^= chance.randrange(1, 256)
        path.write_bytes(changed)
        assert both(rotated.folder).problems, f"{path.name}, byte {place}"
        path.write_bytes(data)
    assert not both(rotated.folder).problems


@SAMPLED
def test_bytes_changed_in_a_compressed_file(rotated: Trail, step: int) -> None:
    """Whatever changes in the gzip'd bytes, it is found unless the content is still the same."""
    (path,) = rotated.folder.glob("*.gz")
    data = path.read_bytes()
    same = []
    for place in range(0, len(data), step):
        changed = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
        path.write_bytes(changed)
        if not both(rotated.folder).problems:
            assert gzip.decompress(changed) == gzip.decompress(data)
            same.append(place)
    # The file's time and the compressing system stand in the header; the last bits of the stream are padding.
    assert len(same) <= 8
    for size in range(0, len(data), step):
        path.write_bytes(data[:size])
        # A file without a byte is as good as gone, and the oldest one may go.
        assert bool(both(rotated.folder).problems) == bool(size), f"{size} bytes"


def test_a_rechained_forgery_behind_a_checkpoint(trail: Trail, tmp_path: Path) -> None:
    """Every hash is right, and still the checkpoint behind the change does not verify: its key is not the forger's."""
    lines = lines_of(trail.current)
    for number in range(2, 20):
        if number == 11:
            continue
        forged = [*lines[: number - 1], *lines[number:]]
        put(trail, rechain(forged))
        expected = [19] if number > 11 else [10, 19]
        assert said(both(trail.folder)) == [(Finding.SIGNATURE, seq) for seq in expected]


def test_a_forged_tail_is_found_by_what_was_kept(trail: Trail, tmp_path: Path) -> None:
    """With the last checkpoint left out, the log looks like one of another day: kept checkpoints tell."""
    lines, kept = lines_of(trail.current), trail.kept(tmp_path / "kept")
    tail = [line.replace(b'"web-', b'"dmz-') for line in lines[11:19]]
    put(trail, rechain([*lines[:11], *tail]))
    assert lines_of(trail.current)[:11] == lines[:11]
    assert not both(trail.folder).problems
    assert said(both(trail.folder, kept)) == [(Finding.CUT, 20)]
    put(trail, rechain([*lines[:11], *tail, lines[18], lines[18]]))
    assert said(both(trail.folder, kept)) == [(Finding.REWRITTEN, 20)]


def test_checkpoints_stripped(tmp_path: Path) -> None:
    """Left out and chained anew, for a log of more than ten minutes: the time without one tells."""
    made = Trail(tmp_path / "data")
    for _ in range(5):
        made.work(290)
        made.checkpoint()
    assert not both(made.folder).problems
    lines = lines_of(made.current)
    put(made, rechain([line for line in lines if b'"kind":"checkpoint"' not in line]))
    report = both(made.folder)
    assert said(report) == [(Finding.UNSIGNED, 601), (Finding.UNSIGNED, 1200)]
    assert "more than ten minutes" in str(report.first)
    put(made, rechain(lines[:293] + [line for line in lines[293:] if b'"kind":"checkpoint"' not in line]))
    assert said(both(made.folder))[0] == (Finding.UNSIGNED, 892)


def test_a_log_of_another_key(trail: Trail, tmp_path: Path) -> None:
    """All of it signed by somebody else: the key that was kept elsewhere tells."""
    other = Trail(tmp_path / "other")
    report = both(trail.folder, key=other.folder / "keys/checkpoint.pub.pem")
    assert said(report) == [(Finding.SIGNATURE, 11), (Finding.SIGNATURE, 20)]
    assert "not among the trusted ones" in str(report.first)
