"""Rotated files give way to encrypted ones: when, how, and whatever logrotate or a crash does meanwhile."""

from __future__ import annotations

import errno
import gzip
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoheal.age import Recipients
from autoheal.errors import JournalDamaged, JournalEncrypted
from autoheal.journal import encrypting
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.encrypting import SUFFIX
from autoheal.journal.files import Storage, log_files, open_again
from autoheal.journal.reading import replay
from autoheal.journal.verify import verify
from autoheal.model import Kind, Record
from tests.support.book import Book
from tests.support.clock import FakeClock
from tests.support.faults import FaultyDisk, until
from tests.support.processes import wait_until
from tests.support.secrecy import IDENTITIES, OTHERS, RECIPIENTS, encryption, two_files


def storages(data_dir: Path) -> list[tuple[str, Storage]]:
    return [(file.path.name, file.storage) for file in log_files(data_dir)]


def everything(data_dir: Path) -> list[Record]:
    """All records, each once: the chain is checked."""
    found: list[Record] = []
    for file in log_files(data_dir):
        stream = open_again(data_dir, file, IDENTITIES)[1]
        found += list(replay(file.path, stream=stream, last=found[-1] if found else None))
    return found


def hidden(data_dir: Path) -> list[str]:
    return [path.name for path in data_dir.glob(".*") if path.name.endswith(SUFFIX)]


async def test_a_rotated_file_gives_way(tmp_path: Path) -> None:
    """Its lines are encrypted under its own name, mode and time; the current file stays, and verify finds all whole."""
    rotated = await two_files(tmp_path / "data")
    rotated.chmod(0o600)
    os.utime(rotated, ns=(1_700_000_000_000_000_000, 1_700_000_000_123_456_789))
    before, lines = rotated.stat(), rotated.read_bytes()
    records = everything(tmp_path / "data")
    left: list[float] = []
    with capture_logs() as said:
        encryption(tmp_path / "data", left=left).look()
    after = rotated.stat()
    assert (after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (before.st_mtime_ns, stat.S_IMODE(before.st_mode))
    assert storages(tmp_path / "data") == [(rotated.name, Storage.ENCRYPTED), ("audit.jsonl", Storage.PLAIN)]
    assert all(line not in rotated.read_bytes() for line in lines.splitlines())
    assert everything(tmp_path / "data") == records
    keys = load_public_keys(tmp_path / "keys/checkpoint.pub.pem")
    assert verify(tmp_path / "data", keys, identities=IDENTITIES).problems == []
    assert [line["event"] for line in said] == ["encrypted"]
    assert left == [0]


async def test_what_is_encrypted_stays_so(tmp_path: Path) -> None:
    """Another look changes nothing, also after logrotate gzip'd the encrypted file."""
    rotated = await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    (tmp_path / "data" / f"{rotated.name}.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    files = [(file, file.path.stat().st_ino) for file in log_files(tmp_path / "data")]
    encryption(tmp_path / "data").look()
    assert [(file, file.path.stat().st_ino) for file in log_files(tmp_path / "data")] == files
    assert len(everything(tmp_path / "data")) == 8


async def test_what_logrotate_compressed_first_is_encrypted_too(tmp_path: Path) -> None:
    """A plain .gz holds the same lines: it becomes an encrypted file of its own name."""
    rotated = await two_files(tmp_path / "data", compress=True)
    encryption(tmp_path / "data").look()
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.ENCRYPTED)
    assert not log_files(tmp_path / "data")[0].packed
    assert len(everything(tmp_path / "data")) == 8


async def test_nothing_is_encrypted_that_may_still_be_written_to(tmp_path: Path) -> None:
    """Neither the current file, nor one that was renamed and has no manifest yet, nor one that no file follows."""
    async with Book(tmp_path / "data") as book:
        await book.put("a")
        left: list[float] = []
        work = encryption(book.dir, left=left)
        rotated = book.rename()
        work.look()
        assert storages(book.dir) == [(rotated.name, Storage.PLAIN)]
        await book.turn()
        current = book.path.rename(book.dir / "elsewhere")
        work.look()
        assert storages(book.dir) == [(rotated.name, Storage.PLAIN)]
        current.rename(book.path)
        work.look()
        assert storages(book.dir)[0] == (rotated.name, Storage.ENCRYPTED)
        assert left == [1, 1, 0]
        await book.put("b")


async def test_a_damaged_file_is_left_as_it_is(tmp_path: Path) -> None:
    """What is not what its manifest describes is evidence: it is told of once, and counted."""
    rotated = await two_files(tmp_path / "data")
    lines = rotated.read_bytes()
    rotated.write_bytes(lines.replace(b'"alertname":"a"', b'"alertname":"x"'))
    damaged = rotated.read_bytes()
    left: list[float] = []
    work = encryption(tmp_path / "data", left=left)
    with capture_logs() as said:
        work.look()
        work.look()
    assert rotated.read_bytes() == damaged
    assert [(line["event"], line["log_level"]) for line in said] == [("encryption_failed", "error")]
    assert "it does not hold what 000000000000001" in said[0]["error"]
    assert left == [1, 1]
    rotated.write_bytes(lines)
    work.look()
    assert left[-1] == 0


async def test_a_manifest_that_was_changed_is_told_of(tmp_path: Path) -> None:
    """Without one that can be trusted nobody knows whether the file is whole."""
    rotated = await two_files(tmp_path / "data")
    (described,) = (tmp_path / "data/manifests").iterdir()
    described.write_bytes(described.read_bytes() + b" ")
    with capture_logs() as said:
        encryption(tmp_path / "data").look()
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.PLAIN)
    assert "no manifest" in said[0]["error"]


