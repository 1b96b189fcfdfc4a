"""Alertmanager's API: what several of them say together, and that one that misbehaves is only unknown."""

from __future__ import annotations

import asyncio
import logging
import math
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.alertmanager import Alertmanager, Poll, Seen, matcher_filters
from autoheal.clock import SystemClock
from autoheal.model import Alert, AlertStatus, parse_rfc3339, rfc3339
from autoheal.wire import MAX_ALERT_BYTES, fingerprint
from tests.support.clock import FakeClock
from tests.support.components import require
from tests.support.ports import free_port
from tests.support.processes import running

CLOCK = FakeClock()
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def listed(name: str = "Down", *, silenced: bool = False, inhibited: bool = False, **changes: Any) -> dict[str, Any]:
    """An alert as the API lists it."""
    labels = {"alertname": name}
    state = {
        "state": "suppressed" if silenced or inhibited else "active",
        "silencedBy": ["0d0c"] if silenced else [],
        "inhibitedBy": ["df55e08d194b261e"] if inhibited else [],
    }
    return {
        "annotations": {},
        "endsAt": "2026-11-21T05:24:00.000Z",
        "fingerprint": fingerprint(labels),
        "receivers": [{"name": "autoheal"}],
        "startsAt": "2026-11-21T05:20:00.000Z",
        "status": state,
        "updatedAt": "2026-11-21T05:20:00.000Z",
        "generatorURL": "http://prometheus/graph",
        "labels": labels,
        **changes,
    }


DOWN = fingerprint({"alertname": "Down"})
OTHER = fingerprint({"alertname": "Other"})


def status(up: float = 3600.0) -> dict[str, Any]:
    return {"uptime": rfc3339(CLOCK.now() - up), "versionInfo": {}}


def http(body: Any, code: str = "200 OK", headers: str = "") -> bytes:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return f"HTTP/1.1 {code}\r\nContent-Length: {len(raw)}\r\n{headers}\r\n".encode() + raw


class Fake:
    """A loopback server that gives canned bytes for `alerts` and `status` and keeps what it was asked."""

    def __init__(self, alerts: Answer, state: Answer) -> None:
        self.answers = {"alerts": alerts, "status": state}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target = head[0].split(" ")[1]
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            self.requests.append((target, fields))
            answer = self.answers[urlsplit(target).path.rpartition("/")[2]]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def fake(alerts: Answer | None = None, state: Answer | None = None) -> AsyncIterator[Fake]:
    it = Fake(http([]) if alerts is None else alerts, http(status()) if state is None else state)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(it.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def poll(client: httpx.AsyncClient, *servers: Fake, **limits: Any) -> Poll:
    return await Alertmanager([server.url for server in servers], client, clock=CLOCK, **limits).poll()


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
        )
    }
    assert (polled.answered, polled.errors, polled.unreadable) == (True, (), frozenset())
    assert polled.uptime == pytest.approx(3600)
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict(OTHER) == "ended"


