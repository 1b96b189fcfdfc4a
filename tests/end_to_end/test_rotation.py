"""The true service under the true logrotate while alerts pour in: what was answered 200 is in the log, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.commands import autoheal
from tests.support.logrotate import Logrotate
from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.posting import Load, alert, body
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: touch
    match: alertname="Down", instance=~"host-.*[05]"
    target: '{{ labels.instance }}'
    mode: dry_run
    steps: [{command: {argv: [/bin/true]}}]
"""
MANY = 300
"""Alerts acknowledged between two rotations, at least."""


def more(load: Load) -> None:
    """Return once that many more alerts were acknowledged."""
    goal = len(load.acked) + MANY
    wait_until(lambda: len(load.acked) >= goal, seconds=60, what=f"{MANY} more alerts acknowledged")


def exported(data_dir: Path) -> list[bytes]:
    """The lines of `autoheal audit export`, oldest first."""
    done = autoheal("audit", "export", "--data", data_dir)
    assert done.returncode == 0, done.stderr
    return done.stdout.encode().splitlines()


def streamed(url: str) -> list[bytes]:
    """The lines of `GET /audit` as one stream, newest first."""
    answer = httpx.get(f"{url}/audit", headers={"Accept": "application/x-ndjson"}, timeout=60, trust_env=False)
    assert answer.status_code == 200
    return answer.content.splitlines()


def paged(url: str, before: int) -> list[dict[str, Any]]:
    """The records of `GET /audit` below `before`, page by page, newest first."""
    records: list[dict[str, Any]] = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        following: int | None = before
        while following is not None:
            page = client.get("/audit", params={"n": 1000, "before": following}).raise_for_status().json()
            records += page["records"]
            following = page["next"]
    return records


def verified(folder: Path, *more: object) -> tuple[int, str]:
    """The exit code of `autoheal audit verify`, and what it said."""
    done = autoheal("audit", "verify", folder / "data", "--key", folder / "keys/checkpoint.pub.pem", *more)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("rotations", [3, pytest.param(50, marks=pytest.mark.hammer)])
def test_rotation_under_load_loses_no_alert(tmp_path: Path, rotations: int) -> None:
    """Rotated again and again with the shipped configuration (the retention alone is longer, so that all is there to
    be counted): every post is answered 200, and every alert is in the log once, by `GET /audit` and by
    `autoheal audit export`, which tell the same; after SIGTERM `autoheal audit verify` is content, also with the
    checkpoints that the service printed.
    """
    data_dir, port = tmp_path / "data", free_port()
    url = f"http://127.0.0.1:{port}"
    with gateway(tmp_path, port, RULES, {"AUTOHEAL_KEY_DIR": str(tmp_path / "keys")}):
        rotate = Logrotate(data_dir, [("rotate 14", "rotate 1000")])
        with Load(url, clients=4, pause=0) as load:
            for _ in range(rotations):
                more(load)
                rotate()
            more(load)
        stream = streamed(url)
        newest = orjson.loads(stream[0])["seq"]
        assert paged(url, newest + 1) == [orjson.loads(line) for line in stream]
    lines = exported(data_dir)
    assert lines[:newest] == stream[::-1]
    records = [orjson.loads(line) for line in lines]
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert set(load.answers) == {200}
    times = Counter(record["fingerprint"] for record in records if record["kind"] == "alert_firing")
    assert load.acked <= times.keys()
    assert set(times.values()) == {1}
    assert [record["kind"] for record in records].count("log_opened") == rotations
    assert len(list(data_dir.glob("audit.jsonl*"))) == rotations + 1
    code, said = verified(tmp_path)
    assert code == 0, said
    kept = tmp_path / "checkpoints.jsonl"
    signed = [line for line, record in zip(lines, records, strict=True) if record["kind"] == "checkpoint"]
    assert kept.read_bytes().splitlines() == signed
    assert len(signed) > rotations
    code, said = verified(tmp_path, "--checkpoint", kept)
    assert code == 0, said
    assert f"{len(signed):,} checkpoints kept elsewhere agree with the log" in said
    print(f"{rotations} rotations, {len(load.acked):,} alerts acknowledged, {len(records):,} records, each once")


@pytest.mark.parametrize("rotations", [1, pytest.param(30, marks=pytest.mark.hammer)])
def test_what_copytruncate_loses_is_detected_and_named(tmp_path: Path, rotations: int) -> None:
    """With copytruncate, what is written between the copy and the cut is lost. The service goes on and answers 200,
    `log_opened` records what it found, `/audit` and export tell the same, and `verify` names the gap with exit code 1.
    """
    data_dir, port = tmp_path / "data", free_port()
    url = f"http://127.0.0.1:{port}"
    done = 0
    with gateway(tmp_path, port, RULES, {"AUTOHEAL_KEY_DIR": str(tmp_path / "keys")}):
        rotate = Logrotate(data_dir, [("nocreate", "copytruncate"), ("rotate 14", "rotate 1000")])
        # A file of some megabytes is not copied in no time.
        for number in range(8):
            heavy = [alert(f"f{number:07x}{one:08x}", "x" * 40_000) for one in range(25)]
            httpx.post(f"{url}/alert", json=body(*heavy), timeout=60, trust_env=False).raise_for_status()
        with Load(url, clients=4, pause=0) as load:
            while done < rotations or (done < 60 and not lost(load, data_dir)):
                more(load)
                rotate()
                done += 1
                more(load)
        stream = streamed(url)
    assert set(load.answers) == {200}
    gone = lost(load, data_dir)
    assert gone, f"nothing was lost in {done} rotations"
    lines = exported(data_dir)
    newest = orjson.loads(stream[0])["seq"]
    records = [orjson.loads(line) for line in lines]
    assert [line for line, record in zip(lines, records, strict=True) if record["seq"] <= newest] == stream[::-1]
    opened = [record for record in records if record["kind"] == "log_opened"]
    assert {record["detail"]["how"] for record in opened} == {"truncated"}
    assert all(record["detail"]["found_bytes"] < record["detail"]["expected_bytes"] for record in opened)
    missing = set(range(1, records[-1]["seq"])) - {record["seq"] for record in records}
    assert len(gone) <= len(missing)
    assert max(missing) < opened[-1]["seq"]
    code, said = verified(tmp_path)
    assert code == 1, said
    assert said.startswith("BAD: lost to copytruncate: seq ")
    assert all("lost to copytruncate" in line for line in said.splitlines()[:20])
    print(f"{done} rotations, {len(load.acked):,} alerts acknowledged, {len(gone):,} lost, all named: {said}")


def lost(load: Load, data_dir: Path) -> set[str]:
    """The acknowledged alerts that no file of the log tells of."""
    acked = set(load.acked)
    told = autoheal("audit", "export", "kind=alert_firing", "--data", data_dir).stdout.splitlines()
    return acked - {orjson.loads(line)["fingerprint"] for line in told}
