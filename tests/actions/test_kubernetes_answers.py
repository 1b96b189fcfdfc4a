"""The kubernetes action and answers that a sound API server does not give: a server on loopback plays them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.actions import Context, Kubernetes, Outcome
from autoheal.actions.kubernetes_rollout import node, pod, waits_for, workload
from tests.support.clock import FakeClock
from tests.support.ports import free_port
from tests.support.webserver import HANG, WebServer, answer, web_server

RESTART = {"rollout_restart": "deployment/api", "namespace": "shop"}
STATUS = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
API = {"kind": "Deployment", "metadata": {"name": "api", "generation": 1}, "spec": {"replicas": 1}, "status": STATUS}
BEHIND = {**API, "metadata": {"name": "api", "generation": 2}}


class HastyClock(FakeClock):
    async def sleep(self, seconds: float) -> None:
        self._monotonic += seconds


def told(found: Any) -> bytes:
    return answer(200, orjson.dumps(found))


def config(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    named = {"name": "a", "cluster": {"server": server}}
    path.write_bytes(
        orjson.dumps(
            {"current-context": "a", "clusters": [named], "contexts": [{"name": "a", "context": {"cluster": "a"}}]}
        )
    )
    return path


async def restart(context: Context, folder: Path, *answers: bytes | None, **params: Any) -> tuple[Outcome, WebServer]:
    async with web_server(*answers) as web:
        action = Kubernetes(config(folder, f"http://127.0.0.1:{web.port}/k8s/clusters/c-1"))
        outcome = await action.run({**RESTART, **params}, dataclasses.replace(context, clock=HastyClock()))
    return outcome, web


async def test_the_api_may_stand_below_a_path(context: Context, tmp_path: Path) -> None:
    """As behind Rancher. Without TLS no token goes along, and on other machines there is no such thing."""
    outcome, web = await restart(context, tmp_path, told(API), told(API))
    assert outcome.ok, outcome
    path = "/k8s/clusters/c-1/apis/apps/v1/namespaces/shop/deployments/api"
    assert [asked.line for asked in web.asked] == [f"GET {path} HTTP/1.1", f"PATCH {path} HTTP/1.1"]
    assert web.asked[0].headers["user-agent"].startswith("autoheal/")
    assert "authorization" not in web.asked[0].headers


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answer(403, b"<html>no</html>"), "forbidden (403): <html>no</html>"),
        (answer(500, b'{"kind":"Status","message":"hunter2-hunter2\\n\\u001b[2J"}'), "(500): [redacted]\\n�[2J"),
        (answer(302, b"[]"), "the API server refused (302): []"),
        (answer(200, b"hello"), "does not answer as a Kubernetes API server"),
        (answer(200, b"[]"), "does not answer as a Kubernetes API server"),
        (answer(200, b"x" * 5_000_000), "the API server's answer is longer than 4194304 bytes"),
        (None, "cannot talk to the API server at http://127.0.0.1:"),
        (b"nonsense\r\n\r\n", "cannot talk to the API server at http://127.0.0.1:"),
        (
            answer(429, b'{"kind":"Status","details":{"causes":5},"message":"busy"}', Retry_After="x"),
            "not now (429): busy",
        ),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
async def test_a_refusal_at_any_point_fails_the_action(
    context: Context, tmp_path: Path, said: bytes | None, error: str, after: int
) -> None:
    """In the API's words, without control characters and secrets."""
    outcome, web = await restart(context, tmp_path, *[told(API)][:after], said)
    assert not outcome.ok
    assert error in outcome.detail["error"]
    assert len(web.asked) == after + 1


async def test_silence(context: Context, tmp_path: Path) -> None:
    """Before anything was asked for, nothing was done; afterwards it cannot be known."""
    outcome, _ = await restart(context, tmp_path, HANG, timeout=0.2)
    assert outcome.detail["error"] == "no answer from the API server within 0.2 s"
    outcome, web = await restart(context, tmp_path, told(API), HANG, timeout=0.5)
    assert outcome.detail["error"] == "not finished after 0.5 s; the API server may still carry it out"
    assert len(web.asked) == 2


async def test_no_api_server(context: Context, tmp_path: Path) -> None:
    """It says where it was looked for, and who says so."""
    path = config(tmp_path, f"http://localhost:{free_port()}")
    outcome = await Kubernetes(path).run(RESTART, context)
    assert outcome.detail["error"].startswith("no API server listens at http://localhost:")
    assert str(path) in outcome.detail["error"]


EVENTS = (
    orjson.dumps({"type": "BOOKMARK", "object": {}}) + b"\n",
    orjson.dumps({"type": "MODIFIED", "object": BEHIND}) + b"\n",
)


BROKEN = answer(200, EVENTS[1] + b'{"type":"MOD', Content_Length="5000")
TROUBLES = (None, answer(500, b"busy"), answer(429, b"busy"), answer(410, b"gone"), BROKEN)


@pytest.mark.parametrize(
    ("trouble", "at_watch"),
    [
        *((trouble, at_watch) for trouble in TROUBLES for at_watch in (False, True)),
        (answer(200, EVENTS[0] + EVENTS[1]), True),
        (answer(200, b'{"type":"ERROR","object":{"code":410}}\n'), True),
    ],
)
async def test_a_wait_outlives_an_api_server_that_does_not(
    context: Context, tmp_path: Path, trouble: bytes | None, at_watch: bool
) -> None:
    """Control planes are renewed while rollouts go on: what was accepted is waited for until the deadline."""
    waits = [told({"items": [BEHIND], "metadata": {"resourceVersion": "7"}})] if at_watch else []
    end = told({"items": [API], "metadata": {"resourceVersion": "8"}})
    outcome, web = await restart(context, tmp_path, told(API), told(API), *waits, trouble, end, wait=True)
    assert outcome.ok, outcome
    assert len(web.asked) == 4 + at_watch


async def test_a_wait_tells_the_last_trouble_at_the_deadline(context: Context, tmp_path: Path) -> None:
    """Unknown is no success."""
    for trouble, error in ((None, "cannot talk to the API server"), (answer(503, b"busy"), "refused (503): busy")):
        outcome, _ = await restart(context, tmp_path, told(API), told(API), trouble, HANG, wait=True, timeout=0.5)
        assert outcome.detail["error"].startswith("accepted, but not seen to be complete: ")
        assert error in outcome.detail["error"]


async def test_an_endless_line_of_a_watch_is_cut(context: Context, tmp_path: Path) -> None:
    """No object is that long."""
    listed = told({"items": [BEHIND], "metadata": {"resourceVersion": "7"}})
    outcome, _ = await restart(
        context, tmp_path, told(API), told(API), listed, answer(200, b"x" * 5_000_000), wait=True
    )
    assert outcome.detail["error"].endswith("answer is longer than 4194304 bytes")


@pytest.mark.parametrize("found", [{}, {"status": 5}, {"status": {"conditions": {}}}, {"status": {"conditions": [5]}}])
def test_whatever_a_server_sends_can_be_looked_at(found: dict[str, Any]) -> None:
    """Nothing in it is taken for granted."""
    assert workload(found) == {"replicas": 1, "updated": 0, "available": 0, "generation": 0}
    assert node(found) == {"ready": False, "unschedulable": False}
    assert pod(found)["ready"] is False
    assert waits_for(found) == "0 of 1 replicas are updated"
