"""Copies of the log: made under fire, verified, pruned, and brought back to life."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from autoheal.errors import ConfigError, JournalDamaged, JournalError, JournalUnavailable
from autoheal.journal import backup as backups
from autoheal.journal.backup import backup, restore
from autoheal.journal.checkpoint import Signer, load_public_keys
from autoheal.journal.verify import Finding, verify
from tests.journal.test_rotation import Book
from tests.support import independent_verifier
from tests.support.audit_trail import Trail

NOW = 1_800_000_000.0
DAY = 86400.0


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """Three files, one of them gzip'd, with rule texts beside them."""
    made = Trail(tmp_path / "data")
    made.work(4)
    made.rotate(compress=True)
    made.work(4)
    made.rotate()
    made.work(4)
    (made.folder / "rules").mkdir()
    (made.folder / "rules" / "abc.json").write_text("{}")
    (made.folder / "lock").write_text("1\n")
    return made


def copy(trail: Trail, tmp_path: Path, now: float = NOW, keep: float | None = None) -> backups.Backup:
    return backup(trail.folder, trail.folder / "keys/checkpoint.pub.pem", tmp_path / "copies", now, keep)


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_has_all_but_the_private_key(trail: Trail, tmp_path: Path) -> None:
    """The log's files byte for byte, manifests, rule texts, the public key; and both verifiers accept it."""
    made = copy(trail, tmp_path)
    assert made.path == tmp_path / "copies" / f"autoheal-{trail.log}-20270115T080000Z"
    found, original = content(made.path), content(trail.folder)
    assert found.keys() == original.keys() - {"keys/checkpoint.pem", "lock"} | {"backup.json"}
    assert all(found[name] == original[name] for name in found if name != "backup.json")
    assert (made.report.last_seq, made.report.problems) == (trail.head.seq, [])
    assert trail.head.hash.encode() in found["backup.json"]
    independent_verifier.verify(made.path, made.path / "keys/checkpoint.pub.pem")
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


def test_nobody_else_may_read_a_copy(trail: Trail, tmp_path: Path) -> None:
    """Labels and outputs stand in it: owner and group, as in the data directory."""
    made = copy(trail, tmp_path)
    assert made.path.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in made.path.rglob("*") if path.is_file()} == {0o640}


def test_half_a_line_is_not_copied(trail: Trail, tmp_path: Path) -> None:
    """What the service was writing at that moment belongs to the next copy."""
    whole = trail.current.read_bytes()
    with trail.current.open("ab") as file:
        file.write(b'{"seq":' + b"9" * 5000)
    made = copy(trail, tmp_path)
    assert made.report.problems == []
    assert (made.path / "audit.jsonl").read_bytes() == whole


@pytest.mark.parametrize("compress", [False, True])
def test_a_rotation_between_two_files(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: bool
) -> None:
    """The current file is rotated when it was just copied: its last records and the fresh file come along."""
    real = backups.open_stored
    steps: list[Callable[[], object]] = [
        lambda: (trail.work(2), trail.rotate(compress=compress), trail.work(2)),
        lambda: (trail.work(2), trail.rotate(compress=compress), trail.work(2)),
    ]

    def then(data_dir: Path, file: backups.LogFile) -> object:
        opened = real(data_dir, file)
        if file.current and steps:
            backups._append(opened[1], tmp_path / "elsewhere")
            opened[1].seek(0)
            steps.pop()()
        return opened

    monkeypatch.setattr(backups, "open_stored", then)
    made = copy(trail, tmp_path)
    assert [str(problem) for problem in made.report.problems] == []
    assert made.report.last_seq == trail.head.seq
    assert made.report.files == 5
    names = {path.name for path in made.path.glob("audit.jsonl*")}
    assert "audit.jsonl" in names
    assert len(names) == 5


async def test_copies_while_the_service_writes_and_rotates(tmp_path: Path) -> None:
    """Under full load, with several rotations meanwhile, each copy verifies and ends at or behind what had been
    acknowledged when it was begun.
    """
    data = tmp_path / "data"
    done = threading.Event()
    made: list[tuple[int, backups.Backup]] = []
    acknowledged = [0]

    def copy_on() -> None:
        try:
            for number in range(12):
                least = acknowledged[0]
                key = tmp_path / "keys/checkpoint.pub.pem"
                made.append((least, backup(data, key, tmp_path / "copies", NOW + number)))
        finally:
            done.set()

    async with Book(data) as book:
        await book.put("first")
        copying = asyncio.get_running_loop().run_in_executor(None, copy_on)
        number = rotations = 0
        while not done.is_set():
            number += 1
            await book.put(*(f"a{number}-{each}" for each in range(20)))
            acknowledged[0] = book.journal.durable.seq
            # Eight for each copy: a directory that never rests cannot be listed.
            if number % 3 == 0 and rotations < 8 * (len(made) + 1) and book.path.exists():
                rotations += 1
                rotated = book.rename(number)
                await book.turn()
                if rotations % 2 == 0:
                    book.gzip(rotated)
        await copying
    assert len(made) == 12
    for least, each in made:
        assert [str(problem) for problem in each.report.problems] == []
        assert each.report.last_seq >= least
    assert made[-1][1].report.files > 1


