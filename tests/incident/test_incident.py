"""`autoheal incident DIR`: what is in it while the service runs, hangs, is dead or has a damaged log; and no secret."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import httpx
import orjson
import pytest

from autoheal.incident.bundle import Bundle
from tests.support.monitoring import doomed, gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

PLANTED = {
    "in an address": "hunter2-of-alertmanager",
    "in a query": "tok3n-of-the-checkpoint",
    "from a file": "s3cret/from a file",
    "of a rule": "rule-s3cret-value",
    "of the self-test": "eyJhbGciOiJSUzI1NiJ9.planted.token",
    "of Slack": "services/T0planted/B0planted/XplantedXplanted",
    "of PagerDuty": "R0UT1NGKEYplantedplantedplanted0",
    "of the webhook": "whsec_cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZA==",
    "in the address of the webhook": "hook-w0rd",
    "of the collector": "c0llector-key",
}
"""Each is planted where autoheal knows it, and again where no secret belongs: in an alert, or its own log."""
RULES = """\
version: 1
secrets: {key: HERE/rule-secret}
rules:
  - name: tell
    match: alertname="Down"
    target: '{{ labels.instance }}'
    steps: [{http: {url: 'http://127.0.0.1:9/x', headers: {X-Key: '{{ secret.key }}'}}}]
"""
EVERYTHING = {
    "errors.jsonl",
    "healthz.json",
    "host.txt",
    "keys.txt",
    "metrics.txt",
    "overview.json",
    "own-log.txt",
    "process.txt",
    "readyz.json",
    "records.jsonl",
    "report.md",
    "rules.json",
    "selftest.json",
    "settings.json",
    "state.json",
    "threads.txt",
    "verify.txt",
    "versions.txt",
}


def planted(folder: Path) -> tuple[str, dict[str, str]]:
    """Rules and settings with secrets in them."""
    (folder / "rule-secret").write_text(PLANTED["of a rule"])
    (folder / "token").write_text(PLANTED["of the self-test"])
    (folder / "client-secret").write_text(PLANTED["from a file"])
    env = {
        "ALERTMANAGER_URL": f"http://ops:{PLANTED['in an address']}@127.0.0.1:{free_port()}/alertmanager",
        "AUTOHEAL_CHECKPOINT_URL": f"http://127.0.0.1:{free_port()}/in?token={PLANTED['in a query']}",
        "OIDC_CLIENT_SECRET_FILE": str(folder / "client-secret"),
        "AUTOHEAL_SELFTEST_TOKEN_FILE": str(folder / "token"),
        "AUTOHEAL_SELFTEST_INTERVAL": "off",
        "SLACK_ALERTING_ENABLED": "true",
        "SLACK_WEBHOOK_URL": f"https://127.0.0.1:{free_port()}/{PLANTED['of Slack']}",
        "PAGERDUTY_ROUTING_KEY": PLANTED["of PagerDuty"],
        "PAGERDUTY_URL": f"http://127.0.0.1:{free_port()}/v2/enqueue",
        "NOTIFY_WEBHOOK_URL": f"http://me:{PLANTED['in the address of the webhook']}@127.0.0.1:{free_port()}/",
        "NOTIFY_WEBHOOK_SECRET": PLANTED["of the webhook"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-tenant=ops,api-key={PLANTED['of the collector']}",
    }
    return RULES.replace("HERE", str(folder)), env


def incident(folder: Path, name: str = "incident", **env: str) -> subprocess.CompletedProcess[str]:
    """What the command did, in FOLDER/NAME; it knows where the data is, and nothing else."""
    argv = [sys.executable, "-m", "autoheal", "incident", str(folder / name)]
    environ = {"PATH": os.environ["PATH"], "AUTOHEAL_DATA_DIR": str(folder / "data"), **env}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=90, check=False, cwd=folder)


def missing(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The parts that could not be gathered."""
    return set(re.findall(r"^MISSING (.{22})", done.stdout, re.MULTILINE))


