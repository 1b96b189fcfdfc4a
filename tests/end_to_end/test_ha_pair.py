"""A real pair of Alertmanagers that gossip, told by one Prometheus, with a partition and a restart in between."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.mesh import Line, lines
from tests.support.monitoring import Target, alertmanager, gateway, prometheus, target
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.component

RULES = """\
version: 1
rules:
  - name: restart-target
    match: 'alertname="TargetDown", job="target"'
    target: '{{ labels.instance }}'
    mode: live
    cooldown: 0s
    steps:
      - command: {argv: [/bin/sh, -c, 'until [ -e "$0" ]; do sleep 0.05; done; exec "$@"', GO, *ARGV]}
        verify: {resolved_within: 60s, probe: {http: 'http://{{ target }}/'}}
"""
"""Heals no sooner than somebody says so, by the file GO: what is to happen during an outage happens before."""
HEALED = ("alert_firing", "decision", "action_started", "action_ok", "alert_resolved", "heal_confirmed")
POSTED = re.compile(r'^alertmanager_notifications_total\{integration="webhook"\} (\d+)', re.MULTILINE)
QUICK = (
    "--cluster.gossip-interval=20ms",
    "--cluster.probe-interval=200ms",
    "--cluster.probe-timeout=100ms",
    "--cluster.pushpull-interval=1s",
    "--cluster.reconnect-interval=500ms",
    "--cluster.tcp-timeout=1s",
    "--cluster.peer-timeout=2s",
)


@dataclass(frozen=True)
class Member:
    """One of the pair: it listens to its like at `heard`, and is known to them as `line`, which can be cut."""

    folder: Path
    port: int
    heard: int
    line: Line

    def running(self, receiver: str, like: Line) -> AbstractContextManager[None]:
        self.folder.mkdir(exist_ok=True)
        cluster = (
            f"--cluster.listen-address=127.0.0.1:{self.heard}",
            f"--cluster.advertise-address=127.0.0.1:{self.line.port}",
            f"--cluster.peer=127.0.0.1:{like.port}",
            *QUICK,
        )
        return alertmanager(self.folder, self.port, receiver, cluster)

    def members(self) -> int:
        """How many it counts in its cluster."""
        return len(self._get("/api/v2/status").json()["cluster"]["peers"])

    def firing(self) -> int:
        """How many alerts it knows to fire."""
        return len(self._get("/api/v2/alerts").json())

    def notified(self) -> int:
        """How often it has posted to its webhooks."""
        found = POSTED.search(self._get("/metrics").text)
        return int(found[1]) if found else 0

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False).raise_for_status()


@dataclass(frozen=True)
class Pair:
    """All of it, running."""

    first: Member
    second: Member
    target: Target
    log: Path
    go: Path
    receiver: str
    stack: ExitStack
    told: tuple[Line, Line]
    """On which Prometheus tells each of them."""

    @property
    def members(self) -> tuple[Member, Member]:
        return self.first, self.second

    def records(self) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        return [record for record in map(orjson.loads, lines) if "alertname" in record]

    def counted(self) -> Counter[str]:
        return Counter(record["kind"] for record in self.records())

    def meshed(self, size: int) -> None:
        """Wait until each counts so many members."""
        for member in self.members:
            wait_until(lambda member=member: member.members() == size, seconds=30, what=f"a cluster of {size}")

    def cut(self) -> None:
        for member in self.members:
            member.line.cut()
        self.meshed(1)

    def mend(self) -> None:
        for member in self.members:
            member.line.mend()
        self.meshed(2)

    def both_tell(self) -> None:
        """Wait until each has posted once more."""
        before = [member.notified() for member in self.members]
        for member, told in zip(self.members, before, strict=True):
            wait_until(lambda member=member, told=told: member.notified() > told, seconds=30, what="a webhook of each")

    def one_tells(self) -> None:
        """Wait until anyone has posted once more: while they gossip, one of them does for both."""
        before = [member.notified() for member in self.members]
        wait_until(lambda: [member.notified() for member in self.members] != before, seconds=30, what="a webhook")

    def break_down(self) -> None:
        """The outage begins, and its run."""
        runs = self.counted()["action_started"]
        self.go.unlink(missing_ok=True)
        self.target.kill()
        wait_until(lambda: self.counted()["action_started"] > runs, seconds=30, what="the run")

    def heal(self) -> None:
        """Let the run start the target; the outage is over when both Alertmanagers know that."""
        healed = self.counted()["heal_confirmed"]
        self.go.touch()
        wait_until(lambda: self.counted()["heal_confirmed"] > healed, seconds=45, what="heal_confirmed")
        for member in self.members:
            wait_until(lambda member=member: member.firing() == 0, seconds=30, what="the end in each")


@contextmanager
def pair(folder: Path, resend: int = 1) -> Iterator[Pair]:
    """Everything started, the two meshed, the target seen alive. What they are not told again for four times `resend`
    seconds they take for resolved.
    """
    gateway_port, prometheus_port = free_port(), free_port()
    receiver, go = f"http://127.0.0.1:{gateway_port}/alert", folder / "go"
    heard = free_port(), free_port()
    with ExitStack() as stack:
        first_line, second_line = stack.enter_context(lines(*heard))
        first = Member(folder / "a", free_port(), heard[0], first_line)
        second = Member(folder / "b", free_port(), heard[1], second_line)
        to_first, to_second = told = stack.enter_context(lines(first.port, second.port))
        watched = stack.enter_context(target(folder))
        argv = ", ".join(orjson.dumps(word).decode() for word in watched.argv)
        rules = RULES.replace("*ARGV", argv).replace("GO", orjson.dumps(str(go)).decode())
        urls = ",".join(f"http://127.0.0.1:{member.port}" for member in (first, second))
        env = {"AUTOHEAL_DRY_RUN": "false", "ALERTMANAGER_URL": urls}
        stack.enter_context(gateway(folder, gateway_port, rules, env))
        stack.enter_context(first.running(receiver, second_line))
        restarted = stack.enter_context(ExitStack())
        restarted.enter_context(second.running(receiver, first_line))
        jobs = {"target": watched.port}
        stack.enter_context(prometheus(folder, prometheus_port, to_first.port, jobs, to_second.port, resend=resend))
        made = Pair(
            first, second, watched, folder / "data" / "audit.jsonl", go, receiver, restarted, (told[0], told[1])
        )
        made.meshed(2)
        yield made


def test_an_outage_is_one_episode_and_one_run_whatever_becomes_of_the_pair(tmp_path: Path) -> None:
    """In the first outage the mesh breaks, both tell of the same, it mends, and one of them is restarted; the second
    begins and ends while neither hears of the other.
    """
    with pair(tmp_path) as here:
        here.break_down()
        here.cut()
        here.both_tell()
        here.mend()
        here.stack.close()
        here.stack.enter_context(here.second.running(here.receiver, here.first.line))
        here.meshed(2)
        wait_until(lambda: here.second.firing() == 1, seconds=30, what="the alert after the restart")
        here.one_tells()
        here.heal()
        _check(here, outages=1)
        here.cut()
        here.break_down()
        here.both_tell()
        here.heal()
        here.mend()
        _check(here, outages=2)


def test_an_end_that_only_one_knows_of_is_none(tmp_path: Path) -> None:
    """Prometheus does not reach the first, which takes what fires for resolved; then not the second, which goes on to
    list what is healed. Neither confirms the heal or begins anything: it is confirmed once both say so.
    """
    with pair(tmp_path, resend=5) as here:
        here.break_down()
        wait_until(lambda: [member.firing() for member in here.members] == [1, 1], seconds=30, what="both to know")
        to_first, to_second = here.told
        to_first.cut()
        wait_until(lambda: here.counted()["alert_disputed"] == 1, seconds=60, what="the end that is none")
        assert here.second.firing() == 1
        wait_until(lambda: here.counted()["alert_undisputed"] == 1, seconds=60, what="the second to hear of it anew")
        to_first.mend()
        wait_until(lambda: [member.firing() for member in here.members] == [1, 1], seconds=30, what="both to know")
        to_second.cut()
        here.go.touch()
        wait_until(lambda: here.counted()["alert_disputed"] == 2, seconds=30, what="the end that one does not know of")
        assert (here.first.firing(), here.second.firing()) == (0, 1)
        wait_until(lambda: here.counted()["heal_confirmed"] == 1, seconds=60, what="the second to forget it")
        to_second.mend()
        assert here.second.firing() == 0
        told = [record["kind"] for record in here.records() if "episode" in record]
        assert told == [
            *("alert_firing", "decision", "action_started", "alert_disputed", "alert_undisputed"),
            *("action_ok", "alert_disputed", "alert_resolved", "heal_confirmed"),
        ]


def _check(here: Pair, outages: int) -> None:
    """As many episodes as outages, each with one run and one end.

    A firing that came late may have been a suspect, and have ended: that is of no episode.
    """
    records = here.records()
    assert Counter(record["kind"] for record in records if "episode" in record) == dict.fromkeys(HEALED, outages)
    assert {record["kind"] for record in records if "episode" not in record} <= {"alert_suspect", "alert_resolved"}
    episodes = [record["episode"] for record in records if record["kind"] == "alert_firing"]
    runs = [record["episode"] for record in records if record["kind"] == "action_started"]
    assert runs == episodes
    assert len(set(episodes)) == outages
