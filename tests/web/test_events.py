"""GET /events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from autoheal.clock import SystemClock
from autoheal.errors import JournalDamaged
from autoheal.model import Draft, Kind, Record
from autoheal.web import events
from autoheal.web.access.renewal import Renewal
from tests.support.gateway import OUTSIDE, Gateway, firing, gateway, until
from tests.support.identity import SigningKey, token
from tests.support.logins import OIDC, OWN, LoginProvider, bearer, log_in
from tests.support.said import capture_logs
from tests.support.sse import Reader


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


@asynccontextmanager
async def reading(gate: Gateway, path: str = "/events", headers: Mapping[str, str] | None = None):
    async with gate.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Reader(response)


async def test_replay_then_live_without_gap_or_repeat(gate: Gateway) -> None:
    """From `after` on, every record comes once and in order, while others are being written."""
    await gate.log(*(firing(number) for number in range(1, 101)))

    async def write() -> None:
        for number in range(101, 301):
            await gate.log(firing(number))

    async with reading(gate, "/events?after=0") as stream, asyncio.TaskGroup() as group:
        group.create_task(write())
        taken = await stream.take(301)
    assert [event.record["seq"] for event in taken] == list(range(1, 302))


async def test_an_event_is_the_record_under_its_id(gate: Gateway) -> None:
    """`data` is the line, `id` is `<log id>:<seq>`, and the event has no name of its own."""
    (record,) = await gate.log(firing(1))
    async with reading(gate, "/events?after=1") as stream:
        (event,) = await stream.take(1)
    assert event.data.encode() == record.line
    assert event.id == f"{gate.journal.log_id}:2"
    assert event.name == "message"
    assert stream.retry == 3000


async def test_without_a_cursor_only_what_comes(gate: Gateway) -> None:
    """Neither `after` nor `Last-Event-ID`: the stream begins at the head."""
    await gate.log(firing(1))
    async with reading(gate) as stream:
        await until(lambda: gate.feed.subscribers == 1)
        await gate.log(firing(2))
        (event,) = await stream.take(1)
    assert event.record["seq"] == 3


async def test_the_head_itself_is_no_reset(gate: Gateway) -> None:
    """Who has everything goes on with what comes next."""
    await gate.log(firing(1))
    async with reading(gate, "/events?after=2") as stream:
        await until(lambda: gate.feed.subscribers == 1)
        await gate.log(firing(2))
        (event,) = await stream.take(1)
    assert (event.name, event.record["seq"]) == ("message", 3)


async def test_last_event_id_counts_more_than_after(gate: Gateway) -> None:
    """A browser that comes again asks the old URL, with the new id in the header."""
    await gate.log(firing(1), firing(2), firing(3))
    header = {"Last-Event-ID": f"{gate.journal.log_id}:3"}
    async with reading(gate, "/events?after=0", header) as stream:
        (event,) = await stream.take(1)
    assert event.record["seq"] == 4


async def test_a_stream_without_events_can_resume(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes and every ping carry the place reached: a filter that lets nothing through loses nothing."""
    monkeypatch.setattr(events, "PING_SECONDS", 0.05)
    async with reading(gate, "/events?q=kind=escalated") as stream:
        parsing = asyncio.ensure_future(stream.take(1))
        await until(lambda: stream.last_id == f"{gate.journal.log_id}:1")
        await gate.log(firing(1))
        await until(lambda: stream.last_id == f"{gate.journal.log_id}:2")
        assert stream.comments > 0
        parsing.cancel()


@pytest.mark.parametrize("last_id", ["{log}:99", "0123456789abcdef:1", "garbage", "{log}:", "{log}:-1", "1", "é"])
async def test_an_id_that_cannot_be_resumed_is_a_reset(gate: Gateway, last_id: str) -> None:
    """Unknown, of another log or beyond the head: `event: reset` with first and head, then what comes."""
    await gate.log(firing(1))
    header = {"Last-Event-ID": last_id.format(log=gate.journal.log_id).encode("utf-8")}
    async with reading(gate, headers=header) as stream:  # type: ignore[arg-type]
        (reset,) = await stream.take(1)
        assert (reset.name, orjson.loads(reset.data)) == ("reset", {"first": 1, "head": 2})
        await until(lambda: gate.feed.subscribers == 1)
        await gate.log(firing(2))
        (event,) = await stream.take(1)
    assert (event.name, event.record["seq"]) == ("message", 3)
    assert reset.id == f"{gate.journal.log_id}:2"


async def test_after_beyond_the_head_is_a_reset(gate: Gateway) -> None:
    """`after` follows the same rule as the header."""
    async with reading(gate, "/events?after=2") as stream:
        (reset,) = await stream.take(1)
    assert reset.name == "reset"