def names(parts: set[str]) -> set[str]:
    return {part.strip() for part in parts}


def test_all_of_it_and_no_secret(tmp_path: Path) -> None:
    """Every part of a running service, for its owner alone; what is planted in alerts, in the service's own log and in
    its settings is in no file of it, and not in the archive.
    """
    rules, env = planted(tmp_path)
    port = free_port()
    with gateway(tmp_path, port, rules, env):
        url = f"http://127.0.0.1:{port}"
        told = alert("0" * 16, " ".join(PLANTED.values()), instance="api", name="Down")
        httpx.post(f"{url}/alert", json=body(told), trust_env=False).raise_for_status()
        with (tmp_path / "gateway.log").open("a") as own:
            own.write("\n".join(f"Authorization: Bearer {secret}" for secret in PLANTED.values()) + "\n")
        done = incident(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / "incident"
    assert {path.name for path in folder.iterdir()} == EVERYTHING
    assert missing(done) == set()
    assert (folder.stat().st_mode & 0o777, (folder / "report.md").stat().st_mode & 0o777) == (0o700, 0o600)
    packed = tmp_path / "incident.tar.gz"
    assert packed.stat().st_mode & 0o777 == 0o600
    with tarfile.open(packed) as archive:
        assert {name.rpartition("/")[2] for name in archive.getnames()[1:]} == EVERYTHING
    for path in folder.iterdir():
        text = path.read_text(errors="replace")
        assert not [what for what, secret in PLANTED.items() if secret in text], path.name
    assert "Down" in (folder / "records.jsonl").read_text()
    assert "[hidden]" in (folder / "records.jsonl").read_text()
    settings = orjson.loads((folder / "settings.json").read_bytes())
    assert settings["whose"].startswith("of the running service, pid ")
    assert settings["settings"]["OIDC_CLIENT_SECRET"] == f"from OIDC_CLIENT_SECRET_FILE={tmp_path}/client-secret"
    assert settings["settings"]["ALERTMANAGER_URL"].startswith("set: http://127.0.0.1:")
    threads = (folder / "threads.txt").read_text()
    assert "most recent call first" in threads
    assert "Upkeep.run" in threads
    report = (folder / "report.md").read_text()
    assert "It answers: status ok" in report
    assert "- [ ] **What does it do?**" in report
    assert (folder / "verify.txt").read_text().startswith("whole: ")


def test_a_dead_service_with_a_damaged_log(tmp_path: Path) -> None:
    """What needs the process is missing and says so; the records are there, and the damage is named."""
    with doomed(tmp_path, free_port(), "{version: 1, rules: []}", {}) as process:
        process.kill()
        process.wait(10)
    log = tmp_path / "data" / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"\xff\xfe no record\n", *lines[1:]]))
    done = incident(tmp_path, AUTOHEAL_PORT=str(free_port()))
    assert done.returncode == 0
    assert names(missing(done)) >= {"threads", "process", "GET /", "GET /metrics", "GET /state"}
    folder = tmp_path / "incident"
    assert (folder / "verify.txt").read_text().startswith("BAD: changed: seq 2, audit.jsonl, line 2")
    assert len((folder / "records.jsonl").read_bytes().splitlines()) == len(lines) + 1
    assert b"no record" in (folder / "errors.jsonl").read_bytes()
    report = (folder / "report.md").read_text()
    assert "It does not answer" in report
    assert "**missing:** no process that can be seen from here owns" in report


def test_a_service_that_hangs(tmp_path: Path) -> None:
    """Nothing answers: the machine, the log and the process are told of all the same."""
    port = free_port()
    with gateway(tmp_path, port, "{version: 1, rules: []}", {}) as process:
        process.send_signal(signal.SIGSTOP)
        try:
            done = incident(tmp_path)
        finally:
            process.send_signal(signal.SIGCONT)
    assert done.returncode == 0
    folder = tmp_path / "incident"
    assert names(missing(done)) == {"threads"} | {
        f"GET {path}" for path in ("/", "/healthz", "/readyz", "/metrics", "/selftest/health", "/state", "/rules")
    }
    assert re.search(r"^State:\s+T", (folder / "process.txt").read_text(), re.MULTILINE)
    assert "no answer within" in (folder / "report.md").read_text()
    assert (folder / "verify.txt").read_text().startswith("whole: ")


