"""The process as a supervisor sees it: signals at any moment, and what its exit code tells."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from autoheal.config import load as load_settings
from autoheal.journal import snapshots
from autoheal.journal.manifest import Tally
from autoheal.journal.record import seal_all
from autoheal.model import Draft, Head, Kind
from autoheal.serve import server
from autoheal.state import State
from autoheal.state.entities import Pause
from tests.support import signalled
from tests.support.certificates import certified
from tests.support.monitoring import answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

RULES = """\
version: 1
rules:
  - name: touch
    match: alertname="Down"
    target: '{{ labels.instance }}'
    steps: [{command: {argv: [/bin/true]}}]
"""
ROOT = Path(__file__).parents[1]
PAYLOAD = ROOT / "tests" / "payloads" / "01_firing_single.json"
SERVE = [sys.executable, "-m", "autoheal", "serve"]


def environment(folder: Path, port: int, **more: str) -> dict[str, str]:
    """Of a gateway with its rules and its data in `folder`."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AUTOHEAL_RULES": str(folder / "rules.yaml"),
        "AUTOHEAL_DATA_DIR": str(folder / "data"),
        "AUTOHEAL_PORT": str(port),
        **more,
    }


def records(folder: Path) -> list[dict[str, Any]]:
    """The audit log."""
    return [
        orjson.loads(line) for line in (folder / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
    ]


def said(folder: Path, event: str) -> list[dict[str, Any]]:
    """The lines of the service's own log that tell of `event`."""
    lines = [orjson.loads(line) for line in (folder / "log").read_bytes().rpartition(b"\n")[0].splitlines()]
    return [line for line in lines if line.get("event") == event]


def opened_by_reader(fifo: Path) -> int:
    """Wait until somebody opens `fifo` to read it; a descriptor that writes to it."""
    found: list[int] = []

    def opened() -> bool:
        try:
            found.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    wait_until(opened, what="the reading of the rules")
    return found[0]


def test_a_stop_while_the_rules_are_read_ends_it_before_the_log_is_touched(tmp_path: Path) -> None:
    """Exit code 0 as soon as the rules are in, and no data directory."""
    fifo = tmp_path / "rules.yaml"
    os.mkfifo(fifo)
    with (tmp_path / "log").open("wb") as output:
        process = subprocess.Popen(SERVE, env=environment(tmp_path, free_port()), stdout=output, stderr=output)
    with os.fdopen(opened_by_reader(fifo), "w") as writer:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        writer.write(RULES)
    assert process.wait(10) == 0
    assert said(tmp_path, "stopped_before_serving")
    assert not (tmp_path / "data").exists()


def test_a_reload_asked_for_while_the_rules_are_read_is_done_once_it_serves(tmp_path: Path) -> None:
    """It does not kill, it is not forgotten, and the log tells of it after the start."""
    fifo, port = tmp_path / "rules.yaml", free_port()
    os.mkfifo(fifo)
    (tmp_path / "next.yaml").write_text(RULES)
    with running(SERVE, lambda: True, tmp_path / "log", env=environment(tmp_path, port)) as process:
        with os.fdopen(opened_by_reader(fifo), "w") as writer:
            (tmp_path / "next.yaml").replace(fifo)
            process.send_signal(signal.SIGHUP)
            writer.write(RULES)
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), what="readiness")
        wait_until(lambda: bool(said(tmp_path, "reloaded")), what="the reload")
    assert process.returncode == 0
    kinds = [record["kind"] for record in records(tmp_path)]
    assert kinds == [
        "log_created",
        "service_started",
        "config_loaded",
        "checkpoint",
        "config_loaded",
        "service_stopped",
        "checkpoint",
    ]


POINTS = [
    "autoheal.serve.process:load_rules",
    "autoheal.serve.server:listen",
    "autoheal.serve.process:_serve",
    "autoheal.engine.core:Engine.__init__",
    "autoheal.serve.process:_until_stopped",
    "uvicorn.server:Server.serve",
    "autoheal.engine.core:Engine.start",
    "uvicorn.server:Server.main_loop",
]


def signalled_at(folder: Path, number: str, point: str) -> int:
    """The exit code of a gateway to which a signal comes at `point`."""
    (folder / "rules.yaml").write_text(RULES)
    with (folder / "log").open("wb") as output:
        argv = [sys.executable, signalled.__file__, number, point]
        env = environment(folder, free_port())
        return subprocess.run(argv, env=env, stdout=output, stderr=output, timeout=60, check=False).returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_stop_at_any_moment_of_the_start_ends_it_in_good_order(tmp_path: Path, point: str) -> None:
    """Exit code 0, and a life that the log tells of has its end in it."""
    assert signalled_at(tmp_path, "SIGTERM", point) == 0
    assert b"Traceback" not in (tmp_path / "log").read_bytes()
    log = tmp_path / "data" / "audit.jsonl"
    kinds = [record["kind"] for record in records(tmp_path)] if log.exists() else []
    assert kinds in (
        [],
        ["log_created"],
        ["log_created", "service_started", "config_loaded", "checkpoint", "service_stopped", "checkpoint"],
    )


