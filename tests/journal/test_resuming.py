"""Starts behind a snapshot, and snapshots that found none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal import snapshot
from autoheal.disk import Disk
from autoheal.errors import JournalDamaged
from autoheal.journal import snapshots, start
from autoheal.journal.backward import Backward
from autoheal.journal.files import log_files
from autoheal.journal.manifest import Tally
from autoheal.journal.reading import replay
from autoheal.journal.record import seal_all
from autoheal.journal.rotation import Standing
from autoheal.model import Draft, Kind
from autoheal.state import State, fold
from tests.support.book import Book, assert_unbroken, everything, firing
from tests.support.clock import FakeClock
from tests.support.snapshots import EVERY, grown, outcome, places, resealed


@pytest.mark.parametrize("kind", [Kind.CONFIG_LOADED, Kind.SNAPSHOT])
async def test_what_only_looks_like_a_snapshot_is_none(tmp_path: Path, kind: Kind) -> None:
    """A record may hold any text and any object, also one that a search for snapshots comes upon, and that says all
    that a snapshot would say: its kind alone makes it one.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        tally = Tally()
        for record in replay(book.path):
            tally.add(record)
        (like,) = snapshots.describing(State(founded=True).snapshot(), tally, book.journal.log_id)
        book.ledger.commit([Draft(kind=kind, labels={"kind": "snapshot"}, detail={**like.detail, "kind": "snapshot"})])
        await book.ledger.settle()
    async with Book(book.dir) as again:
        assert again.folded[0].seq == (1 if kind is Kind.CONFIG_LOADED else tally.last.seq + 1)
        assert again.episodes() == ({"a"} if kind is Kind.CONFIG_LOADED else set())


def other_version(detail: dict[str, Any]) -> dict[str, Any]:
    return {**detail, "version": 99}


def other_shape(_: dict[str, Any]) -> dict[str, Any]:
    return {"version": 99, "state": "of another shape"}


def no_state(detail: dict[str, Any]) -> dict[str, Any]:
    (text,) = snapshot.drafts(b'{"episodes":7}')
    return {**detail, "data": text.detail["data"]}


def no_zlib(detail: dict[str, Any]) -> dict[str, Any]:
    return {**detail, "data": "AAAA"}