def test_nothing_but_a_folder(tmp_path: Path) -> None:
    """Where nothing was ever run, it says what it did not find."""
    done = incident(tmp_path, AUTOHEAL_PORT=str(free_port()))
    assert done.returncode == 0
    assert {"versions.txt", "host.txt", "report.md"} <= {path.name for path in (tmp_path / "incident").iterdir()}
    assert {"log", "records"} <= names(missing(done))


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    """A folder that is not empty, a file and an archive of before are left alone."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").write_text("kept")
    (tmp_path / "file").write_text("kept")
    for name in ("full", "file"):
        done = incident(tmp_path, name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "name " in done.stderr
    assert [path.read_text() for path in (tmp_path / "full" / "kept", tmp_path / "file")] == ["kept", "kept"]


@pytest.mark.parametrize(
    ("secret", "text", "left"),
    [
        ("hunter22", "pw=hunter22!", "pw=[hidden]!"),
        ('quo"ted', '{"a":"quo\\"ted"}', '{"a":"[hidden]"}'),
        ("http://am:9093", "http://am:9093/api", "http://am:9093/api"),
        ("http://u:p%40ssword@am", "p@ssword p%40ssword", "[hidden] [hidden]"),
        ("https://hooks.example/services/T000/B000/planted-key", "services/T000/B000/planted-key", "[hidden]"),
        ("one-line\nother-line", "other-line", "[hidden]"),
        ("tgram://123456:bot/chat discord://id/word", "to discord://id/word", "to [hidden]"),
        ("x-tenant=ops,api-key=k3y%20in%2Fheader", "k3y in/header k3y%20in%2Fheader ops", "[hidden] [hidden] ops"),
        ("authorization=Bearer%20t0ken-of-otlp", "t0ken-of-otlp", "[hidden]"),
        ("", "postgresql://u:pw@db/x", "postgresql://[hidden]@db/x"),
        ("", "Bearer abc.def-ghi", "Bearer [hidden]"),
        ("abc", "abc", "abc"),
    ],
)
def test_what_is_hidden(tmp_path: Path, secret: str, text: str, left: str) -> None:
    """Secrets in each form that they may stand in; hosts stay, and words too short to be told from others."""
    bundle = Bundle(tmp_path / "bundle")
    bundle.hide([secret])
    assert bundle.clean(text.encode()).decode() == left


STUCK = """
import asyncio, pathlib, sys, time
from autoheal.serve.threads import writes_on_signal

def stuck_here():
    pathlib.Path("begun").touch()
    until = time.monotonic() + 30
    while time.monotonic() < until and not pathlib.Path("go").exists():
        time.sleep(0.01)

async def waits_for_a_peer():
    await asyncio.sleep(3600)

async def main():
    async with writes_on_signal(pathlib.Path(".")):
        waiting = asyncio.create_task(waits_for_a_peer())
        await asyncio.sleep(0)
        stuck_here()
        waiting.cancel()

asyncio.run(main())
"""


def test_a_stuck_loop_tells_where(tmp_path: Path) -> None:
    """The thread's own place, and who waits beside; at the end the signal is ignored and kills nobody."""
    env: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", STUCK], cwd=tmp_path, env=env) as process:
        wait_until((tmp_path / "begun").exists, what="the loop's being stuck")
        file = tmp_path / "threads.txt"
        process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "end of tasks" in file.read_text(), what="the dump")
        (tmp_path / "go").touch()
        assert process.wait(20) == 0
    text = file.read_text()
    assert " in stuck_here" in text
    assert "waits_for_a_peer" in text.split("tasks\n")[1]
    assert file.stat().st_mode & 0o777 == 0o640