async def test_absence_proves_nothing_after_a_restart(client: httpx.AsyncClient) -> None:
    """What an Alertmanager that started 299 s ago does not list is unknown: it forgets alerts when it stops."""
    async with fake(state=http(status(299))) as young, fake() as old:
        polled = await poll(client, old, young)
    assert polled.answered
    assert polled.uptime == pytest.approx(299)
    assert polled.verdict(DOWN) == "unknown"
    assert polled.verdict(DOWN, settled=200) == "ended"


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


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(b"", "404 Not Found"), "answered 404"),
        (http([], "302 Found", "Location: http://127.0.0.1:1/\r\n"), "answered 302"),
        (http(b"<html>"), "did not answer JSON"),
        (http(b"\xff"), "did not answer JSON"),
        (http(b"[" * 5000), "did not answer JSON"),
        (http({"alerts": []}), "answered an object and not a list"),
        (http([5]), "alert 0 has no fingerprint or no status"),
        (http([listed(), listed(fingerprint="x")]), "alert 1 has no fingerprint or no status"),
        (http([listed(status="firing")]), "alert 0 has no fingerprint or no status"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "illegal status line"),
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]", "peer closed connection"),
        (hang, "did not answer within 0.2 s"),
        (drip, "did not answer within 0.2 s"),
        (flood, "answered more than 100,000 bytes"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
async def test_unusable_lists(client: httpx.AsyncClient, answer: Answer, says: str) -> None:
    """No answer that cannot be used is an end of anything; the error says who and why."""
    async with fake(answer) as server:
        polled = await poll(client, server, timeout=0.2, max_body=100_000)
    assert not polled.answered
    (error,) = polled.errors
    assert error.startswith(f"{server.url} (alerts): ")
    assert says in error
    assert polled.verdict(OTHER) == "unknown"


@pytest.mark.parametrize(
    "answer", [http({}), http([]), http({"uptime": 5}), http({"uptime": "long"}), http(b"", "503 Busy"), b""]
)
async def test_unusable_status(client: httpx.AsyncClient, answer: bytes) -> None:
    """Without the uptime nothing has ended, even when the alerts are told."""
    async with fake(http([listed()]), answer) as server:
        polled = await poll(client, server)
    assert polled.answered
    assert polled.uptime is None
    (error,) = polled.errors
    assert error.startswith(f"{server.url} (status): ")
    assert polled.verdict(DOWN) == "firing"
    assert polled.verdict(OTHER) == "unknown"


async def test_refused(client: httpx.AsyncClient) -> None:
    """An Alertmanager that does not run is an error, not an exception."""
    url = f"http://127.0.0.1:{free_port()}"
    polled = await Alertmanager([url], client, clock=CLOCK).poll()
    assert (polled.answered, polled.uptime, polled.alerts) == (False, None, {})
    assert sorted(error.partition(")")[0] for error in polled.errors) == [f"{url} (alerts", f"{url} (status"]


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


async def test_what_is_asked(client: httpx.AsyncClient) -> None:
    """All states are asked for, with the filters and the receiver, below the URL's path prefix."""
    async with fake() as server:
        manager = Alertmanager([f"{server.url}/am/"], client, clock=CLOCK)
        await manager.poll(filters=['a="b c&d"', 'e="ж\x00"'], receiver="web\\.hook")
    targets = {urlsplit(target).path: parse_qsl(urlsplit(target).query) for target, _ in server.requests}
    assert targets == {
        "/am/api/v2/alerts": [
            ("active", "true"),
            ("silenced", "true"),
            ("inhibited", "true"),
            ("unprocessed", "true"),
            ("filter", 'a="b c&d"'),
            ("filter", 'e="ж\x00"'),
            ("receiver", "web\\.hook"),
        ],
        "/am/api/v2/status": [],
    }


async def test_a_filter_too_long_for_a_url_is_an_error(client: httpx.AsyncClient) -> None:
    """Group labels of any length make an error at most."""
    async with fake() as server:
        polled = await Alertmanager([server.url], client, clock=CLOCK).poll(filters=['a="' + "x" * 100_000 + '"'])
    assert not polled.answered
    assert "too long" in polled.errors[0]


async def test_credentials_are_sent_and_never_told(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """`user:password@` becomes basic authentication; neither errors nor httpx's own log repeat it."""
    caplog.set_level(logging.DEBUG)
    async with fake(http(b"", "401 Unauthorized")) as server:
        url = server.url.replace("http://", "http://us%40er:hunter2@")
        polled = await Alertmanager([url], client, clock=CLOCK).poll()
    expected = "Basic " + b64encode(b"us@er:hunter2").decode()
    assert [fields["authorization"] for _, fields in server.requests] == [expected, expected]
    assert polled.errors == (f"{server.url} (alerts): answered 401",)
    assert "hunter2" not in caplog.text + repr(polled)


@given(st.dictionaries(st.text(), st.text(), max_size=3))
def test_matcher_filters_quote_what_they_must(labels: dict[str, str]) -> None:
    """One equality matcher for each label, and no newline or bare quote in any."""
    filters = matcher_filters(labels)
    assert len(filters) == len(labels)
    for text in filters:
        assert "\n" not in text
        assert text.replace("\\\\", "").replace('\\"', "").count('"') in (2, 4)


# ---- the real thing ----


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Alertmanager's URL, below a path prefix."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = folder / "alertmanager.yml"
    config.write_text("route: {receiver: web.hook, group_wait: 1s}\nreceivers: [{name: web.hook}, {name: other}]\n")
    url = f"http://127.0.0.1:{free_port()}/am"
    argv = [
        require("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--web.route-prefix=/am",
        "--cluster.listen-address=",
    ]

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    with running(argv, ready, Path(folder / "log")):
        yield url


HOSTILE = 'a"b\\c\nd {}=~ж,'


@pytest.mark.component
async def test_a_real_alertmanager(real: str, client: httpx.AsyncClient) -> None:
    """Firing, silenced, resolved and never heard of: told apart by a real Alertmanager's own answers."""
    now = math.floor(SystemClock().now())  # the API tells milliseconds
    sent = {name: {"alertname": name, "odd": HOSTILE} for name in ("RealFiring", "RealSilenced", "RealResolved")}
    bodies = [
        {
            "labels": labels,
            "annotations": {"summary": HOSTILE},
            "startsAt": rfc3339(now - 60),
            "endsAt": rfc3339(now + (-1 if name == "RealResolved" else 600)),
            "generatorURL": "http://prometheus/graph",
        }
        for name, labels in sent.items()
    ]
    silence = {
        "matchers": [{"name": "alertname", "value": "RealSilenced", "isRegex": False}],
        "startsAt": rfc3339(now),
        "endsAt": rfc3339(now + 600),
        "createdBy": "test",
        "comment": "test",
    }
    (await client.post(f"{real}/api/v2/alerts", json=bodies)).raise_for_status()
    (await client.post(f"{real}/api/v2/silences", json=silence)).raise_for_status()
    manager = Alertmanager([real], client, clock=SystemClock())

    async with asyncio.timeout(20):
        while (polled := await manager.poll()).verdict(fingerprint(sent["RealSilenced"])) != "silenced":  # noqa: ASYNC110 the condition is another process's
            await asyncio.sleep(0.05)
    assert polled.errors == ()
    assert polled.uptime is not None
    assert 0 <= polled.uptime < 120
    assert polled.verdict(fingerprint(sent["RealFiring"])) == "firing"
    assert polled.verdict(fingerprint(sent["RealResolved"])) == "unknown"
    assert polled.verdict(fingerprint(sent["RealResolved"]), settled=0) == "ended"
    seen = polled.alerts[fingerprint(sent["RealFiring"])]
    assert seen == Seen(
        Alert(
            AlertStatus.FIRING,
            fingerprint(sent["RealFiring"]),
            sent["RealFiring"],
            {"summary": HOSTILE},
            now - 60,
            None,
            "http://prometheus/graph",
        ),
        silenced=False,
        inhibited=False,
    )

    found = await manager.poll(filters=matcher_filters(sent["RealFiring"]), receiver="web\\.hook")
    assert set(found.alerts) == {fingerprint(sent["RealFiring"])}
    assert (await manager.poll(filters=matcher_filters({"odd": HOSTILE}))).alerts.keys() == polled.alerts.keys()
    assert (await manager.poll(filters=matcher_filters({"odd": HOSTILE + "x"}))).alerts == {}
    assert (await manager.poll(receiver="other")).alerts == {}
    assert (await manager.poll(receiver="web")).alerts == {}


@pytest.mark.component
async def test_a_real_alertmanager_refuses_a_bad_filter(real: str, client: httpx.AsyncClient) -> None:
    """A filter that Alertmanager does not take is an error, never an empty list of alerts."""
    polled = await Alertmanager([real], client, clock=SystemClock()).poll(filters=["=="])
    assert polled.errors == (f"{real} (alerts): answered 400",)
    assert not polled.answered
