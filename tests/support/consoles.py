"""A real gateway that tests may kill and start anew, with a browser at its console."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import orjson

from autoheal.model import rfc3339
from tests.support.browser import ANSWER_SECONDS, Page, browser
from tests.support.components import lacking
from tests.support.monitoring import SERVE, answers
from tests.support.ports import free_port
from tests.support.processes import running, wait_until

AXE = Path(__file__).parent / "console" / "node_modules" / "axe-core" / "axe.min.js"
NEWEST = 1_790_000_000.0
WATCH = """
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));
"""
"""What a page is watched by: what its policy refused."""


@dataclass
class Console:
    """A gateway without login, whose data stays over its lives, and the page of somebody who looks at it."""

    folder: Path
    port: int
    env: Mapping[str, str]
    page: Page

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Popen[bytes]]:
        """Serve until the block ends."""
        env = {
            **os.environ,
            "AUTOHEAL_RULES": str(self.folder / "rules.yaml"),
            "AUTOHEAL_DATA_DIR": str(self.folder / "data"),
            "AUTOHEAL_PORT": str(self.port),
            **self.env,
        }
        ready, log = lambda: answers(f"{self.origin}/readyz"), self.folder / "gateway.log"
        with running(SERVE, ready, log, env=env, seconds=ANSWER_SECONDS) as process:
            yield process

    def look(self, at: str = "#/live") -> None:
        """Open the console at a view, and wait until it is live."""
        self.page.open(f"{self.origin}/console{at}")
        self.page.until(f"location.hash === {json.dumps(at)} && {STATUS} === 'live'")
        self.page.ask(WATCH)

    def fire(self, *alerts: Mapping[str, Any]) -> None:
        """As Alertmanager posts them; each is what is told beside its time."""
        told = [{"status": "firing", "annotations": {}, "startsAt": rfc3339(NEWEST), **alert} for alert in alerts]
        body = orjson.dumps({"version": "4", "alerts": told})
        httpx.post(f"{self.origin}/alert", content=body, timeout=60, trust_env=False).raise_for_status()

    def records(self) -> list[dict[str, Any]]:
        """The whole log, oldest first."""
        lines = (self.folder / "data" / "audit.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        return [orjson.loads(line) for line in lines]

    def shown(self) -> list[int]:
        """The seqs of the rows, from top to bottom."""
        found: list[int] = self.page.ask("[...document.querySelectorAll('.log > li')].map(({dataset}) => +dataset.seq)")
        return found

    def shows_all(self) -> None:
        """Return once the page shows each record of the log once, newest first."""
        wait_until(
            lambda: self.shown() == [record["seq"] for record in reversed(self.records())],
            seconds=ANSWER_SECONDS,
            what="the whole log",
        )

    def faults(self, where: str = "document") -> list[str]:
        """What axe finds wrong for people who see, hear or move otherwise, with the elements that it is about."""
        self.page.ask(axe())
        # Of WCAG 2.2, and not asked about by default.
        options = "{resultTypes: ['violations'], rules: {'target-size': {enabled: true}}}"
        found = self.page.ask(f"axe.run({where}, {options}).then(({{violations}}) => violations)")
        return [f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found for node in one["nodes"]]


DOCS = Path(__file__).parents[2] / "docs"


def picture(page: Page, name: str) -> None:
    """Keep what is seen as docs/NAME.png, when CONSOLE_SCREENSHOT is set."""
    if "CONSOLE_SCREENSHOT" in os.environ:
        (DOCS / f"{name}.png").write_bytes(page.screenshot())


STATUS = "document.getElementById('connection').dataset.status"


@cache
def axe() -> str:
    """axe-core, as it runs in a page."""
    if not AXE.exists():
        lacking("axe-core is not installed: make components")
    return AXE.read_text()


def labels(name: str, instance: str, **more: str) -> dict[str, Any]:
    """An alert of that name and instance."""
    return {"labels": {"alertname": name, "instance": instance, **more}}


@contextmanager
def console(folder: Path, rules: Sequence[str] = (), **env: str) -> Iterator[Console]:
    """Such a pair, the gateway not running yet; `rules` are of a rules file, each in flow style."""
    (folder / "rules.yaml").write_text(
        "\n".join(["version: 1", "storm: off", "rules:", *(f"  - {rule}" for rule in rules)])
    )
    if not rules:
        (folder / "rules.yaml").write_text("version: 1\nrules: []\n")
    with ExitStack() as stack:
        page = stack.enter_context(browser(folder))
        yield Console(folder, free_port(), env, page)
