"""Stopping the real process while streams are open."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.processes import running

STOP_SECONDS = 2.5
"""Less than the five seconds after which the server would cut what is still open."""


def test_sigterm_ends_streams_and_the_process(tmp_path: Path) -> None:
    """Open streams do not hold a stop up: they end as complete answers, and the process exits 0."""
    port = free_port()
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: []\n")
    env = {"AUTOHEAL_RULES": str(rules), "AUTOHEAL_DATA_DIR": str(tmp_path / "data"), "AUTOHEAL_PORT": str(port)}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        def ready() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        argv = [sys.executable, "-m", "autoheal", "serve"]
        with (
            running(argv, ready, tmp_path / "log", env=env, cwd=tmp_path) as process,
            client.stream("GET", "/events?after=0") as one,
            client.stream("GET", "/events") as other,
        ):
            assert one.status_code == other.status_code == 200
            lines = one.iter_lines()
            assert next(lines) == "retry: 3000"
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            list(lines)
            list(other.iter_lines())
            assert time.monotonic() - begun < STOP_SECONDS
            assert process.wait(10) == 0
            assert time.monotonic() - begun < STOP_SECONDS
    assert b"error" not in (tmp_path / "log").read_bytes()
