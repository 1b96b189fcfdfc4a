"""What others do to the log's file while it is written to: renamed, truncated, deleted, replaced."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

import orjson
import pytest

from autoheal.engine.upkeep import Upkeep
from autoheal.errors import JournalDamaged, JournalUnavailable
from autoheal.journal import manifest
from autoheal.journal.checkpoint import verify_signature
from autoheal.journal.reading import replay
from autoheal.model import Draft, Kind
from autoheal.state import fold
from tests.support.book import Book, assert_unbroken, everything, firing
from tests.support.faults import until
from tests.support.snapshots import resealed


def kinds(path: Path) -> list[str]:
    return [record.kind.value for record in replay(path)]


async def test_a_renamed_file_is_left_for_a_fresh_one(tmp_path: Path) -> None:
    """After a rename the next look begins a fresh file with log_opened, the state and a signed checkpoint; the old
    file is described by a manifest that log_opened names, and the chain goes on unbroken across both.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b")
        old = book.rename()
        await book.put("c")
        assert kinds(old) == ["log_created", "alert_firing", "alert_firing"]
        assert kinds(book.path) == ["log_opened", "snapshot", "checkpoint", "alert_firing"]
        opened, _, checkpoint, _ = replay(book.path)
        last = list(replay(old))[-1]
        (described,) = manifest.read_all(book.dir / "manifests")
        assert opened.detail == {
            "log": book.journal.log_id,
            "how": "renamed",
            "head": {"seq": last.seq, "hash": last.hash},
            "manifest": {"file": described.name, "sha256": described.digest},
        }
        assert described.sha256 == hashlib.sha256(old.read_bytes()).hexdigest()
        assert (described.first_seq, described.last, described.size) == (1, last.head, old.stat().st_size)
        signed = checkpoint.detail
        assert (signed["seq"], signed["hash"]) == (checkpoint.seq - 1, checkpoint.prev)
        assert verify_signature(
            book.signer.public_key, book.journal.log_id, signed["seq"], signed["hash"], signed["signature"]
        )
        assert_unbroken(everything(book.dir))
        assert fold(replay(book.path)) == book.ledger.state
        await until(lambda: [record.seq for record in book.told] == list(range(2, 8)))


async def test_manifests_form_a_chain(tmp_path: Path) -> None:
    """Each rotation's manifest names the one before."""
    async with Book(tmp_path / "data") as book:
        for number in range(3):
            await book.put(f"a{number}")
            book.rename(number)
            await book.turn()
        found = manifest.read_all(book.dir / "manifests")
        assert [each.previous for each in found] == ["0" * 64, found[0].digest, found[1].digest]
        assert [each.last.seq + 1 for each in found[:-1]] == [each.first_seq for each in found[1:]]
        assert found[-1].previous != found[-1].digest


async def test_batches_under_way_go_where_they_were_handed_over(tmp_path: Path) -> None:
    """Records sealed before the rename was noticed are in the old file, those behind the fresh file's first in it,
    even when one group of the writer holds them all.
    """
    async with Book(tmp_path / "data") as book:
        book.disk.gate.clear()
        book.disk.waiting.clear()
        book.ledger.commit([firing("under way")])
        await until(book.disk.waiting.is_set)
        book.ledger.commit([firing("queued")])
        old = book.rename()
        book.ledger.refresh()
        book.ledger.commit([firing("behind")])
        book.ledger.refresh()
        book.disk.gate.set()
        await book.ledger.settle()
        assert [record.alertname for record in replay(old)][1:] == ["under way", "queued"]
        assert kinds(book.path) == ["log_opened", "snapshot", "checkpoint", "alert_firing"]
        assert_unbroken(everything(book.dir))
        (described,) = manifest.read_all(book.dir / "manifests")
        assert described.sha256 == hashlib.sha256(old.read_bytes()).hexdigest()


async def test_a_rename_is_noticed_while_nothing_happens(tmp_path: Path) -> None:
    """Once a second the log is looked at: an idle service begins its fresh file too."""
    async with Book(tmp_path / "data") as book:
        keep_up = asyncio.create_task(Upkeep(book.ledger, book.clock, min_free=0, look=lambda: None).run())
        await book.clock.advance(5)
        await book.ledger.settle()
        assert kinds(book.path) == ["log_created"]
        book.rename()
        await book.clock.advance(1)
        await book.ledger.settle()
        assert kinds(book.path) == ["log_opened", "snapshot", "checkpoint"]
        keep_up.cancel()


