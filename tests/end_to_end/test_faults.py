"""The table of faults, through the true service: a disk, a directory or a clock fails while it works.

Of each fault four things are shown: what the caller gets; that nothing acknowledged is missing; that no action ran
whose intent was not in the log at that moment; that the same process goes on by itself.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.commands import autoheal
from tests.support.components import require
from tests.support.monitoring import answers, gateway
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.service import RULES, SCRIPT, Service

ROOT = Path(__file__).parents[2]
DURING = ("during-0", "during-1", "during-2")
NAMES = ("before", "slow", "waiting", *DURING, "after")
"""The alerts, by when they come; `waiting` is about the target of `slow`."""
SLOW = 100_000
"""Microseconds."""


@dataclass(frozen=True)
class Fault:
    """`injected` is the fault for as long as its block lasts.

    `refuses` says what the callers get meanwhile: `nobody` 503, `all`, or the `first` one and perhaps some more.
    `told` are the problems of the `log_repaired` records that follow.
    """

    injected: Callable[[Service], AbstractContextManager[object]]
    refuses: str
    told: tuple[str, ...] = ()
    small_disk: bool = False
    wrapper: Sequence[str] = ()


@contextmanager
def full(service: Service) -> Iterator[None]:
    """No block is free any more; what is left of the log's last one makes the next write a short one."""
    filler = service.data / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


def shimmed(what: str, *, lasting: bool = False) -> Callable[[Service], AbstractContextManager[None]]:
    """What tests/support/shimmed_gateway.py does for this text; `lasting`: for the rest of the test."""

    @contextmanager
    def injected(service: Service) -> Iterator[None]:
        told(service, what)
        yield
        assert (service.folder / "shim.obeyed").exists()
        if not lasting:
            told(service, "{}")

    return injected


def told(service: Service, what: str) -> None:
    (service.folder / "shim.new").write_text(what)
    (service.folder / "shim.new").replace(service.folder / "shim")


def refused(calls: str, error: str, when: str) -> Callable[[Service], AbstractContextManager[None]]:
    """The kernel's answer to those calls on the log, and on the file by which the service probes the disk.

    It takes its time, as a disk that fails does: meanwhile the service decides, and intends to act.
    """

    @contextmanager
    def injected(service: Service) -> Iterator[None]:
        trace = service.folder / "trace"
        argv = [require("strace"), "-f", "-p", str(service.pid), "-o", str(trace)]
        argv += ["-P", str(service.log), "-P", str(service.data / ".probe")]
        argv += ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:delay_enter={SLOW}:when={when}"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            if "attached" not in (said := strace.stderr.readline()) and os.environ.get("CI") != "true":
                pytest.skip(f"strace may not trace here: {said}")
            try:
                yield
            finally:
                strace.terminate()
        assert "INJECTED" in trace.read_text()

    return injected


@contextmanager
def deleted(service: Service) -> Iterator[None]:
    service.log.unlink()
    yield


@contextmanager
def directory_gone(service: Service) -> Iterator[None]:
    shutil.rmtree(service.data)
    yield
    service.data.mkdir()


@contextmanager
def forbidden(service: Service) -> Iterator[None]:
    service.data.chmod(0)
    yield
    service.data.chmod(0o750)


BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
"""So that permissions bind root too."""
FAULTS = {
    "write: ENOSPC": Fault(full, "all", small_disk=True),
    "short writes": Fault(shimmed('{"longest": 7}'), "nobody"),
    "write: EIO once": Fault(refused("write", "EIO", "1"), "first"),
    "write: EIO for ever": Fault(refused("write", "EIO", "1+"), "all"),
    "fdatasync: EIO once": Fault(refused("fdatasync", "EIO", "1"), "nobody", ("fdatasync failed",)),
    "fdatasync: EIO for ever": Fault(refused("fdatasync", "EIO", "1+"), "all", ("fdatasync failed",)),
    "read-only remount": Fault(refused("write,openat,ftruncate", "EROFS", "1+"), "all"),
    "file deleted": Fault(deleted, "nobody", ("file deleted",)),
    "directory gone": Fault(directory_gone, "all", ("file deleted",)),
    "permission lost": Fault(forbidden, "all", wrapper=BOUND),
    "clock an hour back": Fault(shimmed('{"clock": -3600}', lasting=True), "nobody"),
}


