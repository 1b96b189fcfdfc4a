"""The self-test against a running gateway: each check fails for its real cause, and no test leaves a trace."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.config import load
from autoheal.model import Check
from autoheal.selftest.command import is_here
from tests.support.alertmanagers import fake, http, status
from tests.support.monitoring import doomed, gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.selftests import NOBODY, Proxy, look

RULES = """\
version: 1
rules:
  - name: everything
    match: 'alertname=~".+"'
    target: '{{ alertname }}'
    mode: live
    steps: [{command: {argv: [/bin/false]}}]
"""
"""A rule that would act on whatever comes."""


@dataclass(frozen=True)
class Here:
    """A gateway whose live rules act."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {"AUTOHEAL_DATA_DIR": str(self.folder / "data"), "AUTOHEAL_PORT": str(self.port)}

    def post(self, path: str, reason: str) -> None:
        httpx.post(self.url + path, json={"reason": reason}, trust_env=False).raise_for_status()

    def get(self, path: str, **asked: str) -> Any:
        return httpx.get(self.url + path, params=asked, trust_env=False).raise_for_status().json()

    def samples(self) -> set[str]:
        """What is counted, but for the webhooks and records that a self-test is made of, and what time changes."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        own = ("autoheal_webhook", "autoheal_journal", "autoheal_audit_free", "autoheal_selftest", "#")
        return {line for line in text.splitlines() if not line.startswith(own)}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    found = Here(tmp_path_factory.mktemp("gateway"), free_port())
    env = {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_SELFTEST_INTERVAL": "off"}
    with gateway(found.folder, found.port, RULES, env):
        yield found


def kinds(here: Here, after: int) -> list[str]:
    return [record["kind"] for record in reversed(here.get("/audit", n="100")["records"]) if record["seq"] > after]


async def test_all_is_well_and_nothing_stays_behind(here: Here) -> None:
    """The records are all that it leaves: no run, no open alert, no count of alerts, decisions or actions; and a rule
    that matches every alert has not seen it.
    """
    before, counted, head = here.get("/state"), here.samples(), here.get("/")["head"]
    found = await look(here.url, here.env)
    assert {check: result.word for check, result in found.items()} == {
        Check.ALERT: "ok",
        Check.EVENTS: "ok",
        Check.ACCESS: "skipped",
        Check.TOKEN: "skipped",
        Check.AUDIT: "ok",
        Check.KEYS: "skipped",
        Check.ALERTMANAGER: "skipped",
        Check.CLOCK: "skipped",
        Check.DISK: "ok",
    }
    assert list(found) == list(Check)
    assert kinds(here, head) == ["alert_firing", "decision", "action_dry_run", "alert_resolved"]
    assert {**here.get("/state"), "head": None} == {**before, "head": None}
    assert here.samples() == counted
    decision = here.get("/audit", q="kind=decision", n="1")["records"][0]
    assert (decision["rule"], decision["reason"]) == ("autoheal/selftest", "dry_run")


async def test_many_at_the_same_time_do_not_mix(here: Here) -> None:
    """Each tells its own records from those of the others."""
    head = here.get("/")["head"]
    for found in await asyncio.gather(*(look(here.url, here.env) for _ in range(5))):
        assert (found[Check.ALERT].word, found[Check.EVENTS].word) == ("ok", "ok")
    assert sorted(kinds(here, head)) == sorted(["alert_firing", "decision", "action_dry_run", "alert_resolved"] * 5)


async def test_what_holds_real_alerts_is_told(here: Here) -> None:
    """Paused, it passes, and says that no run begins."""
    here.post("/pause", "maintenance")
    try:
        found = (await look(here.url, here.env))[Check.ALERT]
    finally:
        here.post("/resume", "over")
    assert found.ok
    assert "decision paused (autoheal is paused" in found.text


async def test_a_dead_alertmanager_is_named_without_its_credentials(here: Here) -> None:
    """One that does not answer fails the check, and one that does not is no excuse for the others."""
    async with fake() as lives:
        dead = f"http://user:hunter2@127.0.0.1:{free_port()}"
        env = {**here.env, "ALERTMANAGER_URL": f"{lives.url},{dead}", "AUTOHEAL_ALERT_ALLOWLIST": NOBODY}
        found = (await look(here.url, env))[Check.ALERTMANAGER]
    assert found.ok is False
    assert dead.rpartition(":")[2] in found.text
    assert "hunter2" not in found.text


@pytest.mark.parametrize(("ahead", "word"), [(0, "ok"), (25, "ok"), (-120, "FAIL"), (120, "FAIL")])
async def test_a_wrong_clock(here: Here, ahead: int, word: str) -> None:
    """More than half a minute from Alertmanager's is too much, whoever is ahead."""
    date = formatdate(time.time() + ahead, usegmt=True)
    async with fake(state=http(status(), headers=f"Date: {date}\r\n")) as alertmanager:
        env = {**here.env, "ALERTMANAGER_URL": alertmanager.url, "AUTOHEAL_ALERT_ALLOWLIST": NOBODY}
        found = await look(here.url, env)
    assert found[Check.ALERTMANAGER].ok
    assert found[Check.CLOCK].word == word
    if word == "FAIL":
        assert ("behind" if ahead > 0 else "ahead of") in found[Check.CLOCK].text


