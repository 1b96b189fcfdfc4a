"""The log as a file: opening, appending, waiting, reading."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from autoheal.errors import JournalConflict, JournalDamaged, JournalUnavailable, RecordTooLarge
from autoheal.journal import FileJournal
from autoheal.journal.reading import replay
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Record
from tests.support.clock import FakeClock
from tests.support.faults import FaultyDisk, until


def draft(target: str = "web-1", **more: Any) -> Draft:
    return Draft(kind=Kind.DECISION, target=target, **more)


def on_disk(data_dir: Path) -> list[Record]:
    return list(replay(data_dir / "audit.jsonl"))


class Opened:
    """A journal together with what it told."""

    def __init__(self, data_dir: Path, **more: Any) -> None:
        self.replayed: list[Record] = []
        self.durable: list[Record] = []
        self.groups = 0
        self.seconds: list[float] = []
        self.errors: list[OSError] = []
        self.journal = FileJournal.open(
            data_dir,
            more.pop("clock", FakeClock()),
            on_durable=self._on_durable,
            on_replay=self.replayed.append,
            observe=self.seconds.append,
            on_error=self.errors.append,
            **more,
        )

    def _on_durable(self, records: Sequence[Record]) -> None:
        self.groups += 1
        self.durable += records

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.journal.close()

    async def put(self, *drafts: Draft) -> tuple[Record, ...]:
        records = self.journal.append(drafts, self.journal.head)
        await self.journal.wait(records[-1].seq)
        return records


async def written(data_dir: Path, count: int) -> list[bytes]:
    """A closed log of `count` records, `log_created` included; its lines with their newlines."""
    async with Opened(data_dir) as log:
        if count > 1:
            await log.put(*(draft(f"web-{number}") for number in range(count - 1)))
    return (data_dir / "audit.jsonl").read_bytes().splitlines(keepends=True)


async def test_a_new_log_begins_with_log_created(tmp_path: Path) -> None:
    """A missing data directory is made, private to owner and group, and seq 1 says that the log was created."""
    data_dir = tmp_path / "deep" / "data"
    async with Opened(data_dir) as log:
        assert [(record.seq, record.kind) for record in log.replayed] == [(1, Kind.LOG_CREATED)]
        assert log.journal.log_id == log.replayed[0].hash[:16]
        assert log.journal.head == log.journal.durable == log.replayed[0].head
        assert log.journal.healthy
    assert stat.S_IMODE(data_dir.stat().st_mode) & ~0o750 == 0
    assert stat.S_IMODE((data_dir / "audit.jsonl").stat().st_mode) & ~0o640 == 0
    assert on_disk(data_dir) == log.replayed


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_records_are_durable_told_and_read_back(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Under both event loops what was appended is on disk once `wait` returns, told in order, and folded at open."""

    async def scenario() -> None:
        async with Opened(tmp_path) as log:
            first = log.journal.append([draft("a"), draft("b")], log.journal.head)
            second = log.journal.append([draft("c")], first[-1].head)
            assert log.journal.head == second[-1].head
            await log.journal.wait(second[-1].seq)
            assert log.journal.durable == second[-1].head
            assert on_disk(tmp_path) == [*log.replayed, *first, *second]
            await log.journal.wait(1)
            await until(lambda: log.durable == [*first, *second])
            assert len(log.seconds) == 2
            log_id = log.journal.log_id
        async with Opened(tmp_path) as again:
            assert again.replayed == [*log.replayed, *log.durable]
            assert again.journal.head == second[-1].head
            assert again.journal.log_id == log_id
            assert again.durable == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


async def test_the_head_must_be_the_expected_one(tmp_path: Path) -> None:
    """An append after another head than the log's is a conflict, and nothing of it is kept."""
    async with Opened(tmp_path) as log:
        before = log.journal.head
        await log.put(draft())
        with pytest.raises(JournalConflict, match="ends at seq 2, not at the 1 that was expected"):
            log.journal.append([draft("late")], before)
        with pytest.raises(JournalConflict):
            log.journal.append([draft("forged")], Head(2, "0" * 64, 0.0))
    assert [record.target for record in on_disk(tmp_path)] == [None, "web-1"]


