"""Refused identities in the audit log: seen, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind
from autoheal.web.access.failures import AGAIN_SECONDS, MAX_PER_HOUR, Failures
from tests.support.clock import FakeClock


class Log:
    """What was recorded, unless it is full."""

    def __init__(self) -> None:
        self.noted: list[Draft] = []
        self.full = False

    async def note(self, draft: Draft) -> None:
        if self.full:
            raise JournalUnavailable("disk full")
        self.noted.append(draft)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def failures(log: Log, clock: FakeClock) -> Failures:
    return Failures(log.note, clock)


def asked(address: str | None = "192.0.2.1", path: str = "/audit") -> dict[str, Any]:
    client = None if address is None else (address, 5000)
    return {"method": "GET", "path": path, "client": client, "autoheal.correlation_id": "c1"}


async def test_a_record_tells_who_where_and_why(failures: Failures, log: Log) -> None:
    """With the id that the answer has too."""
    await failures.tell(asked(), "expired", kid="one")
    await failures.tell(asked(path="/" + "x" * 5000), "insufficient_role", actor="olga")
    first, second = log.noted
    assert (first.kind, first.reason, first.actor, first.correlation_id) == (
        Kind.AUTH_FAILED,
        "expired",
        "system",
        "c1",
    )
    assert first.detail == {"address": "192.0.2.1", "method": "GET", "path": "/audit", "kid": "one"}
    assert second.actor == "olga"
    assert len(str(second.detail["path"])) == 100


async def test_the_same_is_told_again_after_ten_minutes(failures: Failures, log: Log, clock: FakeClock) -> None:
    """With how many were left out meanwhile; another reason or address is another."""
    for _ in range(5):
        await failures.tell(asked(), "expired")
    await failures.tell(asked(), "malformed")
    await failures.tell(asked("192.0.2.2"), "expired")
    assert len(log.noted) == 3
    await clock.advance(AGAIN_SECONDS - 1)
    await failures.tell(asked(), "expired")
    assert len(log.noted) == 3
    await clock.advance(1)
    await failures.tell(asked(), "expired")
    assert [note.detail.get("left_out") for note in log.noted] == [None, 4, None, 1]


async def test_one_machine_has_a_whole_network_of_ipv6(failures: Failures, log: Log) -> None:
    """A /64 counts as one address; IPv4 in IPv6 as IPv4; without an address all are one."""
    for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.1", None, None):
        await failures.tell(asked(address), "expired")
    assert [note.detail["address"] for note in log.noted] == ["2001:db8::1", "2001:db8:0:1::1", "192.0.2.1", "None"]


async def test_all_together_are_bounded(failures: Failures, log: Log, clock: FakeClock) -> None:
    """However many addresses take part, and for as long as they do: the log grows by so much an hour."""
    for hour in range(1, 4):
        for number in range(1000):
            await failures.tell(asked(f"10.{hour}.{number // 250}.{number % 250}"), "expired")
        assert len(log.noted) == hour * MAX_PER_HOUR
        assert len(failures._told) == MAX_PER_HOUR
        await clock.advance(3600)


async def test_a_full_log_stops_nobody(failures: Failures, log: Log, clock: FakeClock) -> None:
    """No error, and the next ones are recorded again."""
    log.full = True
    await failures.tell(asked(), "expired")
    log.full = False
    await failures.tell(asked(), "malformed")
    assert [note.reason for note in log.noted] == ["malformed"]
