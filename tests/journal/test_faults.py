"""A disk that fails: what is promised then (nothing acknowledged is lost, nothing torn, recovery by itself)."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.errors import JournalConflict, JournalUnavailable
from autoheal.journal import FileJournal
from autoheal.journal.reading import replay
from autoheal.journal.record import parse
from autoheal.model import Draft, Kind, Record
from tests.support.book import Book, assert_unbroken, everything
from tests.support.clock import FakeClock
from tests.support.faults import FaultyDisk, until


class Log:
    """A journal on a faulty disk, probing every few milliseconds, and what it told."""

    def __init__(self, data_dir: Path, **more: Any) -> None:
        self.disk = FaultyDisk()
        self.durable: list[Record] = []
        self.errors: list[int | None] = []
        self.path = data_dir / "audit.jsonl"
        self.journal = FileJournal.open(
            data_dir,
            FakeClock(),
            on_durable=self._on_durable,
            on_error=lambda error: self.errors.append(error.errno),
            disk=self.disk,
            retry_after=more.pop("retry_after", 0.002),
        )

    def _on_durable(self, records: Sequence[Record]) -> None:
        self.durable += records

    def append(self, *targets: str) -> tuple[Record, ...]:
        return self.journal.append([Draft(kind=Kind.DECISION, target=target) for target in targets], self.journal.head)

    async def put(self, *targets: str) -> tuple[Record, ...]:
        records = self.append(*targets)
        await self.journal.wait(records[-1].seq)
        return records

    def on_disk(self) -> list[Record]:
        """What a restart would read; a torn line would be missing bytes here."""
        records = list(replay(self.path))
        assert sum(len(record.line) + 1 for record in records) == self.path.stat().st_size
        return records


@pytest.fixture
async def log(tmp_path: Path) -> Any:
    log = Log(tmp_path)
    yield log
    await log.journal.close()


async def test_short_writes_are_gone_on_with(log: Log) -> None:
    """A write that takes only part is continued: no line is torn, nobody is refused."""
    log.disk.longest = 7
    first, second = await log.put("a", "b")
    assert log.on_disk()[1:] == [first, second]
    assert log.errors == []


async def test_a_disk_that_takes_nothing_is_full(log: Log) -> None:
    """A write that takes no byte and gives no error is not asked for ever."""
    log.disk.longest = 0
    with pytest.raises(JournalUnavailable, match="No space left on device"):
        await log.put("lost")


async def test_who_stopped_waiting_is_not_told_of_the_failure(log: Log) -> None:
    """A cancelled wait beside others does not keep these from hearing that their append failed."""
    log.disk.gate.clear()
    log.disk.free = 0
    record = log.append("lost")[-1]
    impatient, patient = (asyncio.create_task(log.journal.wait(record.seq)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    log.disk.gate.set()
    with pytest.raises(JournalUnavailable):
        await patient


@pytest.mark.parametrize("room", [0, 1, 150, 301])
async def test_a_full_disk_refuses_and_recovers_by_itself(log: Log, room: int) -> None:
    """Disk full in the middle of a batch: all of it is cut away again, all under way fail, later ones are refused at
    once; when there is room again the log goes on from what was acknowledged.
    """
    await log.put("acknowledged")
    durable = log.journal.durable
    log.disk.gate.clear()
    lost = [log.append("lost", "lost too"), log.append("queued behind")]
    log.disk.free = room
    waits = [asyncio.create_task(log.journal.wait(record.seq)) for records in lost for record in records]
    await asyncio.sleep(0)
    log.disk.gate.set()
    for wait in waits:
        with pytest.raises(JournalUnavailable, match="No space left on device"):
            await wait
    assert not log.journal.healthy
    assert log.journal.head == log.journal.durable == durable
    assert [record.target for record in log.on_disk()] == [None, "acknowledged"]
    with pytest.raises(JournalUnavailable, match=r"audit\.jsonl cannot be written now: .*No space left"):
        log.append("refused")
    with pytest.raises(JournalUnavailable):
        await log.journal.wait(lost[0][0].seq)
    probed = len(log.errors)
    await until(lambda: len(log.errors) > probed + 2)
    assert set(log.errors) == {errno.ENOSPC}
    log.disk.free = None
    await until(lambda: log.journal.healthy)
    with pytest.raises(JournalConflict):
        log.journal.append([Draft(kind=Kind.DECISION)], lost[-1][-1].head)
    assert list(log.journal.replay())[-1].head == log.journal.head
    after = await log.put("after")
    assert log.on_disk()[-1] == after[-1]
    assert [record.target for record in log.durable] == ["acknowledged", "after"]


async def test_the_probe_asks_for_as_much_as_failed(log: Log) -> None:
    """Room for a small record does not make a disk healthy on which a large batch has just failed."""
    log.disk.free = 10_000
    with pytest.raises(JournalUnavailable):
        await log.put("x" * 20_000)
    for _ in range(3):
        log.disk.free = 10_000
        probed = len(log.errors)
        await until(lambda probed=probed: len(log.errors) > probed)  # type: ignore[misc]
        assert not log.journal.healthy
    log.disk.free = 60_000
    await until(lambda: log.journal.healthy)
    assert not (log.path.parent / ".probe").exists()


async def test_one_failed_fdatasync_is_survived_on_a_new_descriptor(log: Log) -> None:
    """The batch is written again on a new descriptor and acknowledged; the next append tells of it in the log."""
    await log.put("before")
    log.disk.bad_syncs = 1
    begin = len(log.disk.sync_log)
    await log.put("survivor")
    (bad, ok), (fresh, fresh_ok) = log.disk.sync_log[begin:]
    assert (ok, fresh_ok) == (False, True)
    assert fresh > bad
    assert log.journal.healthy
    await until(lambda: log.errors == [errno.EIO])
    mine, repaired = await log.put("next")
    assert mine.target == "next"
    assert repaired.kind is Kind.LOG_REPAIRED
    assert repaired.detail == {
        "problem": "fdatasync failed",
        "file": "audit.jsonl",
        "failures": 1,
        "error": "[Errno 5] Input/output error",
    }
    assert all(serial == fresh for serial, _ in log.disk.sync_log[begin + 1 :])
    assert len(await log.put("told once")) == 1
    assert [record.target for record in log.on_disk()] == [None, "before", "survivor", "next", None, "told once"]


async def test_what_somebody_else_wrote_is_cut_away_and_told(log: Log) -> None:
    """A line that somebody appended to the file never comes to stand between records: who asked is refused, both are
    cut away, the log goes on by itself and tells of it; a failed fdatasync behind it takes nothing acknowledged.
    """
    await log.put("before")
    with log.path.open("ab") as file:
        file.write(b"# looked at by bob\n")
    with pytest.raises(JournalUnavailable, match="somebody else wrote 19 bytes"):
        await log.put("refused")
    await until(lambda: log.journal.healthy)
    mine, repaired = await log.put("behind")
    assert mine.target == "behind"
    assert repaired.detail == {"problem": "foreign bytes", "file": "audit.jsonl", "bytes": 19}
    log.disk.bad_syncs = 1
    await log.put("survivor")
    assert [record.target for record in log.on_disk()] == [None, "before", "behind", None, "survivor"]


async def test_what_is_queued_behind_a_survived_fault_survives_too(log: Log) -> None:
    """Records sealed behind a batch that was written twice keep their places in the chain."""
    log.disk.gate.clear()
    log.disk.waiting.clear()
    records = [*log.append("first")]
    await until(log.disk.waiting.is_set)
    records += [*log.append("second"), *log.append("third")]
    log.disk.bad_syncs = 1
    log.disk.gate.set()
    await log.journal.wait(records[-1].seq)
    assert log.on_disk()[1:] == records


@pytest.mark.parametrize("again", ["sync", "open", "cut"])
async def test_a_second_failure_refuses_until_the_disk_is_well(log: Log, again: str) -> None:
    """When the new descriptor fails too, the batch fails, the log is unready, recovers by itself and tells of it."""
    await log.put("before")
    begin = len(log.disk.sync_log)
    log.disk.bad_syncs = 1
    match again:
        case "sync":
            log.disk.bad_syncs = 4
        case "open":
            log.disk.bad_opens = 3
        case _:
            log.disk.bad_cuts = 3
    with pytest.raises(JournalUnavailable, match="Input/output error"):
        await log.put("lost")
    assert log.journal.head == log.journal.durable
    await until(lambda: log.journal.healthy)
    distrusted = {serial for serial, ok in log.disk.sync_log[begin:] if not ok}
    assert all(serial not in distrusted for serial, ok in log.disk.sync_log[begin:] if ok)
    assert [record.target for record in log.on_disk()] == [None, "before"]
    mine, repaired = await log.put("after")
    assert (mine.target, repaired.kind, repaired.detail["failures"]) == ("after", Kind.LOG_REPAIRED, 1)
    assert [record.target for record in log.on_disk()] == [None, "before", "after", None]


async def test_a_lost_repair_report_is_made_again(log: Log) -> None:
    """When the batch that tells of a failed fdatasync is lost itself, the next one tells of both."""
    log.disk.bad_syncs = 1
    await log.put("survivor")
    await until(lambda: len(log.errors) == 1)
    log.disk.bad_syncs = 2
    with pytest.raises(JournalUnavailable):
        await log.put("lost with its report")
    await until(lambda: log.journal.healthy)
    _, repaired = await log.put("after")
    assert repaired.detail["failures"] == 2


@pytest.mark.parametrize("cut", [0, 500])
async def test_a_file_that_shrank_while_the_disk_failed_is_not_filled_up(log: Log, cut: int) -> None:
    """Cutting a shorter file back to the acknowledged size would fill it with NUL bytes: the log goes on after the
    last whole line that is left, and says what was there.
    """
    await log.put("x" * 1000)
    created = len(log.path.read_bytes().splitlines(keepends=True)[0])
    log.disk.gate.clear()
    log.disk.waiting.clear()
    lost = log.append("lost")
    await until(log.disk.waiting.is_set)
    log.disk.bad_syncs = 1
    os.truncate(log.path, cut)
    log.disk.gate.set()
    with pytest.raises(JournalUnavailable, match=r"has .* bytes where .* were acknowledged"):
        await log.journal.wait(lost[-1].seq)
    await until(lambda: log.journal.healthy)
    opened, *_ = log.journal.turn(tuple, log.journal.head)
    assert (opened.kind, opened.detail["how"]) == (Kind.LOG_OPENED, "truncated")
    assert 0 <= opened.detail["found_bytes"] < opened.detail["expected_bytes"]
    await log.put("after")
    left = log.path.read_bytes()
    assert b"\0" not in left
    assert [parse(line).kind for line in left.splitlines()][-3:] == [
        Kind.LOG_OPENED,
        Kind.DECISION,
        Kind.LOG_REPAIRED,
    ]
    assert len(left.splitlines()) == 3 + (cut >= created)


async def test_closing_while_the_disk_is_ill_does_not_wait_for_it(tmp_path: Path) -> None:
    """A probe that is due in an hour does not hold up the end of the service."""
    log = Log(tmp_path, retry_after=3600)
    log.disk.free = 0
    with pytest.raises(JournalUnavailable):
        await log.put("lost")
    await asyncio.wait_for(log.journal.close(), 5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_of_ours_in_the_writer_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Should the writer's thread end by a bug, waits fail and the log is unready; nothing hangs."""
    log = Log(tmp_path)
    log.disk.broken = RuntimeError("a bug")
    with pytest.raises(JournalUnavailable, match="writer has ended"):
        await log.put("lost")
    assert not log.journal.healthy
    with pytest.raises(JournalUnavailable):
        log.append("refused")
    await log.journal.close()