async def test_an_empty_file_in_place_is_used_and_another_is_not(tmp_path: Path) -> None:
    """What logrotate's `create` leaves is an empty file: the fresh one takes its place. A file with content is refused
    with the way out, never written to, and the log goes on by itself once that was gone.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.rename(1)
        book.path.touch()
        await book.put("b")
        assert kinds(book.path)[0] == "log_opened"
        book.rename(2)
        book.path.write_text("mine\n")
        book.look()
        await until(lambda: not book.journal.healthy)
        with pytest.raises(JournalUnavailable, match="move it away"):
            await book.put("refused")
        assert book.path.read_text() == "mine\n"
        book.path.rename(tmp_path / "elsewhere")
        await book.insist("c")
        assert book.episodes() == {"a", "b", "c"}
        assert_unbroken(everything(book.dir))


@pytest.mark.parametrize("fault", ["full", "half full", "open", "sync", "manifest"])
async def test_a_fresh_file_that_cannot_be_made_is_tried_again(tmp_path: Path, fault: str) -> None:
    """When the disk fails at the moment of rotation everybody is refused, nothing half is left behind, and the fresh
    file is begun once the disk is well; nothing acknowledged is missing.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        old = book.rename()
        before = old.read_bytes()
        match fault:
            case "full":
                book.disk.free = 0
            case "half full":
                book.disk.free = 700
            case "open":
                book.disk.bad_opens = 1_000_000
            case "sync":
                book.disk.bad_syncs = 1_000_000
            case "manifest":
                (book.dir / "manifests").write_text("in the way")
        book.look()
        await until(lambda: bool(book.errors))
        with pytest.raises(JournalUnavailable):
            await book.put("refused")
        assert not book.path.exists()
        assert old.read_bytes() == before
        book.disk.free = None
        book.disk.bad_opens = book.disk.bad_syncs = 0
        if fault == "manifest":
            (book.dir / "manifests").unlink()
        await book.insist("b")
        assert book.episodes() == {"a", "b"}
        assert kinds(book.path)[:3] == ["log_opened", "snapshot", "checkpoint"]
        assert_unbroken(everything(book.dir))
        assert len(manifest.read_all(book.dir / "manifests")) == 1
        assert not list(book.dir.glob(".audit*"))


async def test_a_manifest_of_a_rotation_that_failed_is_not_left(tmp_path: Path) -> None:
    """When the old file comes back after a failed rotation and grows, one manifest describes it in the end."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        old = book.rename()
        book.disk.bad_syncs = 10
        real = book.disk.sync

        def sync(fd: int) -> None:
            if ".new" in str(Path(f"/proc/self/fd/{fd}").readlink()):
                raise OSError(5, "Input/output error")
            os.fdatasync(fd)

        book.disk.sync = sync  # type: ignore[method-assign]
        with pytest.raises(JournalUnavailable):
            await book.put("refused")
        old.rename(book.path)
        book.disk.bad_syncs, book.disk.sync = 0, real  # type: ignore[method-assign]
        await book.insist("b")
        book.rename()
        await book.put("c")
        (described,) = manifest.read_all(book.dir / "manifests")
        assert described.last.seq == 4


async def test_a_restart_needs_the_current_file_only(tmp_path: Path) -> None:
    """Once a file begins with the state, those before may be pruned: the next start folds the same state from it."""
    async with Book(tmp_path / "data") as book:
        await book.put("a", "b")
        old = book.rename()
        await book.put("c")
        state = book.ledger.state
        log_id = book.journal.log_id
    old.unlink()
    async with Book(tmp_path / "data") as again:
        assert again.ledger.state == state
        assert again.journal.log_id == log_id
        await again.put("d")
        assert again.episodes() == {"a", "b", "c", "d"}


@pytest.mark.parametrize("left", ["nothing", "empty", "gzip", "torn"])
async def test_a_start_after_a_rename_that_nobody_saw(tmp_path: Path, left: str) -> None:
    """Dead between the rename and the first record of the fresh file, or rotated while it was down: the start goes
    on after the newest file, in a fresh one, also when the machine had died in the middle of a line.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        await book.put("b")
        state = book.ledger.state
    old = book.rename()
    if left == "empty":
        book.path.touch()
    elif left == "gzip":
        book.gzip(old)
    elif left == "torn":
        with old.open("ab") as file:
            file.write(b'{"seq":4,"ts')
    async with Book(tmp_path / "data") as again:
        assert again.ledger.state.episodes == state.episodes
        if left == "gzip":
            with pytest.raises(JournalUnavailable, match="fresh file first"):
                again.ledger.commit([firing("too early")])
        await again.put("c")
        assert kinds(again.path)[0] == "log_opened"
        assert_unbroken(everything(again.dir))
        (described,) = manifest.read_all(again.dir / "manifests")
        if left == "torn":
            assert described.kinds["log_repaired"] == 1
            assert (again.dir / "torn" / f"{described.size}.txt").exists() is False
            assert [path.read_bytes() for path in (again.dir / "torn").iterdir()] == [b'{"seq":4,"ts']
    async with Book(tmp_path / "data") as third:
        assert third.episodes() == {"a", "b", "c"}