async def test_a_broken_chain_in_the_last_file(here: Here, tmp_path: Path) -> None:
    """One byte that was changed is found, and the record is named."""
    data = tmp_path / "data"
    shutil.copytree(here.folder / "data", data)
    log = data / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"actor":"system"', b'"actor":"sistem"')
    log.write_bytes(b"".join(lines))
    env = {**here.env, "AUTOHEAL_DATA_DIR": str(data), "AUTOHEAL_ALERT_ALLOWLIST": NOBODY}
    found = (await look(here.url, env))[Check.AUDIT]
    assert found.ok is False
    assert "seq 3, audit.jsonl, line 3" in found.text
    missing = (await look(here.url, {**env, "AUTOHEAL_DATA_DIR": str(tmp_path)}))[Check.AUDIT]
    assert "audit.jsonl cannot be read" in missing.text
    assert (await look(here.url, env, local=False))[Check.AUDIT].word == "skipped"


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "GET /events answered 502"),
        (40, "of the alert that was taken in, the stream"),
    ],
)
async def test_a_stream_that_is_cut(here: Here, events: int | bytes, says: str) -> None:
    """Events fail, and what became of the alert is read in the log instead."""
    async with Proxy(here.port, events) as url:
        found = await look(url, here.env)
    assert found[Check.EVENTS].ok is False
    assert found[Check.EVENTS].text.startswith(says)
    assert found[Check.ALERT].text == "alert_firing, decision, action_dry_run"
    assert here.get("/state")["state"]["episodes"] == {}


async def test_too_little_disk(tmp_path: Path) -> None:
    """Less than the log is to have left fails; the pipe is looked at all the same, for alerts are taken in."""
    here = Here(tmp_path, free_port())
    env = {**here.env, "AUTOHEAL_AUDIT_MIN_FREE": "900000GiB", "AUTOHEAL_SELFTEST_INTERVAL": "off"}
    with gateway(tmp_path, here.port, RULES, {**env, "AUTOHEAL_ENABLED": "false"}):
        found = await look(here.url, env)
    assert found[Check.DISK].ok is False
    assert "AUTOHEAL_AUDIT_MIN_FREE" in found[Check.DISK].text
    assert "AUTOHEAL_ENABLED=false" in found[Check.ALERT].text


async def test_nobody_there() -> None:
    """Every check of the gateway fails, and says where nobody was."""
    found = await look(f"http://127.0.0.1:{free_port()}", {}, local=False)
    assert {check for check, result in found.items() if result.ok is False} == {
        Check.ALERT,
        Check.ACCESS,
        Check.TOKEN,
        Check.EVENTS,
        Check.KEYS,
        Check.DISK,
    }
    assert all("onnect" in result.text for result in found.values() if result.ok is False)


def test_the_service_tests_itself_and_remembers_over_its_death(tmp_path: Path) -> None:
    """On its own address, every interval; what came of it is in the log, and so outlasts kill -9."""
    here = Here(tmp_path, free_port())
    env = {"AUTOHEAL_SELFTEST_INTERVAL": "10s", "ALERTMANAGER_URL": f"http://127.0.0.1:{free_port()}"}

    def health() -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{here.url}/selftest/health", trust_env=False)
        return answer.status_code, answer.json()

    with doomed(tmp_path, here.port, RULES, env) as process:
        assert health() == (
            200,
            {
                "status": "unknown",
                "pass_rate": None,
                "consecutive_failures": 0,
                "interval_seconds": 10.0,
                "recent": [],
            },
        )
        wait_until(lambda: health()[0] == 503, seconds=40, what="a self-test")
        process.kill()
        process.wait(10)
    with gateway(tmp_path, here.port, RULES, env):
        code, told = health()
        assert (code, told["status"], told["pass_rate"]) == (503, "failing", 0.0)
        assert told["recent"][0]["failed"] == ["alertmanager"]
        assert told["consecutive_failures"] == len(told["recent"])
        record = here.get("/audit", q="kind=selftest_fail", n="1")["records"][0]
        assert record["detail"]["checks"]["alert"]["ok"] is True
        assert f"autoheal_selftest_consecutive_failures {len(told['recent'])}.0" in here.samples() | {
            line
            for line in httpx.get(f"{here.url}/metrics", trust_env=False).text.splitlines()
            if line.startswith("autoheal_selftest_consecutive")
        }


def test_the_command(here: Here, tmp_path: Path) -> None:
    """One line a check and 0, JSON where that is asked for; 1 when a check fails, 2 for settings that are none."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "autoheal", "selftest", *arguments]
        return subprocess.run(argv, env={**here.env, **env}, capture_output=True, text=True, timeout=60, check=False)

    good = run()
    assert (good.returncode, good.stderr) == (0, "")
    assert [line.split()[:2] for line in good.stdout.splitlines()[:2]] == [["ok", "alert"], ["ok", "events"]]
    assert good.stdout.splitlines()[-1] == "4 ok, 0 failed, 5 skipped"
    told = orjson.loads(run("--json", "--url", here.url).stdout)
    assert told["ok"] is True
    assert [check["check"] for check in told["checks"]] == [check.value for check in Check]
    bad = run(ALERTMANAGER_URL=f"http://127.0.0.1:{free_port()}")
    assert bad.returncode == 1
    (at,) = (number for number, line in enumerate(bad.stdout.splitlines()) if line.startswith("FAIL"))
    assert bad.stdout.splitlines()[at + 1].strip().startswith("-> ")
    assert run(AUTOHEAL_PORT="zero").returncode == 2


def test_a_log_that_is_somebody_elses(tmp_path: Path) -> None:
    """Whoever may not look into the data directory is told so by the check of the log, and not by a traceback."""
    data, owner = tmp_path / "data", os.geteuid()
    data.mkdir(mode=0)
    settings = load({"AUTOHEAL_DATA_DIR": str(data)})
    if owner == 0:
        os.seteuid(65534)
    try:
        assert is_here("http://127.0.0.1:9009", settings)
    finally:
        os.seteuid(owner)
    assert not is_here("http://192.0.2.1:9009", settings)