def test_a_damaged_log_is_copied_and_named_so(trail: Trail, tmp_path: Path) -> None:
    """There is nothing better to keep; older copies stay, whatever their age."""
    old = copy(trail, tmp_path, NOW - 90 * DAY)
    trail.current.write_bytes(trail.current.read_bytes().replace(b"system", b"sistem", 1))
    made = copy(trail, tmp_path, NOW, keep=30 * DAY)
    assert made.path.name.endswith("-unverified")
    assert made.report.problems[0].finding is Finding.CHANGED
    assert (made.path / "audit.jsonl").read_bytes() == trail.current.read_bytes()
    assert old.path.is_dir()
    assert made.pruned == ()


def test_older_copies_go_once_the_new_one_verified(trail: Trail, tmp_path: Path) -> None:
    """Only this log's, only beyond their age, only folders that a backup made; links are not followed."""
    copies = tmp_path / "copies"
    old = [copy(trail, tmp_path, NOW - days * DAY).path for days in (31, 30.5, 29)]
    other = Trail(tmp_path / "other", begun=NOW + 1)
    theirs = copy(other, tmp_path, NOW - 31 * DAY).path
    killed = copies / ".autoheal-20260101T000000Z.partial"
    killed.mkdir()
    mine = copies / f"autoheal-{trail.log}-20200101T000000Z"
    mine.mkdir()
    (mine / "precious").write_text("")
    (copies / f"autoheal-{trail.log}-20200102T000000Z").symlink_to(theirs)
    (copies / "notes").mkdir()
    made = copy(trail, tmp_path, NOW, keep=30 * DAY)
    assert set(made.pruned) == {old[0], old[1], killed}
    assert not any(path.exists() for path in made.pruned)
    assert all(path.exists() for path in (old[2], theirs, mine / "precious", copies / "notes", made.path))
    assert (theirs / "backup.json").exists()


def test_without_keep_nothing_goes(trail: Trail, tmp_path: Path) -> None:
    """All copies stay."""
    old = copy(trail, tmp_path, NOW - 5000 * DAY).path
    copy(trail, tmp_path)
    assert old.is_dir()


def test_a_copy_that_cannot_be_made_leaves_nothing(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, no log: an error, and no folder that looks like a copy."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no audit log"):
        backup(tmp_path / "empty", tmp_path / "none.pem", tmp_path / "c", NOW)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backups.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        backup(trail.folder, trail.folder / "keys/checkpoint.pub.pem", tmp_path / "c", NOW)
    assert list((tmp_path / "c").iterdir()) == []


def test_a_restored_log_is_the_log(trail: Trail, tmp_path: Path) -> None:
    """Byte for byte, but the keys: theirs end with it."""
    made = copy(trail, tmp_path)
    report = restore(made.path, tmp_path / "new" / "data")
    found, original = content(tmp_path / "new/data"), content(made.path)
    assert found.keys() == original.keys() - {"backup.json"} | {"lock"}
    same = original.keys() - {"backup.json", "keys/checkpoint.pub.pem"}
    assert all(found[name] == original[name] for name in same)
    assert (report.last_hash, report.problems) == (trail.head.hash, [])
    (key,) = load_public_keys(tmp_path / "new/data/keys/checkpoint.pub.pem")
    assert key.last_seq == trail.head.seq
    new = Signer.load(tmp_path / "new/data/keys")
    assert [each.id for each in load_public_keys(tmp_path / "new/data/keys/checkpoint.pub.pem")] == [key.id, new.key_id]


