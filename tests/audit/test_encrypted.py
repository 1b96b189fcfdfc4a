"""`autoheal audit …` and files that are encrypted: with the private key, with another one, and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoheal.cli import main
from autoheal.journal.files import Storage, log_files
from autoheal.journal.verify import verify
from tests.support.secrecy import IDENTITIES, OTHER_PRIVATE, PRIVATE, encryption, two_files

GIVE = "give the private key: AUTOHEAL_AUDIT_IDENTITY, or --identity FILE"


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A log of which seq 1 to 4 are encrypted and 5 to 8 are not, and beside it private keys, good and bad."""
    await two_files(tmp_path / "data")
    encryption(tmp_path / "data").look()
    (tmp_path / "keys").rename(tmp_path / "data/keys")
    (tmp_path / "key.txt").write_text(f"# public key: …\n{PRIVATE}\n")
    (tmp_path / "other.txt").write_text(OTHER_PRIVATE)
    (tmp_path / "none.txt").write_text("secret but no key")
    return tmp_path / "data"


def seqs(said: str) -> list[int]:
    return [int(line[7:].split(",")[0]) for line in said.splitlines()]


@pytest.mark.parametrize("command", ["query", "export", "tail"])
def test_what_can_be_read_and_what_not(data: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Without the key: what is readable, one line on standard error for what is not, and exit code 1."""
    order = sorted if command != "query" else lambda seqs: sorted(seqs, reverse=True)
    asked = ["audit", command, "--data", str(data)]
    assert main([*asked, "--identity", str(data.parent / "key.txt")]) == 0
    said = capsys.readouterr()
    assert (seqs(said.out), said.err) == (order(range(1, 9)), "")
    assert main(asked) == 1
    said = capsys.readouterr()
    assert seqs(said.out) == order(range(5, 9))
    (line,) = said.err.splitlines()
    assert line.startswith("autoheal: left out: ")
    assert line.endswith(f"seq 1 to 4 are encrypted: {GIVE}")
    assert main([*asked, "--identity", str(data.parent / "other.txt")]) == 1
    assert "is none of those that open it" in capsys.readouterr().err
    assert main([*asked, "--identity", str(data.parent / "none.txt")]) == 2
    said = capsys.readouterr()
    assert "none.txt: line 1 is no age private key" in said.err
    assert "secret" not in said.err


def test_what_does_not_need_the_key(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records that are in the clear, as long as no others might have been asked for."""
    assert main(["audit", "query", "-n", "4", "--data", str(data)]) == 0
    assert main(["audit", "query", "alertname=d", "--data", str(data)]) == 0
    assert "left out" not in capsys.readouterr().err


def test_the_key_in_the_environment(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own variable, or the file that it names; one that is wrong is a fault, and is not repeated."""
    with monkeypatch.context() as patch:
        patch.setenv("AUTOHEAL_AUDIT_IDENTITY", PRIVATE)
        assert main(["audit", "verify", str(data)]) == 0
    with monkeypatch.context() as patch:
        patch.setenv("AUTOHEAL_AUDIT_IDENTITY_FILE", str(data.parent / "key.txt"))
        assert main(["audit", "export", "--data", str(data)]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setenv("AUTOHEAL_AUDIT_IDENTITY", PRIVATE[:-1])
        assert main(["audit", "export", "--data", str(data)]) == 2
    said = capsys.readouterr().err
    assert "AUTOHEAL_AUDIT_IDENTITY: line 1 is no age private key" in said
    assert PRIVATE[16:40] not in said


def test_a_file_that_is_no_text(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An encrypted file given as the key, say."""
    (data.parent / "none.txt").write_bytes(b"\xff\xfe")
    assert main(["audit", "verify", str(data), "--identity", str(data.parent / "none.txt")]) == 2
    assert "none.txt: it is not UTF-8" in capsys.readouterr().err


def test_verify(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the key the log is whole; without it the seqs that could not be checked are named, and it is not."""
    assert main(["audit", "verify", str(data), "--identity", str(data.parent / "key.txt")]) == 0
    assert capsys.readouterr().out.startswith("OK: 8 records in 2 files, seq 1 to 8, unbroken")
    assert main(["audit", "verify", str(data)]) == 1
    name = log_files(data)[0].path.name
    assert capsys.readouterr().out == f"BAD: encrypted: seq 1, {name}: seq 1 to 4 could not be checked: {GIVE}\n"


def test_there_and_back(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy has the encrypted files as they are. Making it and using it need the key: without, nothing is written."""
    copies, new, key = data.parent / "copies", data.parent / "new", str(data.parent / "key.txt")
    assert main(["audit", "backup", str(copies), "--data", str(data)]) == 2
    assert GIVE in capsys.readouterr().err
    assert not copies.exists()
    assert main(["audit", "backup", str(copies), "--data", str(data), "--identity", key]) == 0
    (made,) = copies.iterdir()
    ours, theirs = log_files(data), log_files(made)
    assert [file.storage for file in theirs] == [Storage.ENCRYPTED, Storage.PLAIN]
    assert theirs[0].path.read_bytes() == ours[0].path.read_bytes()
    capsys.readouterr()
    for wrong in ([], ["--identity", str(data.parent / "other.txt")]):
        assert main(["audit", "restore", str(made), "--data", str(new), *wrong]) == 2
        assert "seq 1 to 4 are encrypted" in capsys.readouterr().err
        assert not new.exists()
    assert main(["audit", "restore", str(made), "--data", str(new), "--identity", key]) == 0
    assert log_files(new)[0].path.read_bytes() == ours[0].path.read_bytes()
    assert verify(new, (), identities=IDENTITIES).last_hash == verify(data, (), identities=IDENTITIES).last_hash
