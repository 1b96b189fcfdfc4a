"""`autoheal demo`: kill a small real service, and watch the gateway bring it back.

Everything is as in real life, on 127.0.0.1: the service is a daemon, the gateway runs as `autoheal serve` does, the
rule is live. Only Alertmanager is played: the demo posts what it would post.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Self

import httpx

from autoheal.demo import service
from autoheal.demo.alert import USER_AGENT, notification
from autoheal.demo.story import Log, tell
from autoheal.model import Kind

HEAL_SECONDS = 60.0
START_SECONDS = 20.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
ALERTNAME = "DemoServiceDown"

_ENDS = (Kind.HEAL_CONFIRMED, Kind.ESCALATED, Kind.ACTION_CANCELLED, Kind.ACTION_INTERRUPTED)
_OURS = ("AUTOHEAL_", "OIDC_", "JWKS_", "SLACK_", "PAGERDUTY_", "ALERTMANAGER_URL", "PROMETHEUS_URL", "GRAFANA_URL")
"""Settings of a gateway that the caller's environment may hold: the demo's gateway has its own."""

_RULES = """\
version: 1
rules:
  - name: restart-demo
    match: 'alertname="{alertname}"'
    target: '{{{{ labels.instance }}}}'
    allow_target: '127\\.0\\.0\\.1:[0-9]+'
    mode: live
    cooldown: 0s
    steps:
      - command: {{argv: {argv}, timeout: 10s}}
        verify: {{probe: {{http: 'http://{{{{ target }}}}/', within: 30s}}}}
"""


class _Failed(Exception):
    """The story took a turn that it should not; the text says which."""


class _Stopped(Exception):
    """Somebody wants the demo to end: Ctrl-C, SIGTERM or a closed terminal."""


class _Signals:
    """Notes signals and tells of them in `pause` only: never between starting a process and knowing that it runs."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.seen = 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in self._NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.seen = number

    def pause(self) -> None:
        """Sleep a moment; raises _Stopped when a signal has come."""
        time.sleep(POLL_SECONDS)
        if self.seen:
            raise _Stopped


