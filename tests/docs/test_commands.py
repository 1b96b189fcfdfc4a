"""What the pages tell people to type does what they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.support.commands import autoheal
from tests.support.components import require
from tests.support.monitoring import alertmanager, answers, gateway
from tests.support.pages import PAGES, ROOT, Terminal, blocks, exchanges, fits, terminal
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import running, wait_until
from tests.support.provider import AUDIENCE, Provider

pytestmark = [pytest.mark.component, pytest.mark.timeout(300)]

NEW = {"README.md", "docs/quickstart.md"}
"""Pages for somebody who has a fresh clone and nothing else; all others have a gateway that is deployed."""
RULES = """\
version: 1
rules:
  - name: restart-api
    match: alertname="ApiDown"
    target: '{{ labels.instance }}'
    allow_target: 'api-[0-9]+'
    mode: live
    budget: [3/1h]
    breaker: {failures: 3, reset: 1h}
    steps:
      - command: {argv: [/bin/true]}
        verify: {probe: {command: {argv: [/bin/true]}, within: 5s}}
"""
LOGS = 'logs() { cat "$LOGS"; }\n'
STRICT = 'curl() { command curl --fail-with-body "$@"; }\n'
"""In a block whose output is not compared, an error status has to fail; on a terminal one sees it."""
LENIENT = "\nunset -f curl\n"
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv", "node_modules", "__pycache__", ".*_cache", ".hypothesis", ".coverage*"
)


@dataclass(frozen=True)
class Stage:
    """Where a page is tried: a folder to stand in, variables, and what its words are here."""

    folder: Path
    env: dict[str, str]
    words: dict[str, str]
    url: str

    def here(self, text: str) -> str:
        for word, ours in self.words.items():
            text = text.replace(word, ours)
        return text


def clone(folder: Path) -> Path:
    """The repository as somebody has it who cloned it and ran `make install`: that has nothing left to do here, and
    what it would have installed are the packages that the tests run with.
    """
    there = folder / "autoheal"
    shutil.copytree(ROOT, there, ignore=NOT_OURS)
    programs = there / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, what in (("python", ""), ("autoheal", "-m autoheal ")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {what}"$@"\n')
        (programs / name).chmod(0o755)
    (there / ".venv" / ".run").touch()
    return there


@pytest.fixture
def fresh(tmp_path: Path) -> Stage:
    """A clone, and nothing that runs."""
    port = free_port()
    return Stage(
        clone(tmp_path),
        {"PORT": str(port), "AUTOHEAL_PORT": str(port)},
        {"127.0.0.1:9009": f"127.0.0.1:{port}", "/tmp/": f"{tmp_path}/"},
        f"http://127.0.0.1:{port}",
    )


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway with everything around it: an identity provider, Alertmanager, and Prometheus with our alerts."""
    folder = tmp_path_factory.mktemp("deployed")
    port, watching, telling = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    hour = {"AccessToken": 3600, "ClientCredentials": 3600}
    idp = Provider(folder, free_port(), "http://127.0.0.1:1", ttl=hour)
    settings = {
        "AUTOHEAL_DRY_RUN": "true",
        "ALERTMANAGER_URL": f"http://127.0.0.1:{telling}",
        "PROMETHEUS_URL": f"http://127.0.0.1:{watching}",
        "AUTOHEAL_WATCHDOG": 'alertname="Watchdog"',
        "OIDC_ENABLED": "true",
        "OIDC_ISSUER": idp.issuer,
        "OIDC_AUDIENCE": AUDIENCE,
        "OIDC_ROLES_CLAIM": "roles",
        "OIDC_ROLE_MAP": '{"sre": "admin"}',
    }
    with ExitStack() as stack:
        stack.enter_context(idp.started())
        stack.enter_context(alertmanager(folder, telling, f"{url}/alert"))
        stack.enter_context(gateway(folder, port, RULES, settings))
        stack.enter_context(_prometheus(folder, watching, telling, port))
        down = body(alert("a" * 16, alertname="ApiDown", instance="api-1"))
        httpx.post(f"{url}/alert", json=down, trust_env=False).raise_for_status()
        env = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "AUTOHEAL": url,
            "AUTOHEAL_PORT": str(port),
            "TOKEN": idp.token(),
            "PROMETHEUS": f"http://127.0.0.1:{watching}",
            "ALERTMANAGER": f"http://127.0.0.1:{telling}",
            "ISSUER": idp.issuer,
            "RULES": str(folder / "rules.yaml"),
            "RULE": "restart-api",
            "AUTOHEAL_DATA_DIR": str(folder / "data"),
            "LOGS": str(folder / "gateway.log"),
        }
        _kept(folder)
        words = {
            "/var/lib/autoheal": str(folder / "data"),
            "/mnt/": f"{folder}/",
            "127.0.0.1:9009": f"127.0.0.1:{port}",
        }
        _watched(env["PROMETHEUS"])
        yield Stage(clone(folder), env, words, url)


