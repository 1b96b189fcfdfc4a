"""`autoheal audit backup` and `restore` as a person meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoheal.cli import main
from tests.support.audit_trail import Trail


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    made = Trail(tmp_path / "data")
    made.work(4)
    made.checkpoint()
    return made


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_there_and_back(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy, a new data directory, and a log that verifies there; each names the head."""
    copies, new = tmp_path / "copies", tmp_path / "new"
    assert main(["audit", "backup", str(copies), "--data", str(trail.folder)]) == 0
    assert capsys.readouterr().out.startswith(f"OK: {only(copies)}: 7 records, head 7 {trail.head.hash}")
    assert main(["audit", "verify", str(only(copies))]) == 0
    capsys.readouterr()
    assert main(["audit", "restore", str(only(copies)), "--data", str(new)]) == 0
    assert capsys.readouterr().out.startswith(f"OK: {new}: 7 records, head 7 {trail.head.hash}")
    assert main(["audit", "verify", str(new)]) == 0


def test_the_services_own_log(
    trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--data` it is the service's directory, with the public key from its key directory."""
    (trail.folder / "keys").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("AUTOHEAL_DATA_DIR", str(trail.folder))
    monkeypatch.setenv("AUTOHEAL_KEY_DIR", str(tmp_path / "elsewhere"))
    assert main(["audit", "backup", str(tmp_path / "copies")]) == 0
    keys = only(tmp_path / "copies") / "keys"
    assert [path.name for path in keys.iterdir()] == ["checkpoint.pub.pem"]
    monkeypatch.delenv("AUTOHEAL_KEY_DIR")
    assert main(["audit", "verify", str(only(tmp_path / "copies"))]) == 0
    assert main(["audit", "restore", str(only(tmp_path / "copies")), "--data", str(tmp_path / "new")]) == 0


def test_a_log_that_is_bad(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Backup: 1, the first bad record, and where the copy is. Restore of that: 1, and nothing is written."""
    trail.current.write_bytes(trail.current.read_bytes().replace(b"system", b"sistem", 1))
    copies = tmp_path / "copies"
    assert main(["audit", "backup", str(copies), "--data", str(trail.folder)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("BAD: the copy does not verify: changed: seq 1, audit.jsonl, line 1")
    assert f"kept as {only(copies)}" in said
    assert main(["audit", "restore", str(only(copies)), "--data", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err.startswith("BAD: ")
    assert not (tmp_path / "new").exists()


def test_keep_prunes(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Older copies are removed and named."""
    copies = tmp_path / "copies"
    main(["audit", "backup", str(copies), "--data", str(trail.folder)])
    old = only(copies).rename(copies / f"autoheal-{trail.log}-20200101T000000Z")
    capsys.readouterr()
    assert main(["audit", "backup", str(copies), "--data", str(trail.folder), "--keep", "30d"]) == 0
    assert f"  - removed {old}" in capsys.readouterr().out
    assert only(copies) != old


@pytest.mark.parametrize("age", ["30", "0d", "d", "1h", "-1d", "1.5d", "30d ", "٣d"])
def test_an_age_is_in_days_weeks_or_years(tmp_path: Path, age: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is usage: nothing may be removed by a slip of a unit."""
    with pytest.raises(SystemExit) as caught:
        main(["audit", "backup", str(tmp_path), f"--keep={age}"])
    assert caught.value.code == 2
    assert "30d, 12w or 7y" in capsys.readouterr().err


def test_what_cannot_be_done_is_2(trail: Trail, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No log to copy, a directory that is not empty, a place that is a file: a sentence, and exit 2."""
    (tmp_path / "file").write_text("")
    main(["audit", "backup", str(tmp_path / "copies"), "--data", str(trail.folder)])
    copy = str(only(tmp_path / "copies"))
    capsys.readouterr()
    for argv, says in (
        (["backup", str(tmp_path / "c"), "--data", str(tmp_path / "none")], "none"),
        (["backup", str(tmp_path / "file"), "--data", str(trail.folder)], "file"),
        (["restore", copy, "--data", str(trail.folder)], "is not empty"),
        (["restore", copy, "--data", str(tmp_path / "new"), "--key", str(tmp_path / "none.pem")], "none.pem"),
        (["restore", str(tmp_path / "none"), "--data", str(tmp_path / "new")], "none"),
    ):
        assert main(["audit", *argv]) == 2
        assert says in capsys.readouterr().err
