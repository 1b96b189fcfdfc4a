"""Files that bear a name of the log and cannot be placed in it: damaged at their beginning, or somebody else's."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from autoheal.clock import SystemClock
from autoheal.errors import JournalDamaged, JournalUnread
from autoheal.journal.backup import backup
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.files import log_files
from autoheal.journal.search import Ask, Search
from autoheal.journal.verify import verify
from tests.support.book import Book


def flipped(path: Path) -> None:
    """The first byte of its line."""
    path.write_bytes(b"\xff" + path.read_bytes()[1:])


def spoilt(path: Path) -> None:
    """The first bytes of what is compressed."""
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[10:14] = b"\xff" * 4
    path.with_name(f"{path.name}.gz").write_bytes(bytes(packed))
    path.unlink()


def foreign(path: Path) -> None:
    """Another program has compressed it (logrotate's compresscmd)."""
    path.with_name(f"{path.name}.xz").write_bytes(b"\xfd7zXZ\x00" + path.read_bytes()[::-1])
    path.unlink()


Harm = Callable[[Path], None]
harms = pytest.mark.parametrize("harm", [flipped, spoilt, foreign])


async def log(tmp_path: Path, damaged: int, harm: Harm) -> Path:
    """Three rotated files, of which that one was harmed, and a current one."""
    async with Book(tmp_path / "data") as book:
        rotated = []
        for name in ("a", "b", "c"):
            await book.put(name)
            rotated.append(book.rename(len(rotated)))
        await book.put("d")
    harm(rotated[damaged])
    return book.dir


@harms
@pytest.mark.parametrize("damaged", [0, 1])
async def test_a_start_passes_over_what_no_state_needs(tmp_path: Path, harm: Harm, damaged: int) -> None:
    """An old file in which nobody can find a place is no reason to be down at night; it stays as it is."""
    data = await log(tmp_path, damaged, harm)
    before = {path: path.read_bytes() for path in data.glob("audit.jsonl-*")}
    async with Book(data) as again:
        assert again.episodes() == {"a", "b", "c", "d"}
        await again.put("e")
    assert {path: path.read_bytes() for path in before} == before


@harms
async def test_the_file_before_is_missed(tmp_path: Path, harm: Harm) -> None:
    """Whether the current file continues the log cannot be told then: a person has to accept that."""
    data = await log(tmp_path, 2, harm)
    with pytest.raises(JournalDamaged, match=r"does not continue .*--accept-damage REASON"):
        Book(data)
    async with Book(data, accept_damage="bad sector") as again:
        assert again.episodes() == {"a", "b", "c", "d"}


async def test_a_log_of_which_nothing_can_be_placed_is_not_begun_anew(tmp_path: Path) -> None:
    """Nor is a current file whose beginning is damaged gone on with."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
    content = book.path.read_bytes()
    flipped(book.path)
    for path in (book.path, book.path.with_name("audit.jsonl-1")):
        book.path.rename(path)
        with pytest.raises(JournalDamaged, match="does not begin with a record"):
            Book(tmp_path / "data", accept_damage="because")
        assert path.read_bytes()[1:] == content[1:]


@harms
@pytest.mark.parametrize("damaged", [0, 1, 2])
async def test_a_search_gives_the_rest_and_tells(tmp_path: Path, harm: Harm, damaged: int) -> None:
    """In both directions; what was last written to before all that is asked for is left out of it."""
    data = await log(tmp_path, damaged, harm)
    readable = sum(len(file.path.read_bytes().splitlines()) for file in log_files(data, {}))
    search, told = Search(data), list[JournalUnread]()
    assert len([line for _, line in search.newest_first(Ask(), skipped=told.append) if line is not None]) == readable
    assert len(list(search.oldest_first(Ask(), skipped=told.append))) == readable
    assert [error.first for error in told] == [None, None]
    page = search.page(Ask(limit=1), SystemClock(), seconds=9, max_bytes=9999)
    assert (len(page.lines), page.partial, len(page.unread)) == (1, True, 1)
    stray = page.unread[0].path
    later = stray.stat().st_mtime + 1
    assert search.page(Ask(since=later), SystemClock(), seconds=9, max_bytes=9999).unread == []


@harms
@pytest.mark.parametrize("damaged", [0, 1, 2])
async def test_verify_names_it_and_goes_on(tmp_path: Path, harm: Harm, damaged: int) -> None:
    """The file is named, and damage elsewhere is told as well."""
    data = await log(tmp_path, damaged, harm)
    current = data / "audit.jsonl"
    current.write_bytes(current.read_bytes().replace(b'"d"', b'"x"'))
    keys = load_public_keys(tmp_path / "keys" / "checkpoint.pub.pem")
    report = verify(data, keys)
    strays: dict[Path, JournalDamaged] = {}
    log_files(data, strays)
    (stray,) = strays
    assert [problem.file for problem in report.problems if stray.name in (problem.file or "")] == [stray.name]
    assert any(problem.file == "audit.jsonl" for problem in report.problems)
    if damaged == 1:
        assert any("missing" in problem.finding for problem in report.problems)


@harms
async def test_a_backup_keeps_it(tmp_path: Path, harm: Harm) -> None:
    """The copy does not verify, says so in its name, and holds the file as it is."""
    data = await log(tmp_path, 1, harm)
    strays: dict[Path, JournalDamaged] = {}
    log_files(data, strays)
    (stray,) = strays
    made = backup(data, tmp_path / "keys" / "checkpoint.pub.pem", tmp_path / "copies", SystemClock().now())
    assert made.path.name.endswith("-unverified")
    assert (made.path / stray.name).read_bytes() == stray.read_bytes()
