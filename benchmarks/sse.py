"""How long an event takes to a reader of /events: straight from the gateway, and through nginx with TLS and gzip on.

    .venv/bin/python benchmarks/sse.py [ALERTS]

The true process stands behind the true nginx with deploy/nginx. Both readers follow at the same time and see what
strangers see. One alert is posted at a time, and the next one when both have its event: one that waited in a buffer for
company would never come. A delay is from the first byte of the POST to the event's last, so it has the log's
fdatasync in it and the feed's tick of at most 50 ms. It fails when nginx adds as much again as the half of it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import random
import shutil
import ssl
import sys
import tempfile
import threading
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

import orjson

from tests.support.monitoring import gateway
from tests.support.nginx import configured, listens
from tests.support.pki import Pki
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import running

ALERTS = 300
WARM_UP = 20
PATIENCE_SECONDS = 10.0
RATIO = 1.5
RULES = "version: 1\nrules: []\n"


class Reader(threading.Thread):
    """Follows one stream; `came` gets the time at which each event was whole."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        super().__init__(daemon=True)
        self.came: queue.Queue[float] = queue.Queue()
        self.begun = threading.Event()
        self.wire_bytes = self.bytes = 0
        # As strangers' behind a proxy: the same text for both readers.
        headers = {"Accept-Encoding": "gzip", "X-Forwarded-For": "192.0.2.1"}
        connection.request("GET", "/events?q=kind=alert_firing", headers=headers)
        self._answer = connection.getresponse()
        self.encoding = self._answer.headers.get("Content-Encoding", "identity")

    def run(self) -> None:
        """Until the stream ends, or nginx does."""
        with contextlib.suppress(http.client.HTTPException, OSError):
            self._follow()

    def _follow(self) -> None:
        unpack = zlib.decompressobj(31) if self.encoding == "gzip" else None
        text = b""
        while piece := self._answer.read1(65536):
            now = time.perf_counter()
            self.wire_bytes += len(piece)
            piece = unpack.decompress(piece) if unpack else piece
            self.bytes += len(piece)
            text += piece
            while b"\n\n" in text:
                event, _, text = text.partition(b"\n\n")
                if b"data:" in event:
                    self.came.put(now)
                self.begun.set()


def measure(folder: Path, alerts: int) -> bool:
    """Print the delays; whether nginx adds little enough."""
    ports = {name: free_port() for name in ("gateway", "https", "http")}
    pki = Pki(folder / "pki")
    (folder / "autoheal-token.conf").write_text("")
    file = configured(folder, ports, free_port(), pki)
    with ExitStack() as stack:
        stack.enter_context(gateway(folder, ports["gateway"], RULES, {}))
        argv = ["nginx", "-p", str(folder), "-c", str(file), "-g", "daemon off;"]
        stack.enter_context(running(argv, lambda: listens(ports["https"]), folder / "nginx.log"))
        tls = ssl.create_default_context(cafile=str(pki.ca))
        direct = Reader(http.client.HTTPConnection("127.0.0.1", ports["gateway"]))
        proxied = Reader(http.client.HTTPSConnection("127.0.0.1", ports["https"], context=tls))
        for reader in (direct, proxied):
            reader.start()
            reader.begun.wait(PATIENCE_SECONDS)
        sender = http.client.HTTPConnection("127.0.0.1", ports["gateway"])
        delays: dict[Reader, list[float]] = {direct: [], proxied: []}
        spread = random.Random(7)
        for number in range(alerts + WARM_UP):
            time.sleep(spread.random() * 0.05)  # the feed's tick must not beat in step with us
            told = orjson.dumps(body(alert(f"{number:016x}", instance=f"host-{number}")))
            begin = time.perf_counter()
            sender.request("POST", "/alert", told)
            sender.getresponse().read()
            for reader, found in delays.items():
                found.append(reader.came.get(timeout=PATIENCE_SECONDS) - begin)
    there = {reader: [delay * 1000 for delay in found[WARM_UP:]] for reader, found in delays.items()}
    for name, reader in (("direct", direct), ("through nginx", proxied)):
        found = there[reader]
        p99 = quantiles(found, n=100)[98]
        print(
            f"{name:14} median {median(found):6.2f} ms, p99 {p99:6.2f} ms, worst {max(found):6.2f} ms"
            f"  ({reader.encoding}, {reader.wire_bytes:,} of {reader.bytes:,} bytes)"
        )
    added = sorted(late - early for early, late in zip(there[direct], there[proxied], strict=True))
    ratio = median(there[proxied]) / median(there[direct])
    print(
        f"nginx adds     median {median(added):6.2f} ms, p99 {quantiles(added, n=100)[98]:6.2f} ms;"
        f" {ratio:.2f} times (to reach: {RATIO}), {alerts} events, each before the next was sent"
    )
    return ratio < RATIO and proxied.encoding == "gzip"


def main() -> int:
    """Exit 1 when it takes too long. Without nginx nothing is measured."""
    os.environ["PATH"] += ":/usr/sbin"
    if shutil.which("nginx") is None:
        print("nginx is not here: nothing measured (make components)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return 0 if measure(Path(folder), int(sys.argv[1]) if sys.argv[1:] else ALERTS) else 1


if __name__ == "__main__":
    sys.exit(main())
