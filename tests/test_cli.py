"""The command line as a person meets it: exit codes, all faults at once, help that helps."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest

from autoheal import __version__
from autoheal.cli import main
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

GOOD = """\
version: 1
rules:
  - name: restart
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/true]}}]
"""
BAD = GOOD.replace("mode: live", "mode: alive").replace("match: alertname", "match: =alertname")


def autoheal(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "autoheal", *arguments],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_check_counts_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Good rules: exit 0, and how many there are, as promtool says it."""
    (tmp_path / "good.yaml").write_text(GOOD)
    assert main(["check", str(tmp_path / "good.yaml")]) == 0
    assert "SUCCESS: 1 rule found" in capsys.readouterr().out


def test_check_names_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad rules: exit 1, each fault with file, line and column; good files beside them are still checked."""
    (tmp_path / "bad.yaml").write_text(BAD)
    (tmp_path / "good.yaml").write_text(GOOD)
    assert main(["check", str(tmp_path / "bad.yaml"), str(tmp_path / "good.yaml")]) == 1
    said = capsys.readouterr()
    assert "bad.yaml:4:12: " in said.err
    assert "bad.yaml:6:11: " in said.err
    assert "SUCCESS: 1 rule found" in said.out


def test_check_knows_what_may_be_done_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rerun_interrupted` by what each step's own parameters make of it."""

    def checked(step: str) -> int:
        about = "{name: a, match: a=b, target: t, rerun_interrupted: true, steps: [STEP]}".replace("STEP", step)
        (tmp_path / "rules.yaml").write_text(f"version: 1\nrules:\n  - {about}\n")
        return main(["check", str(tmp_path / "rules.yaml")])

    assert checked("{kubernetes: {scale: 'deployment/{{ target }}', namespace: shop, replicas: 2}}") == 0
    assert checked("{kubernetes: {scale: 'deployment/{{ target }}', namespace: shop, by: 2, max: 10}}") == 1
    assert "rules.yaml:3:72: kubernetes: to do this twice may not be the same as once" in capsys.readouterr().err
    assert checked("{docker: {restart: '{{ target }}'}}, {docker: {kill: '{{ target }}'}}") == 1
    assert "rules.yaml:3:109: docker: to do this twice" in capsys.readouterr().err


def test_check_knows_what_is_redacted(tmp_path: Path) -> None:
    """A rule that uses a label named in AUTOHEAL_REDACT is as bad as `serve` will find it; a bad value of that is 2."""
    (tmp_path / "rules.yaml").write_text(GOOD)
    check = ("check", str(tmp_path / "rules.yaml"))
    assert autoheal(*check, AUTOHEAL_REDACT="password", AUTOHEAL_PORT="many").returncode == 0
    told = autoheal(*check, AUTOHEAL_REDACT="password,instance")
    assert told.returncode == 1
    assert "rules.yaml:5:13: " in told.stderr
    told = autoheal(*check, AUTOHEAL_REDACT="password instance")
    assert told.returncode == 2
    assert told.stderr.startswith("autoheal: AUTOHEAL_REDACT: ")


def test_check_warns_of_a_channel_that_is_not_set(tmp_path: Path) -> None:
    """Canary and production may share rules; a name that is none of a channel's is a fault."""
    text = GOOD.replace("    steps", "    exhausted: {notify: [pagerduty, slack]}\n    steps")
    (tmp_path / "rules.yaml").write_text(text)
    check = ("check", str(tmp_path / "rules.yaml"))
    told = autoheal(*check, PAGERDUTY_ROUTING_KEY="0" * 32)
    assert told.returncode == 0
    assert [line for line in told.stdout.splitlines() if "WARNING" in line] == [
        "  WARNING: rule 'restart' names the channel slack, which is not configured here"
    ]
    (tmp_path / "rules.yaml").write_text(text.replace("slack", "slak"))
    told = autoheal(*check)
    assert told.returncode == 1
    assert "should be one of slack, pagerduty, webhook, apprise" in told.stderr


def test_check_warns_of_a_prometheus_that_is_not_set(tmp_path: Path) -> None:
    """Rules that ask it are good ones: the place where they will be used may know it. A bad address is 2."""
    text = GOOD.replace("    steps", "    fleet: {at_most: 10%, of: count(up)}\n    steps")
    (tmp_path / "rules.yaml").write_text(text)
    check = ("check", str(tmp_path / "rules.yaml"))
    told = autoheal(*check)
    assert told.returncode == 0
    assert "  WARNING: rule 'restart' asks Prometheus, and PROMETHEUS_URL is not set here" in told.stdout
    assert "WARNING" not in autoheal(*check, PROMETHEUS_URL="http://p:9090").stdout
    told = autoheal(*check, PROMETHEUS_URL="http://user:hunter2@")
    assert told.returncode == 2
    assert told.stderr.startswith("autoheal: PROMETHEUS_URL: ")
    assert "hunter2" not in told.stderr


