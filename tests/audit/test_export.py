"""`autoheal audit export`."""

from __future__ import annotations

import gzip
import hashlib
import stat
from pathlib import Path

from autoheal.model import Draft, Kind
from tests.support.commands import autoheal
from tests.support.logs import START, chain, spread, text

RECORDS = chain([Draft(kind=Kind.DECISION, rule="r" if number % 2 else "s") for number in range(90)])


def test_the_whole_log_as_one_file(tmp_path: Path) -> None:
    """Oldest first, byte for byte, so that the hashes form a chain again; into a new file only its owner can read."""
    spread(tmp_path, RECORDS, [30, 60], ["known", "plain"])
    kept = tmp_path / "kept.jsonl"
    assert autoheal("audit", "export", "--data", tmp_path, "-o", kept).returncode == 0
    assert kept.read_bytes() == text(RECORDS)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    prev = "0" * 64
    for line in kept.read_bytes().splitlines():
        assert f'"prev":"{prev}"'.encode() in line
        prev = hashlib.sha256(line[: line.rindex(b',"hash":"')]).hexdigest()
    assert autoheal("audit", "export", "--data", tmp_path).stdout.encode() == text(RECORDS)


def test_filter_and_bounds(tmp_path: Path) -> None:
    """The same filter and bounds as everywhere; files that manifests rule out are not read."""
    spread(tmp_path, RECORDS, [30, 60], ["known", "known"])
    said = autoheal("audit", "export", "rule=r", "--data", tmp_path, "--before", 50, "--since", "2026-09-21T14:13:55Z")
    expected = [record for record in RECORDS if record.ts >= START + 35 and record.seq < 50 and record.rule == "r"]
    assert said.stdout.encode() == text(expected)
    (tmp_path / "audit.jsonl-0.gz").write_bytes(gzip.compress(text(RECORDS[:30]))[:-9])
    assert autoheal("audit", "export", "--data", tmp_path, "--since", "2026-09-21T14:13:55Z").returncode == 0
    assert autoheal("audit", "export", "--data", tmp_path).returncode == 1


def test_no_file_is_overwritten_or_left_half(tmp_path: Path) -> None:
    """FILE must be new; when the log is damaged there is none."""
    spread(tmp_path, RECORDS, [], ["plain"])
    kept = tmp_path / "kept"
    kept.write_text("precious")
    said = autoheal("audit", "export", "--data", tmp_path, "-o", kept)
    assert (said.returncode, kept.read_text()) == (2, "precious")
    assert "exists already" in said.stderr
    (tmp_path / "audit.jsonl").write_bytes(text(RECORDS).replace(b'"seq":90,', b'"seq":99,'))
    assert autoheal("audit", "export", "--data", tmp_path, "-o", tmp_path / "new").returncode == 1
    assert not (tmp_path / "new").exists()