async def test_a_file_that_is_no_log_does_not_end_it(tmp_path: Path) -> None:
    """Something foreign under a name of the log is told of once, and the work goes on."""
    await two_files(tmp_path / "data")
    foreign = tmp_path / "data/audit.jsonl.notes"
    foreign.write_text("notes about the log, long enough to be no beginning of a record")
    work = encryption(tmp_path / "data")
    with capture_logs() as said:
        work.look()
        work.look()
    assert [(line["event"], line["file"]) for line in said] == [
        ("encryption_failed", "audit.jsonl.notes"),
        ("encrypted", "audit.jsonl-20261121-1763690001"),
    ]
    assert foreign.read_text().startswith("notes")


class Crash(BaseException):
    """The process dies here."""


@pytest.mark.parametrize(
    "point", ["open", "first write", "last write", "sync", "exchange", "exchanged", "synced directory", "unlinked"]
)
async def test_a_crash_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Every record is readable once at that moment, and the next start's first look finishes the work and clears up."""
    rotated = await two_files(tmp_path / "data")
    records = everything(tmp_path / "data")
    real = {"exchange": encrypting.exchange, "sync_directory": encrypting.sync_directory, "unlink": Path.unlink}

    def die(*_: object, **__: object) -> None:
        raise Crash

    def then_die(name: str) -> Callable[..., None]:
        def call(*arguments: object, **named: object) -> None:
            real[name](*arguments, **named)  # type: ignore[operator]
            raise Crash

        return call

    class Dying(FaultyDisk):
        count = 0

        def write(self, fd: int, data: memoryview) -> int:
            self.count += 1
            if (point, self.count) in (("first write", 1), ("last write", 2)):
                raise Crash
            return super().write(fd, data)

    disk = Dying()
    with monkeypatch.context() as patch:
        if point == "open":
            patch.setattr(disk, "open", die)
        elif point == "sync":
            patch.setattr(disk, "sync", die)
        elif point == "exchange":
            patch.setattr(encrypting, "exchange", die)
        elif point == "exchanged":
            patch.setattr(encrypting, "exchange", then_die("exchange"))
        elif point == "synced directory":
            patch.setattr(encrypting, "sync_directory", then_die("sync_directory"))
        # A process that died removes nothing any more.
        patch.setattr(Path, "unlink", then_die("unlink") if point == "unlinked" else lambda *_, **__: None)
        with pytest.raises(Crash):
            encryption(tmp_path / "data", disk=disk).look()
    assert everything(tmp_path / "data") == records
    encryption(tmp_path / "data").look()
    assert storages(tmp_path / "data") == [(rotated.name, Storage.ENCRYPTED), ("audit.jsonl", Storage.PLAIN)]
    assert everything(tmp_path / "data") == records
    assert hidden(tmp_path / "data") == []


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let somebody `act`, once, while a file is being encrypted."""
    real = Recipients.encrypt

    def encrypt(self: Recipients, data: bytes) -> bytes:
        monkeypatch.setattr(Recipients, "encrypt", real)
        act()
        return real(self, data)

    monkeypatch.setattr(Recipients, "encrypt", encrypt)


@pytest.fixture(params=["exchange", "rename"])
def filesystem(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that lets two files change names, and one that cannot."""

    def cannot(*_: object) -> None:
        raise OSError(errno.EINVAL, "not here")

    if request.param == "rename":
        monkeypatch.setattr(encrypting, "exchange", cannot)
    return str(request.param)


async def test_without_a_name_exchange_it_is_a_rename(tmp_path: Path, filesystem: str) -> None:
    """On NFS, say."""
    rotated = await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.ENCRYPTED)
    assert len(everything(tmp_path / "data")) == 8
    assert hidden(tmp_path / "data") == []


