"""Any part of a gzip'd file, without what comes before it."""

from __future__ import annotations

import gzip
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.errors import JournalDamaged
from autoheal.journal.inflate import Inflated

CHANCE = random.Random(1)
CONTENT = b"".join(b"%d %x\n" % (number, CHANCE.getrandbits(200)) for number in range(20_000))


@contextmanager
def inflated(path: Path, content: bytes, **limits: int) -> Iterator[Inflated]:
    path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        index = Inflated(path, **limits)
        index.file = file
        yield index


def part(index: Inflated, at: int, size: int) -> bytes:
    piece = bytearray(size)
    return bytes(piece[: index.read(memoryview(piece), at)])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, len(CONTENT)), max_size=3).map(sorted),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, len(CONTENT)), st.integers(1, 270_000)), min_size=1, max_size=6),
)
def test_every_part_is_that_of_the_content(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], zeros: int, asked: list[tuple[int, int]]
) -> None:
    """Wherever one reads, of one member or several, with padding after them, and however many states were dropped."""
    bounds = [0, *cuts, len(CONTENT)]
    members = [gzip.compress(CONTENT[low:high], 1) for low, high in itertools.pairwise(bounds)]
    path = tmp_path_factory.mktemp("inflate") / "log.gz"
    with inflated(path, bytes(zeros).join(members) + bytes(zeros), part_bytes=100_000, max_parts=4) as index:
        assert index.complete(lambda: False)
        assert index.size == len(CONTENT)
        for at, size in asked:
            assert part(index, at, size) == CONTENT[at : at + size]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """However long the file: never more states than allowed, never more than two parts at a time."""
    with inflated(tmp_path / "log.gz", gzip.compress(CONTENT, 1), part_bytes=10_000, max_parts=8) as index:
        index.complete(lambda: False)
        for at in range(0, index.size, 100_000):
            part(index, at, 1000)
            assert len(index._parts) <= 2
            assert max(map(len, index._parts.values())) < len(CONTENT) / 3
        assert len(index._states) <= 8
        index.rest()
        assert not index._parts


def test_unpacking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """One that runs out of time has lost nothing: the next call goes on, and comes to the end."""
    with inflated(tmp_path / "log.gz", gzip.compress(CONTENT, 1)) as index:
        calls = 1
        while not index.complete(iter((False, False, True)).__next__):
            calls += 1
        assert calls > 3
        assert part(index, 0, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: data[:-5] + b"\x00" + data[-4:]])
def test_a_file_that_is_not_whole_is_damaged(tmp_path: Path, spoil) -> None:
    """A missing end and a wrong checksum are errors that name the file."""
    path = tmp_path / "log.gz"
    with inflated(path, spoil(gzip.compress(CONTENT, 1))) as index:
        with pytest.raises(JournalDamaged, match="not a whole gzip file") as caught:
            index.complete(lambda: False)
        assert str(path) in str(caught.value)
