"""Both verifiers asked about one folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.verify import Finding, Report, verify
from autoheal.journal.verify.chain import Problem
from tests.support import independent_verifier
from tests.support.audit_trail import Trail


def both(folder: Path, kept: Path | None = None, key: Path | None = None) -> Report:
    """Our report, after making sure that the independent verifier comes to the same verdict, where it can judge."""
    key = key or folder / "keys" / "checkpoint.pub.pem"
    report = verify(folder, load_public_keys(key), kept.read_bytes().splitlines() if kept else None)
    objection = independent(folder, key, kept)
    if objection is None:
        told = [each for each in report.problems if not _beyond(each, report, kept)]
        assert not told, f"only our verifier objects: {[str(each) for each in told]}"
    else:
        assert report.problems, f"only the independent verifier objects: {objection!r}"
    return report


def _beyond(problem: Problem, report: Report, kept: Path | None) -> bool:
    """Whether manifests or service time alone could tell of `problem`: the independent verifier knows neither."""
    if problem.finding is Finding.CUT:
        return kept is None
    if problem.finding in (Finding.MISSING, Finding.LOST):
        return problem.seq is not None and problem.seq < report.first_seq
    return problem.finding in (Finding.MANIFEST, Finding.UNSIGNED)


def independent(folder: Path, key: Path, kept: Path | None = None) -> Exception | None:
    """What the independent verifier has to say against the log."""
    try:
        independent_verifier.verify(folder, key, kept)
    except Exception as error:  # noqa: BLE001 whatever it raises, it objects
        return error
    return None


def said(report: Report) -> list[tuple[str, int | None]]:
    """What is wrong with which seq."""
    return [(problem.finding.value, problem.seq) for problem in report.problems]


def put(trail: Trail, lines: Iterable[bytes]) -> None:
    """Have the current file hold `lines`."""
    trail.current.write_bytes(b"".join(lines))


@pytest.fixture
def trail(tmp_path: Path) -> Trail:
    """Twenty lines in one file, a checkpoint at 11 and at 20."""
    made = Trail(tmp_path / "data")
    made.work(8)
    made.checkpoint()
    made.work(8)
    made.checkpoint()
    assert made.head.seq == 20
    return made


@pytest.fixture
def rotated(tmp_path: Path) -> Trail:
    """Four files: 1-6 gzip'd, 7-13, 14-20, and 21-26 under way."""
    made = Trail(tmp_path / "rotated")
    made.work(4)
    made.rotate(compress=True)
    made.work(4)
    made.rotate()
    made.work(4)
    made.rotate()
    made.work(3)
    assert made.head.seq == 26
    return made