async def test_a_batch_with_a_record_too_large_is_refused_whole(tmp_path: Path) -> None:
    """One record over 64 KiB keeps its whole batch out; the log goes on."""
    async with Opened(tmp_path) as log:
        with pytest.raises(RecordTooLarge):
            log.journal.append([draft("fits"), draft("x" * 65_536)], log.journal.head)
        assert log.journal.append([], log.journal.head) == ()
        await log.put(draft("next"))
    assert [record.target for record in on_disk(tmp_path)] == [None, "next"]


async def test_appends_under_way_share_a_write(tmp_path: Path) -> None:
    """Appends that arrive during a write go together into the next one; everything acknowledged is there, in order."""
    disk = FaultyDisk()
    async with Opened(tmp_path, disk=disk) as log:
        disk.gate.clear()
        disk.waiting.clear()
        writes = disk.writes
        acknowledged: list[Record] = []

        async def client(number: int) -> None:
            for turn in range(5):
                acknowledged.extend(await log.put(draft(f"{number}.{turn}"), draft(f"{number}.{turn}b")))

        clients = asyncio.gather(*(client(number) for number in range(20)))
        await until(disk.waiting.is_set)
        disk.gate.set()
        await clients
        assert disk.writes - writes < 100
    assert len(acknowledged) == 200
    assert sorted(acknowledged, key=lambda record: record.seq) == on_disk(tmp_path)[1:] == log.durable
    assert log.groups == disk.writes - writes


async def test_the_queue_is_bounded_in_bytes(tmp_path: Path) -> None:
    """While the disk stands still, appends beyond the bound are refused at once and change nothing."""
    disk = FaultyDisk()
    async with Opened(tmp_path, disk=disk, queue_bytes=2000) as log:
        disk.gate.clear()
        kept = [log.journal.append([draft("x" * 500)], log.journal.head) for _ in range(2)]
        with pytest.raises(JournalUnavailable, match="already wait for the disk"):
            log.journal.append([draft("x" * 500)], log.journal.head)
        assert log.journal.healthy
        assert log.journal.head == kept[-1][-1].head
        disk.gate.set()
        await log.journal.wait(log.journal.head.seq)
        await log.put(draft("x" * 500))
    assert len(on_disk(tmp_path)) == 4


async def test_a_cancelled_wait_takes_nobody_with_it(tmp_path: Path) -> None:
    """Who stops waiting does not keep others from hearing of the same record."""
    disk = FaultyDisk()
    async with Opened(tmp_path, disk=disk) as log:
        disk.gate.clear()
        record = log.journal.append([draft()], log.journal.head)[-1]
        impatient = asyncio.create_task(log.journal.wait(record.seq))
        patient = asyncio.create_task(log.journal.wait(record.seq))
        await asyncio.sleep(0)
        impatient.cancel()
        disk.gate.set()
        await patient
        assert log.journal.durable.seq == record.seq


async def test_waiting_for_what_was_never_appended_fails(tmp_path: Path) -> None:
    """A seq beyond the head is not waited for: nobody will write it."""
    async with Opened(tmp_path) as log:
        with pytest.raises(JournalUnavailable, match="seq 2 is not in the log"):
            await log.journal.wait(2)


async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """`close` makes durable what was handed over, tells of it, and refuses what comes later; twice is once."""
    disk = FaultyDisk()
    log = Opened(tmp_path, disk=disk)
    disk.gate.clear()
    records = log.journal.append([draft("a")], log.journal.head)
    records += log.journal.append([draft("b")], log.journal.head)
    disk.gate.set()
    await log.journal.close()
    await log.journal.close()
    assert log.durable == list(records) == on_disk(tmp_path)[1:]
    assert not log.journal.healthy
    with pytest.raises(JournalUnavailable, match="closed"):
        log.journal.append([draft()], log.journal.head)


async def test_a_second_process_is_told_who_owns_the_log(tmp_path: Path) -> None:
    """Two writers would break the chain: the second one is refused with the first one's pid, and may come after it."""
    script = (
        "import sys; from pathlib import Path; from autoheal.clock import SystemClock\n"
        "from autoheal.journal import FileJournal; from autoheal.errors import JournalUnavailable\n"
        "try: FileJournal.open(Path(sys.argv[1]), SystemClock(), on_durable=print)\n"
        "except JournalUnavailable as error: print(error)\n"
        "else: print('mine')"
    )

    async def second() -> str:
        argv = [sys.executable, "-c", script, str(tmp_path)]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    async with Opened(tmp_path):
        expected = f"another autoheal (pid {os.getpid()}) owns {tmp_path}: stop it, or use another data directory"
        assert await second() == expected
    assert await second() == "mine"