async def test_logrotate_compresses_the_file_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    """The plain file is gone, its .gz there: nothing comes back under the old name, and the .gz is encrypted next."""
    rotated = await two_files(tmp_path / "data")
    packed = rotated.with_name(f"{rotated.name}.gz")

    def compress() -> None:
        packed.write_bytes(gzip.compress(rotated.read_bytes()))
        rotated.unlink()

    meanwhile(monkeypatch, compress)
    work = encryption(tmp_path / "data")
    work.look()
    assert storages(tmp_path / "data")[0] == (packed.name, Storage.GZIP)
    assert len(everything(tmp_path / "data")) == 8
    assert hidden(tmp_path / "data") == []
    work.look()
    assert storages(tmp_path / "data")[0] == (packed.name, Storage.ENCRYPTED)
    assert not rotated.exists()
    assert len(everything(tmp_path / "data")) == 8


async def test_logrotate_was_compressing_when_the_file_gave_way(tmp_path: Path) -> None:
    """It has the plain file open and removes its name at the end: meanwhile the encrypted one counts, then the .gz."""
    rotated = await two_files(tmp_path / "data")
    packed, plain = rotated.with_name(f"{rotated.name}.gz"), rotated.read_bytes()
    work = encryption(tmp_path / "data")
    for length in (0, 7, 200):
        packed.write_bytes(gzip.compress(plain)[:length])
        work.look()
        assert storages(tmp_path / "data")[0] == (rotated.name, Storage.ENCRYPTED)
        assert len(everything(tmp_path / "data")) == 8
    packed.write_bytes(gzip.compress(plain))
    assert len(everything(tmp_path / "data")) == 8
    rotated.unlink()
    work.look()
    assert storages(tmp_path / "data")[0] == (packed.name, Storage.ENCRYPTED)
    assert len(everything(tmp_path / "data")) == 8


async def test_another_file_comes_to_bear_the_name_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    """Numbered names move on (audit.jsonl.1 becomes .2): each file keeps its own content, and is encrypted next."""
    async with Book(tmp_path / "data") as book:
        one, two = book.dir / "audit.jsonl.1", book.dir / "audit.jsonl.2"
        await book.put("a")
        book.path.rename(one)
        await book.turn()
        await book.put("b")

        def rotate() -> None:
            one.rename(two)
            book.path.rename(one)

        meanwhile(monkeypatch, rotate)
        work = encryption(book.dir)
        work.look()
        await book.turn()
        await book.put("c")
        assert storages(book.dir) == [
            (two.name, Storage.PLAIN),
            (one.name, Storage.PLAIN),
            ("audit.jsonl", Storage.PLAIN),
        ]
        work.look()
        assert storages(book.dir) == [
            (two.name, Storage.ENCRYPTED),
            (one.name, Storage.ENCRYPTED),
            ("audit.jsonl", Storage.PLAIN),
        ]
        assert [record.seq for record in everything(book.dir)] == list(range(1, book.journal.head.seq + 1))
        assert hidden(book.dir) == []


async def test_the_name_is_free_when_a_file_is_given_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came out by mistake is nowhere else: it goes back also when logrotate took the encrypted one by then."""
    rotated = await two_files(tmp_path / "data")
    other, real, calls = tmp_path / "other", encrypting.exchange, 0

    def replaced() -> None:
        rotated.rename(tmp_path / "away")
        other.write_bytes(b"foreign")
        other.rename(rotated)

    def exchange(draft: Path, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            path.unlink()
        real(draft, path)

    meanwhile(monkeypatch, replaced)
    monkeypatch.setattr(encrypting, "exchange", exchange)
    encryption(tmp_path / "data").look()
    assert rotated.read_bytes() == b"foreign"
    assert hidden(tmp_path / "data") == []


async def test_retention_takes_the_file_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str
) -> None:
    """It does not come back."""
    rotated = await two_files(tmp_path / "data")
    meanwhile(monkeypatch, rotated.unlink)
    with capture_logs() as said:
        encryption(tmp_path / "data").look()
    assert storages(tmp_path / "data") == [("audit.jsonl", Storage.PLAIN)]
    assert (said, hidden(tmp_path / "data")) == ([], [])


async def test_retention_takes_the_file_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is nothing to tell of."""
    rotated = await two_files(tmp_path / "data")
    real = encrypting.manifests.read

    def read(path: Path) -> object:
        rotated.unlink()
        return real(path)

    monkeypatch.setattr(encrypting.manifests, "read", read)
    with capture_logs() as said:
        encryption(tmp_path / "data").look()
    assert said == []


