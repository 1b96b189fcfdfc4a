"""docs/audit-log.md says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import orjson
import pytest

from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind, Mode, Record

PAGE = Path(__file__).parents[2].joinpath("docs/audit-log.md").read_text(encoding="utf-8")
DRAFTS = [
    Draft(kind=Kind.LOG_CREATED),
    Draft(
        kind=Kind.DECISION,
        alertname="a",
        fingerprint="b",
        episode="e2",
        rule="r",
        target="t",
        run="r3",
        step=1,
        mode=Mode.LIVE,
        reason="act",
        correlation_id="c",
        labels={"hash": "x", "y": ',"hash":"'},
        annotations={"hash": "x"},
        detail={"x": {"y": 1, "hash": "nested"}},
    ),
    Draft(kind=Kind.ESCALATED),
]
LOG = b"".join(record.line + b"\n" for record in seal_all(DRAFTS, Head(), 1.0))


def check(tmp_path: Path, log: bytes) -> subprocess.CompletedProcess[str]:
    """Run the page's program over `log`."""
    program = tmp_path / "check.py"
    program.write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    (tmp_path / "audit.jsonl").write_bytes(log)
    argv = [sys.executable, str(program), str(tmp_path / "audit.jsonl")]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_the_page_explains_every_kind() -> None:
    """Each kind has one row in the table, and each row is a kind."""
    section = PAGE.split("## Kinds")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [kind.value for kind in Kind]


def test_the_page_explains_every_field_in_order() -> None:
    """The table of fields is that of a record that has them all, in the order of the line."""
    section = PAGE.split("## One record")[1].split("## Kinds")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == list(orjson.loads(LOG.splitlines()[1]))


def test_the_independent_check_accepts_our_log(tmp_path: Path) -> None:
    """A program of a dozen lines that knows only this page agrees with what the journal seals."""
    done = check(tmp_path, LOG)
    last: str = orjson.loads(LOG.splitlines()[-1])["hash"]
    assert (done.returncode, done.stdout) == (0, f"3 records, the last hash is {last}\n")


@pytest.mark.parametrize(
    "log",
    [
        LOG.replace(b'"rule":"r"', b'"rule":"s"'),
        b"".join(LOG.splitlines(keepends=True)[1:]),
        b"".join(LOG.splitlines(keepends=True)[::2]),
        LOG.replace(b'"}\n', b'"} \n'),
        LOG[:-1],
    ],
)
def test_the_independent_check_refuses_a_changed_log(tmp_path: Path, log: bytes) -> None:
    """A change, a missing beginning, a gap, bytes behind the hash and a torn end are found."""
    assert check(tmp_path, log).returncode == 1


def test_a_record_is_a_draft_with_a_place() -> None:
    """The page's fields and the class agree: nothing in a record is without a place in its line."""
    names = {each.name for each in fields(Record)} - {"line"}
    assert names == orjson.loads(LOG.splitlines()[1]).keys()