async def test_the_service_goes_on_from_a_restored_log(tmp_path: Path) -> None:
    """The state is what it was, new records continue the chain, and all of it verifies with both keys."""
    data, new = tmp_path / "data", tmp_path / "new" / "data"
    async with Book(data) as book:
        await book.put("a", "b")
        book.gzip(book.rename(1))
        await book.put("c")
        book.rename(2)
        await book.put("d")
        made = backup(data, tmp_path / "keys/checkpoint.pub.pem", tmp_path / "copies", NOW)
        head, episodes, log_id = book.ledger.state.head, book.episodes(), book.journal.log_id
        await book.put("lost with the machine")
    restore(made.path, new)
    shutil.move(new / "keys", new.parent / "keys")
    async with Book(new) as again:
        assert (again.ledger.state.head, again.episodes()) == (head, episodes)
        assert again.journal.log_id == log_id
        await again.put("e")
        again.rename(3)
        await again.put("f")
    keys = load_public_keys(new.parent / "keys/checkpoint.pub.pem")
    assert len(keys) == 2
    report = verify(new, keys)
    assert [str(problem) for problem in report.problems] == []
    assert report.last_seq == again.journal.durable.seq
    independent_verifier.verify(new, new.parent / "keys/checkpoint.pub.pem")


def test_a_copy_that_does_not_verify_is_refused(trail: Trail, tmp_path: Path) -> None:
    """A changed line, a torn one, a log that was cut at a line's end, a folder that is no copy: nothing is written."""
    made = copy(trail, tmp_path)
    current = made.path / "audit.jsonl"
    whole = current.read_bytes()
    lines = whole.splitlines(keepends=True)
    target = tmp_path / "new"
    for bad, says in (
        (whole.replace(b"system", b"sistem", 1), "does not verify, so it is not restored: changed"),
        (b"".join(lines[:-1]), "not where backup.json says"),
        (whole[:-9], "torn last line"),
    ):
        current.write_bytes(bad)
        with pytest.raises(JournalDamaged, match=says):
            restore(made.path, target)
    current.write_bytes(whole)
    for about in (b"", b"[]", b"{}", b'{"head":7}'):
        (made.path / "backup.json").write_bytes(about)
        with pytest.raises(JournalDamaged, match="no copy that"):
            restore(made.path, target)
    (made.path / "backup.json").unlink()
    with pytest.raises(JournalDamaged, match="no copy that"):
        restore(made.path, target)
    assert not target.exists()


def test_a_copy_signed_by_somebody_else_is_refused(trail: Trail, tmp_path: Path) -> None:
    """With a key that was kept elsewhere, a copy whose own key was exchanged is found out."""
    made = copy(trail, tmp_path)
    Signer.load(tmp_path / "other")
    with pytest.raises(JournalDamaged, match="not among the trusted ones"):
        restore(made.path, tmp_path / "new", tmp_path / "other/checkpoint.pub.pem")
    with pytest.raises(ConfigError, match="cannot be read"):
        restore(made.path, tmp_path / "new", tmp_path / "none.pem")
    assert restore(made.path, tmp_path / "new", trail.folder / "keys/checkpoint.pub.pem").last_seq == trail.head.seq


def test_nothing_is_overwritten(trail: Trail, tmp_path: Path) -> None:
    """A directory with anything in it is refused; a fresh file system's lost+found is nothing."""
    made = copy(trail, tmp_path)
    target = tmp_path / "new"
    target.mkdir()
    (target / "file").write_text("mine")
    with pytest.raises(JournalError, match="is not empty"):
        restore(made.path, target)
    assert content(target) == {"file": b"mine"}
    (target / "file").unlink()
    (target / "lost+found").mkdir()
    assert restore(made.path, target).last_seq == trail.head.seq


async def test_a_service_cannot_start_on_half_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is owned until all of it is there and verified; were it not, the newest file is there first."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        book.rename()
        await book.put("b")
        head = book.journal.durable
    made = backup(tmp_path / "data", tmp_path / "keys/checkpoint.pub.pem", tmp_path / "copies", NOW)
    real = backups._append
    refused: list[str] = []
    there: list[list[str]] = []

    def meanwhile(stored: BinaryIO, to: Path) -> None:
        with pytest.raises(JournalUnavailable, match="another autoheal"):
            Book(tmp_path / "new")
        refused.append(to.name)
        there.append([path.name for path in (tmp_path / "new").glob("audit.jsonl*")])
        real(stored, to)

    monkeypatch.setattr(backups, "_append", meanwhile)
    restore(made.path, tmp_path / "new")
    assert refused[-2:] == [".restoring", ".restoring"]
    assert there[-2:] == [[], ["audit.jsonl"]]
    monkeypatch.undo()
    async with Book(tmp_path / "new") as book:
        assert book.journal.durable == head