@pytest.mark.parametrize("fault", ["write", "exchange", "room"])
async def test_a_disk_in_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The plain file stays and nothing else; it is told once, and tried again at each look. So much is never taken of
    the disk that the log itself would lack room.
    """
    rotated = await two_files(tmp_path / "data")
    disk = FaultyDisk()
    work = encryption(tmp_path / "data", disk=disk)
    with capture_logs() as said, monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "the disk is sick")

        if fault == "write":
            disk.bad_writes = [errno.ENOSPC, errno.ENOSPC]
        elif fault == "exchange":
            patch.setattr(encrypting, "exchange", refuse)
        else:
            patch.setattr(work, "_min_free", 1 << 60)
        work.look()
        work.look()
    assert [line["event"] for line in said] == ["encryption_failed"]
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.PLAIN)
    assert hidden(tmp_path / "data") == []
    assert fault != "room" or disk.opened == []
    work.look()
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.ENCRYPTED)


async def test_it_looks_every_five_seconds_and_ends_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun at the end is given up: the next start has the whole file."""
    clock, left = FakeClock(), list[float]()
    rotated = await two_files(tmp_path / "data")
    plain = rotated.rename(tmp_path / "later")
    work = encryption(tmp_path / "data", clock, left)
    async with encrypting.encrypting(work):
        await until(lambda: bool(clock._sleepers))
        plain.rename(rotated)
        entered = threading.Event()

        def hold() -> None:
            entered.set()
            wait_until(lambda: work._stopping)

        meanwhile(monkeypatch, hold)
        # Two parts: between them the end is noticed.
        monkeypatch.setattr(encrypting, "PART_BYTES", 1000)
        await clock.advance(4.9)
        assert not entered.is_set()
        await clock.advance(0.1)
        await until(entered.is_set)
    assert work._stopping
    assert (left, storages(tmp_path / "data")[0]) == ([0], (rotated.name, Storage.PLAIN))
    assert hidden(tmp_path / "data") == []


async def test_a_fault_of_its_own_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and the next look does its work; with nothing to encrypt to there is nothing to do."""
    clock, left = FakeClock(), list[float]()
    rotated = await two_files(tmp_path / "data")

    def fail() -> None:
        raise RuntimeError("a fault")

    meanwhile(monkeypatch, fail)
    with capture_logs() as said:
        async with encrypting.encrypting(encryption(tmp_path / "data", clock, left)):
            await until(lambda: bool(clock._sleepers))
            await clock.advance(5)
            await until(lambda: left == [0])
        async with encrypting.encrypting(None):
            pass
    assert [(line["event"], line["log_level"]) for line in said] == [
        ("encryption_failed", "critical"),
        ("encrypted", "info"),
    ]
    assert storages(tmp_path / "data")[0] == (rotated.name, Storage.ENCRYPTED)


async def test_a_start_needs_the_key_only_for_what_it_reads(tmp_path: Path) -> None:
    """The current file has the whole state: a start without the key goes on, and reads older records as soon as it
    has one. Where the state is in an encrypted file, the error names the variable.
    """
    await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    async with Book(tmp_path / "data") as book:
        assert len(book.journal.read(4, 100)) == 4
        with pytest.raises(JournalEncrypted, match="AUTOHEAL_AUDIT_IDENTITY"):
            book.journal.read(0, 100)
        await book.put("e")
    async with Book(tmp_path / "data", identities=IDENTITIES) as book:
        assert [record.seq for record in book.journal.read(0, 100)] == [1, 2, 3, 4]
    lines = (tmp_path / "data/audit.jsonl").read_bytes().splitlines(keepends=True)
    kinds = [b'"kind":"snapshot"' in line for line in lines]
    (tmp_path / "data/audit.jsonl").write_bytes(b"".join(lines[: kinds.index(True)]))
    for identities in (None, OTHERS):
        with pytest.raises(JournalEncrypted):
            Book(tmp_path / "data", identities=identities)
    async with Book(tmp_path / "data", identities=IDENTITIES) as book:
        assert {"a", "b", "c"} <= book.episodes()
        assert next(book.journal.replay()).seq == 1


async def test_a_start_checks_that_the_current_file_follows(tmp_path: Path) -> None:
    """By what the encrypted file says of its end, without the key."""
    rotated = await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    data = rotated.read_bytes()
    at = data.index(b'"hash":"') + 8
    rotated.write_bytes(data[:at] + b"0" * 64 + data[at + 64 :])
    with pytest.raises(JournalDamaged, match="does not continue"):
        Book(tmp_path / "data")
    rotated.write_bytes(data)
    async with Book(tmp_path / "data") as book:
        assert book.folded[0].kind is Kind.LOG_OPENED
    assert RECIPIENTS.keys
