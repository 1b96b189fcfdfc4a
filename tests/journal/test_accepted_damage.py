"""`--accept-damage`: the log goes on before a line that was changed, for a reason, and keeps what follows it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from autoheal.errors import JournalDamaged
from autoheal.journal.reading import replay
from autoheal.model import Draft, Kind
from tests.support.book import Book, assert_unbroken, everything
from tests.support.snapshots import resealed


def _changed(path: Path, line: int) -> int:
    """Change a byte in that line (from 0); where the line begins."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b"alert_firing", b"alert_faring")
    path.write_bytes(b"".join(lines))
    return sum(map(len, lines[:line]))


async def test_damage_is_accepted_for_a_reason_only(tmp_path: Path) -> None:
    """A changed line in the middle stops a start and is left alone; with a reason the log goes on before it, keeps
    the rest in `damaged/`, and tells of it in an unbroken chain.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b", "c")
    offset = _changed(book.path, 2)
    content = book.path.read_bytes()
    with pytest.raises(JournalDamaged, match=r"line 3 \(seq 3\): .*--accept-damage REASON"):
        Book(tmp_path / "data")
    assert book.path.read_bytes() == content
    async with Book(tmp_path / "data", accept_damage="disk error, ticket 42") as again:
        assert again.episodes() == {"a"}
        repaired = again.folded[-1]
        assert repaired.kind is Kind.LOG_REPAIRED
        assert repaired.detail == {
            "problem": "damage accepted",
            "reason": "disk error, ticket 42",
            "error": f"{book.path}, line 3 (seq 3): its hash is not that of its bytes",
            "file": "audit.jsonl",
            "offset": offset,
            "kept_in": [f"damaged/audit.jsonl-{offset}"],
        }
        assert (book.dir / "damaged" / f"audit.jsonl-{offset}").read_bytes() == content[offset:]
        await again.put("d")
        assert_unbroken(everything(book.dir))
    async with Book(tmp_path / "data") as third:
        assert third.episodes() == {"a", "d"}


async def test_damage_before_all_that_is_needed_is_accepted_where_it_is(tmp_path: Path) -> None:
    """When the current file does not continue the one before it, a start is stopped; with a reason the log goes on
    at its end: nothing was lost of what the state needs, and both files stay.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b")
        old = book.rename()
        await book.put("c")
    _changed(old, 2)
    content = old.read_bytes()
    mismatch = f"{book.path} does not continue {old}: "
    with pytest.raises(JournalDamaged, match=rf"{mismatch}.*--accept-damage REASON"):
        Book(tmp_path / "data")
    async with Book(tmp_path / "data", accept_damage="bad sector") as again:
        assert again.episodes() == {"a", "b", "c"}
        told = again.folded[-1].detail
        assert told.pop("error").startswith(mismatch)
        assert told == {"problem": "damage accepted", "reason": "bad sector", "kept_in": []}
        assert old.read_bytes() == content


async def test_damage_before_the_snapshot_and_after_it_is_accepted_at_once(tmp_path: Path) -> None:
    """Two damaged places are told in one record, and what follows the second is set aside."""
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b")
        old = book.rename()
        await book.put("c", "d")
    _changed(old, 2)
    offset = _changed(book.path, 4)
    async with Book(tmp_path / "data", accept_damage="bad sectors") as again:
        assert again.episodes() == {"a", "b", "c"}
        told = again.folded[-1].detail
        assert f"does not continue {old}" in told["error"]
        assert "line 5 (seq 8)" in told["error"]
        assert (told["offset"], told["kept_in"]) == (offset, [f"damaged/audit.jsonl-{offset}"])


@pytest.mark.parametrize("compressed", [False, True])
async def test_damage_in_an_older_file_takes_the_newer_ones_with_it(tmp_path: Path, compressed: bool) -> None:
    """Where the state has to be folded from older files and one of them is damaged, what follows cannot be built on
    either: it is set aside too. A compressed file is for people to unpack first.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b")
        old = book.rename()
        await book.put("c")
    resealed(book.path, lambda draft: Draft(kind=Kind.CONFIG_LOADED) if draft.kind is Kind.SNAPSHOT else draft)
    current = book.path.read_bytes()
    offset = _changed(old, 2)
    if compressed:
        content = gzip.compress(old.read_bytes())
        old.write_bytes(content)
        with pytest.raises(JournalDamaged, match="gunzip"):
            Book(tmp_path / "data", accept_damage="because")
        assert (old.read_bytes(), book.path.read_bytes()) == (content, current)
        return
    async with Book(tmp_path / "data", accept_damage="because") as again:
        assert (book.dir / "damaged/audit.jsonl").read_bytes() == current
        assert again.folded[-1].detail["kept_in"] == ["damaged/audit.jsonl", f"damaged/{old.name}-{offset}"]
        await again.put("d")
        assert again.episodes() == {"a", "d"}
        assert next(replay(again.path)).kind is Kind.LOG_OPENED
        assert_unbroken(everything(again.dir))
