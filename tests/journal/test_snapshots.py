"""Snapshots between rotations, and starts that go on behind the last one."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from autoheal import snapshot
from autoheal.disk import Disk
from autoheal.errors import JournalDamaged, JournalUnavailable
from autoheal.journal import manifest, snapshots, start
from autoheal.journal.backward import Backward
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.files import log_files
from autoheal.journal.manifest import MAX_ALERTNAMES, Tally
from autoheal.journal.reading import replay
from autoheal.journal.record import parse, seal_all
from autoheal.journal.rotation import Standing
from autoheal.journal.verify import verify
from autoheal.model import Draft, Head, Kind, Record
from autoheal.state import State, fold
from autoheal.state.entities import Suspect
from autoheal.state.whole import LARGE_ENDED, LARGE_OPEN
from tests.support.book import Book, assert_unbroken, everything, firing
from tests.support.clock import FakeClock

EVERY = 10


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", EVERY)


def places(path: Path) -> list[int]:
    """The seqs of the records that begin a snapshot."""
    found = [record for record in replay(path) if record.kind is Kind.SNAPSHOT and record.detail["part"] == 1]
    return [record.seq for record in found]


async def grown(data_dir: Path, names: int, **more: Any) -> Book:
    """A log of so many episodes, put down one by one, and closed."""
    async with Book(data_dir, **more) as book:
        for number in range(names):
            book.clock.set_now(book.clock.now() + 1.0)
            await book.put(f"a{number}")
    return book


@pytest.mark.usefixtures("every")
async def test_a_snapshot_comes_with_every_so_many_records(tmp_path: Path) -> None:
    """So many records behind the last one the next look at the log puts the state down, with a signed checkpoint, and
    tells of the file before it what a manifest would.
    """
    book = await grown(tmp_path / "data", 3 * EVERY)
    seqs = places(book.path)
    assert [later - earlier for earlier, later in pairwise(seqs)] == [EVERY + 1] * (len(seqs) - 1)
    assert seqs[0] == EVERY + 1
    records = {record.seq: record for record in replay(book.path)}
    assert [records[seq + 1].kind for seq in seqs] == [Kind.CHECKPOINT] * len(seqs)
    assert_unbroken(everything(book.dir))
    for seq in seqs:
        told = manifest.parse(records[seq].detail["file"])
        before = [records[each] for each in range(1, seq)]
        content = b"".join(record.line + b"\n" for record in before)
        assert (told.log, told.first_seq, told.last) == (book.journal.log_id, 1, before[-1].head)
        assert (told.size, told.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert sum(told.kinds.values()) == seq - 1
        assert set(told.alertnames or ()) == {record.alertname for record in before if record.alertname is not None}
        founded = State()
        founded.restore([records[seq].detail["data"]])
        whole = fold(before)
        founded.head = whole.head
        assert founded == whole
    assert not verify(book.dir, load_public_keys(tmp_path / "keys/checkpoint.pub.pem")).problems


@pytest.mark.usefixtures("every")
async def test_a_start_reads_what_stands_behind_the_last_snapshot(tmp_path: Path) -> None:
    """The state is that of the whole log, the log goes on unbroken, and the manifest of the file, once it is rotated,
    is that of one whose every record was read.
    """
    book = await grown(tmp_path / "data", 3 * EVERY + 4)
    last = places(book.path)[-1]
    async with Book(book.dir) as again:
        assert again.folded[0].seq == last
        assert again.ledger.state == fold(replay(book.path))
        assert again.journal.log_id == book.journal.log_id
        await again.put("b")
        old = again.rename()
        await again.put("c")
        assert_unbroken(everything(book.dir))
        (told,) = manifest.read_all(book.dir / "manifests")
    tally = Tally()
    for record in replay(old):
        tally.add(record)
    assert told == tally.manifest(book.journal.log_id)
    assert told.sha256 == hashlib.sha256(old.read_bytes()).hexdigest()


@pytest.mark.usefixtures("every")
async def test_snapshots_keep_their_distance_over_starts(tmp_path: Path) -> None:
    """A start counts on from the last snapshot: neither does each life put the state down anew, nor do short lives
    never come to it.
    """
    for number in range(2 * EVERY):
        async with Book(tmp_path / "data") as book:
            await book.put(f"a{number}")
    seqs = places(book.path)
    assert len(seqs) == 2
    assert seqs[1] - seqs[0] == EVERY + 1


@pytest.mark.usefixtures("every")
async def test_a_rotation_counts_as_a_snapshot(tmp_path: Path) -> None:
    """The state with which a fresh file begins is the last one put down; the next one in that file describes it."""
    async with Book(tmp_path / "data") as book:
        for number in range(EVERY // 2):
            await book.put(f"a{number}")
        book.rename()
        for number in range(EVERY):
            await book.put(f"b{number}")
    first, second = places(book.path)
    assert second - first == EVERY + 1
    records = {record.seq: record for record in replay(book.path)}
    assert "file" not in records[first].detail
    assert records[second].detail["file"]["first"]["seq"] == min(records)
    async with Book(tmp_path / "data") as again:
        assert again.folded[0].seq == second
        assert again.ledger.state == book.ledger.state


async def test_a_log_that_was_never_put_down_is_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version's long file is read whole once."""
    book = await grown(tmp_path / "data", 3 * EVERY)
    assert not places(book.path)
    monkeypatch.setattr(snapshots, "EVERY", EVERY)
    async with Book(book.dir) as again:
        assert again.folded[0].seq == 1
        await again.turn()
    (seq,) = places(book.path)
    async with Book(book.dir) as third:
        assert third.folded[0].seq == seq
        assert third.episodes() == book.episodes()


