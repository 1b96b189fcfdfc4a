"""The service's own log: whatever is said, by whomever, each event is one line that programs can read."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[1]
BEGIN = """\
import asyncio, logging, sys, threading, warnings
import structlog
from autoheal.serve.log import configure_logging
configure_logging(sys.argv[1], sys.argv[2])
log = structlog.get_logger("autoheal.x")
"""
SPEAKERS = {
    "ourselves": "log.info('said', who='a\\nb\\x1b[31m')",
    "ourselves, of a fault": "try: 1 / 0\nexcept ZeroDivisionError: log.exception('said')",
    "a library": "logging.getLogger('library').warning('it said\\n%s', 'x')",
    "a library, of a fault": "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('library').exception('said')",
    "a library that misspeaks": "logging.getLogger('library').warning('%d', 'x')",
    "the web server": "logging.getLogger('uvicorn.error').error('Invalid\\nHTTP request')",
    "a warning": "warnings.warn('careful\\nnow')",
    "a thread": "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()",
    "a destructor": "class Bad:\n    def __del__(self): raise RuntimeError('a\\nb')\nBad()",
    "the event loop": "loop = asyncio.new_event_loop(); loop.call_exception_handler({'message': 'a\\nb'})",
    "the end of the program": "raise SystemError('a\\nb')",
}


def spoken(code: str, form: str = "json", level: str = "info", **env: str) -> str:
    """What a program says on stderr that has set its log up and then runs `code`."""
    argv = [sys.executable, "-c", BEGIN + code, form, level]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False).stderr


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_each_event_is_one_json_object_on_one_line(speaker: str) -> None:
    """Also what nobody caught, with its traceback in it; the keys that programs look for come first."""
    (line,) = spoken(SPEAKERS[speaker]).splitlines()
    event = orjson.loads(line)
    assert list(event)[:4] == ["timestamp", "level", "event", "logger"]


@pytest.mark.parametrize(
    "value", ["float('inf')", "float('nan')", "'\\udc80'", "{1, 2}", "object()", "{'a': '\\ud800'}"]
)
def test_what_json_cannot_hold_is_told_as_python_writes_it(value: str) -> None:
    """A value that is odd neither loses the line nor makes it one that a strict parser refuses."""
    (line,) = spoken(f"log.info('said', odd={value}, fine='ü😀')").splitlines()
    event = orjson.loads(line)
    assert isinstance(event["odd"], str)
    assert event["fine"] == "ü😀"


def test_the_level_is_ours_and_libraries_are_heard_from_warning_on() -> None:
    """What they say below that may quote secrets; `error` silences warnings of both."""
    code = (
        "log.debug('a'); log.info('b'); log.warning('c'); lib = logging.getLogger('l'); lib.info('d'); lib.warning('e')"
    )
    heard = {
        level: [orjson.loads(line)["event"] for line in spoken(code, level=level).splitlines()]
        for level in ("debug", "info", "error")
    }
    assert heard == {"debug": ["a", "b", "c", "e"], "info": ["b", "c", "e"], "error": []}


HOSTILE = "log.info('said', who='\\x1b[2Jx'); logging.getLogger('l').error('\\x1b[2Jy')\n"
FAULT = "try: raise ValueError('\\x1b[2Jz')\nexcept ValueError: log.exception('fell')"


def test_people_get_lines_that_do_not_drive_their_terminal() -> None:
    """What strangers wrote is escaped, in tracebacks too (CWE-150)."""
    said = spoken(HOSTILE + FAULT, form="console")
    assert "\x1b" not in said
    assert r"\x1b[2Jx" in said
    assert r"\x1b[2Jy" in said
    assert r"ValueError: \x1b[2Jz" in said


def test_auto_is_for_people_on_a_terminal_and_json_elsewhere() -> None:
    """NO_COLOR is minded there."""
    assert orjson.loads(spoken("log.info('said')", form="auto"))["event"] == "said"
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", BEGIN + "log.info('said')", "auto", "info"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    subprocess.run(argv, env=environ, stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert "[info     ] said" in shown
    assert "\x1b" not in shown


RULES = """\
version: 1
rules:
  - name: fails
    match: 'alertname="Down"'
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/false]}}]
"""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    """The gateway's own lines that tell of `event`; every line is JSON."""
    said = map(orjson.loads, (folder / "gateway.log").read_bytes().rpartition(b"\n")[0].splitlines())
    return [line for line in said if line["event"] == event]


def test_a_webhooks_id_goes_on_into_what_its_run_says(tmp_path: Path) -> None:
    """Hours later too, and after a restart; the sender's trace is told for the request alone."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with gateway(tmp_path, port, RULES, {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_LOG_LEVEL": "debug"}):
        told = body(alert("1" * 16, instance="one\ntwo", name="Down"))
        given = {"traceparent": TRACE, "tracestate": "vendor=x"}
        answer = httpx.post(f"{url}/alert", json=told, headers=given, trust_env=False)
        secret = httpx.get(f"{url}/login/callback?code=hunter2&state=x", trust_env=False)
        wait_until(lambda: bool(lines(tmp_path, "escalated")), what="the end of the run")
    made = answer.json()["correlation_id"]
    (escalated,) = lines(tmp_path, "escalated")
    assert escalated["correlation_id"] == made
    assert "trace_id" not in escalated
    posted, asked = (line for line in lines(tmp_path, "request") if line["level"] == "info")
    about = {key: posted[key] for key in ("method", "path", "status", "peer", "correlation_id", "trace_id", "span_id")}
    assert about == {
        "method": "POST",
        "path": "/alert",
        "status": 200,
        "peer": "127.0.0.1",
        "correlation_id": made,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
    }
    assert posted["duration_ms"] > 0
    assert (asked["path"], asked["correlation_id"]) == ("/login/callback", secret.headers["x-correlation-id"])
    assert "hunter2" not in (tmp_path / "gateway.log").read_text()
    assert {line["path"] for line in lines(tmp_path, "request") if line["level"] == "debug"} == {"/readyz"}