def told(key: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda detail: {**detail, "file": {**detail["file"], key: value}}


def begun_later(detail: dict[str, Any]) -> dict[str, Any]:
    file = detail["file"]
    kinds = {kind: count for kind, count in file["kinds"].items() if kind != "log_created"}
    return {**detail, "file": {**file, "kinds": kinds, "first": {**file["first"], "seq": 2}}}


def kind_unknown(detail: dict[str, Any]) -> dict[str, Any]:
    file = detail["file"]
    kinds = {"from_the_future" if kind == "log_created" else kind: count for kind, count in file["kinds"].items()}
    return {**detail, "file": {**file, "kinds": kinds}}


def last_changed(detail: dict[str, Any]) -> dict[str, Any]:
    file = detail["file"]
    return {**detail, "file": {**file, "last": {**file["last"], "hash": "f" * 64}}}


def nothing_told(detail: dict[str, Any]) -> dict[str, Any]:
    return {**detail, "file": None}


@pytest.mark.usefixtures("every")
@pytest.mark.parametrize(
    "change",
    [
        other_version,
        other_shape,
        no_state,
        no_zlib,
        nothing_told,
        told("version", 99),
        told("bytes", 7),
        begun_later,
        told("sha256", "0" * 64),
        kind_unknown,
        last_changed,
        told("log", "nonsense"),
    ],
)
async def test_a_snapshot_that_founds_nothing_costs_time_alone(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """One that this version cannot read, or that says anything else of the file than is there, is passed over: all is
    read, as if there were none.
    """
    book = await grown(tmp_path / "data", EVERY + 2)
    # What changes one changes what a later one describes.
    assert len(places(book.path)) == 1

    def changed(draft: Draft) -> Draft:
        if draft.kind is not Kind.SNAPSHOT:
            return draft
        return Draft(kind=Kind.SNAPSHOT, detail=change(dict(draft.detail)))

    resealed(book.path, changed)
    async with Book(book.dir) as again:
        assert again.folded[0].seq == 1
        assert again.episodes() == book.episodes()


@pytest.mark.usefixtures("every")
async def test_a_state_that_cannot_be_read_is_tried_once(tmp_path: Path) -> None:
    """Each try hashes the file: in a long one with many snapshots that would take minutes."""
    book = await grown(tmp_path / "data", 5 * EVERY)
    assert len(places(book.path)) > 3
    tried: list[Sequence[str]] = []
    replayed: list[int] = []

    def unreadable(parts: Sequence[str]) -> None:
        tried.append(parts)
        raise JournalDamaged("a snapshot is no state")

    begun = start.begin(book.dir, FakeClock(), Disk(), lambda record: replayed.append(record.seq), unreadable)
    assert len(tried) == 1
    assert replayed == list(range(1, begun.last.seq + 1))


@pytest.mark.usefixtures("every")
async def test_an_older_snapshot_serves_where_the_newest_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of which the end was torn away with the gateway is left; the one before it is good."""
    monkeypatch.setattr(snapshot, "PART_BYTES", 200)
    book = await grown(tmp_path / "data", 3 * EVERY)
    seqs = places(book.path)
    lines = book.path.read_bytes().splitlines(keepends=True)
    assert orjson.loads(lines[seqs[-1]])["detail"]["part"] == 2
    # Part 1 is whole, part 2 torn.
    book.path.write_bytes(b"".join(lines[: seqs[-1]]) + lines[seqs[-1]][:50])
    whole = fold(replay(book.path))
    async with Book(book.dir) as again:
        assert again.folded[0].seq == seqs[-2]
        assert again.folded[-1].kind is Kind.LOG_REPAIRED
        assert again.episodes() == {episode.alertname for episode in whole.episodes.values()}
        await again.put("b")
        assert_unbroken(everything(book.dir))


@pytest.mark.usefixtures("every")
@pytest.mark.parametrize("change", [other_version, other_shape])
async def test_an_older_snapshot_serves_where_the_newest_is_of_another_version(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Who goes back a version waits no longer than for what stands behind the last snapshot of that version."""
    book = await grown(tmp_path / "data", 3 * EVERY)
    *_, older, newest = places(book.path)
    (newer,) = [record for record in replay(book.path) if record.seq == newest]

    def changed(draft: Draft) -> Draft:
        return replace(draft, detail=change(dict(draft.detail))) if draft.detail == newer.detail else draft

    resealed(book.path, changed)
    async with Book(book.dir) as again:
        assert again.folded[0].seq == older
        assert again.ledger.state == fold(replay(book.path))


@pytest.mark.usefixtures("every")
async def test_a_file_that_shrinks_while_it_is_searched_founds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads all of it finds what is left."""
    book = await grown(tmp_path / "data", 2 * EVERY)

    class Shrinking(Backward):
        def whole_end(self) -> int:
            end = super().whole_end()
            os.truncate(book.path, 10)
            return end

    monkeypatch.setattr(snapshots, "Backward", Shrinking)
    (file,) = log_files(book.dir)
    with book.path.open("rb") as stream:
        assert snapshots.newest(file, stream) is None


@pytest.mark.usefixtures("every")
async def test_a_truncated_file_is_put_down_anew(tmp_path: Path) -> None:
    """Copytruncate takes the snapshots with it; what follows in the file is described as it is then."""
    async with Book(tmp_path / "data") as book:
        for number in range(2 * EVERY):
            await book.put(f"a{number}")
        shutil.copyfile(book.path, book.dir / "audit.jsonl-1")
        book.path.write_bytes(b"")
        await book.mended(lambda: places(book.path))
        for number in range(EVERY):
            await book.put(f"b{number}")
    opened, described = places(book.path)
    first = next(iter(replay(book.path)))
    assert first.detail["how"] == "truncated"
    assert described - opened == EVERY + 1
    async with Book(tmp_path / "data") as again:
        assert again.folded[0].seq == described
        assert again.ledger.state == book.ledger.state


@pytest.mark.usefixtures("every")
async def test_a_truncation_that_is_yet_to_be_told_of_comes_first(tmp_path: Path) -> None:
    """A snapshot is due when the writer's thread has mended a truncated file, and before the event loop was told: there
    is nothing to describe, and the fresh beginning holds the state.
    """
    async with Book(tmp_path / "data") as book:
        for number in range(EVERY):
            await book.put(f"a{number}")
            if book.journal.head.seq == EVERY:
                break
        book.path.write_bytes(b"")
        book.look()
        # The event loop gets no turn meanwhile.
        while book.journal._writer.standing() is not Standing.SAME:
            pass
        book.look()
        await book.mended(lambda: book.told[-1].kind is Kind.CHECKPOINT)
        assert [record.kind for record in replay(book.path)] == [Kind.LOG_OPENED, Kind.SNAPSHOT, Kind.CHECKPOINT]


@pytest.mark.usefixtures("every")
@pytest.mark.parametrize("left", ["lines that are whole", "a line that was sealed anew", "all lines, sealed anew"])
async def test_what_a_truncation_left_is_not_taken_for_checked(tmp_path: Path, left: str) -> None:
    """The service goes on behind what somebody left of a file and describes that, whatever it holds. A start says of it
    what it says without any snapshot.
    """
    async with Book(tmp_path / "data") as book:
        for number in range(EVERY - 2):
            await book.put(f"a{number}")
        records = list(replay(book.path))
        if left != "lines that are whole":
            records[3] = seal_all([Draft(kind=Kind.CONFIG_LOADED)], records[2].head, records[3].ts)[0]
        if left != "all lines, sealed anew":
            records.pop()
        # In place, as copytruncate does.
        book.path.write_bytes(b"".join(record.line + b"\n" for record in records))
        await book.mended(lambda: book.told[-1].kind is Kind.CHECKPOINT)
        for number in range(EVERY + 1):
            await book.put(f"b{number}")
    described = list(book.path.read_bytes().splitlines())
    assert [b'"file":{' in line and b'"snapshot"' in line for line in described].count(True) == 1
    assert outcome(book.dir)[0] == "damaged"


@pytest.mark.usefixtures("every")
async def test_a_gap_that_no_record_tells_of_yet_is_found(tmp_path: Path) -> None:
    """A record, and a snapshot that is due, get into a truncated file before the `log_opened` that tells of it."""
    async with Book(tmp_path / "data") as book:
        for number in range(EVERY - 2):
            await book.put(f"a{number}")
        path, lines = book.path, book.path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]))
        book.look()
        # The event loop gets no turn meanwhile.
        while book.journal._writer.standing() is not Standing.SAME:
            pass
        book.ledger.commit([firing("b"), firing("c")])
        book.look()
        await book.mended(lambda: book.told[-1].kind is Kind.CHECKPOINT and book.told[-2].kind is Kind.SNAPSHOT)
    kinds = [record.kind for record in book.told[-6:]]
    assert kinds.index(Kind.SNAPSHOT) < kinds.index(Kind.LOG_OPENED)
    assert outcome(book.dir)[0] == "damaged"


@pytest.mark.usefixtures("every")
async def test_a_compressed_file_is_read_whole(tmp_path: Path) -> None:
    """Where only packed files are left there is no end to begin from."""
    book = await grown(tmp_path / "data", 2 * EVERY)
    book.gzip(book.rename())
    async with Book(book.dir) as again:
        assert again.folded[0].seq == 1
        await again.put("b")
        assert again.episodes() == {*book.episodes(), "b"}