@pytest.mark.usefixtures("every")
@pytest.mark.parametrize("many", ["open", "ended"])
async def test_a_large_state_is_not_put_down_without_need(
    tmp_path: Path, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold up the event loop in a storm, of all times. What a fresh file needs is put down all the same."""
    from autoheal.state import whole

    monkeypatch.setattr(whole, "LARGE_OPEN" if many == "open" else "LARGE_ENDED", EVERY + 1)
    async with Book(tmp_path / "data") as book:
        for number in range(2 * EVERY):
            await book.put(f"a{number}")
            if many == "ended":
                await book.end(f"a{number}")
        assert book.ledger.state.large
        await book.turn()
        assert book.journal.head.seq - places(book.path)[-1] > EVERY + 1, "it is overdue"
        book.rename()
        await book.turn()
        assert len(places(book.path)) == 1
    assert (LARGE_OPEN, LARGE_ENDED) == (2_000, 25_000)


def test_suspects_make_a_state_large_as_alerts_do() -> None:
    """They hold as much."""
    suspect = Suspect(labels={}, annotations={}, starts_at=1.0, seen_at=1.0, correlation_id=None)
    state = State(suspects={str(number): suspect for number in range(LARGE_OPEN)})
    assert not state.large
    state.suspects["one more"] = suspect
    assert state.large


@pytest.mark.usefixtures("every")
async def test_a_snapshot_describes_what_is_still_under_way(tmp_path: Path) -> None:
    """Its batch stands behind all that was handed over before it."""
    async with Book(tmp_path / "data") as book:
        book.disk.gate.clear()
        for number in range(EVERY):
            book.ledger.refresh()
            book.ledger.commit([firing(f"a{number}")])
        book.ledger.refresh()
        assert book.journal.durable.seq == 1
        book.disk.gate.set()
        await book.ledger.settle()
    (seq,) = places(book.path)
    async with Book(book.dir) as again:
        assert again.folded[0].seq == seq
        assert again.ledger.state == book.ledger.state


@pytest.mark.usefixtures("every")
async def test_a_snapshot_that_cannot_be_written_is_not_in_the_log(tmp_path: Path) -> None:
    """The disk refuses it: the log goes on without, and the next comes so many records later."""
    async with Book(tmp_path / "data") as book:
        while book.journal.head.seq < EVERY:
            await book.put(f"a{book.journal.head.seq}")
        book.disk.bad_writes = [errno.ENOSPC]
        book.look()
        with pytest.raises(JournalUnavailable):
            await book.ledger.settle()
        for number in range(EVERY + 2):
            await book.insist(f"b{number}")
        assert len(places(book.path)) == 1
        assert_unbroken(everything(book.dir))
    async with Book(book.dir) as again:
        assert again.folded[0].seq == places(book.path)[0]
        assert again.ledger.state == fold(replay(book.path))


@pytest.mark.usefixtures("every")
async def test_a_snapshot_is_nothing_to_tell_an_operator_of(tmp_path: Path) -> None:
    """Other than what was done to the log behind its back."""
    with capture_logs() as logs:
        book = await grown(tmp_path / "data", 2 * EVERY)
    assert places(book.path)
    assert logs == []


@pytest.mark.usefixtures("every")
async def test_a_long_text_is_not_put_down_without_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few alerts with much to say, long plans, many targets: to compress them would hold up the event loop."""
    from autoheal.state import whole

    packed: list[int] = []
    drafts = snapshot.drafts

    def packing(text: bytes) -> list[Draft]:
        packed.append(len(text))
        return drafts(text)

    monkeypatch.setattr(snapshot, "drafts", packing)
    monkeypatch.setattr(whole, "LARGE_BYTES", 2000)
    async with Book(tmp_path / "data") as book:
        await book.put("x" * 1000)
        assert not book.ledger.state.large
        for _ in range(2 * EVERY):
            book.ledger.refresh()
            book.ledger.commit([Draft(kind=Kind.CONFIG_LOADED)])
        await book.ledger.settle()
        assert packed == []
        assert places(book.path) == []
        book.rename()
        await book.turn()
        assert len(places(book.path)) == 1
    assert packed[0] > 2000


@pytest.mark.usefixtures("every")
async def test_a_long_text_is_made_once_in_so_many_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To find out how long it is takes time as well."""
    tried: list[int] = []

    def nothing(state: State) -> list[Draft]:
        tried.append(state.head.seq)
        return []

    monkeypatch.setattr(State, "small_snapshot", nothing)
    await grown(tmp_path / "data", 3 * EVERY)
    assert [later - earlier for earlier, later in pairwise(tried)] == [EVERY] * (len(tried) - 1)
    assert len(tried) == 3


@pytest.mark.usefixtures("every")
async def test_a_snapshot_that_is_refused_refuses_nothing_else(tmp_path: Path) -> None:
    """No room in the queue, of all times: who looked at the log is not told of it, and the log goes on."""
    async with Book(tmp_path / "data", queue_bytes=3000) as book:
        for number in range(3 * EVERY):
            await book.put(f"{number:0300d}")
        assert places(book.path) == []
        assert book.journal.healthy
        assert len(book.episodes()) == 3 * EVERY


@pytest.mark.usefixtures("every")
async def test_many_alertnames_are_left_out(tmp_path: Path) -> None:
    """A description must fit beside a part of the state: without the names a search looks into the file itself."""
    async with Book(tmp_path / "data") as book:
        await book.put(*(f"{number:05d}{'x' * 100}" for number in range(MAX_ALERTNAMES - 1)))
        await book.put("last")
    (record,) = [each for each in replay(book.path) if each.kind is Kind.SNAPSHOT and each.detail["part"] == 1]
    assert record.detail["file"]["alertnames"] is None
    async with Book(book.dir) as again:
        assert again.folded[0].seq == record.seq
        again.rename()
        await again.put("b")
        (told,) = manifest.read_all(book.dir / "manifests")
        assert told.alertnames is None
        assert again.ledger.state == fold(everything(book.dir))


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


def resealed(path: Path, change: Callable[[Draft], Draft]) -> None:
    """The same records after `change`, sealed anew: the chain is whole, as if another version had written it."""
    records = list(replay(path))
    head = Head(records[0].seq - 1, records[0].prev, 0.0)
    lines = []
    for record in records:
        draft = Draft(**{name: getattr(record, name) for name in Draft.__dataclass_fields__})
        (sealed,) = seal_all([change(draft)], head, record.ts)
        head = sealed.head
        lines.append(sealed.line + b"\n")
    path.write_bytes(b"".join(lines))


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
    outcomes = [outcome(book.dir, resume, None) for resume in (True, False)]
    assert outcomes[0][0] == "damaged"
    assert outcomes[0] == outcomes[1]


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
    outcomes = [outcome(book.dir, resume, None) for resume in (True, False)]
    assert outcomes[0][0] == "damaged"
    assert outcomes[0] == outcomes[1]


@pytest.mark.usefixtures("every")
async def test_a_compressed_file_is_read_whole(tmp_path: Path) -> None:
    """Where only packed files are left there is no end to begin from."""
    book = await grown(tmp_path / "data", 2 * EVERY)
    book.gzip(book.rename())
    async with Book(book.dir) as again:
        assert again.folded[0].seq == 1
        await again.put("b")
        assert again.episodes() == {*book.episodes(), "b"}


# Whatever is wrong with a log, a start says of it what one says that reads every line.


def outcome(data_dir: Path, resume: bool, reason: str | None) -> tuple[object, ...]:
    """What a start makes of it: the error, or the state, what was found to go on with, and all that was written."""
    state = State()
    seen: list[Record] = []

    def replayed(record: Record) -> None:
        seen.append(record)
        state.apply(record)

    try:
        begun = start.begin(
            data_dir, FakeClock(), Disk(), replayed, state.restore if resume else None, accept_damage=reason
        )
    except JournalDamaged as error:
        return ("damaged", str(error).replace(str(data_dir), "DIR"), files(data_dir))
    described = begun.tally.manifest(begun.log_id)
    assert begun.snapshot <= begun.last.seq
    return (
        "begun",
        state,
        begun.last,
        begun.log_id,
        begun.fd >= 0,
        begun.reports,
        described,
        begun.snapshot,
        files(data_dir),
        seen[-1],
    )


def files(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes() for path in sorted(data_dir.rglob("*")) if path.is_file()
    }


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
    tmp_path: Path, whole: Path, harm: Callable[[bytes, random.Random], bytes], reason: str | None
) -> None:
    """Wherever the current file or the one before it was harmed, in front of the last snapshot, in it or behind it: the
    start's error, the repair that `--accept-damage` makes, and the state, are the same as without any snapshot.
    """
    contents = {path.name: path.read_bytes() for path in sorted(whole.glob("audit.jsonl*"))}
    endings = set()
    chance = random.Random(f"{harm.__name__}{reason}")
    for _ in range(60):
        name = chance.choice(["audit.jsonl", "audit.jsonl", "audit.jsonl", *contents])
        harmed = harm(contents[name], chance)
        outcomes = []
        for resume in (True, False):
            # By the same name: repairs tell of it.
            data_dir = tmp_path / "harmed"
            shutil.copytree(whole, data_dir)
            (data_dir / name).write_bytes(harmed)
            outcomes.append(outcome(data_dir, resume, reason))
            shutil.rmtree(data_dir)
        assert outcomes[0] == outcomes[1]
        endings.add(outcomes[0][0])
    assert "begun" in endings
    if reason is None:
        assert harm is _cut or "damaged" in endings


@pytest.mark.parametrize("reason", [None, "ticket 42"])
@pytest.mark.parametrize("broken", [1, 2])
def test_a_snapshot_that_is_no_part_of_the_chain_founds_nothing(
    tmp_path: Path, whole: Path, broken: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
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
    outcomes = []
    for resume in (True, False):
        data_dir = tmp_path / "forged"
        shutil.copytree(whole, data_dir)
        outcomes.append(outcome(data_dir, resume, reason))
        shutil.rmtree(data_dir)
    assert outcomes[0][0] == ("damaged" if reason is None else "begun")
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("reason", [None, "ticket 42"])
def test_a_line_that_only_its_kind_makes_a_snapshot_is_damage(tmp_path: Path, whole: Path, reason: str | None) -> None:
    """Somebody put it there: the start says where, and no more than that."""
    path = whole / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = parse(lines[-1][:-1])
    (forged,) = seal_all([Draft(kind=Kind.SNAPSHOT, detail={"part": 1})], Head(last.seq, "f" * 64, last.ts), last.ts)
    path.write_bytes(b"".join([*lines, forged.line + b"\n"]))
    outcomes = []
    for resume in (True, False):
        data_dir = tmp_path / "forged"
        shutil.copytree(whole, data_dir)
        outcomes.append(outcome(data_dir, resume, reason))
        shutil.rmtree(data_dir)
    assert outcomes[0][0] == ("damaged" if reason is None else "begun")
    assert outcomes[0] == outcomes[1]


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
    outcomes = [outcome(tmp_path, resume, None) for resume in (True, False)]
    assert outcomes[0][3] == "0123456789abcdef"
    assert outcomes[0] == outcomes[1]


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


def test_the_seal_of_a_description_is_the_line_that_ends_it() -> None:
    """`describing` keeps the parts in their order, and tells of the file in the first alone."""
    tally = Tally()
    for record in seal_all([Draft(kind=Kind.LOG_CREATED), firing("a")], Head(), 1_790_000_000.0):
        tally.add(record)
    parts = [Draft(kind=Kind.SNAPSHOT, detail={"part": number}) for number in (1, 2, 3)]
    found = snapshots.describing(parts, tally, "0" * 16)
    assert [draft.detail["part"] for draft in found] == [1, 2, 3]
    assert ["file" in draft.detail for draft in found] == [True, False, False]
