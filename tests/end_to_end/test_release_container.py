"""A storm of containers on a real Docker Engine, let go as a batch while people change one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from autoheal.journal.reading import replay
from autoheal.model import Kind, Record
from tests.support.dockers import DockerEngine
from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart-container
    match: alertname="Down"
    target: '{{ labels.container }}'
    mode: approve
    storm: 2/10m
    concurrency: 1
    steps:
      - docker: {restart: '{{ target }}', stop_timeout: 1s}
        verify: {resolved_within: 10m}
"""
NAMES = ("api-0", "api-1", "api-2")


def down(name: str, *, status: str = "firing") -> dict[str, Any]:
    told = alert(f"{NAMES.index(name):016x}", container=name)
    return told if status == "firing" else {**told, "status": status, "endsAt": "2026-11-21T05:10:00Z"}


def test_a_container_that_people_have_replaced_is_not_restarted_by_the_word_on_the_batch(
    docker: DockerEngine, tmp_path: Path
) -> None:
    """Three are let go, one at a time. The second is replaced by hand meanwhile: people are asked about that one by
    itself, with how it is now; the others are restarted by the one word.
    """
    first = {name: docker.start(name) for name in NAMES}
    port = free_port()
    env = {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_DOCKER_HOST": docker.host}
    log = tmp_path / "data" / "audit.jsonl"

    def told(kind: Kind) -> list[Record]:
        return [record for record in replay(log) if record.kind is kind]

    with (
        gateway(tmp_path, port, RULES, env),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        http.post("/alert", json=body(*map(down, NAMES))).raise_for_status()
        (storm,) = http.get("/storms").json()["storms"]
        assert storm["held"] == len(NAMES)
        word = {"batch_digest": storm["batch_digest"], "comment": "the switch is back"}
        http.post("/rules/restart-container/release", json=word).raise_for_status()
        wait_until(lambda: told(Kind.STORM_OBSERVED), what="how those that wait are")
        wait_until(lambda: told(Kind.ACTION_OK), what="the first restart")
        docker.ask("DELETE", f"/containers/{first['api-1']}", params={"force": "true"})
        second = docker.start("api-1")
        # Their alerts end one after the other: each makes room for the next.
        for name in ("api-0", "api-2"):
            wait_until(lambda name=name: name in {ok.target for ok in told(Kind.ACTION_OK)}, what=f"{name}'s restart")
            http.post("/alert", json=body(down(name, status="resolved"))).raise_for_status()
        wait_until(lambda: told(Kind.APPROVAL_REQUESTED), what="the question about the one that was replaced")
        started = docker.state("api-1")["StartedAt"]
    assert [record.target for record in told(Kind.ACTION_OK)] == ["api-0", "api-2"]
    (cancelled,) = (record for record in told(Kind.ACTION_CANCELLED) if record.reason == "human_present")
    assert cancelled.target == "api-1"
    (asked,) = told(Kind.APPROVAL_REQUESTED)
    assert asked.target == "api-1"
    assert asked.detail["observed"] == cancelled.detail["observed"]
    assert first["api-1"] in orjson.dumps(cancelled.detail["approved"]).decode()
    assert second in orjson.dumps(asked.detail["observed"]).decode()
    assert docker.state("api-1")["StartedAt"] == started
    assert docker.state("api-1")["Status"] == "running"
