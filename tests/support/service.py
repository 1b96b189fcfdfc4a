"""A gateway with one live rule, and an alert's whole way through it as seen from outside."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from tests.support.monitoring import answers
from tests.support.posting import alert, body

RULES = """\
version: 1
budget: [999999/1h]
storm: off
rules:
  - name: touch
    match: alertname="Down"
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 0s
    steps:
      - command: {argv: [/bin/sh, SCRIPT, '{{ target }}']}
        verify: {probe: {command: {argv: [/bin/true]}, within: 5s}}
"""
SCRIPT = """\
intent='"kind":"action_started",.*"run":"'$AUTOHEAL_RUN'","step":'$AUTOHEAL_STEP,
if grep -qs "$intent" HERE/data/audit.jsonl*; then how=recorded; else how=unrecorded; fi
echo "$AUTOHEAL_IDEMPOTENCY_KEY $how" >> HERE/effects
while [ "$1" = slow ] && [ -e HERE/hold ]; do sleep 0.02; done
echo "$AUTOHEAL_IDEMPOTENCY_KEY ended" >> HERE/effects
"""
"""An action that looks by itself whether its intent is in the log, and takes its time when its target is `slow`."""


@dataclass
class Service:
    """A running gateway with its data in FOLDER/data; `seen` is what /events has shown."""

    folder: Path
    url: str
    pid: int
    seen: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.data / "audit.jsonl"

    def post(self, name: str, target: str | None = None, annotation: str = "") -> httpx.Response:
        """Tell of an alert by that name, on a target of its own or on another one's."""
        told = body(alert(fingerprint(name), annotation, instance=target or name, name=name))
        return httpx.post(f"{self.url}/alert", json=told, timeout=30, trust_env=False)

    def ready(self) -> bool:
        return answers(f"{self.url}/readyz")

    def kinds(self, name: str) -> list[str]:
        """What the log tells of that alert by now."""
        # Whole lines: the last one may be under way.
        lines = self.log.read_bytes().split(b"\n")[:-1]
        records = [orjson.loads(line) for line in lines]
        return [record["kind"] for record in records if record.get("fingerprint") == fingerprint(name)]

    def healed(self, name: str) -> bool:
        return "heal_confirmed" in self.kinds(name)

    def effects(self, word: str) -> Counter[str]:
        """How many times each action said that word."""
        lines = (self.folder / "effects").read_text().splitlines()
        return Counter(line.split()[0] for line in lines if line.split()[1] == word)

    def said(self, event: str) -> bool:
        """Whether the service's own log tells of `event`."""
        return f'"event": "{event}"' in (self.folder / "gateway.log").read_text()

    def follow(self) -> None:
        """Keep what /events shows until the service ends."""
        with (
            contextlib.suppress(httpx.TransportError),
            httpx.stream("GET", f"{self.url}/events?after=0", timeout=None, trust_env=False) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    self.seen.append(line.removeprefix("data: ").encode())


def fingerprint(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