@contextmanager
def serving(folder: Path, fault: Fault) -> Iterator[Service]:
    """The service, until it stops in good order."""
    (folder / "effects").touch()
    (folder / "shim").write_text("{}")
    (folder / "script").write_text(SCRIPT.replace("HERE", str(folder)))
    port = free_port()
    argv = [*fault.wrapper, sys.executable, str(ROOT / "tests/support/shimmed_gateway.py"), str(folder / "shim")]
    environ = {
        "PYTHONPATH": str(ROOT),
        "AUTOHEAL_DRY_RUN": "false",
        "AUTOHEAL_AUDIT_MIN_FREE": "0",
        "AUTOHEAL_KEY_DIR": str(folder / "keys"),
    }
    with contextlib.ExitStack() as stack:
        if fault.small_disk:
            stack.enter_context(small_disk(folder / "data"))
        rules = RULES.replace("SCRIPT", str(folder / "script"))
        process = stack.enter_context(gateway(folder, port, rules, environ, argv))
        service = Service(folder, f"http://127.0.0.1:{port}", process.pid)
        follower = threading.Thread(target=service.follow)
        follower.start()
        yield service
        process.send_signal(signal.SIGTERM)
        follower.join(30)
        assert process.wait(30) == 0
        # Read by whoever can: the disk goes with this block.
        proven(service, fault)


@contextmanager
def small_disk(point: Path) -> Iterator[None]:
    """A file system of 1 MiB there."""
    if os.geteuid():
        pytest.skip("mounting a file system needs root")
    point.mkdir()
    argv = [require("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)]
    if (done := subprocess.run(argv, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.component
@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_table(tmp_path: Path, name: str) -> None:
    """While one action runs and an alert waits for its target, the fault comes: callers get 200 or 503 as the table
    says; what ends meanwhile is recorded later; nothing new begins; when the fault ends, the same process takes what
    it had refused, and all that waited is carried out.
    """
    fault = FAULTS[name]
    (tmp_path / "hold").touch()
    with serving(tmp_path, fault) as service:
        assert service.post("before").status_code == 200
        wait_until(lambda: service.healed("before"), what="the first heal")
        assert service.post("slow").status_code == 200
        wait_until(lambda: len(service.effects("recorded")) == 2, what="the slow action")
        assert service.post("waiting", target="slow").status_code == 200
        wait_until(lambda: service.kinds("waiting") == ["alert_firing", "decision"], what="the decision to wait")
        with fault.injected(service):
            got = {each: service.post(each, annotation="x" * 5000) for each in DURING}
            (tmp_path / "hold").unlink()
            wait_until(lambda: len(service.effects("ended")) >= 2, what="the slow action's end")
            if fault.refuses == "all":
                wait_until(lambda: service.said("outcome_not_recorded_yet"), what="an outcome that waits")
                assert not service.ready()
                assert answers(f"{service.url}/healthz")
                assert len(service.effects("recorded")) == 2
        check_answers(list(got.values()), fault.refuses, tmp_path)
        wait_until(service.ready, what="readiness")
        for again in (each for each, answer in got.items() if answer.status_code != 200):
            assert service.post(again).status_code == 200
        assert service.post("after").status_code == 200
        wait_until(lambda: all(service.healed(each) for each in NAMES), seconds=30, what="all heals")
        # What is to be told of a repair needs no alert to come.
        wait_until(lambda: service.log.read_bytes().count(b'"log_repaired"') >= len(fault.told), what="the report")


def check_answers(got: Sequence[httpx.Response], refuses: str, folder: Path) -> None:
    """What callers got: 200, or a 503 that says when to come again and no path of the inside."""
    statuses = [answer.status_code for answer in got]
    assert set(statuses) <= {200, 503}
    assert {"nobody": 503 not in statuses, "first": statuses[0] == 503, "all": 200 not in statuses}[refuses], statuses
    for answer in got:
        if answer.status_code == 503:
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert str(folder) not in answer.text


def proven(service: Service, fault: Fault) -> None:
    """What the whole log says afterwards, and what it said before."""
    lines = autoheal("audit", "export", "--data", service.data).stdout.encode().splitlines()
    records: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
    kinds = Counter(record["kind"] for record in records)
    # The alerts are there once each, by one life of the service; and whatever anybody was ever shown.
    assert Counter(r["labels"]["name"] for r in records if r["kind"] == "alert_firing") == Counter(NAMES)
    assert kinds["service_started"] == kinds["service_stopped"] == 1
    assert service.seen == [line for line in lines if line in set(service.seen)]
    assert len(service.seen) >= kinds["alert_firing"] + kinds["heal_confirmed"]
    # Each action ran once, its intent on disk at that moment.
    log_id = records[0]["hash"][:16]
    started = [f"{log_id}-{r['run']}-{r['step']}-action" for r in records if r["kind"] == "action_started"]
    assert service.effects("recorded") == service.effects("ended") == Counter(started)
    assert not service.effects("unrecorded")
    assert kinds["action_started"] == kinds["action_ok"] == kinds["heal_confirmed"] == len(NAMES)
    # What was mended is told, time does not go back, and the trail is whole.
    assert [r["detail"]["problem"] for r in records if r["kind"] == "log_repaired"] == list(fault.told)
    assert [record["ts"] for record in records] == sorted(record["ts"] for record in records)
    kept = service.folder / "checkpoints.jsonl"
    key = service.folder / "keys/checkpoint.pub.pem"
    done = autoheal("audit", "verify", service.data, "--key", key, "--checkpoint", kept)
    assert done.returncode == 0, done.stdout + done.stderr
