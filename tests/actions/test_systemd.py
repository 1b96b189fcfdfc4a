"""The systemd action, with a real systemd."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import ACTIONS, Context, Outcome, Systemd
from tests.support.components import require
from tests.support.looping import run_on
from tests.support.processes import wait_until
from tests.support.systemds import RunningSystemd, systemd

UNITS = {
    "web.service": "[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/touch {folder}/reloaded\n",
    "db.service": "[Service]\nExecStart=/bin/sleep 1000\n",
    "slow.service": "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\nTimeoutStartSec=infinity\n",
    "looping.service": "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sleep 0.2\nRestart=always\n",
    "broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystemd]:
    folder = tmp_path_factory.mktemp("systemd")
    with systemd(folder, {name: text.format(folder=folder) for name, text in UNITS.items()}) as running:
        yield running


async def do(here: RunningSystemd, context: Context, **params: Any) -> Outcome:
    return await Systemd(str(here.systemctl)).run(params, context)


@pytest.mark.component
def test_a_crashed_unit_is_restarted(here: RunningSystemd, context: Context, loop: str) -> None:
    """Another process is its main one afterwards."""
    assert run_on(loop, do(here, context, start="web")).ok
    crashed = int(here.show("web", "MainPID"))
    os.kill(crashed, signal.SIGKILL)
    wait_until(lambda: here.show("web", "ActiveState") == "failed", what="the crash")
    outcome = run_on(loop, do(here, context, restart="web.service"))
    assert outcome.ok
    assert outcome.detail["exit_code"] == 0
    assert here.show("web", "ActiveState") == "active"
    assert int(here.show("web", "MainPID")) not in (0, crashed)


@pytest.mark.component
async def test_stop_start_and_reload(here: RunningSystemd, context: Context) -> None:
    """Each once more changes nothing and is a success."""
    for _ in range(2):
        assert (await do(here, context, start="web")).ok
        assert here.show("web", "ActiveState") == "active"
    assert (await do(here, context, reload="web")).ok
    assert (here.systemctl.parent / "reloaded").exists()
    for _ in range(2):
        assert (await do(here, context, stop="web")).ok
        assert here.show("web", "ActiveState") == "inactive"


@pytest.mark.component
@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"restart": "nope"}, "exit code 5: Failed to restart nope.service: Unit nope.service not found."),
        ({"start": "broken"}, "exit code 1: Job for broken.service failed because the control process exited"),
        ({"reload": "db"}, "exit code 3: Failed to reload db.service: Job type reload is not applicable"),
    ],
)
async def test_a_refusal_is_told_in_systemctls_words(
    here: RunningSystemd, context: Context, order: dict[str, str], error: str
) -> None:
    """The first line of what it said stands in the error, all of it in the output."""
    outcome = await do(here, context, **order)
    assert not outcome.ok
    assert outcome.detail["error"].startswith(error)
    assert outcome.detail["output"]


@pytest.mark.component
async def test_a_slow_job_ends_at_the_deadline(here: RunningSystemd, context: Context) -> None:
    """The client is ended; systemd, whose job it is, goes on, and that is said."""
    outcome = await do(here, context, start="slow", timeout=0.3)
    assert not outcome.ok
    assert outcome.detail["error"] == "not finished after 0.3 s, so it was ended; systemd may still carry it out"
    assert here.show("slow", "ActiveState") == "activating"
    assert (await do(here, context, stop="slow")).ok


@pytest.mark.component
async def test_without_systemd_the_machine_says_so(context: Context, tmp_path: Path) -> None:
    """The true systemctl, where it cannot reach any systemd: a failed action, in its words."""
    alone = tmp_path / "systemctl"
    alone.write_text(f'#!/bin/sh\nDBUS_SYSTEM_BUS_ADDRESS=unix:path=/none exec {require("systemctl")} --user "$@"\n')
    alone.chmod(0o755)
    outcome = await Systemd(str(alone)).run({"restart": "web"}, context)
    assert not outcome.ok
    assert outcome.detail["exit_code"] == 1
    assert "Failed to connect to bus" in outcome.detail["error"]


async def test_a_machine_without_systemctl(context: Context, tmp_path: Path) -> None:
    """As with any program that is missing."""
    outcome = await Systemd(str(tmp_path / "none")).run({"restart": "web"}, context)
    assert outcome.detail["error"] == "the program cannot be executed: No such file or directory"


@pytest.mark.parametrize(
    "name",
    ["*", "web*", "w?b", "[a-z]eb", "-H", "--help", "", "a b", "/dev/sda", "web\n", "wéb", "a" * 256, "$(id)", "a;b"],
)
async def test_what_is_no_units_name_never_reaches_systemctl(context: Context, name: str, tmp_path: Path) -> None:
    """Patterns would mean many units, options another command."""
    outcome = await _recorded(context, tmp_path, name)
    assert outcome.detail == {"error": f"{name[:80]!r} is not a unit's name (patterns and paths are refused)"}
    assert not (tmp_path / "argv").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("reboot.target", "multi-user.target", "user.slice", "session-1.scope", "dev-sda.device", "dev-sda1.swap"),
        *("systemd-reboot", "systemd-poweroff.service", "emergency.service", "rescue", "debug-shell"),
        *("packagekit-offline-update", "fwupd-offline-update.service", "systemd-sysupdate-reboot"),
    ],
)
async def test_units_that_are_no_services_or_end_the_machine(context: Context, name: str, tmp_path: Path) -> None:
    """`systemctl start reboot.target` reboots: a label must not be able to say that."""
    outcome = await _recorded(context, tmp_path, name)
    assert not outcome.ok
    assert not (tmp_path / "argv").exists()


@pytest.mark.parametrize(
    "name", ["web", "web@1:a.service", "my.app", "var-lib\\x2dx.mount", "systemd-resolved", "a.timer"]
)
async def test_what_systemctl_is_given(context: Context, name: str, tmp_path: Path) -> None:
    """One unit, after `--`; no password is asked for and no shell reads it."""
    assert (await _recorded(context, tmp_path, name)).ok
    assert (tmp_path / "argv").read_text().splitlines() == ["--no-ask-password", "start", "--", name]


async def _recorded(context: Context, folder: Path, name: str) -> Outcome:
    """`start` of `name`, by a systemctl that only writes down its arguments."""
    stand_in = folder / "systemctl"
    stand_in.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {folder}/argv\n")
    stand_in.chmod(0o755)
    return await Systemd(str(stand_in)).run({"start": name}, dataclasses.replace(context))


def test_describe_is_what_one_would_type() -> None:
    """The very command line."""
    assert ACTIONS["systemd"].describe({"restart": None, "stop": "web"}) == "systemctl --no-ask-password stop -- web"


@pytest.mark.component
async def test_how_a_unit_is_until_somebody_touches_it(here: RunningSystemd, context: Context, tmp_path: Path) -> None:
    """Another text after a restart by hand; none that systemd cannot tell, and none of what is no unit."""
    action = Systemd(str(here.systemctl))
    assert (await do(here, context, restart="db")).ok
    first = await action.observe({"restart": "db"}, context)
    assert first == await action.observe({"stop": "db"}, context) == f"invocation {here.show('db', 'InvocationID')}"
    assert (await do(here, context, restart="db")).ok
    assert await action.observe({"restart": "db"}, context) not in (None, first)
    assert await action.observe({"restart": "nope"}, context) == "invocation none"
    assert await action.observe({"restart": "*"}, context) is None
    assert await Systemd(str(tmp_path / "none")).observe({"restart": "db"}, context) is None


@pytest.mark.component
async def test_a_unit_that_restarts_by_itself_is_touched_by_nobody(here: RunningSystemd, context: Context) -> None:
    """Else an approval could never be carried out on what crashes every few seconds."""
    action = Systemd(str(here.systemctl))
    assert (await do(here, context, start="looping")).ok
    wait_until(lambda: int(here.show("looping", "NRestarts")) > 1, what="two restarts")
    assert await action.observe({"restart": "looping"}, context) == "restarts by itself"
    assert (await do(here, context, stop="looping")).ok
