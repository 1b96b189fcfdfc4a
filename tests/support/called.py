"""Whoever Alertmanager calls: a webhook on loopback that keeps what it was told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


class People:
    """`calls` are the alerts of all notifications, in their order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[dict[str, Any]] = []

    def called(self, status: str, **labels: str) -> list[dict[str, Any]]:
        """The alerts of that status with these labels among them."""
        return [call for call in self.calls if call["status"] == status and labels.items() <= call["labels"].items()]


@contextmanager
def people() -> Iterator[People]:
    """Somebody who listens."""

    class Listening(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.calls += body["alerts"]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        found = People(f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
