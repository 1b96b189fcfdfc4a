"""The journal in a process of its own, with real kills, a real full disk and real fdatasync errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from autoheal.clock import SystemClock
from autoheal.errors import JournalUnavailable
from autoheal.journal import FileJournal
from autoheal.journal.reading import replay
from autoheal.model import Draft, Kind, Record
from tests.support.components import require
from tests.support.faults import until

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, str(ROOT / "tests/support/journal_writer.py")]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def start(data_dir: Path, clients: int, turns: int, wrapper: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    argv = [*wrapper, *PROGRAM, str(data_dir), str(clients), str(turns)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, env=ENVIRONMENT)


def acknowledged(output: bytes) -> dict[int, str]:
    """What the program said is durable, by seq; a last line that the kill cut short was said to nobody."""
    pairs = (line.split() for line in output.decode().splitlines(keepends=True) if line.endswith("\n"))
    return {int(pair[0]): pair[1] for pair in pairs if len(pair) == 2}


def reopened(data_dir: Path) -> list[Record]:
    """What a restart folds."""
    records: list[Record] = []

    async def restart() -> None:
        journal = FileJournal.open(data_dir, SystemClock(), on_durable=print, on_replay=records.append)
        await journal.close()

    asyncio.run(restart())
    return records


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments, round after round on the same log: all that was said to be durable is there."""
    told: dict[int, str] = {}
    moments = random.Random(20)
    for _ in range(6):
        with start(tmp_path, 8, 1_000_000) as process:
            assert process.stdout is not None
            output = b""
            enough = moments.randrange(200, 40_000)
            while len(output) < enough:
                output += os.read(process.stdout.fileno(), 4096)
            process.kill()
            output += process.stdout.read()
        told |= acknowledged(output)
        records = {record.seq: record.hash for record in reopened(tmp_path)}
        assert len(told) > 2
        assert told.items() <= records.items()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mount = require("mount")
    if os.geteuid():
        pytest.skip("mounting a file system needs root")
    point = tmp_path / "disk"
    point.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.component
async def test_a_really_full_disk(small_disk: Path) -> None:
    """On a file system of 1 MiB the log fills up, refuses, stays whole, starts again while it is full, and goes on
    once there is room.
    """
    (small_disk / "ballast").write_bytes(bytes(300_000))
    told: list[Record] = []

    def opened() -> FileJournal:
        return FileJournal.open(small_disk, SystemClock(), on_durable=lambda _: None, retry_after=0.01)

    async def put(times: int) -> None:
        for _ in range(times):
            records = journal.append([Draft(kind=Kind.DECISION, detail={"fill": "x" * 5000})] * 3, journal.head)
            await journal.wait(records[-1].seq)
            told.extend(records)

    journal = opened()
    with pytest.raises(JournalUnavailable, match="No space left on device"):
        await put(1000)
    assert len(told) > 50
    assert not journal.healthy
    path = small_disk / "audit.jsonl"
    assert list(replay(path))[1:] == told == list(journal.replay())[1:]
    assert path.read_bytes().endswith(told[-1].line + b"\n")
    await journal.close()
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    journal = opened()
    assert journal.head == told[-1].head
    with pytest.raises(JournalUnavailable, match="No space left on device"):
        await put(1)
    (small_disk / "ballast").unlink()
    await until(lambda: journal.healthy)
    await put(1)
    await journal.close()
    assert list(replay(path))[1:] == told


@pytest.mark.component
@pytest.mark.parametrize(("when", "refused"), [("5", False), ("5..6", True), ("5..9", True), ("5+4", False)])
def test_a_real_fdatasync_error(tmp_path: Path, when: str, refused: bool) -> None:
    """The kernel answers EIO to the log's fdatasync, once, twice, several times, again and again: the log holds what
    was acknowledged in an unbroken chain, tells of the fault, and goes on by itself.
    """
    strace = require("strace")
    trace = tmp_path / "trace"
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    path = data_dir / "audit.jsonl"
    wrapper = [strace, "-f", "-o", str(trace), "-P", str(path), "-e", "trace=fdatasync"]
    wrapper += ["-e", f"inject=fdatasync:error=EIO:when={when}"]
    with start(data_dir, 2, 20, wrapper) as process:
        output, _ = process.communicate(timeout=60)
    if process.returncode and not output and os.environ.get("CI") != "true":
        pytest.skip("strace may not trace here")
    assert process.returncode == 0
    assert b"INJECTED" in trace.read_bytes()
    assert (b"unavailable" in output) == refused
    records = reopened(data_dir)
    assert acknowledged(output) == {record.seq: record.hash for record in records[1:]}
    assert sum(record.detail["failures"] for record in records if record.kind is Kind.LOG_REPAIRED) >= 1


@pytest.mark.component
@pytest.mark.parametrize(
    "inject",
    [
        "write:error=ENOSPC:when=4..6",
        "write:error=EIO:when=4",
        "write:error=EIO:when=4..9",
        "write,openat,ftruncate:error=EROFS:when=7..20",
    ],
)
def test_a_real_error_of_a_write(tmp_path: Path, inject: str) -> None:
    """The kernel refuses what the log writes (disk full, an I/O error, a file system gone read-only): what was
    acknowledged is there in an unbroken chain, what was refused is not, and the same process goes on by itself.
    """
    strace = require("strace")
    trace = tmp_path / "trace"
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    path = data_dir / "audit.jsonl"
    calls = inject.split(":", 1)[0]
    wrapper = [strace, "-f", "-o", str(trace), "-P", str(path), "-e", f"trace={calls}", "-e", f"inject={inject}"]
    with start(data_dir, 2, 20, wrapper) as process:
        output, _ = process.communicate(timeout=60)
    if process.returncode and not output and os.environ.get("CI") != "true":
        pytest.skip("strace may not trace here")
    assert process.returncode == 0
    assert b"INJECTED" in trace.read_bytes()
    assert b"unavailable" in output
    assert acknowledged(output) == {record.seq: record.hash for record in reopened(data_dir)[1:]}


@pytest.mark.component
def test_permission_that_is_lost_and_given_back(tmp_path: Path) -> None:
    """Somebody takes the service's right to its directory away: it refuses, and goes on once it has it again."""
    if os.geteuid():
        pytest.skip("running a program as another user needs root")
    data_dir = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        os.chown(data_dir, 65534, 65534)
        argv = [*PROGRAM, str(data_dir), "1", "1000000", "65534"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdout is not None
            output = [process.stdout.readline() for _ in range(20)]
            data_dir.chmod(0)
            while output[-1] != b"unavailable\n":
                output.append(process.stdout.readline())
            data_dir.chmod(0o750)
            goal = len(output) + 50
            while len(output) < goal:
                output.append(process.stdout.readline())
            process.kill()
            output += process.stdout.read().splitlines(keepends=True)
        told = acknowledged(b"".join(output))
        assert told.items() <= {record.seq: record.hash for record in reopened(data_dir)}.items()
    finally:
        shutil.rmtree(data_dir)