def main(*, once: bool, port: int) -> int:
    """Tell the story; then serve until Ctrl-C, or end at once when `once`.

    The exit code is 0 when the service was healed, 1 when it was not, 2 when `port` of 127.0.0.1 cannot be had, and
    128 + the signal's number when one came first. Whatever it started has ended when it returns.
    """
    if (fault := _port_fault(port)) is not None:
        print(f"autoheal: {fault}", file=sys.stderr)
        return 2
    with _Signals() as signals:
        demo = _Demo(port, signals)
        try:
            demo.heal()
            if not once:
                demo.serve()
        except _Stopped:
            return 0 if demo.healed else 128 + signals.seen
        except _Failed as error:
            print(f"autoheal: {error}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            # Nobody reads any more, as in `autoheal demo | head`: Python must not complain of it at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        finally:
            demo.end()
        demo.say(f"Ended. The log stays at {demo.log.path}")
    return 0


def _port_fault(port: int) -> str | None:
    if not 1 <= port <= 65535:
        return f"--port {port}: a port is a number from 1 to 65535"
    try:
        _bind(port)
    except OSError as error:
        return f"cannot listen on 127.0.0.1:{port}: {error.strerror}. Stop what is there, or give another --port"
    return None


def _bind(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        probe.listen()


def _service_port() -> int:
    """A free port below those that the system lends to clients: while the service is dead nobody may take it."""
    for port in range(18080, 18180):
        with contextlib.suppress(OSError):
            _bind(port)
            return port
    raise _Failed("no port of 127.0.0.1 from 18080 to 18179 is free for the demo's service")


class _Demo:
    """The service, the gateway, and what is said about them."""

    def __init__(self, port: int, signals: _Signals) -> None:
        self.healed = False
        self._signals = signals
        self._folder = Path(tempfile.mkdtemp(prefix="autoheal-demo-"))
        self._url = f"http://127.0.0.1:{port}"
        self._port = port
        self._pidfile = self._folder / "service.pid"
        self._service_port: int | None = None
        self._gateway: subprocess.Popen[bytes] | None = None
        self._gateway_log = self._folder / "gateway.log"
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.log = Log(self._folder / "data" / "audit.jsonl")

    def say(self, text: str) -> None:
        """Print at once, also into a pipe."""
        print(text, flush=True)

    def heal(self) -> None:
        """The story from the first breath to the resolved alert. Raises _Failed when it ends otherwise."""
        port = self._service_port = _service_port()
        instance = f"127.0.0.1:{port}"
        argv = [sys.executable, service.__file__, str(port), str(self._pidfile)]
        rules = self._folder / "rules.yaml"
        rules.write_text(_RULES.format(alertname=ALERTNAME, argv=json.dumps(argv)))

        started = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
        pid = service.pid_at(port)
        if started.returncode != 0 or pid is None:
            raise _Failed(f"the demo's service did not start: {started.stderr.strip()}")
        self.say(f"A small service answers at http://{instance}/ (pid {pid}).")
        self._start_gateway(rules)
        self.say(f"The gateway listens at {self._url} with one live rule: {rules}")
        self.say("Its log, line by line (times are UTC):\n")
        self._follow_to((Kind.CONFIG_LOADED,), START_SECONDS)

        service.kill(port, self._pidfile)
        self._until(lambda: service.pid_at(port) is None, START_SECONDS, "the service did not die")
        self.say(f"\nThe service is killed: SIGKILL to pid {pid}, and nobody answers at http://{instance}/ any more.")
        labels = {"alertname": ALERTNAME, "instance": instance, "job": "demo", "severity": "critical"}
        summary = f"{instance} does not answer"
        starts_at = time.time()
        self._post(notification(labels, summary, starts_at=starts_at), "fires")
        end = self._follow_to(_ENDS, HEAL_SECONDS)
        healer = service.pid_at(port)
        if end != Kind.HEAL_CONFIRMED or healer is None:
            raise _Failed(f"the service was not healed; the log tells why: {self.log.path}")
        self.healed = True
        self.say(f"\nHealed: http://{instance}/ answers again (pid {healer} after pid {pid}).")
        self._post(notification(labels, summary, starts_at=starts_at, ends_at=time.time()), "is resolved")
        self._follow_to((Kind.ALERT_RESOLVED,), START_SECONDS)

    def serve(self) -> None:
        """Say where everything is, and tell what else the log says, until a signal comes."""
        places = {
            "service": f"http://127.0.0.1:{self._service_port}/",
            "log": self.log.path,
            "status": f"{self._url}/",
            "audit": f"{self._url}/audit?q=kind=action_ok",
            "events": f"curl -N '{self._url}/events?after=0'",
            "metrics": f"{self._url}/metrics",
        }
        self.say("\n" + "\n".join(f"  {name:<8} {place}" for name, place in places.items()))
        self.say("\nAll of it goes on until Ctrl-C.\n")
        self._follow_to((), float("inf"))

    def end(self) -> None:
        """End the gateway first, as it might just be starting the service; then the service."""
        if self._gateway is not None:
            self._gateway.terminate()
            try:
                self._gateway.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._gateway.kill()
                self._gateway.wait()
        if self._service_port is not None and self._pidfile.exists():
            service.kill(self._service_port, self._pidfile)

    def _start_gateway(self, rules: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        env |= {
            "AUTOHEAL_DRY_RUN": "false",
            "AUTOHEAL_RULES": str(rules),
            "AUTOHEAL_DATA_DIR": str(self.log.path.parent),
            "AUTOHEAL_HOST": "127.0.0.1",
            "AUTOHEAL_PORT": str(self._port),
            # It would be another story.
            "AUTOHEAL_SELFTEST_INTERVAL": "off",
        }
        with self._gateway_log.open("wb") as output:
            # A session of its own: Ctrl-C is for the demo, which ends the gateway in good order.
            self._gateway = subprocess.Popen(
                [sys.executable, "-m", "autoheal", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        self._until(self._ready, START_SECONDS, "the gateway was not ready")

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/readyz", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _post(self, body: object, what: str) -> None:
        try:
            answer = httpx.post(
                f"{self._url}/alert", json=body, headers={"User-Agent": USER_AGENT}, timeout=10, trust_env=False
            )
        except httpx.TransportError as error:
            raise _Failed(f"POST /alert got no answer: {error}") from error
        if answer.status_code != 200:
            raise _Failed(f"POST /alert was answered {answer.status_code}: {answer.text}")
        self.say(f"POST /alert, as Alertmanager does when {ALERTNAME} {what}: 200 {answer.text.strip()}\n")

    def _follow_to(self, kinds: Collection[str], seconds: float) -> str:
        """Tell the log's records until one of `kinds` has come; returns its kind."""
        found: list[str] = []

        def told() -> bool:
            for record in self.log.new():
                self.say(tell(record, colour=self._colour))
                found.extend([record["kind"]] if record["kind"] in kinds else [])
            return bool(found)

        self._until(told, seconds, f"the log tells of no {' or '.join(kinds)}")
        return found[0]

    def _until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if self._gateway is not None and self._gateway.poll() is not None:
                tail = self._gateway_log.read_text(errors="replace")[-2000:].strip()
                raise _Failed(f"the gateway exited with {self._gateway.returncode}:\n{tail}")
            if time.monotonic() > deadline:
                raise _Failed(f"{otherwise} within {seconds:g} s; see {self._folder}")
            self._signals.pause()