def _kept(folder: Path) -> None:
    """What a deployment has elsewhere from before: the public key, and last night's backup."""
    data = folder / "data"
    shutil.copy(data / "keys" / "checkpoint.pub.pem", folder)
    done = autoheal("audit", "backup", folder / "backup", "--data", data)
    assert done.returncode == 0, done.stderr


def _prometheus(
    folder: Path, port: int, telling: int, port_of_gateway: int
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy" / "prometheus" / "*.rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{telling}"]}]}]},
        "scrape_configs": [{"job_name": "autoheal", "static_configs": [{"targets": [f"127.0.0.1:{port_of_gateway}"]}]}],
    }
    YAML(typ="safe").dump(config, folder / "prometheus.yml")
    argv = [
        require("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
    ]
    return running(argv, lambda: answers(f"http://127.0.0.1:{port}/-/ready"), folder / "prometheus.log")


def _watched(prometheus: str) -> None:
    """Wait until the heartbeat has gone all the way round and been scraped."""

    def came() -> bool:
        asked = {"query": "autoheal_watchdog_last_seen_timestamp_seconds > 0"}
        answer = httpx.get(f"{prometheus}/api/v1/query", params=asked, trust_env=False)
        return bool(answer.json()["data"]["result"])

    wait_until(came, seconds=60, what="the heartbeat's arrival")


def tried(page: Path, stage: Stage, scratch: Path) -> None:
    """Type what `page` shows, in its order, into one terminal."""
    with terminal(stage.folder, scratch, stage.env) as shell:
        shell.run(LOGS, strict=True)
        for block in blocks(page):
            if block.says.startswith("file: "):
                (stage.folder / block.says.removeprefix("file: ")).write_text(block.text)
            elif block.runs and block.says == "stays running":
                shell.leave_running(stage.here(block.text), lambda: answers(f"{stage.url}/readyz"))
            elif block.runs and block.language == "sh":
                try:
                    shell.run(STRICT + stage.here(block.text) + LENIENT, strict=True)
                except AssertionError as error:
                    raise AssertionError(f"{block.where}: {error}") from None
            elif block.runs:
                for command, shown in exchanges(block):
                    _answered(shell, stage.here(command), stage.here(shown), block.where)


def _answered(shell: Terminal, command: str, shown: str, where: str) -> None:
    """Type it until it says what the page shows: some of it takes effect a moment later."""
    told: list[str] = []

    def says_so() -> bool:
        told.append(shell.run(command, strict=False))
        return fits(shown, told[-1])

    try:
        wait_until(says_so, seconds=20)
    except AssertionError:
        pytest.fail(f"{where}: {command}says\n{told[-1]}and not\n{shown}")


def _of(new: bool) -> list[Path]:
    return [
        page
        for page in PAGES
        if (str(page.relative_to(ROOT)) in NEW) is new and any(block.runs for block in blocks(page))
    ]


@pytest.mark.parametrize("page", _of(new=True), ids=lambda page: str(page.relative_to(ROOT)))
def test_it_works_in_a_fresh_clone(page: Path, fresh: Stage, tmp_path: Path) -> None:
    """Word for word, as a new user types it."""
    tried(page, fresh, tmp_path)


@pytest.mark.parametrize("page", _of(new=False), ids=lambda page: str(page.relative_to(ROOT)))
def test_it_works_at_a_gateway_that_runs(page: Path, deployed: Stage, tmp_path: Path) -> None:
    """Commands end well, and what they show is what the page shows."""
    tried(page, deployed, tmp_path)
