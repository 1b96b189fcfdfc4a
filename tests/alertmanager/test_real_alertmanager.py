"""Alertmanager's API: a real one's own answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from autoheal.alertmanager import Alertmanager, Seen, Wanted, matcher_filters
from autoheal.clock import SystemClock
from autoheal.errors import UpstreamError
from autoheal.model import Alert, AlertStatus, rfc3339
from autoheal.rules import parse_matchers
from autoheal.wire import fingerprint
from tests.support.components import require
from tests.support.ports import free_port
from tests.support.processes import running


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


async def _post(client: httpx.AsyncClient, real: str, bodies: Sequence[object]) -> None:
    (await client.post(f"{real}/api/v2/alerts", json=bodies)).raise_for_status()


@pytest.mark.component
async def test_a_real_alertmanager(real: str, client: httpx.AsyncClient) -> None:
    """Firing, silenced, resolved and never heard of: told apart by a real Alertmanager's own answers. `updatedAt` moves
    each time that it is told of what fires.
    """
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
    await _post(client, real, bodies)
    silenced_by = (await client.post(f"{real}/api/v2/silences", json=silence)).raise_for_status().json()["silenceID"]
    manager = Alertmanager([real], client, clock=SystemClock())

    async with asyncio.timeout(20):
        while (polled := await manager.poll()).verdict(fingerprint(sent["RealSilenced"])) != "silenced":  # noqa: ASYNC110 the condition is another process's
            await asyncio.sleep(0.05)
    assert polled.alerts[fingerprint(sent["RealSilenced"])].silenced_by == {silenced_by}
    assert polled.errors == ()
    assert polled.uptime is not None
    assert 0 <= polled.uptime < 120
    assert polled.verdict(fingerprint(sent["RealFiring"])) == "firing"
    assert polled.verdict(fingerprint(sent["RealResolved"])) == "unknown"
    assert polled.verdict(fingerprint(sent["RealResolved"]), settled=0) == "ended"
    seen = polled.alerts[fingerprint(sent["RealFiring"])]
    assert seen.heard_at == pytest.approx(SystemClock().now(), abs=60)
    await _post(client, real, bodies)
    again = (await manager.poll()).alerts[fingerprint(sent["RealFiring"])]
    assert again.heard_at > seen.heard_at
    assert again.alert == seen.alert
    assert replace(seen, heard_at=0.0) == Seen(
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


@pytest.mark.component
async def test_a_real_alertmanager_s_silences(real: str, client: httpx.AsyncClient) -> None:
    """The second word takes the place of the first, which counts as ended; what cannot be a silence is told."""
    manager = Alertmanager([real], client, clock=SystemClock())
    now = SystemClock().now()
    wanted = Wanted(parse_matchers('alertname="Never", odd!~"a|b"'), now, now + 600, "ann", HOSTILE)
    first = await manager.silence(wanted)
    assert await manager.withdrawn([first.id]) == frozenset()
    # Within the second in which it began it would be changed in place, and keep its id.
    second = await manager.silence(replace(wanted, starts_at=now - 5, ends_at=now + 60))
    assert (first.replaced, second.replaced) == (None, first.id)
    assert await manager.withdrawn([first.id, second.id]) == {first.id}
    with pytest.raises(UpstreamError, match="answered 400"):
        await manager.silence(replace(wanted, ends_at=now - 60))


@pytest.mark.component
async def test_a_real_alertmanager_tells_who_ended_a_silence(real: str, client: httpx.AsyncClient) -> None:
    """One that ran out was not withdrawn, and is made anew to be extended; one that lasts is extended in place, and
    counts as withdrawn once somebody ends it.
    """
    manager = Alertmanager([real], client, clock=SystemClock())
    now = SystemClock().now()
    wanted = Wanted(parse_matchers('alertname="Short"'), now, now + 1, "ann", "x")
    first = await manager.silence(wanted)

    async def state(known: str) -> str:
        found = (await client.get(f"{real}/api/v2/silence/{known}")).raise_for_status().json()
        return str(found["status"]["state"])

    async with asyncio.timeout(20):
        while await state(first.id) != "expired":  # noqa: ASYNC110 the condition is another process's
            await asyncio.sleep(0.05)
    assert await manager.withdrawn([first.id]) == frozenset()
    again = replace(wanted, starts_at=now + 1, ends_at=now + 300)
    second = await manager.extend(first.id, again)
    assert second.id != first.id
    assert (await manager.extend(second.id, replace(again, ends_at=now + 600))).id == second.id
    assert (await manager.extend(second.id, again)).id == second.id
    assert await manager.withdrawn([first.id, second.id]) == frozenset()
    await manager.expire(second.id)
    assert await manager.withdrawn([first.id, second.id]) == {second.id}
    await manager.expire(second.id)
