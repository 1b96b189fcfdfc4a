"""Alerts posted to a gateway as Alertmanager posts them, one by one or as a load from many clients."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import Any, Self

import httpx


def alert(fingerprint: str, annotation: str = "", **labels: str) -> dict[str, Any]:
    """A firing one."""
    return {
        "status": "firing",
        "labels": {"alertname": "Down", **labels},
        "annotations": {"summary": annotation},
        "startsAt": "2026-11-21T05:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": fingerprint,
    }


def body(*alerts: dict[str, Any]) -> dict[str, Any]:
    """The webhook that tells of them."""
    return {"version": "4", "status": "firing", "receiver": "r", "alerts": list(alerts)}


class Load:
    """Posts alerts, `at_once` in a body and each of its own, from `clients` threads that rest `pause` seconds, until
    it is stopped. `acked` are the fingerprints of those that were answered 200, `answers` counts statuses.
    """

    def __init__(self, url: str, *, clients: int = 1, at_once: int = 3, pause: float = 0.02) -> None:
        self.acked: set[str] = set()
        self.answers: Counter[int] = Counter()
        self._url = f"{url}/alert"
        self._at_once = at_once
        self._pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self, client: int) -> None:
        numbers = itertools.count(client << 40)
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not self._stop.wait(self._pause):
                fingerprints = [f"{next(numbers):016x}" for _ in range(self._at_once)]
                alerts = [alert(fingerprint, instance=f"host-{fingerprint}") for fingerprint in fingerprints]
                try:
                    status = http.post(self._url, json=body(*alerts)).status_code
                except httpx.TransportError:
                    continue  # between two lives there is nobody to answer
                self.answers[status] += 1
                if status == 200:
                    self.acked.update(fingerprints)