@pytest.mark.parametrize("left", ["the older file", "a file that autoheal has written behind"])
async def test_a_current_file_that_is_gone_is_told_of(tmp_path: Path, left: str) -> None:
    """Removed while autoheal was down: the log goes on after the newest file, and a log_repaired says that one had
    been begun behind it, once; a file that was only renamed is not told of.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.rename()
        await book.put("b")
    if left == "the older file":
        book.path.unlink()
    else:
        book.rename(2)
    for _ in range(2):
        async with Book(tmp_path / "data") as again:
            await again.turn()
            await again.put("c")
            told = [record.detail for record in everything(again.dir) if record.kind is Kind.LOG_REPAIRED]
            assert told == ([{"problem": "file missing", "file": "audit.jsonl"}] if left == "the older file" else [])
            assert_unbroken(everything(again.dir))


async def test_a_log_whose_files_are_all_gone_is_not_begun_anew(tmp_path: Path) -> None:
    """Manifests tell that there was one: a start says so and changes nothing, until they are moved away too."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        old = book.rename()
        await book.put("b")
    old.unlink()
    book.path.unlink()
    with pytest.raises(JournalDamaged, match="bring its files back"):
        Book(tmp_path / "data")
    assert not book.path.exists()
    (book.dir / "manifests").rename(tmp_path / "elsewhere")
    async with Book(tmp_path / "data") as anew:
        assert kinds(anew.path) == ["log_created"]


async def test_a_current_file_that_does_not_begin_with_a_record_can_be_moved_away(tmp_path: Path) -> None:
    """The start says so, with that way out; behind it the log goes on, and tells that a file is missing."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.rename()
        await book.put("b")
    book.path.write_bytes(bytes(4096))
    with pytest.raises(JournalDamaged, match="or move it away to go on without"):
        Book(tmp_path / "data")
    book.path.rename(tmp_path / "elsewhere")
    async with Book(tmp_path / "data") as again:
        await again.put("c")
        assert again.episodes() == {"a", "c"}


async def test_an_unknown_snapshot_is_passed_over(tmp_path: Path) -> None:
    """A snapshot of another version's making founds nothing: the files before it are folded instead, and when they
    are gone the start says so.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        old = book.rename(1)
        await book.put("b")

    def newer(draft: Draft) -> Draft:
        if draft.kind is not Kind.SNAPSHOT:
            return draft
        return Draft(kind=Kind.SNAPSHOT, detail={**draft.detail, "version": 99})

    resealed(book.path, newer)
    async with Book(tmp_path / "data") as again:
        assert again.episodes() == {"a", "b"}
        assert again.folded[0].seq == 1
        # A fold in the running service does the same.
        assert fold(again.journal.replay()) == again.ledger.state
    old.unlink()
    with pytest.raises(JournalDamaged, match="restore the older files"):
        Book(tmp_path / "data")


