"""The shipped logrotate configuration, run by the real program against a writer at full speed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autoheal.journal import files
from autoheal.journal.reading import replay
from autoheal.model import Kind, Record
from autoheal.state import State
from tests.support.commands import autoheal
from tests.support.logrotate import Logrotate
from tests.support.states import digest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@dataclass
class Writer:
    """A running writer; `told` is what it said is durable, `state` what it said at its end."""

    process: subprocess.Popen[bytes]
    told: dict[int, str] = field(default_factory=dict)
    state: tuple[int, str] = (0, "")
    lines: int = 0

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            words = line.decode().split()
            if words[0] == "state":
                self.state = int(words[1]), words[2]
            else:
                self.lines += 1
                self.told[int(words[0])] = words[1]

    def until_written(self, records: int) -> None:
        """Return once that many more records are durable."""
        goal, deadline = self.lines + records, time.monotonic() + 30
        while self.lines < goal:
            assert time.monotonic() < deadline, "the writer stands still"
            assert self.process.poll() is None, "the writer has ended"
            time.sleep(0.002)


@contextmanager
def writing(data_dir: Path, clients: int) -> Iterator[Writer]:
    """A writer at full speed; at the end of the block it stops and has said all."""
    argv = [sys.executable, str(ROOT / "tests/support/rotating_writer.py"), str(data_dir), str(clients)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        writer = Writer(process)
        listener = threading.Thread(target=writer.listen)
        listener.start()
        try:
            writer.until_written(100)
            yield writer
        finally:
            assert process.stdin is not None
            process.stdin.close()
            listener.join(60)
        assert process.wait(60) == 0


def everything(data_dir: Path) -> list[list[Record]]:
    """The records of each file; a file with anything else in it, or a torn line, fails."""
    found = []
    for file in files.log_files(data_dir):
        with files.open_plain(file.path) as stream:
            records = list(replay(file.path, stream=stream))
        with files.open_plain(file.path) as stream:
            assert sum(len(record.line) + 1 for record in records) == len(stream.read()), f"{file.path} is torn"
        found.append(records)
    return found


def verify(data_dir: Path) -> tuple[int, str]:
    """What `autoheal audit verify` says."""
    done = autoheal("audit", "verify", data_dir, "--key", data_dir.parent / "keys/checkpoint.pub.pem")
    return done.returncode, done.stdout + done.stderr


@pytest.mark.component
@pytest.mark.parametrize("rotations", [3, pytest.param(50, marks=pytest.mark.hammer)])
def test_rotation_under_load_loses_nothing(tmp_path: Path, rotations: int) -> None:
    """With the shipped configuration, rotated again and again under full-speed writing (the retention alone is
    longer, so that all is there to be counted): every record that was said to be durable is in the files once, whole
    and in an unbroken chain, each file is founded by itself, and the last one gives the state that ran.
    """
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    rotate = Logrotate(data_dir, [("rotate 14", "rotate 1000")])
    with writing(data_dir, 50) as writer:
        for _ in range(rotations):
            writer.until_written(200)
            rotate()
        writer.until_written(200)
    found = everything(data_dir)
    records = [record for file in found for record in file]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert [record.prev for record in records[1:]] == [record.hash for record in records[:-1]]
    assert writer.told.items() <= {record.seq: record.hash for record in records}.items()
    assert writer.lines == len(writer.told)
    print(f"{rotations} rotations, {len(records):,} records in {len(found)} files, {len(writer.told):,} acknowledged")
    assert len(found) == rotations + 1
    assert len(list(data_dir.glob("audit.jsonl-*.gz"))) == rotations - 1
    for file in found[1:]:
        assert [file[0].kind, file[1].kind] == [Kind.LOG_OPENED, Kind.SNAPSHOT]
    state = State()
    for record in found[-1]:
        state.apply(record)
    assert (state.head.seq, digest(state)) == writer.state
    code, said = verify(data_dir)
    assert code == 0, said


@pytest.mark.component
def test_what_retention_prunes_is_explained(tmp_path: Path) -> None:
    """With a retention of two files the older ones go, their manifests stay, and verify finds nothing wrong."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    rotate = Logrotate(data_dir, [("rotate 14", "rotate 2")])
    with writing(data_dir, 5) as writer:
        for _ in range(4):
            writer.until_written(50)
            rotate()
    assert len(files.log_files(data_dir)) == 3
    assert everything(data_dir)[0][0].seq > 1
    code, said = verify(data_dir)
    assert code == 0, said
    assert "retention" in said


@pytest.mark.component
@pytest.mark.parametrize("rotations", [2, pytest.param(50, marks=pytest.mark.hammer)])
def test_copytruncate_under_load_is_survived_and_told(tmp_path: Path, rotations: int) -> None:
    """What copytruncate loses is written between the copy and the cut, and nothing more: each gap is told by a
    log_opened that stands after it, nothing is torn or filled with NUL bytes, and a start needs no older file.
    """
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    rotate = Logrotate(data_dir, [("nocreate", "copytruncate")])
    done = 0
    with writing(data_dir, 50) as writer:
        # Between some copies and their cuts nothing is written.
        while done < rotations or (done < 100 and verify(data_dir)[0] == 0):
            writer.until_written(200)
            rotate()
            done += 1
            writer.until_written(200)
    current = list(replay(data_dir / "audit.jsonl"))
    opened = [record for record in current if record.kind is Kind.LOG_OPENED]
    assert opened
    assert {record.detail["how"] for record in opened} == {"truncated"}
    assert all(record.detail["found_bytes"] < record.detail["expected_bytes"] for record in opened)
    found: dict[int, str] = {}
    for file in files.log_files(data_dir):
        with files.open_plain(file.path) as stream:
            found |= {record.seq: record.hash for record in replay(file.path, stream=stream)}
    lost = writer.told.items() - found.items()
    print(f"{len(writer.told):,} acknowledged, {len(lost):,} of them lost to copytruncate")
    # What is there is what was said, and what is missing lies before a log_opened.
    assert {seq for seq, _ in lost} <= set(range(2, opened[-1].seq))
    state = State()
    for record in current:
        state.apply(record)
    assert (state.head.seq, digest(state)) == writer.state
    code, said = verify(data_dir)
    assert (code, "truncated" in said) == (1, True), said
