"""Whatever is wrong with a log, a start behind a snapshot says of it what one says that reads every line."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal import snapshot
from autoheal.journal import snapshots
from autoheal.journal.manifest import Tally
from autoheal.journal.reading import replay
from autoheal.journal.record import parse, seal_all
from autoheal.model import Draft, Head, Kind
from autoheal.state import State, fold
from tests.support.book import Book, everything, firing
from tests.support.snapshots import EVERY, outcome, places


async def _two_files(folder: Path) -> Path:
    async with Book(folder / "data") as book:
        for number in range(EVERY // 2):
            await book.put(f"a{number}")
        book.rename()
        for number in range(3 * EVERY):
            await book.put(f"b{number}")
    return book.dir


def _flipped(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def _line_taken(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def _lines_exchanged(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    at = chance.randrange(len(lines) - 1)
    lines[at : at + 2] = reversed(lines[at : at + 2])
    return b"".join(lines)


def _line_twice(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    return b"".join([*lines[:at], lines[at], *lines[at:]])


def _bytes_put_in(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + chance.choice([b"\n", b"x", b"{}\n", b"\0" * 70_000]) + content[at:]


def _begun_elsewhere(content: bytes, chance: random.Random) -> bytes:
    """The first lines are gone."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[chance.randrange(1, len(lines)) :])


HARMS: Sequence[Callable[[bytes, random.Random], bytes]] = (
    _flipped,
    _cut,
    _line_taken,
    _lines_exchanged,
    _line_twice,
    _bytes_put_in,
    _begun_elsewhere,
)


@pytest.fixture
async def whole(tmp_path: Path, every: None) -> Path:
    return await _two_files(tmp_path)


@pytest.mark.parametrize("reason", [None, "ticket 42"])
@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_found_as_by_reading_every_line(
    whole: Path, harm: Callable[[bytes, random.Random], bytes], reason: str | None
) -> None:
    """Wherever the current file or the one before it was harmed, in front of the last snapshot, in it or behind it: the
    start's error, the repair that `--accept-damage` makes, and the state, are the same as without any snapshot.
    """
    contents = {path.name: path.read_bytes() for path in sorted(whole.glob("audit.jsonl*"))}
    endings = set()
    chance = random.Random(f"{harm.__name__}{reason}")
    for _ in range(25):
        name = chance.choice(["audit.jsonl", "audit.jsonl", "audit.jsonl", *contents])
        harmed = harm(contents[name], chance)
        (whole / name).write_bytes(harmed)
        endings.add(outcome(whole, reason)[0])
        (whole / name).write_bytes(contents[name])
    assert "begun" in endings
    if reason is None:
        assert harm is _cut or "damaged" in endings


@pytest.mark.parametrize("reason", [None, "ticket 42"])
@pytest.mark.parametrize("broken", [1, 2])
def test_a_snapshot_that_is_no_part_of_the_chain_founds_nothing(
    whole: Path, broken: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first or its second line does not continue the one before: what is damage is no state, also where somebody
    accepts the damage, which cuts it away.
    """
    path = whole / "audit.jsonl"
    seq = places(path)[-1]
    records = [record for record in replay(path) if record.seq < seq]
    last = records[-1]
    monkeypatch.setattr(snapshot, "PART_BYTES", 100)
    drafts = State(founded=True).snapshot()
    assert len(drafts) > 1
    tally = Tally()
    for record in records:
        tally.add(record)
    told = snapshots.describing(drafts, tally, last.hash[:16])
    foreign = Head(last.seq, "f" * 64, last.ts)
    if broken == 1:
        forged = seal_all(told, foreign, last.ts)
    else:
        first = seal_all(told[:1], last.head, last.ts)
        forged = (*first, *seal_all(told[1:], Head(first[0].seq, "f" * 64, last.ts), last.ts))
    path.write_bytes(b"".join(record.line + b"\n" for record in (*records, *forged)))
    assert outcome(whole, reason)[0] == ("damaged" if reason is None else "begun")


@pytest.mark.parametrize("reason", [None, "ticket 42"])
def test_a_line_that_only_its_kind_makes_a_snapshot_is_damage(whole: Path, reason: str | None) -> None:
    """Somebody put it there: the start says where, and no more than that."""
    path = whole / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = parse(lines[-1][:-1])
    (forged,) = seal_all([Draft(kind=Kind.SNAPSHOT, detail={"part": 1})], Head(last.seq, "f" * 64, last.ts), last.ts)
    path.write_bytes(b"".join([*lines, forged.line + b"\n"]))
    assert outcome(whole, reason)[0] == ("damaged" if reason is None else "begun")


def test_a_file_without_its_beginning_has_its_log_id_from_a_snapshot(tmp_path: Path) -> None:
    """A batch gets into a truncated file before the `log_opened` that tells of it, and that is lost with the process:
    a later snapshot is the first to tell the log's id.
    """
    tally, state = Tally(), State(founded=True)
    records = list(seal_all([firing("a"), firing("b")], Head(7, "a" * 64, 1_790_000_000.0), 1_790_000_000.0))
    for record in records:
        state.apply(record)
        tally.add(record)
    drafts = snapshots.describing(state.snapshot(), tally, "0123456789abcdef")
    records += seal_all([*drafts, firing("c")], records[-1].head, 1_790_000_000.0)
    (tmp_path / "audit.jsonl").write_bytes(b"".join(record.line + b"\n" for record in records))
    assert outcome(tmp_path)[3] == "0123456789abcdef"


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from(["put", "put", "put", "end", "rename", "restart", "crash"]), max_size=60))
def test_every_life_finds_the_state_of_the_whole_log(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[str]
) -> None:
    """Whatever becomes of the log between its snapshots, a state that was resumed is that of all records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "EVERY", 4)
        asyncio.run(_live(tmp_path_factory.mktemp("lives"), steps))


async def _live(folder: Path, steps: Sequence[str]) -> None:
    book = Book(folder / "data")
    for number, step in enumerate(steps):
        if step == "put":
            await book.put(f"a{number}")
        elif step == "end" and book.episodes():
            await book.end(min(book.episodes()))
        elif step == "rename" and book.path.exists():
            book.rename(number)
        elif step in ("restart", "crash"):
            await book.journal.close()
            if step == "crash" and book.path.exists():
                with book.path.open("ab") as file:
                    file.write(b'{"seq":')
            book = Book(folder / "data")
        assert book.ledger.state == fold(everything(book.dir))
    await book.journal.close()
