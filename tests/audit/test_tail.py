"""`autoheal audit tail`."""

from __future__ import annotations

import gzip
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoheal.journal.files import FILE_NAME
from autoheal.model import Draft, Kind
from tests.support.commands import argv, autoheal, environment
from tests.support.logs import chain, spread, text
from tests.support.processes import wait_until

RECORDS = chain([Draft(kind=Kind.DECISION, rule="r" if number % 2 else "s") for number in range(100)])


def test_the_last_records_oldest_first(tmp_path: Path) -> None:
    """Ten, or `-n`, of those that the filter matches, over all files; an empty log is no error."""
    spread(tmp_path, RECORDS, [95], ["gzip"])
    assert autoheal("audit", "tail", "--data", tmp_path).stdout.encode() == text(RECORDS[-10:])
    assert autoheal("audit", "tail", "rule=s", "-n", 4, "--data", tmp_path).stdout.encode() == text(RECORDS[-8::2])
    (tmp_path / "empty").mkdir()
    said = autoheal("audit", "tail", "--data", tmp_path / "empty")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@contextmanager
def following(folder: Path, *arguments: str) -> Iterator[Path]:
    """`tail -f` on `folder`, its output in a file."""
    output = folder.parent / "output"
    with output.open("wb") as file:
        command = argv(["audit", "tail", "-f", "--data", folder, *arguments])
        process = subprocess.Popen(command, env=environment({}), stdout=file, stderr=subprocess.STDOUT)
    try:
        yield output
        assert process.poll() is None, output.read_text()
        # Ctrl-C, as a shell tells of it.
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait(30)


def shown(output: Path, expected: bytes) -> None:
    wait_until(lambda: len(output.read_bytes()) >= len(expected), what="all that was written being shown")
    assert output.read_bytes() == expected


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_following_across_rotation(tmp_path: Path, how: str) -> None:
    """What is written before, during and after a rotation comes once and in order; a half line waits for its end."""
    folder = tmp_path / "data"
    folder.mkdir()
    current, rotated = folder / FILE_NAME, folder / "audit.jsonl-1"
    current.write_bytes(text(RECORDS[:20]))
    with following(folder, "-n", "5") as output:
        shown(output, text(RECORDS[15:20]))
        with current.open("ab") as file:
            file.write(text(RECORDS[20:30]) + RECORDS[30].line[:50])
        shown(output, text(RECORDS[15:30]))
        if how == "rename":
            current.rename(rotated)
            # The writer has not noticed yet.
            with rotated.open("ab") as file:
                file.write(RECORDS[30].line[50:] + b"\n" + text(RECORDS[31:40]))
            current.write_bytes(text(RECORDS[40:50]))
        else:
            rotated.write_bytes(text(RECORDS[:40]))
            current.write_bytes(text(RECORDS[40:50]))
        shown(output, text(RECORDS[15:50]))
        (folder / "audit.jsonl-1.gz").write_bytes(gzip.compress(text(RECORDS[:40])))
        rotated.unlink()
        with current.open("ab") as file:
            file.write(text(RECORDS[50:]))
        shown(output, text(RECORDS[15:]))


def test_following_a_filter(tmp_path: Path) -> None:
    """Only what matches is shown, also of what comes."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(text(RECORDS[:10]))
    with following(folder, "rule=r") as output:
        shown(output, text(RECORDS[1:10:2]))
        with (folder / FILE_NAME).open("ab") as file:
            file.write(text(RECORDS[10:20]))
        shown(output, text(RECORDS[1:20:2]))