@pytest.mark.parametrize("point", ["autoheal.cli:<module>", "autoheal.cli:parser", "autoheal.config.settings:load"])
def test_a_reload_asked_for_before_anything_is_loaded_is_nothing(tmp_path: Path, point: str) -> None:
    """It does not kill, not even during the imports: the process comes as far as the rules, which are not there.

    `systemctl restart autoheal && systemctl reload autoheal` sends it that soon.
    """
    argv = [sys.executable, signalled.__file__, "SIGHUP", point]
    env = environment(tmp_path, free_port(), AUTOHEAL_RULES=str(tmp_path / "missing.yaml"))
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "missing.yaml" in ended.stderr


def test_a_stop_before_anything_is_loaded_ends_it_at_once(tmp_path: Path) -> None:
    """By the signal itself, which supervisors take for a clean end; nothing was touched yet."""
    assert signalled_at(tmp_path, "SIGTERM", "autoheal.cli:parser") == -signal.SIGTERM
    assert not (tmp_path / "data").exists()


def test_a_stop_while_the_log_is_folded_does_not_wait_for_its_end(tmp_path: Path) -> None:
    """However long the log is: a bad line at its end, over which a start would fail, is not even reached."""
    assert signalled_at(tmp_path, "SIGTERM", "autoheal.engine.core:Engine.start") == 0
    log = tmp_path / "data" / "audit.jsonl"
    with log.open("ab") as file:
        file.write(b"{}\n")
    before = log.read_bytes()
    assert signalled_at(tmp_path, "SIGINT", "autoheal.state.whole:State.apply") == 0
    assert log.read_bytes() == before


class BrokenEngine:
    """Its reload fails in a way that nobody foresaw."""

    async def reload(self) -> None:
        raise OSError("the disk is on fire")


async def test_a_reload_that_fails_in_any_way_is_logged() -> None:
    """And does not end whoever asked for it."""
    with capture_logs() as logs:
        await server._reload(BrokenEngine())  # type: ignore[arg-type]
    assert [line["event"] for line in logs] == ["reload_failed"]
    assert "on fire" in str(logs[0]["exc_info"])


LIMITED = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)"


def test_a_start_that_the_log_refuses_is_2(tmp_path: Path) -> None:
    """A disk that takes nothing more: a sentence for people, exit code 2."""
    assert signalled_at(tmp_path, "SIGTERM", "autoheal.engine.core:Engine.start") == 0
    full = str((tmp_path / "data" / "audit.jsonl").stat().st_size)
    argv = [sys.executable, "-c", f"{LIMITED}; os.execv(sys.argv[2], sys.argv[2:])", full, *SERVE]
    # Whoever measures what the process covers could not write that down either.
    env = {name: value for name, value in environment(tmp_path, free_port()).items() if not name.startswith("COV")}
    ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("autoheal: the service could not start")


BROKEN = """\
import sys
from autoheal.cli import main
from autoheal.engine.decider import Decider
async def broken(self): raise RuntimeError("a fault that nobody foresaw")
Decider._run = broken
sys.exit(main(["serve"]))
"""