def test_wrong_usage_is_2() -> None:
    """An unknown command, or none, is usage: exit 2."""
    for arguments in ((), ("heal",), ("check",)):
        assert autoheal(*arguments).returncode == 2


def test_help_shows_examples_and_the_version() -> None:
    """Every command's --help has examples; --version and a completion script are there."""
    for command in ("serve", "check", "demo", "audit"):
        said = autoheal(command, "--help")
        assert said.returncode == 0
        assert f"autoheal {command}" in said.stdout.split("examples:")[1]
    assert autoheal("--version").stdout == f"autoheal {__version__}\n"
    assert "complete" in autoheal("--print-completion", "bash").stdout


def test_serve_names_every_bad_setting(tmp_path: Path) -> None:
    """Settings that cannot be used: exit 2 and one line for each, before anything is touched."""
    data = tmp_path / "data"
    (tmp_path / "rules.yaml").write_text(GOOD)
    said = autoheal(
        "serve",
        AUTOHEAL_PORT="many",
        AUTOHEAL_DRYRUN="false",
        OIDC_ENABLED="true",
        OIDC_ISSUER="https://idp.example",
        AUTOHEAL_RULES=str(tmp_path / "rules.yaml"),
        AUTOHEAL_DATA_DIR=str(data),
    )
    assert said.returncode == 2
    assert len(said.stderr.splitlines()) == 3
    assert "AUTOHEAL_DRY_RUN" in said.stderr
    assert "Traceback" not in said.stderr
    assert not data.exists()


def test_serve_names_every_bad_rule(tmp_path: Path) -> None:
    """Rules that cannot be used at start: exit 2, every fault."""
    (tmp_path / "rules.yaml").write_text(BAD)
    said = autoheal("serve", AUTOHEAL_RULES=str(tmp_path / "rules.yaml"), AUTOHEAL_DATA_DIR=str(tmp_path / "data"))
    assert said.returncode == 2
    assert "rules.yaml:4:12: " in said.stderr
    assert "rules.yaml:6:11: " in said.stderr


def test_serve_names_faults_of_settings_and_rules_together(tmp_path: Path) -> None:
    """Nobody mends the one only to meet the other."""
    missing = str(tmp_path / "missing.yaml")
    said = autoheal("serve", AUTOHEAL_PORT="many", AUTOHEAL_RULES=missing)
    assert said.returncode == 2
    assert [line.split(": ")[1] for line in said.stderr.splitlines()] == ["AUTOHEAL_PORT", missing]
    said = autoheal("serve", AUTOHEAL_REDACT="a b", AUTOHEAL_RULES=missing)
    assert [line.split(": ")[1] for line in said.stderr.splitlines()] == ["AUTOHEAL_REDACT", missing]
    (tmp_path / "rules.yaml").write_text(GOOD)
    said = autoheal("serve", AUTOHEAL_X="x", AUTOHEAL_REDACT="instance", AUTOHEAL_RULES=str(tmp_path / "rules.yaml"))
    assert "rules.yaml:5:13: " in said.stderr


def test_serve_says_that_its_port_is_taken(tmp_path: Path) -> None:
    """A port that another program has: exit 2 and which one, no traceback, the log untouched."""
    (tmp_path / "rules.yaml").write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = autoheal(
            "serve",
            AUTOHEAL_RULES=str(tmp_path / "rules.yaml"),
            AUTOHEAL_DATA_DIR=str(tmp_path / "data"),
            AUTOHEAL_PORT=port,
        )
    assert said.returncode == 2
    assert f"127.0.0.1:{port}" in said.stderr
    assert "Traceback" not in said.stderr
    assert not (tmp_path / "data").exists()