async def test_a_failure_at_open_is_said_and_leaves_no_lock(tmp_path: Path) -> None:
    """A disk that fails while the log is begun is an error with its cause; the next start may try again."""
    disk = FaultyDisk()
    disk.bad_syncs = 1
    for _ in range(2):
        disk.free = 0
        with pytest.raises(JournalUnavailable, match="No space left on device"):
            FileJournal.open(tmp_path, FakeClock(), on_durable=print, disk=disk)
    disk.free = None
    with pytest.raises(JournalUnavailable, match="Input/output error"):
        FileJournal.open(tmp_path, FakeClock(), on_durable=print, disk=disk)
    await FileJournal.open(tmp_path, FakeClock(), on_durable=print, disk=disk).close()


faults = st.sampled_from(["none", "none", "full", "short", "sync", "sync twice", "sync and open", "cut"])


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(faults, st.integers(1, 4), st.integers(0, 400)), max_size=12))
def test_acknowledged_is_kept_and_refused_is_gone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Under any sequence of faults the log holds exactly what was acknowledged, in order and whole."""

    async def scenario(log: Log) -> None:
        acknowledged = log.on_disk()
        for number, (fault, appends, room) in enumerate(steps):
            log.disk.gate.clear()
            batches = [log.append(f"{number}.{turn}") for turn in range(appends)]
            waits = [asyncio.create_task(log.journal.wait(batch[-1].seq)) for batch in batches]
            await asyncio.sleep(0)
            log.disk.longest = 5 if fault == "short" else None
            log.disk.free = room if fault == "full" else None
            log.disk.bad_syncs = {"sync": 1, "sync twice": 2, "sync and open": 1}.get(fault, 0)
            log.disk.bad_opens = int(fault == "sync and open")
            log.disk.bad_cuts = int(fault == "cut")
            log.disk.gate.set()
            results = await asyncio.gather(*waits, return_exceptions=True)
            for batch, result in zip(batches, results, strict=True):
                if result is None:
                    acknowledged += batch
                else:
                    assert isinstance(result, JournalUnavailable)
            log.disk.free = None
            await until(lambda: log.journal.healthy)
            assert log.journal.head == log.journal.durable == acknowledged[-1].head
            assert list(log.journal.replay()) == acknowledged == log.on_disk()
        await log.journal.close()
        assert acknowledged[1:] == log.durable

    asyncio.run(scenario(Log(tmp_path_factory.mktemp("log"))))


@dataclass(frozen=True)
class Fault:
    """What goes wrong, what makes it well again, and what the caller gets meanwhile."""

    begin: Callable[[Book], object]
    end: Callable[[Book], object]
    refused: str | None
    told: tuple[str, ...] = ()
    """The `problem` of each log_repaired that follows."""


def _set(**values: Any) -> Callable[[Book], object]:
    return lambda book: [setattr(book.disk, name, value) for name, value in values.items()]


def _nothing(_: Book) -> None:
    """What ends by itself."""


FAULTS = {
    "write: ENOSPC": Fault(_set(free=0), _set(free=None), "No space left"),
    "short write, then ENOSPC": Fault(_set(free=100), _set(free=None), "No space left"),
    "short writes": Fault(_set(longest=7), _set(longest=None), None),
    "write: EIO once": Fault(_set(bad_writes=[errno.EIO]), _nothing, "Input/output error"),
    "write: EIO for ever": Fault(_set(bad_writes=[errno.EIO] * 10**6), _set(bad_writes=[]), "Input/output error"),
    "fdatasync: EIO once": Fault(_set(bad_syncs=1), _nothing, None, ("fdatasync failed",)),
    "fdatasync: EIO for ever": Fault(
        _set(bad_syncs=10**6), _set(bad_syncs=0), "Input/output error", ("fdatasync failed",)
    ),
    "read-only remount": Fault(_set(refusing=errno.EROFS), _set(refusing=0), "Read-only file system"),
    "permission lost": Fault(_set(refusing=errno.EACCES), _set(refusing=0), "Permission denied"),
    "file deleted": Fault(lambda book: book.path.unlink(), _nothing, None, ("file deleted",)),
    "directory gone": Fault(
        lambda book: shutil.rmtree(book.dir), lambda book: book.dir.mkdir(), "No such file", ("file deleted",)
    ),
    "directory moved": Fault(
        lambda book: book.dir.rename(book.dir.with_name("moved")),
        lambda book: book.dir.with_name("moved").rename(book.dir),
        "No such file",
    ),
    "clock an hour back": Fault(lambda book: book.clock.set_now(book.clock.now() - 3600), _nothing, None),
}


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("name", FAULTS)
async def test_the_fault_table(tmp_path: Path, name: str, rotated: bool) -> None:
    """For each fault, alone or at the moment of a rotation: the caller is refused or served, as the table says; what
    was acknowledged is in the log and what was refused is not; the same process goes on when the fault ends; the log
    is whole, in an unbroken chain, and tells what was mended; its times never decrease.
    """
    fault = FAULTS[name]
    acknowledged = {"before"}
    async with Book(tmp_path / "data") as book:
        await book.put("before")
        if rotated and fault.told != ("file deleted",):
            book.rename()
        fault.begin(book)
        refusals = []
        for number in range(3):
            try:
                await book.put(f"during-{number}")
            except JournalUnavailable as error:
                refusals.append(str(error))
            else:
                acknowledged.add(f"during-{number}")
        if not rotated:
            # During a rotation a fault that is over at once may hit the manifest, and then everybody.
            assert bool(refusals) == (fault.refused is not None)
            assert fault.refused is None or fault.refused in refusals[0]
        fault.end(book)
        await book.insist("after")
        if not rotated:
            await book.mended(lambda: told(book.dir) == list(fault.told))
        records = everything(book.dir)
        assert_unbroken(records)
        assert book.episodes() == acknowledged | {"after"}
        assert {record.alertname for record in records if record.kind is Kind.ALERT_FIRING} == book.episodes()
        assert [record.ts for record in records] == sorted(record.ts for record in records)
        state = book.ledger.state
    async with Book(tmp_path / "data") as again:
        assert again.ledger.state == state


def problem(record: Record) -> str | None:
    """What a log_repaired tells of."""
    return str(record.detail["problem"]) if record.kind is Kind.LOG_REPAIRED else None


def told(data_dir: Path) -> list[str]:
    """What the log says was mended."""
    return [found for record in everything(data_dir) if (found := problem(record)) is not None]
