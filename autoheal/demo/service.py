"""A small real service, to be killed and healed: a program of its own, with nothing but the standard library.

    python service.py PORT PIDFILE

It listens on 127.0.0.1:PORT, goes to the background as daemons do, and leaves its pid in PIDFILE. The exit code is 0
once the port accepts connections, and 1 when it cannot be had. `/` tells the pid, `/metrics` is there for Prometheus.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NAME = "autoheal demo service"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer any path with who is here, and `/metrics` in Prometheus's text format."""
        if self.path == "/metrics":
            kind, body = "text/plain; version=0.0.4", f"demo_service_start_time_seconds {_STARTED:.3f}\n"
        else:
            kind, body = "application/json", json.dumps({"service": NAME, "pid": os.getpid()}) + "\n"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class calls it so
        """Say nothing: a daemon has no terminal."""


_STARTED = time.time()


def main(port: int, pidfile: Path) -> int:
    """Listen, fork, and return 0 in the parent; the child serves until it is killed."""
    try:
        # The parent listens already: when it exits, the port accepts.
        server = HTTPServer(("127.0.0.1", port), _Answer)
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{port}: {error.strerror}", file=sys.stderr)
        return 1
    child = os.fork()
    if child:
        pidfile.write_text(f"{child}\n")
        return 0
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)  # whoever reads the starter's output waits for its end
    server.serve_forever()
    return 0


def pid_at(port: int) -> int | None:
    """The pid of the service that answers on `port`; None when none does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        answer = json.loads(connection.getresponse().read(1000))
        return int(answer["pid"]) if answer["service"] == NAME else None
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return None
    finally:
        connection.close()


def kill(port: int, pidfile: Path) -> int | None:
    """SIGKILL the service that answers on `port` if it is the one that `pidfile` names; its pid, or None.

    An old pid file may name a process that is somebody else's by now: only what answers by that pid is killed.
    """
    pid = pid_at(port)
    if pid is None or pidfile.read_text().strip() != str(pid):
        return None
    os.kill(pid, signal.SIGKILL)
    return pid


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
