"""Alertmanager's API: what several of them say together."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.alertmanager import Alertmanager, Poll, Seen, matcher_filters
from autoheal.model import Alert, AlertStatus, parse_rfc3339, rfc3339
from autoheal.wire import MAX_ALERT_BYTES
from tests.support.alertmanagers import CLOCK, DOWN, OTHER, fake, http, listed, poll, status


async def test_one_alertmanager(client: httpx.AsyncClient) -> None:
    """A listed alert fires, without an end; what is not listed has ended; the uptime counts from its start."""
    async with fake(http([listed()])) as server:
        polled = await poll(client, server)
    assert polled.alerts == {
        DOWN: Seen(
            Alert(
                AlertStatus.FIRING,
                DOWN,
                {"alertname": "Down"},
                {},
                parse_rfc3339("2026-11-21T05:20:00Z"),
                None,
                "http://prometheus/graph",
            ),
            silenced=False,
            inhibited=False,
            heard_at=parse_rfc3339("2026-11-21T05:20:00Z"),
        )
    }
    assert (polled.answered, polled.errors, polled.unreadable) == (True, (), frozenset())
    assert polled.uptime == pytest.approx(3600)
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict(OTHER) == "ended"


async def test_what_one_lists_and_another_does_not_is_denied(client: httpx.AsyncClient) -> None:
    """By whoever has been up for long enough, and listed what it has; one that cannot read the alert denies nothing."""
    unreadable = listed(annotations={"text": "x" * MAX_ALERT_BYTES})
    async with (
        fake(http([listed()])) as good,
        fake(http([listed("Other")])) as another,
        fake(state=http(status(299))) as young,
        fake(http([unreadable])) as blind,
        fake(http({}, "500 Internal Server Error")) as broken,
    ):
        assert (await poll(client, good)).denied == frozenset()
        assert (await poll(client, good, another)).denied == {DOWN, OTHER}
        for other in (good, young, blind, broken):
            assert (await poll(client, good, other)).denied == frozenset(), other.url


async def test_what_two_do_not_list_is_missed(client: httpx.AsyncClient) -> None:
    """However long they have been up, and whether they have answered or not."""
    async with (
        fake(http([listed(), listed("Other")])) as good,
        fake(http([listed()]), http(status(5))) as young,
        fake(http([])) as empty,
        fake(http({}, "500 Internal Server Error")) as broken,
    ):
        assert (await poll(client, good)).missed == frozenset()
        assert (await poll(client, good, empty)).missed == frozenset()
        assert (await poll(client, good, young, empty)).missed == {OTHER}
        assert (await poll(client, good, empty, broken)).missed == {DOWN, OTHER}


async def test_when_it_was_heard_of_is_the_latest_word(client: httpx.AsyncClient) -> None:
    """Of those that list the alert; one that does not tell never heard of it anew."""
    later = listed(updatedAt="2026-11-21T05:21:00.5Z")
    for unreadable in ("today", None, 5, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-23:59"):
        async with (
            fake(http([listed(updatedAt=unreadable)])) as mute,
            fake(http([later])) as first,
            fake(http([listed()])) as second,
        ):
            polled = await poll(client, first, second, mute)
            assert polled.alerts[DOWN].heard_at == parse_rfc3339("2026-11-21T05:21:00.5Z")
            assert (await poll(client, mute)).alerts[DOWN].heard_at <= 0.0


async def test_absence_proves_nothing_after_a_restart(client: httpx.AsyncClient) -> None:
    """What an Alertmanager that started 299 s ago does not list is unknown: it forgets alerts when it stops."""
    async with fake(state=http(status(299))) as young, fake() as old:
        polled = await poll(client, old, young)
    assert polled.answered
    assert polled.uptime == pytest.approx(299)
    assert polled.verdict(DOWN) == "unknown"
    assert polled.verdict(DOWN, settled=200) == "ended"


async def test_the_list_is_complete_only_when_nothing_can_be_missing(client: httpx.AsyncClient) -> None:
    """All answered, have been up for a while, and list nothing that cannot be read."""
    large = listed("Other", annotations={"text": "x" * MAX_ALERT_BYTES})
    async with (
        fake(http([listed()])) as good,
        fake(state=http(status(299))) as young,
        fake(http([large])) as unreadable,
        fake(http({}, "500 Internal Server Error")) as broken,
    ):
        assert (await poll(client, good)).complete
        for bad in (young, unreadable, broken):
            assert not (await poll(client, good, bad)).complete


@pytest.mark.parametrize("ahead", [-900.0, 900.0])
async def test_uptime_is_by_the_alertmanagers_own_clock(client: httpx.AsyncClient, ahead: float) -> None:
    """A clock of ours that runs ahead must not make one that has just started seem settled, nor the other way."""
    theirs = CLOCK.now() - ahead
    state = {"uptime": rfc3339(theirs - 299)}
    async with fake(state=http(state, headers=f"Date: {formatdate(theirs, usegmt=True)}\r\n")) as server, fake() as old:
        polled = await poll(client, server, old)
        assert polled.uptime == pytest.approx(299)
        assert polled.verdict(DOWN) == "unknown"
        assert polled.verdict(DOWN, settled=299) == "ended"


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Sun, 06 Nov 1994 08:49:37 -0000", "Sun, 06 Nov 19111111194 08:49:37 GMT"],
)
async def test_without_its_clock_ours_must_do(client: httpx.AsyncClient, date: str) -> None:
    """A Date that is none is no reason to know nothing."""
    async with fake(state=http(status(400), headers=f"Date: {date}\r\n")) as server:
        assert (await poll(client, server)).uptime == pytest.approx(400)


async def test_it_fires_if_any_says_so(client: httpx.AsyncClient) -> None:
    """An alert that one of two lists fires; it is silenced or inhibited only where all that list it agree."""
    async with (
        fake(
            http([listed(), listed("A", silenced=True), listed("B", silenced=True), listed("C", inhibited=True)])
        ) as a,
        fake(http([listed("A", silenced=True), listed("B"), listed("C"), listed("D", inhibited=True)])) as b,
    ):
        polled = await poll(client, a, b)
    assert {
        seen.alert.alertname: (seen.silenced, seen.inhibited, polled.verdict(fp)) for fp, seen in polled.alerts.items()
    } == {
        "Down": (False, False, "firing"),
        "A": (True, False, "silenced"),
        "B": (False, False, "firing"),
        "C": (False, False, "firing"),
        "D": (False, True, "firing"),
    }


async def test_it_has_ended_only_if_all_do(client: httpx.AsyncClient) -> None:
    """When one of two does not answer, what the other lists fires and the rest is unknown."""
    async with fake(http([listed()])) as server, fake(http(b"", "500 Oops")) as broken:
        polled = await poll(client, server, broken)
    assert not polled.answered
    assert polled.errors == (f"{broken.url} (alerts): answered 500",)
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict(OTHER) == "unknown"


async def test_an_unreadable_alert_has_not_ended(client: httpx.AsyncClient) -> None:
    """A listed alert that cannot be taken is unknown and named; the others are as certain as without it."""
    huge = listed("Huge", annotations={"a": "x" * MAX_ALERT_BYTES})
    async with fake(http([huge, listed()])) as server, fake(http([listed("Other", startsAt=5)])) as second:
        polled = await poll(client, server, second)
    assert polled.unreadable == {huge["fingerprint"], OTHER}
    assert polled.verdict(huge["fingerprint"]) == "unknown"
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict("0" * 16) == "ended"
    assert "too large" in polled.errors[0]
    assert f"alert {OTHER}.startsAt: must be an RFC 3339 time" in polled.errors[1]
    async with fake(http([huge])) as server, fake(http([{**huge, "annotations": {}}])) as second:
        assert (await poll(client, server, second)).verdict(huge["fingerprint"]) == "firing"


async def test_many_unreadable_alerts_make_few_errors(client: httpx.AsyncClient) -> None:
    """Three are named and the rest counted: whoever can post alerts must not fill the service's own log."""
    async with fake(http([listed(str(number), startsAt=5) for number in range(1000)])) as server:
        polled = await poll(client, server)
    assert len(polled.unreadable) == 1000
    assert len(polled.errors) == 4
    assert polled.errors[-1] == f"{server.url} (alerts): 997 more alerts cannot be read"


async def test_none_named() -> None:
    """A poll of nobody knows nothing."""
    assert Poll().verdict(DOWN) == "unknown"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert await Alertmanager([], client, clock=CLOCK).poll() == Poll()


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_matcher_filters_quote_what_they_must(labels: dict[str, str]) -> None:
    """One equality matcher for each label, and no newline or bare quote in any."""
    filters = matcher_filters(labels)
    assert len(filters) == len(labels)
    for text in filters:
        assert "\n" not in text
        assert text.replace("\\\\", "").replace('\\"', "").count('"') in (2, 4)