def test_a_service_whose_engine_fails_ends_with_1(tmp_path: Path) -> None:
    """In good order, so that a supervisor starts another; it does not live on to answer 503 for ever."""
    (tmp_path / "rules.yaml").write_text(RULES)
    with (tmp_path / "log").open("wb") as output:
        argv = [sys.executable, "-c", BROKEN]
        env = environment(tmp_path, free_port())
        ended = subprocess.run(argv, env=env, stdout=output, stderr=output, timeout=60, check=False)
    assert ended.returncode == 1
    assert [line["level"] for line in said(tmp_path, "engine_failed")] == ["critical"]
    assert [record["kind"] for record in records(tmp_path)[-2:]] == ["service_stopped", "checkpoint"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_two_colons_are_every_address_of_the_machine(tmp_path: Path) -> None:
    """`::` is reached by IPv4 as well, whose loopback is local then too, and the log shows it in brackets."""
    (tmp_path / "rules.yaml").write_text(RULES)
    port = free_port()
    env = environment(tmp_path, port, AUTOHEAL_HOST="::", AUTOHEAL_INSECURE="true")
    with running(SERVE, lambda: answers(f"http://127.0.0.1:{port}/readyz"), tmp_path / "log", env=env):
        assert answers(f"http://127.0.0.1:{port}/audit")
        assert answers(f"http://[::1]:{port}/audit")
    assert [line["address"] for line in said(tmp_path, "serving")] == [f"[::]:{port}"]


def test_a_reader_that_takes_nothing_is_noticed_soon(tmp_path: Path) -> None:
    """Connections have a small buffer, and the kernel gives one up after half a minute without an acknowledgement."""
    settings = load_settings({"AUTOHEAL_PORT": str(free_port())})
    with server.listen(settings) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            # The kernel doubles what it is told (socket(7)).
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 64 * 1024
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@contextmanager
def listening(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback, over `tls` if any, and the first lines of what it was asked; it knows nothing."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.requestline)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as web:
        if tls is not None:
            web.socket = tls.wrap_socket(web.socket, server_side=True)
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield f"{'https://localhost' if tls else 'http://127.0.0.1'}:{web.server_address[1]}", asked
        finally:
            web.shutdown()
            thread.join()


def test_no_proxy_stands_between_the_gateway_and_alertmanager(tmp_path: Path) -> None:
    """Whatever HTTP_PROXY says: what fires would be a stranger's word."""
    (tmp_path / "rules.yaml").write_text(RULES)
    body = {**orjson.loads(PAYLOAD.read_bytes()), "truncatedAlerts": 1}
    port = free_port()
    with listening() as (alertmanager, asked), listening() as (proxy, seen):
        more = {"ALERTMANAGER_URL": alertmanager, "HTTP_PROXY": proxy, "http_proxy": proxy, "ALL_PROXY": proxy}
        env = environment(tmp_path, port, **more)
        with running(SERVE, lambda: answers(f"http://127.0.0.1:{port}/readyz"), tmp_path / "log", env=env):
            url = f"http://127.0.0.1:{port}/alert"
            assert httpx.post(url, content=orjson.dumps(body), trust_env=False).status_code == 200
            wait_until(lambda: bool(asked or seen), what="a question to Alertmanager")
    assert asked[0].startswith("GET /api/v2/")
    assert seen == []


def test_a_companys_own_authority_is_believed(tmp_path: Path) -> None:
    """The system's store counts, which SSL_CERT_FILE may name: an identity provider's certificate is seldom public."""
    (tmp_path / "rules.yaml").write_text(RULES)
    certificate, tls = certified(tmp_path)
    port = free_port()
    with listening(tls) as (issuer, asked):
        more = {"OIDC_ENABLED": "true", "OIDC_ISSUER": issuer, "OIDC_AUDIENCE": "x", "SSL_CERT_FILE": str(certificate)}
        env = environment(tmp_path, port, **more)
        with running(SERVE, lambda: answers(f"http://127.0.0.1:{port}/readyz"), tmp_path / "log", env=env):
            wait_until(lambda: bool(asked), what="a question to the identity provider")
    assert asked[0].startswith("GET /.well-known/openid-configuration")


def test_the_real_process_bounds_heads_and_believes_no_header(tmp_path: Path) -> None:
    """What tests of the web layer prove of its server is so in the process that people run."""
    (tmp_path / "rules.yaml").write_text(RULES)
    port = free_port()
    env = environment(tmp_path, port, AUTOHEAL_ALERT_ALLOWLIST="203.0.113.0/24")
    with running(SERVE, lambda: answers(f"http://127.0.0.1:{port}/readyz"), tmp_path / "log", env=env):
        claim = {"X-Forwarded-For": "203.0.113.7"}
        answer = httpx.post(f"http://127.0.0.1:{port}/alert", content=b"{}", headers=claim, trust_env=False)
        assert answer.status_code == 403
        assert "server" not in answer.headers
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 70_000)
            assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_start_goes_on_behind_the_last_snapshot(tmp_path: Path) -> None:
    """What only the log's last snapshot tells is so: what stands before it is not folded."""
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "data").mkdir()
    (created,) = seal_all([Draft(kind=Kind.LOG_CREATED)], Head(), 1_790_000_000.0)
    tally = Tally()
    tally.add(created)
    paused = State(founded=True, pauses=[Pause(None, "api", "ann", "tests", 1_790_000_000.0, None)])
    drafts = snapshots.describing(paused.snapshot(), tally, created.hash[:16])
    lines = [record.line for record in (created, *seal_all(drafts, created.head, created.ts))]
    (tmp_path / "data" / "audit.jsonl").write_bytes(b"\n".join([*lines, b""]))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(SERVE, lambda: answers(f"{url}/readyz"), tmp_path / "log", env=environment(tmp_path, port)):
        metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    assert 'autoheal_paused{rule=""} 1.0' in metrics
