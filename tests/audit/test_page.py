"""docs/audit.md says what the code does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from autoheal.cli import parser
from autoheal.journal.manifest import Tally
from autoheal.journal.record import seal
from autoheal.journal.verify import Finding
from autoheal.model import Draft, Head, Kind
from tests.support.audit_trail import Trail
from tests.support.components import require
from tests.support.logs import chain, text
from tests.support.secrecy import PRIVATE, encrypted_file

PAGE = Path(__file__).parents[2].joinpath("docs/audit.md").read_text(encoding="utf-8")

SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(WITH_OPENSSL,) = (block for block in SHELL if "openssl" in block)
(WITH_AGE,) = (block for block in SHELL if "age -d" in block)


def test_every_finding_is_explained() -> None:
    """One row for each, in the order of the code."""
    section = PAGE.split("| finding | means |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE) == [finding.value for finding in Finding]


def test_the_commands_are_ones() -> None:
    """Each `autoheal …` line of the page parses as it stands."""
    commands = re.findall(r"^(?:\$ )?autoheal (.*?)(?:   .*)?$", PAGE, re.MULTILINE)
    commands += [command for command in re.findall(r"`autoheal ([^`]*)`", PAGE) if command.startswith("audit ")]
    whole = [command for command in commands if "--" in command or command.count(" ") > 1]
    assert len(whole) >= 6
    for command in whole:
        assert parser().parse_args(shlex.split(command)).command == "audit"


def test_openssl_checks_a_checkpoint_as_shown(tmp_path: Path) -> None:
    """The three lines of shell work as pasted; with another hash they do not."""
    trail = Trail(tmp_path / "data")
    detail = trail.checkpoint().detail
    (tmp_path / "checkpoint.pub.pem").write_bytes((trail.folder / "keys/checkpoint.pub.pem").read_bytes())
    script = WITH_OPENSSL
    told = {"LOG": trail.log, "SEQ": str(detail["seq"]), "HASH": detail["hash"], "SIGNATURE": detail["signature"]}
    for changed, code in (({}, 0), ({"HASH": "0" * 64}, 1)):
        done = subprocess.run(
            ["sh", "-c", script], cwd=tmp_path, env=os.environ | told | changed, capture_output=True, check=False
        )
        assert bool(done.returncode) == bool(code), done


@pytest.mark.component
def test_age_reads_an_encrypted_file_as_shown(tmp_path: Path) -> None:
    """The lines of shell work as pasted, with the true program, also where logrotate has gzip'd the file since."""
    path = Path(require("age")).parent
    records = chain([Draft(kind=Kind.DECISION, rule=f"r{number}") for number in range(30)])
    (tmp_path / "key.txt").write_text(f"# made by a test\n{PRIVATE}\n")
    (tmp_path / "secret").write_bytes(encrypted_file(records))
    (tmp_path / "secret.gz").write_bytes(encrypted_file(records, packed=True))
    packed = "gunzip < secret.gz | " + WITH_AGE.replace('< "$FILE" ', "")
    environment = os.environ | {"FILE": "secret", "PATH": f"{path}:{os.environ['PATH']}"}
    for script in (WITH_AGE, packed):
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert (done.stdout, done.stderr, done.returncode) == (text(records), b"", 0)


def test_the_manifest_shown_is_one() -> None:
    """Its keys, and theirs in turn, are those that are written, in their order."""
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    tally = Tally()
    tally.add(seal(Draft(kind=Kind.DECISION, alertname="a"), Head(), 0.0))
    written = json.loads(tally.manifest("0" * 16).data)
    found = json.loads(shown)
    assert list(found) == list(written)
    assert [list(found[key]) for key in ("first", "last")] == [list(written[key]) for key in ("first", "last")]
