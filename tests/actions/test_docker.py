"""The docker action, with a real Docker Engine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import ACTIONS, Context, Docker, Outcome
from tests.support.dockers import DockerEngine
from tests.support.looping import run_on
from tests.support.ports import free_port
from tests.support.processes import wait_until

STUBBORN = ("sh", "-c", "trap '' TERM; while :; do busybox sleep 0.1; done")
EXITS_7_ON_USR1 = ("sh", "-c", "trap 'exit 7' USR1; while :; do busybox sleep 0.05; done")


async def do(engine: DockerEngine, context: Context, **params: Any) -> Outcome:
    return await Docker(engine.host).run(params, context)


@pytest.mark.component
def test_a_crashed_container_is_restarted(docker: DockerEngine, context: Context, loop: str) -> None:
    """What is told: which container by its whole id, how it was, how it is, and how long that took."""
    made = docker.start("api-1")
    os.kill(docker.state("api-1")["Pid"], signal.SIGKILL)
    wait_until(lambda: docker.state("api-1")["Status"] == "exited", what="the crash")
    outcome = run_on(loop, do(docker, context, restart="api-1"))
    assert outcome.ok
    assert (outcome.detail["container"], outcome.detail["name"]) == (made, "api-1")
    before, after = outcome.detail["before"], outcome.detail["after"]
    assert (before["status"], before["exit_code"], before["oom_killed"]) == ("exited", 137, False)
    assert (after["status"], after["finished_at"]) == ("running", before["finished_at"])
    assert after["started_at"] > before["started_at"]
    assert 0 < outcome.detail["duration_ms"] < 60_000
    assert "already" not in outcome.detail
    assert docker.state("api-1")["Running"] is True


@pytest.mark.component
async def test_what_is_so_already_is_a_success_that_says_so(docker: DockerEngine, context: Context) -> None:
    """The Engine answers 304 to these, and calls the unpausing of what is not paused an error."""
    docker.start("api-1")
    for verb in ("start", "unpause"):
        outcome = await do(docker, context, **{verb: "api-1"})
        assert outcome.ok
        assert outcome.detail["already"] is True
        assert outcome.detail["before"] == outcome.detail["after"]
    assert (await do(docker, context, stop="api-1", stop_timeout=0.0)).detail["after"]["status"] == "exited"
    outcome = await do(docker, context, stop="api-1")
    assert (outcome.ok, outcome.detail["already"]) == (True, True)


@pytest.mark.component
async def test_start_stop_kill_and_unpause(docker: DockerEngine, context: Context) -> None:
    """By name or by the whole id; `kill` is SIGKILL unless `signal` names another."""
    made = docker.create("api-1", *EXITS_7_ON_USR1)
    outcome = await do(docker, context, start=made)
    assert outcome.ok
    assert (outcome.detail["before"]["status"], outcome.detail["after"]["status"]) == ("created", "running")
    assert outcome.detail["name"] == "api-1"
    docker.ask("POST", "/containers/api-1/pause")
    outcome = await do(docker, context, unpause="api-1")
    assert (outcome.detail["before"]["status"], outcome.detail["after"]["status"]) == ("paused", "running")
    assert "already" not in outcome.detail
    assert (await do(docker, context, kill="api-1", signal="USR1")).ok
    wait_until(lambda: docker.state("api-1")["ExitCode"] == 7, what="the trap")
    assert (await do(docker, context, start="api-1")).ok
    assert (await do(docker, context, kill="api-1")).ok
    wait_until(lambda: docker.state("api-1")["ExitCode"] == 137, what="SIGKILL")


@pytest.mark.component
async def test_a_stop_that_is_ignored_becomes_a_kill(docker: DockerEngine, context: Context) -> None:
    """After `stop_timeout`, whole seconds."""
    docker.start("api-1", *STUBBORN)
    outcome = await do(docker, context, stop="api-1", stop_timeout=1.0)
    assert outcome.ok
    assert outcome.detail["after"]["exit_code"] == 137
    assert outcome.detail["duration_ms"] >= 1000


@pytest.mark.component
async def test_a_slow_stop_ends_at_the_deadline(docker: DockerEngine, context: Context) -> None:
    """The action fails and says that the Engine, which nobody can call back, may still do it."""
    docker.start("api-1", *STUBBORN)
    outcome = await do(docker, context, restart="api-1", stop_timeout=600.0, timeout=0.5)
    assert not outcome.ok
    assert outcome.detail["error"] == "not finished after 0.5 s; the Docker Engine may still carry it out"
    assert outcome.detail["before"]["status"] == "running"
    assert "after" not in outcome.detail


@pytest.mark.component
async def test_names_are_exact(docker: DockerEngine, context: Context) -> None:
    """The Engine takes the beginning of an id for the container; a rule that said `a` would hit any."""
    made = docker.start("web-12")
    outcome = await do(docker, context, kill=made[:6])
    assert outcome.detail["error"] == (
        f"there is no container {made[:6]!r}; the id of 'web-12' begins so: write its name or its whole id"
    )
    outcome = await do(docker, context, kill="web-1")
    assert outcome.detail["error"] == "there is no container 'web-1'"
    assert not outcome.ok
    assert docker.state("web-12")["Running"] is True


@pytest.mark.component
async def test_what_the_engine_refuses_is_told_in_its_words(docker: DockerEngine, context: Context) -> None:
    """Killing what does not run is a conflict; a program that is not in the image cannot start."""
    docker.create("api-1", "no-such-applet")
    outcome = await do(docker, context, kill="api-1")
    assert not outcome.ok
    assert outcome.detail["error"].startswith("conflict (409): Cannot kill container")
    body = {"Image": "busybox:test", "Cmd": ["/no/such/program"], "HostConfig": {"NetworkMode": "host"}}
    docker.ask("POST", "/containers/create", params={"name": "api-2"}, json=body)
    outcome = await do(docker, context, start="api-2")
    assert not outcome.ok
    assert "/no/such/program" in outcome.detail["error"]


@pytest.mark.component
async def test_a_container_that_goes_with_its_end(docker: DockerEngine, context: Context) -> None:
    """One started with --rm is gone after a stop, which is a success."""
    docker.start("once", rm=True)
    outcome = await do(docker, context, stop="once", stop_timeout=0.0)
    assert outcome.ok
    assert outcome.detail["after"]["status"] in ("removed", "exited", "removing")


@pytest.mark.component
async def test_a_cancelled_action_lets_go_at_once(docker: DockerEngine, context: Context) -> None:
    """When the run is cancelled or the gateway stops, nobody waits for the Engine."""
    docker.start("api-1", *STUBBORN)
    task = asyncio.ensure_future(do(docker, context, stop="api-1", stop_timeout=600.0, timeout=600.0))
    done, _ = await asyncio.wait([task], timeout=0.2)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.component
async def test_behind_tls_both_sides_show_a_certificate(docker: DockerEngine, context: Context, tmp_path: Path) -> None:
    """The Engine's is checked against ca.pem; the Engine checks ours. Without them nothing is done."""
    docker.create("api-1", "sleep", "1000")
    assert (await Docker(docker.tls_host, docker.pki.client).run({"start": "api-1"}, context)).ok
    outcome = await Docker(docker.tls_host).run({"stop": "api-1"}, context)
    assert "certificate verify failed" in outcome.detail["error"]
    (tmp_path / "ca.pem").write_bytes(docker.pki.ca.read_bytes())
    outcome = await Docker(docker.tls_host, tmp_path).run({"stop": "api-1"}, context)
    assert "ca.pem, cert.pem and key.pem" in outcome.detail["error"]
    assert "No such file" in outcome.detail["error"]
    assert docker.state("api-1")["Running"] is True


