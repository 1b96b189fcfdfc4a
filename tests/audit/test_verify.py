"""`autoheal audit verify` as a person meets it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from autoheal.audit.verify import Progress
from autoheal.cli import main
from autoheal.model import Draft, Kind
from tests.support.audit_trail import Trail


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = Trail(tmp_path / "data")
    made.work(4)
    made.rotate(compress=True)
    made.work(4)
    return made


def test_a_good_log(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0; how many records there are, the head, and what such a check cannot know."""
    assert main(["audit", "verify", str(trail.folder)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("OK: 13 records in 2 files, seq 1 to 13, unbroken; 1 checkpoints")
    assert f"head 13 {trail.head.hash}" in said.out
    assert "cut at the end of a line cannot be told" in said.out
    assert "keep a copy elsewhere and give it with --key" in said.out
    assert said.err == ""


def test_quiet_says_one_thing(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict and the head, without notes."""
    assert main(["audit", "verify", "--quiet", str(trail.folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_bad_log(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1; the first bad record with its seq, file and line, then the others."""
    lines = trail.current.read_bytes().splitlines(keepends=True)
    trail.current.write_bytes(b"".join([*lines[:3], lines[4].replace(b"system", b"sistem"), *lines[5:]]))
    assert main(["audit", "verify", str(trail.folder)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "BAD: changed: seq 10, audit.jsonl, line 4: its hash is not that of its bytes"
    assert said[1].startswith("  - missing: seq 11, audit.jsonl, line 5: seq 11 is missing")


def test_many_problems_are_counted(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty are shown, and how many there are beyond."""
    trail.work(200)
    lines = trail.current.read_bytes().splitlines(keepends=True)
    trail.current.write_bytes(b"".join(lines[::2]))
    assert main(["audit", "verify", str(trail.folder)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 21
    assert said[-1] == "  - and 83 more"


def test_hostile_text_is_escaped(trail: Trail, capsys: pytest.CaptureFixture[str]) -> None:
    """A forged record, or a file's name, cannot paint its own verdict on the auditor's terminal."""
    trail.current.rename(trail.folder / "audit.jsonl-\x1b[2J\nOK")
    trail.add(Draft(kind=Kind.LOG_OPENED, detail={"log": "\x1b[2JOK\u202e", "how": "renamed"}))
    trail.add(Draft(kind=Kind.LOG_REPAIRED, detail={"problem": "\x1b[1A", "reason": "\x9b2J"}))
    assert main(["audit", "verify", str(trail.folder)]) == 1
    said = capsys.readouterr().out
    assert r"\x1b[2JOK" in said
    assert all(line.isprintable() for line in said.splitlines())


def test_against_kept_checkpoints(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--checkpoint` finds the cut that nothing else can, and says so when all agree."""
    trail.checkpoint()
    kept = trail.kept(tmp_path / "kept.jsonl")
    argv = ["audit", "verify", str(trail.folder), "--checkpoint", str(kept)]
    assert main(argv) == 0
    assert "2 checkpoints kept elsewhere agree" in capsys.readouterr().out
    lines = trail.current.read_bytes().splitlines(keepends=True)
    trail.current.write_bytes(b"".join(lines[:-1]))
    assert main(argv) == 1
    assert capsys.readouterr().out.startswith("BAD: cut off: seq 14, the kept checkpoints, line 2: ")
    assert main(argv[:-2]) == 0


def test_a_kept_file_says_how_far_it_reaches(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the last kept checkpoint a cut is not seen, and verify says so; a file without any is no check at all."""
    kept = trail.kept(tmp_path / "kept.jsonl")
    argv = ["audit", "verify", str(trail.folder), "--checkpoint", str(kept)]
    last = orjson.loads(kept.read_bytes().splitlines()[-1])["seq"]
    assert main(argv) == 0
    assert f"behind seq {last}, the last one kept, could have been cut off" in capsys.readouterr().out
    kept.write_bytes(b"\n")
    assert main(argv) == 2
    assert "holds no checkpoint" in capsys.readouterr().err


def test_with_a_key_that_was_kept(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--key` is trusted instead of the one in the data directory, and then no note warns of that one."""
    key = (trail.folder / "keys" / "checkpoint.pub.pem").rename(tmp_path / "key.pem")
    assert main(["audit", "verify", str(trail.folder)]) == 1
    assert "not among the trusted ones" in capsys.readouterr().out
    assert main(["audit", "verify", str(trail.folder), "--key", str(key)]) == 0
    assert "could have replaced" not in capsys.readouterr().out


def test_the_services_own_places(trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DIR it is the service's data directory, and its key directory."""
    (trail.folder / "keys").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("AUTOHEAL_DATA_DIR", str(trail.folder))
    assert main(["audit", "verify"]) == 1
    monkeypatch.setenv("AUTOHEAL_KEY_DIR", str(tmp_path / "elsewhere"))
    assert main(["audit", "verify"]) == 0
    assert main(["audit", "verify", str(trail.folder)]) == 1
    monkeypatch.delenv("AUTOHEAL_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    assert main(["audit", "verify"]) == 0


def test_what_cannot_be_checked_is_2(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No log, no such key, no such checkpoints: exit 2 and a sentence on stderr, no traceback."""
    for argv, says in (
        ([str(tmp_path / "none")], "none"),
        ([str(tmp_path)], "there is no audit log in"),
        ([str(trail.folder), "--key", str(tmp_path / "none.pem")], "none.pem"),
        ([str(trail.folder), "--checkpoint", str(tmp_path / "none.jsonl")], "none.jsonl"),
    ):
        assert main(["audit", "verify", *argv]) == 2
        said = capsys.readouterr()
        assert says in said.err
        assert said.err.startswith("autoheal: ")
        assert said.out == ""


def test_a_bar_on_a_terminal(trail: Trail) -> None:
    """It is drawn on a terminal and cleaned away; on a pipe there is none."""
    argv = [sys.executable, "-m", "autoheal", "audit", "verify", str(trail.folder)]
    leader, follower = pty.openpty()
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=follower, check=True)
        shown = os.read(leader, 4096)
    finally:
        os.close(leader)
        os.close(follower)
    assert done.stdout.startswith(b"OK: ")
    assert b"100 %" in shown
    assert shown.endswith(b"\r\x1b[K")


def test_the_bar_moves_by_percents() -> None:
    """A hundred steps at most, however long the log is."""
    terminal = io.StringIO()
    bar = Progress(terminal)
    for done in range(10_001):
        bar.show(done, 10_000)
    assert terminal.getvalue().count("\r") == 101
    assert "[####################....................]  50 %" in terminal.getvalue()