async def test_an_unusable_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory that cannot be one, and a log that is none, are errors with the path, and leave no lock."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / "file").touch()
    with pytest.raises(JournalUnavailable, match=str(tmp_path / "file")):
        Opened(tmp_path / "file")
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(JournalUnavailable, match="No locks available"):
            Opened(tmp_path)
    (tmp_path / "audit.jsonl").mkdir()
    for _ in range(2):
        with pytest.raises(JournalUnavailable, match=r"audit\.jsonl"):
            Opened(tmp_path)


@pytest.mark.parametrize(("count", "every"), [(1, 50), (3, 7), pytest.param(3, 1, marks=pytest.mark.hammer)])
async def test_a_torn_last_line_is_kept_and_reported(tmp_path: Path, count: int, every: int) -> None:
    """Wherever the last line is torn, the pieces are kept, the log tells of them and goes on in an unbroken chain."""
    lines = await written(tmp_path / "whole", count)
    whole, last = b"".join(lines[:-1]), lines[-1]
    for cut in range(1, len(last), every):
        data_dir = tmp_path / str(cut)
        data_dir.mkdir()
        (data_dir / "audit.jsonl").write_bytes(whole + last[:cut])
        async with Opened(data_dir) as log:
            *before, repaired = log.replayed
            assert repaired.kind is Kind.LOG_REPAIRED
            assert repaired.detail == {
                "problem": "torn last line",
                "file": "audit.jsonl",
                "offset": len(whole),
                "bytes": cut,
                "kept_in": f"torn/{len(whole)}.txt",
            }
            assert (data_dir / f"torn/{len(whole)}.txt").read_bytes() == last[:cut]
            assert b"".join(record.line + b"\n" for record in before[: count - 1]) == whole
            assert log.journal.head == repaired.head
        assert on_disk(data_dir) == log.replayed


async def test_a_place_that_tears_twice_keeps_both_pieces(tmp_path: Path) -> None:
    """When the machine dies during the repair too, no piece replaces another."""
    lines = await written(tmp_path, 2)
    path = tmp_path / "audit.jsonl"
    for piece in (b'{"seq":2,"half', b'{"seq":2,"another half'):
        path.write_bytes(lines[0] + piece)
        async with Opened(tmp_path):
            pass
    assert (tmp_path / f"torn/{len(lines[0])}.txt").read_bytes() == b'{"seq":2,"half'
    assert (tmp_path / f"torn/{len(lines[0])}-2.txt").read_bytes() == b'{"seq":2,"another half'


async def test_a_long_torn_end_is_kept_too(tmp_path: Path) -> None:
    """A file system may leave megabytes of NUL bytes after a power loss: they have no newline, so they are torn."""
    lines = await written(tmp_path, 3)
    (tmp_path / "audit.jsonl").write_bytes(b"".join(lines) + bytes(3_000_000))
    async with Opened(tmp_path) as log:
        assert log.replayed[-1].detail["bytes"] == 3_000_000
    assert len(on_disk(tmp_path)) == 4


async def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    """One bit changed in any byte of a 20-line file is damage with file, line and seq, and the file is left alone.

    The last newline alone can turn into a torn end, which is reported in the log.
    """
    data = b"".join(await written(tmp_path, 20))
    path = tmp_path / "audit.jsonl"
    with path.open("r+b", buffering=0) as file:
        for position in range(len(data) - 1):
            os.pwrite(file.fileno(), bytes([data[position] ^ 1 << position % 8]), position)
            line = data.count(b"\n", 0, position) + 1
            with pytest.raises(JournalDamaged) as caught:
                list(replay(path))
            assert str(caught.value).startswith(f"{path}, line {line} (seq {line}): "), position
            os.pwrite(file.fileno(), data[position : position + 1], position)
    changed = data.replace(b"web-7", b"web-8")
    path.write_bytes(changed)
    with pytest.raises(JournalDamaged):
        Opened(tmp_path)
    assert path.read_bytes() == changed
    assert not (tmp_path / "torn").exists()
    path.write_bytes(data[:-1] + b"\x0b")
    async with Opened(tmp_path) as log:
        assert log.replayed[-1].kind is Kind.LOG_REPAIRED