async def test_a_file_that_does_not_continue_the_one_before_is_damage(tmp_path: Path) -> None:
    """The chain is checked across the files' boundary at each start: a file put in front is noticed."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        old = book.rename()
        await book.put("b")
    lines = old.read_bytes().splitlines(keepends=True)
    old.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(JournalDamaged, match=f"audit.jsonl does not continue {old}: its seq is 3 where 2 is due"):
        Book(tmp_path / "data")


async def test_reading_across_files(tmp_path: Path) -> None:
    """`read` by pages and `replay` go through plain and compressed files as if they were one."""
    async with Book(tmp_path / "data") as book:
        for number in range(4):
            await book.put(*(f"{number}.{each}" for each in range(30)))
            path = book.rename(number)
            if number < 2:
                book.gzip(path)
        await book.put("last")
        whole = everything(book.dir)
        assert_unbroken(whole)
        for after in (0, 1, 17, 31, 32, 70, len(whole) - 1, len(whole)):
            at, found = after, []
            while page := book.journal.read(at, 7):
                assert len(page) <= 7
                found += page
                at = page[-1].seq
            assert found == whole[after:]
        again = fold(book.journal.replay())
        assert again == book.ledger.state
        assert next(book.journal.replay()).kind is Kind.LOG_OPENED


async def test_two_readers_of_a_compressed_file_get_each_their_own(tmp_path: Path) -> None:
    """A compressed file is kept open where a reader stopped; another one at the same place reads for itself."""
    async with Book(tmp_path / "data") as book:
        await book.put(*(f"a{each}" for each in range(50)))
        path = book.rename()
        await book.turn()
        book.gzip(path)
        for after in (0, 0, 5, 10, 5, 10, 10, 15, 15):
            assert [record.seq for record in book.journal.read(after, 5)] == list(range(after + 1, after + 6))


async def test_a_reader_goes_on_while_its_file_is_renamed_and_pruned(tmp_path: Path) -> None:
    """Who reads a file when it is rotated away, compressed and removed gets it to its end."""
    async with Book(tmp_path / "data") as book:
        await book.put(*(f"a{each}" for each in range(20)))
        whole = everything(book.dir)
        forward = book.journal.replay()
        assert next(forward) == whole[0]
        book.rename().unlink()
        await book.turn()
        assert list(forward) == whole[1:]


async def test_pruned_history_is_read_from_where_it_begins(tmp_path: Path) -> None:
    """A cursor into what retention has removed gets the oldest records that are left."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.rename(1).unlink()
        await book.put("b")
        oldest = next(replay(book.path))
        assert book.journal.read(0, 5)[0] == oldest


async def test_copytruncate_is_gone_on_with_and_told(tmp_path: Path) -> None:
    """A file copied and truncated under the writer: what is written next stands at its new end, and log_opened with
    the state says how much was there. A start from that file alone is complete.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        shutil.copy(book.path, book.dir / "audit.jsonl-20261121-1763690000")
        size = book.path.stat().st_size
        os.truncate(book.path, 0)
        book.ledger.commit([firing("b")])
        await book.ledger.settle()
        assert b"\0" not in book.path.read_bytes()
        await book.mended(lambda: b"checkpoint" in book.path.read_bytes())
        assert kinds(book.path) == ["alert_firing", "log_opened", "snapshot", "checkpoint"]
        _, opened, *_ = replay(book.path)
        assert opened.detail == {
            "log": book.journal.log_id,
            "how": "truncated",
            "head": {"seq": 3, "hash": opened.prev},
            "expected_bytes": size,
            "found_bytes": 0,
        }
        await book.put("c")
        assert [record.seq for record in book.journal.read(0, 9)][:2] == [1, 2]
        assert [record.seq for record in book.journal.replay()] == list(range(3, 8))
        state = book.ledger.state
    assert fold(replay(book.path)) == state
    (book.dir / "audit.jsonl-20261121-1763690000").unlink()
    async with Book(tmp_path / "data") as again:
        assert again.ledger.state == state


async def test_copytruncate_is_noticed_while_nothing_happens(tmp_path: Path) -> None:
    """An idle service whose file was truncated says so within a second, and its manifest at the next rotation
    describes the file as it is.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        os.truncate(book.path, 0)
        await book.mended(lambda: book.path.stat().st_size)
        assert kinds(book.path)[:2] == ["log_opened", "snapshot"]
        await book.put("b")
        old = book.rename()
        await book.turn()
        (described,) = manifest.read_all(book.dir / "manifests")
        assert described.sha256 == hashlib.sha256(old.read_bytes()).hexdigest()