async def test_q_filters(gate: Gateway) -> None:
    """Only records that the filter matches become events, on replay and live."""
    await gate.log(firing(1, shard="a"), firing(2, shard="b"))
    async with reading(gate, "/events?after=0&q=labels.shard=b") as stream:
        (replayed,) = await stream.take(1)
        await gate.log(firing(3, shard="a"), firing(4, shard="b"))
        (live,) = await stream.take(1)
    assert (replayed.record["seq"], live.record["seq"]) == (3, 5)


async def test_outsiders_get_the_envelope_alone(gate: Gateway) -> None:
    """Who may not read /audit sees no labels, annotations, detail, fingerprints or hashes."""
    await gate.log(firing(1))
    async with reading(gate, "/events?after=1&q=kind=alert_firing", OUTSIDE) as stream:
        (event,) = await stream.take(1)
    assert set(event.record) == {"seq", "ts", "kind", "alertname"}
    assert event.record["alertname"] == "ApiDown"


@pytest.mark.parametrize("q", ["labels.job=api", "actor=system", "kind=decision OR detail.x EXISTS", "hash~a*"])
async def test_outsiders_may_not_ask_about_what_they_may_not_see(gate: Gateway, q: str) -> None:
    """A filter would tell them bit by bit: 403, and it names the field."""
    answer = await gate.client.get("/events", params={"q": q}, headers=OUTSIDE)
    assert answer.status_code == 403
    assert "x-forwarded-for" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=1&after=2", "since=1h", "q=("])
async def test_bad_parameters_are_400(gate: Gateway, query: str) -> None:
    """As everywhere, and before a stream begins."""
    assert (await gate.client.get(f"/events?{query}")).status_code == 400


async def test_head_ends_at_once(gate: Gateway) -> None:
    """HEAD has the headers that keep proxies from buffering, and no stream is left open."""
    answer = await gate.client.head("/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert gate.feed.subscribers == 0


async def test_streams_are_counted_and_bounded(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit: 503 with Retry-After; a stream that ends makes room."""
    monkeypatch.setattr(events, "MAX_SUBSCRIBERS", 2)
    async with reading(gate):
        async with reading(gate):
            await until(lambda: b"autoheal_sse_subscribers 2.0" in gate.metrics.expose()[0])
            refused = await gate.client.get("/events")
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
        await until(lambda: b"autoheal_sse_subscribers 1.0" in gate.metrics.expose()[0])
        async with reading(gate):
            pass
    await until(lambda: b"autoheal_sse_subscribers 0.0" in gate.metrics.expose()[0])
    assert gate.feed.subscribers == 0


async def test_a_reader_that_stalls_is_cut(gate: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted as dropped, frees its place, and nobody else notices."""
    monkeypatch.setattr(events, "SEND_TIMEOUT_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", gate.port)) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with reading(gate) as stream:
            await until(lambda: gate.feed.subscribers == 2)
            written = 0
            while b"autoheal_sse_dropped_total 1.0" not in gate.metrics.expose()[0]:
                await gate.log(*(firing(1, text="x" * 50_000) for _ in range(20)))
                written += 20
                assert len(await stream.take(20)) == 20
                assert written < 2000, "the stalled reader was never cut"
            await until(lambda: gate.feed.subscribers == 1)
            await gate.log(firing(2))
            assert len(await stream.take(1)) == 1


async def test_streams_end_when_the_feed_closes(gate: Gateway) -> None:
    """At stop, a stream ends as a complete answer well within a second."""
    async with reading(gate, "/events?after=0") as stream:
        await until(lambda: gate.feed.subscribers == 1)
        gate.feed.close()
        assert [event.record["seq"] for event in await stream.rest(1)] == [1]


async def test_a_damaged_log_breaks_a_stream_off(
    gate: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees that it is incomplete, and the service's log says why, once."""

    async def damaged(after: int, limit: int) -> list[Record]:
        raise JournalDamaged("audit.jsonl, byte 7: not JSON")

    monkeypatch.setattr(gate.feed, "_read", damaged)
    with capture_logs() as logs:
        async with reading(gate, "/events?after=0") as stream:
            with pytest.raises(httpx.RemoteProtocolError):
                await stream.rest()
        await until(lambda: bool(logs))
    assert [(log["event"], log["error"]) for log in logs] == [("request_failed", "audit.jsonl, byte 7: not JSON")]
    assert "Exception in ASGI application" not in caplog.text


@asynccontextmanager
async def identified(folder: Path, **env: str) -> AsyncIterator[tuple[Gateway, LoginProvider]]:
    """A gateway that asks for identities, on the real clock."""
    idp = LoginProvider(SystemClock())
    async with gateway(folder, {**OIDC, **env}, http=idp.http) as running:
        yield running, idp


async def test_with_identities_strangers_see_envelopes_and_no_logins(tmp_path: Path) -> None:
    """Nor may they ask about more; who works here, and how an attack goes, is nobody's business."""
    async with identified(tmp_path) as (gate, _):
        hidden = [Draft(kind=kind, actor="olga") for kind in (Kind.LOGIN, Kind.LOGOUT, Kind.AUTH_FAILED)]
        await gate.log(*hidden, firing(1))
        async with reading(gate, "/events?after=1") as stream:
            (event,) = await stream.take(1)
        assert set(event.record) == {"seq", "ts", "kind", "alertname"}
        refused = await gate.client.get("/events?q=labels.job=api")
        assert refused.status_code == 403
        assert "log in" in refused.json()["detail"]


async def test_who_may_read_the_log_sees_all_of_it(tmp_path: Path) -> None:
    """By a token and by a session; one whose holder has no role is a stranger."""
    async with identified(tmp_path) as (gate, idp):
        await gate.log(Draft(kind=Kind.LOGIN, actor="nina"), firing(1))
        viewer, nobody = bearer(SystemClock(), "view"), bearer(SystemClock())
        async with reading(gate, "/events?after=1&q=actor=nina", viewer) as stream:
            assert (await stream.take(1))[0].record["actor"] == "nina"
        async with reading(gate, "/events?after=1", nobody) as stream:
            assert "actor" not in (await stream.take(1))[0].record
        await log_in(gate, idp)
        async with reading(gate, "/events?after=1") as stream:
            assert (await stream.take(1))[0].record["actor"] == "nina"


async def test_events_may_be_for_viewers_alone(tmp_path: Path) -> None:
    """AUTOHEAL_EVENTS_AUTH: strangers are 401, those without a role 403."""
    async with identified(tmp_path, AUTOHEAL_EVENTS_AUTH="true") as (gate, _):
        assert (await gate.client.get("/events")).status_code == 401
        assert (await gate.client.get("/events", headers=bearer(SystemClock()))).status_code == 403
        async with reading(gate, "/events", bearer(SystemClock(), "view")):
            pass


async def test_a_bad_token_is_not_taken_for_none(tmp_path: Path) -> None:
    """Whoever shows one wants to be known by it: 401, instead of less than was asked for."""
    async with identified(tmp_path) as (gate, _):
        bad = bearer(SystemClock(), "view", aud="other")
        assert (await gate.client.get("/events", headers=bad)).status_code == 401


async def test_a_stream_ends_with_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole answer, without another record; others go on."""
    monkeypatch.setattr(events, "RECHECK_SECONDS", 0.02)
    async with identified(tmp_path) as (gate, idp):
        await log_in(gate, idp)
        async with reading(gate) as own, reading(gate, headers=bearer(SystemClock(), "view")) as other:
            await until(lambda: gate.feed.subscribers == 2)
            assert (await gate.client.post("/logout", headers=OWN)).status_code == 200
            kinds = [event.record["kind"] for event in await own.rest()]
            assert kinds in ([], ["logout"])
            await until(lambda: gate.feed.subscribers == 1)
            await gate.log(firing(1))
            assert [event.record["kind"] for event in await other.take(2)] == ["logout", "alert_firing"]


async def test_a_stream_ends_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its key is gone from the provider, say; a token that lasts keeps its stream."""
    monkeypatch.setattr(events, "RECHECK_SECONDS", 0.02)
    async with identified(tmp_path) as (gate, idp):
        boss = bearer(SystemClock(), "boss")
        second = {"Authorization": f"Bearer {token(SystemClock(), SigningKey('two', which=1), roles=['view'])}"}
        idp.keys = {"keys": [SigningKey().jwk(), SigningKey("two", which=1).jwk()]}
        assert (await gate.client.post("/-/refresh-jwks", headers=boss)).json() == {"keys": 2}
        async with reading(gate, headers=second) as ended, reading(gate, headers=boss) as lasting:
            await until(lambda: gate.feed.subscribers == 2)
            idp.keys = {"keys": [SigningKey().jwk()]}
            await gate.client.post("/-/refresh-jwks", headers=boss)
            assert await ended.rest() == []
            await gate.log(firing(1))
            assert len(await lasting.take(1)) == 1


async def test_a_stream_ends_when_nobody_can_tell_whether_it_may_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours while the session is looked at does not make it last for ever."""
    monkeypatch.setattr(events, "RECHECK_SECONDS", 0.02)
    async with identified(tmp_path) as (gate, idp):
        await log_in(gate, idp)
        with capture_logs() as logs:
            async with reading(gate) as stream:
                await until(lambda: gate.feed.subscribers == 1)
                monkeypatch.setattr(Renewal, "current", None)
                assert await stream.rest() == []
        assert "event_stream_admission_unknown" in [log["event"] for log in logs]


async def test_a_record_after_the_end_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written after a logout is for those who may read it."""
    monkeypatch.setattr(events, "RECHECK_SECONDS", 0.02)
    async with identified(tmp_path) as (gate, idp):
        await log_in(gate, idp)
        async with reading(gate) as stream:
            await until(lambda: gate.feed.subscribers == 1)
            await gate.client.post("/logout", headers=OWN)
            await until(lambda: gate.feed.subscribers == 0)
            await gate.log(firing(1))
            assert "alert_firing" not in [event.record["kind"] for event in await stream.rest()]
