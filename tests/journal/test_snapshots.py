"""Snapshots between rotations: when they come, and what they hold."""

from __future__ import annotations

import errno
import hashlib
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoheal import snapshot
from autoheal.errors import JournalUnavailable
from autoheal.journal import manifest, snapshots
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.manifest import MAX_ALERTNAMES, Tally
from autoheal.journal.reading import replay
from autoheal.journal.record import seal_all
from autoheal.journal.verify import verify
from autoheal.model import Draft, Head, Kind
from autoheal.state import State, fold
from autoheal.state.entities import Suspect
from autoheal.state.whole import LARGE_ENDED, LARGE_OPEN
from tests.support.book import Book, assert_unbroken, everything, firing
from tests.support.snapshots import EVERY, grown, places


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


def test_the_seal_of_a_description_is_the_line_that_ends_it() -> None:
    """`describing` keeps the parts in their order, and tells of the file in the first alone."""
    tally = Tally()
    for record in seal_all([Draft(kind=Kind.LOG_CREATED), firing("a")], Head(), 1_790_000_000.0):
        tally.add(record)
    parts = [Draft(kind=Kind.SNAPSHOT, detail={"part": number}) for number in (1, 2, 3)]
    found = snapshots.describing(parts, tally, "0" * 16)
    assert [draft.detail["part"] for draft in found] == [1, 2, 3]
    assert ["file" in draft.detail for draft in found] == [True, False, False]
