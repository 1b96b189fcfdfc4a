"""Slack, PagerDuty and a webhook of ours in one server on loopback, which checks what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support import published


class Told:
    """What each channel has been told, and the ids of all that our webhook was sent.

    While `holding` nobody gets an answer.
    """

    def __init__(self, url: str, webhook_secret: str) -> None:
        self.url = url
        self.webhook_secret = webhook_secret
        self.slack: list[dict[str, Any]] = []
        self.pagerduty: list[dict[str, Any]] = []
        self.webhook: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.asked = 0
        self.answering = threading.Event()

    def hear(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer."""
        self.asked += 1
        if path.startswith("/hook"):
            self.ids.append(headers["webhook-id"])
        self.answering.wait()
        if path.startswith("/services/"):
            self.slack.append(published.slack(body))
            return 200
        if path == "/v2/enqueue":
            self.pagerduty.append(published.pagerduty(body))
            return 202
        self.webhook.append(published.webhook(body, headers, self.webhook_secret, time.time()))
        return 204


@contextmanager
def listeners(webhook_secret: str) -> Iterator[Told]:
    """Somebody who listens on all channels."""

    class Listening(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                status = told.hear(self.path, body, headers)
            except Exception as error:  # noqa: BLE001 whatever is wrong with it is for the test to tell
                told.wrong.append(f"{self.path}: {error!r}")
                status = 400
            try:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except ConnectionError:
                pass  # it was killed while it waited

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listening) as server:
        told = Told(f"http://127.0.0.1:{server.server_port}", webhook_secret)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield told
        finally:
            told.answering.set()
            server.shutdown()
            thread.join()