def _swap(lines: list[bytes]) -> list[bytes]:
    return [*lines[:5], lines[6], lines[5], *lines[7:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:5] + lines[6:],
        lambda lines: [*lines[:5], lines[4], *lines[5:]],
        _swap,
        lambda lines: [*lines[:5], b"\n", *lines[5:]],
        lambda lines: [*lines, b"\n"],
        lambda lines: [*lines, b"x" * 100_000 + b"\n"],
        lambda lines: [*lines, b"not json\n"],
        lambda lines: [*lines, b"torn", b"\n"],
    ],
)
async def test_every_other_change_is_damage(tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """A line dropped, doubled, swapped, blank, too long or foreign is damage wherever it ends in a newline."""
    data = b"".join(change(await written(tmp_path, 10)))
    (tmp_path / "audit.jsonl").write_bytes(data)
    with pytest.raises(JournalDamaged, match=r"audit\.jsonl"):
        Opened(tmp_path)
    assert (tmp_path / "audit.jsonl").read_bytes() == data


async def test_reading_sees_durable_records_only(tmp_path: Path) -> None:
    """What is written and not yet synced is shown neither by `read` nor by `replay`."""
    disk = FaultyDisk()
    async with Opened(tmp_path, disk=disk) as log:
        await log.put(draft("durable"))
        disk.gate.clear()
        log.journal.append([draft("not yet")], log.journal.head)
        for found in (log.journal.read(1, 10), list(log.journal.replay())):
            assert [record.target for record in found if record.seq > 1] == ["durable"]
        disk.gate.set()


SIZES = st.lists(st.integers(0, 3000) | st.integers(0, 60_000), max_size=40)


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES, data=st.data())
def test_reading_from_anywhere_agrees_with_the_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    """From any seq, forward by pages and backward, reading yields what the whole file holds."""
    data_dir = tmp_path_factory.mktemp("log")
    records = seal_all([draft("x" * size) for size in sizes], Head(), 1.0)
    (data_dir / "audit.jsonl").write_bytes(b"".join(record.line + b"\n" for record in records))

    async def scenario() -> None:
        async with Opened(data_dir) as log:
            everything = log.replayed
            after = data.draw(st.integers(-1, len(everything) + 2))
            limit = data.draw(st.integers(1, 10))
            rest: list[Record] = []
            at = after
            while page := log.journal.read(at, limit):
                assert len(page) <= limit
                rest += page
                at = page[-1].seq
            assert rest == everything[max(0, after) :]

    asyncio.run(scenario())


async def test_a_page_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Large records make a page shorter than its limit, so that many slow readers hold little; never empty."""
    async with Opened(tmp_path) as log:
        for number in range(10):
            await log.put(draft(f"{number}" * 60_000))
        assert [record.seq for record in log.journal.read(1, 100)] == [2, 3, 4, 5]


async def test_a_line_changed_under_the_running_service_is_damage(tmp_path: Path) -> None:
    """Reading checks each line's hash again: what was altered since the start is never shown as a record."""
    async with Opened(tmp_path) as log:
        await log.put(draft("alpha"), draft("beta"))
        path = tmp_path / "audit.jsonl"
        path.write_bytes(path.read_bytes().replace(b"beta", b"zeta"))
        readings: list[Callable[[], object]] = [
            lambda: log.journal.read(0, 9),
            lambda: list(log.journal.replay()),
        ]
        for reading in readings:
            with pytest.raises(JournalDamaged, match=r"audit\.jsonl, (byte|line) \d+"):
                reading()
        readings.append(lambda: log.journal.read(1, 9))
        for content in (b"x" * 3_000_000, b"", path.read_bytes()[:500]):
            path.write_bytes(content)
            for reading in readings:
                with pytest.raises(JournalDamaged):
                    reading()


async def test_ten_thousand_records_in_one_append(tmp_path: Path) -> None:
    """A storm's records fit into one append, and each is there."""
    async with Opened(tmp_path) as log:
        records = await log.put(*(draft(str(number)) for number in range(10_000)))
        assert [record.seq for record in records] == list(range(2, 10_002))
        assert log.journal.read(10_000, 5) == [records[-1]]
        assert list(log.journal.replay()) == [*log.replayed, *records]