def test_a_life_of_the_service(tmp_path: Path) -> None:
    """A second one on the same data is refused; SIGHUP reloads or keeps the old rules; SIGTERM ends it with 0."""
    rules, data, port = tmp_path / "rules.yaml", tmp_path / "data", free_port()
    rules.write_text(GOOD)
    environ = {"PATH": os.environ["PATH"], "AUTOHEAL_RULES": str(rules), "AUTOHEAL_DATA_DIR": str(data)}
    url = f"http://127.0.0.1:{port}"

    def kinds() -> list[str]:
        return [
            orjson.loads(line)["kind"] for line in (data / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        ]

    with running(
        [sys.executable, "-m", "autoheal", "serve"],
        lambda: answers(f"{url}/readyz"),
        tmp_path / "log",
        env={**environ, "AUTOHEAL_PORT": str(port)},
    ) as process:
        second = autoheal("serve", **environ, AUTOHEAL_PORT=str(free_port()))
        assert second.returncode == 2
        assert f"pid {process.pid}" in second.stderr
        rules.write_text(BAD)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config_rejected" in kinds(), what="config_rejected")
        assert httpx.get(f"{url}/rules", trust_env=False).json()["rules"][0]["mode"] == "live"
        rules.write_text(GOOD.replace("mode: live", "mode: dry_run"))
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: kinds().count("config_loaded") == 2, what="the second config_loaded")
        assert httpx.get(f"{url}/rules", trust_env=False).json()["rules"][0]["mode"] == "dry_run"
        assert "autoheal_config_last_reload_successful 1.0" in httpx.get(f"{url}/metrics", trust_env=False).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert kinds()[-2:] == ["service_stopped", "checkpoint"]
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert '"event": "serving"' in said
    printed = [line for line in said.splitlines() if '"kind":"checkpoint"' in line]
    lines = (data / "audit.jsonl").read_text().splitlines()
    assert printed == [line for line in lines if '"kind":"checkpoint"' in line]
    assert printed[-1] == lines[-1]


def test_damage_is_accepted_once_and_recorded(tmp_path: Path) -> None:
    """A changed line stops the start, which names it and the way out; a reason goes on before it and is recorded, and
    a service that keeps the option is warned of it.
    """
    rules, data, port = tmp_path / "rules.yaml", tmp_path / "data", free_port()
    rules.write_text(GOOD)
    environ = {
        "PATH": os.environ["PATH"],
        "AUTOHEAL_RULES": str(rules),
        "AUTOHEAL_DATA_DIR": str(data),
        "AUTOHEAL_PORT": str(port),
    }
    command = [sys.executable, "-m", "autoheal", "serve"]

    def up() -> bool:
        return answers(f"http://127.0.0.1:{port}/readyz")

    with running(command, up, tmp_path / "log", env=environ) as process:
        process.terminate()
        assert process.wait(10) == 0
    log = data / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"service_started", b"service_begotten"))
    refused = autoheal("serve", **environ)
    assert refused.returncode == 2
    assert "line 2 (seq 2)" in refused.stderr
    assert "autoheal serve --accept-damage REASON" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert autoheal("serve", "--accept-damage", " ", **environ).returncode == 2
    with running([*command, "--accept-damage", "OPS-42"], up, tmp_path / "log", env=environ) as process:
        process.terminate()
        assert process.wait(10) == 0
    records = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert [record["kind"] for record in records][:2] == ["log_created", "log_repaired"]
    assert records[1]["detail"]["reason"] == "OPS-42"
    assert "leave it out of every later start" in (tmp_path / "log").read_text()
    verified = autoheal("audit", "verify", str(data), **environ)
    assert "damage accepted ('OPS-42')" in verified.stdout + verified.stderr


def test_a_live_rule_on_an_open_address_is_a_loud_warning(tmp_path: Path) -> None:
    """At start and in `GET /`: whoever reaches an unauthenticated /alert can make the rule act."""
    rules, port = tmp_path / "rules.yaml", free_port()
    rules.write_text(GOOD)
    environ = {
        "PATH": os.environ["PATH"],
        "AUTOHEAL_RULES": str(rules),
        "AUTOHEAL_DATA_DIR": str(tmp_path / "data"),
        "AUTOHEAL_PORT": str(port),
        "AUTOHEAL_HOST": "0.0.0.0",
        "AUTOHEAL_INSECURE": "true",
        "AUTOHEAL_DRY_RUN": "false",
    }
    url = f"http://127.0.0.1:{port}"
    with running(
        [sys.executable, "-m", "autoheal", "serve"], lambda: answers(f"{url}/readyz"), tmp_path / "log", env=environ
    ):
        assert "credential" in httpx.get(url, trust_env=False).json()["warnings"][0]
    assert "credential" in (tmp_path / "log").read_text()


def test_the_command_line_is_light(tmp_path: Path) -> None:
    """What asks the log, by a script each minute say, waits for no library of the service."""
    code = (
        f"import sys; from autoheal.cli import main; main(['audit', 'query', '--data', {str(tmp_path)!r}])\n"
        "print(*sorted({'pydantic', 'httpx', 'starlette', 'ruamel'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == ""