@pytest.mark.component
async def test_a_user_who_may_not_use_the_socket(docker: DockerEngine, context: Context) -> None:
    """Only root and the socket's group may; the error says what is to be done."""
    os.seteuid(65534)
    try:
        outcome = await do(docker, context, start="api-1")
    finally:
        os.seteuid(0)
    assert outcome.detail["error"].startswith(f"permission denied at {docker.host}: ")


def test_no_engine(context: Context, tmp_path: Path, loop: str) -> None:
    """No socket, a socket that a dead Engine left, or no such port: it says where, and asks whether it runs."""
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    for host in (f"unix://{tmp_path}/none.sock", f"unix://{left}", f"tcp://127.0.0.1:{free_port()}"):
        outcome = run_on(loop, Docker(host).run({"start": "api-1"}, context))
        assert not outcome.ok
        assert outcome.detail["error"] == f"no Docker Engine listens at {host}: is it running?"


def test_describe_is_what_one_would_type() -> None:
    """And could paste into a shell."""
    describe = ACTIONS["docker"].describe
    assert describe({"restart": "api-1", "stop_timeout": 30.0, "kill": None}) == "docker restart --time 30 api-1"
    assert describe({"kill": "api-1", "signal": "HUP"}) == "docker kill --signal HUP api-1"
    assert describe({"start": "a", "host": "tcp://db:2375"}) == "docker --host tcp://db:2375 start a"


def test_what_may_be_repeated_or_taken_back() -> None:
    """A second signal is a second signal, and a restart ends what does not come back."""
    traits = {verb: ACTIONS["docker"].traits({verb: "a"}) for verb in ("restart", "start", "stop", "kill", "unpause")}
    assert [verb for verb, told in traits.items() if not told.idempotent] == ["kill"]
    assert [verb for verb, told in traits.items() if not told.reversible] == ["restart", "kill"]


@pytest.mark.component
async def test_how_a_container_is_until_somebody_touches_it(docker: DockerEngine, context: Context) -> None:
    """Another text after a restart by hand and for another container of the name; none that the Engine cannot tell."""
    action, params = Docker(docker.host), {"restart": "api-1"}
    assert await action.observe(params, context) == "no such container"
    made = docker.start("api-1")
    first = await action.observe(params, context)
    assert first == await action.observe(params, context) == f"{made} {docker.state('api-1')['StartedAt']}"
    docker.ask("POST", "/containers/api-1/restart", params={"t": "0"})
    assert await action.observe(params, context) not in (None, first)
    assert await Docker("unix:///nowhere").observe(params, context) is None
    assert await action.observe({"restart": "a/../b"}, context) is None