async def test_a_report_of_truncation_that_was_lost_is_made_again(tmp_path: Path) -> None:
    """When the disk refuses the record that tells of a truncation, it is told later."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        shutil.copy(book.path, book.dir / "audit.jsonl-20261121-1763690000")
        os.truncate(book.path, 0)
        book.ledger.refresh()
        await until(lambda: bool(book.journal._acks.truncations))
        book.disk.free = 0
        with pytest.raises(JournalUnavailable):
            await book.put("refused")
        book.disk.free = None
        await book.insist("b")
        assert [kind for kind in kinds(book.path) if kind == "log_opened"] == ["log_opened"]
        assert book.episodes() == {"a", "b"}


async def test_records_lost_between_copy_and_cut_stop_a_start_without_a_snapshot(tmp_path: Path) -> None:
    """Dead after a truncation and before the state was written again: the gap is damage, for people to decide on."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        shutil.copy(book.path, book.dir / "audit.jsonl-20261121-1763690000")
        await book.put("lost")
        os.truncate(book.path, 0)
        book.ledger.commit([firing("b")])
        await book.ledger.settle()
    with pytest.raises(JournalDamaged, match=r"line 1 \(seq 3\): its seq is 4 where 3 is due"):
        Book(tmp_path / "data")
    async with Book(tmp_path / "data", accept_damage="copytruncate ate it") as again:
        await again.put("c")
        assert again.episodes() == {"a", "c"}
        assert (again.dir / "damaged/audit.jsonl").exists()
        assert_unbroken(everything(again.dir))


@pytest.mark.parametrize("idle", [True, False])
async def test_a_deleted_file_is_put_back(tmp_path: Path, idle: bool) -> None:
    """Deletion is not rotation: the file is there again with every record, and log_repaired tells of it."""
    async with Book(tmp_path / "data") as book:
        await book.put(*(f"a{number}" for number in range(100)))
        content = book.path.read_bytes()
        book.path.unlink()
        if not idle:
            await book.put("b")
        await book.mended(lambda: "log_repaired" in kinds(book.path) if book.path.exists() else False)
        assert book.path.read_bytes().startswith(content)
        assert list(replay(book.path))[-1].detail == {"problem": "file deleted", "file": "audit.jsonl"}
        await book.put("c")
        assert kinds(book.path).count("log_repaired") == 1
        assert_unbroken(everything(book.dir))
        assert not (book.dir / "manifests").exists()


async def test_a_file_that_was_replaced_is_not_written_to(tmp_path: Path) -> None:
    """An editor or a careless `mv` put another file in the log's place: everything is refused with the way out, the
    other file stays as it is, and once it was moved away the log is put back whole.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        content = book.path.read_bytes()
        (book.dir / "other").write_bytes(content.replace(b"alert_firing", b"alert_forged"))
        (book.dir / "other").replace(book.path)
        with pytest.raises(JournalUnavailable, match="move it away"):
            await book.put("refused")
        assert b"alert_forged" in book.path.read_bytes()
        book.path.unlink()
        await book.insist("b")
        assert book.path.read_bytes().startswith(content)
        assert book.episodes() == {"a", "b"}


async def test_a_directory_made_anew_is_owned_again(tmp_path: Path) -> None:
    """The whole data directory was removed: all is refused until it is there again; then the file is put back, and
    so is the lock that keeps a second process out.
    """
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        content = book.path.read_bytes()
        shutil.rmtree(book.dir)
        with pytest.raises(JournalUnavailable, match="No such file or directory"):
            await book.put("refused")
        book.dir.mkdir()
        await book.insist("b")
        assert book.path.read_bytes().startswith(content)
        with pytest.raises(JournalUnavailable, match="owns"):
            Book(book.dir)


async def test_a_directory_that_another_process_took_is_left_to_it(tmp_path: Path) -> None:
    """When somebody else began a log in a directory made anew, the first one refuses rather than write there too."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.dir.rename(tmp_path / "moved")
        async with Book(tmp_path / "data"):
            book.look()
            await until(lambda: not book.journal.healthy)
            with pytest.raises(JournalUnavailable):
                await book.put("refused")
        (tmp_path / "data").rename(tmp_path / "theirs")
        (tmp_path / "moved").rename(tmp_path / "data")
        await book.insist("b")
        assert_unbroken(everything(book.dir))


async def test_a_large_state_is_written_in_parts(tmp_path: Path) -> None:
    """A large state is written in several records of one batch, and read back as it was."""
    async with Book(tmp_path / "data") as book:
        for batch in range(10):
            await book.put(*(f"{hashlib.sha512(b'%d' % (batch * 300 + each)).hexdigest()}" for each in range(300)))
        book.rename()
        await book.turn()
        assert kinds(book.path).count("snapshot") > 2
        assert fold(replay(book.path)) == book.ledger.state
        opened = orjson.loads(book.path.read_bytes().splitlines()[1])
        assert len(opened["detail"]["data"]) <= 32 * 1024
