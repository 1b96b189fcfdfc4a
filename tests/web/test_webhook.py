"""POST /alert."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from autoheal.errors import TooManyOpen
from autoheal.web.body import MAX_BODY_BYTES
from tests.support.clock import FakeClock
from tests.support.gateway import Gateway, gateway, unavailable
from tests.support.identity import token
from tests.support.logins import OIDC, ORIGIN, LoginProvider, bearer
from tests.support.said import capture_logs

PAYLOADS = Path(__file__).parents[1] / "payloads"
MIXED = (PAYLOADS / "04_mixed_firing_and_resolved_same_group.json").read_bytes()


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as running:
        yield running


def sample(gate: Gateway, line: str) -> str:
    """The value of the sample whose name and labels are `line`."""
    text = gate.metrics.expose()[0].decode()
    (found,) = [one.removeprefix(line + " ") for one in text.splitlines() if one.startswith(line + " ")]
    return found


async def test_a_notification_is_received_and_counted(gate: Gateway) -> None:
    """200 tells what was taken, under the id by which all that follows can be found."""
    answer = await gate.client.post("/alert", content=MIXED)
    assert answer.status_code == 200
    ((notification, correlation_id),) = gate.engine.received
    firing = sum(alert.status == "firing" for alert in notification.alerts)
    resolved = len(notification.alerts) - firing
    assert min(firing, resolved) > 0
    assert answer.json() == {
        "accepted": firing + resolved,
        "firing": firing,
        "resolved": resolved,
        "rejected": 0,
        "correlation_id": correlation_id,
    }
    assert answer.headers["x-correlation-id"] == correlation_id
    assert sample(gate, 'autoheal_alerts_received_total{status="firing"}') == f"{firing}.0"
    assert sample(gate, 'autoheal_alerts_received_total{status="resolved"}') == f"{resolved}.0"
    assert sample(gate, 'autoheal_webhooks_total{code="200"}') == "1.0"
    assert sample(gate, "autoheal_webhook_duration_seconds_count") == "1.0"
    assert float(sample(gate, "autoheal_last_webhook_timestamp_seconds")) > 1_700_000_000


async def test_an_id_from_outside_is_not_used(gate: Gateway) -> None:
    """A sender must not be able to hang its alerts onto another's trail; two requests have two ids."""
    answers = [
        await gate.client.post("/alert", content=MIXED, headers={"X-Correlation-ID": "mine", "X-Request-ID": "mine"})
        for _ in range(2)
    ]
    ids = {answer.json()["correlation_id"] for answer in answers}
    assert len(ids) == 2
    assert "mine" not in ids
    assert [answer.headers.get_list("x-correlation-id") for answer in answers] == [
        [answer.json()["correlation_id"]] for answer in answers
    ]


async def test_503_while_nothing_can_be_made_durable(gate: Gateway) -> None:
    """Alertmanager sends again after a 5xx, and only then. Paths of this machine stay here."""
    gate.engine.error = unavailable()
    with capture_logs() as logs:
        answer = await gate.client.post("/alert", content=MIXED)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "/data/" not in answer.text
    assert [log["event"] for log in logs] == ["request_failed"]
    assert "disk full" in logs[0]["error"]
    assert sample(gate, 'autoheal_webhooks_total{code="503"}') == "1.0"
    assert sample(gate, 'autoheal_alerts_received_total{status="firing"}') == "0.0"


async def test_503_while_too_many_alerts_are_open(gate: Gateway) -> None:
    """The answer says so, and when to come again; the service's own log does, without a traceback."""
    gate.engine.error = TooManyOpen("50,000 alerts are open, and 3 more cannot be now")
    with capture_logs() as logs:
        answer = await gate.client.post("/alert", content=MIXED)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["detail"] == "50,000 alerts are open, and 3 more cannot be now. Try again."
    assert [(log["event"], log["exc_info"]) for log in logs] == [("request_failed", None)]


async def test_an_unexpected_error_tells_nothing_outside_and_all_inside(gate: Gateway) -> None:
    """500 with the correlation id; the traceback is in the service's log under the same id."""
    gate.engine.error = RuntimeError("secret: /etc/shadow")
    with capture_logs() as logs:
        answer = await gate.client.post("/alert", content=MIXED)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["correlation_id"] == answer.headers["x-correlation-id"]
    (log,) = logs
    assert log["exc_info"] is gate.engine.error
    assert sample(gate, 'autoheal_webhooks_total{code="500"}') == "1.0"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "application/json; charset=utf-8"])
async def test_the_content_type_does_not_matter(gate: Gateway, content_type: str) -> None:
    """The body is JSON or it is not; senders in the field write all sorts of headers."""
    answer = await gate.client.post("/alert", content=MIXED, headers={"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9009", "Host": "localhost:9009"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_no_web_page_can_raise_an_alert(gate: Gateway, headers: dict[str, str]) -> None:
    """Not even one that DNS rebinding made the same origin: a browser always sends one of these on a POST."""
    answer = await gate.client.post("/alert", content=MIXED, headers=headers)
    assert answer.status_code == 403
    assert gate.engine.received == []
    assert sample(gate, 'autoheal_webhooks_total{code="403"}') == "1.0"


async def test_an_allowlist_keeps_others_out(tmp_path: Path) -> None:
    """AUTOHEAL_ALERT_ALLOWLIST names the networks that may post alerts; it says nothing about other routes."""
    async with gateway(tmp_path, {"AUTOHEAL_ALERT_ALLOWLIST": "192.0.2.0/24,2001:db8::/32"}) as gate:
        answer = await gate.client.post("/alert", content=MIXED)
        assert answer.status_code == 403
        assert "AUTOHEAL_ALERT_ALLOWLIST" in answer.json()["detail"]
        assert (await gate.client.get("/")).status_code == 200


async def test_an_allowlist_lets_its_networks_in(tmp_path: Path) -> None:
    """The address of the connection counts, whatever headers say."""
    async with gateway(tmp_path, {"AUTOHEAL_ALERT_ALLOWLIST": "127.0.0.0/8"}) as gate:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        assert (await gate.client.post("/alert", content=MIXED, headers=headers)).status_code == 200


async def test_a_body_that_is_no_webhook_is_400_with_every_fault(gate: Gateway) -> None:
    """`errors` lists them all, `detail` has them for a person; nothing was received."""
    bad = {"version": "4", "alerts": [{"status": "on fire", "labels": {"alertname": 7}}]}
    answer = await gate.client.post("/alert", content=orjson.dumps(bad))
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) >= 2
    assert all(fault in answer.json()["detail"] for fault in answer.json()["errors"])
    assert gate.engine.received == []
    assert sample(gate, 'autoheal_webhooks_total{code="400"}') == "1.0"


async def test_faults_without_end_make_a_short_answer(gate: Gateway) -> None:
    """Ten thousand bad alerts are told of in a few kilobytes."""
    bad = {"version": "4", "alerts": [{"status": "?"}] * 10_000}
    answer = await gate.client.post("/alert", content=orjson.dumps(bad))
    assert answer.status_code == 400
    assert len(answer.content) < 64 * 1024


async def test_a_body_over_8_mib_is_413_by_its_length(gate: Gateway) -> None:
    """The sender gets the answer whole: Alertmanager would take a broken connection for a reason to send again."""
    answer = await gate.client.post("/alert", content=b"{" + b" " * MAX_BODY_BYTES)
    assert answer.status_code == 413
    assert answer.json()["status"] == 413
    assert sample(gate, 'autoheal_webhooks_total{code="413"}') == "1.0"


async def test_a_body_of_exactly_8_mib_is_read(gate: Gateway) -> None:
    """The limit itself is allowed."""
    assert (await gate.client.post("/alert", content=MIXED.ljust(MAX_BODY_BYTES))).status_code == 200


async def test_compressed_bodies_are_refused(gate: Gateway) -> None:
    """A few kilobytes of gzip may be gigabytes of JSON."""
    answer = await gate.client.post("/alert", content=gzip.compress(MIXED), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    identity = await gate.client.post("/alert", content=MIXED, headers={"Content-Encoding": "identity"})
    assert identity.status_code == 200


async def test_parameters_are_refused(gate: Gateway) -> None:
    """As on every other route."""
    assert (await gate.client.post("/alert?dry_run=true", content=MIXED)).status_code == 400


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[tuple[Gateway, FakeClock]]:
    """A gateway that takes alerts from those alone whom the provider calls senders."""
    clock = FakeClock()
    env = {**OIDC, "OIDC_ROLE_MAP": '{"sends":"sender","view":"viewer"}', "AUTOHEAL_WEBHOOK_AUTH": "token"}
    async with gateway(folder, env, http=LoginProvider(clock).http, clock=clock) as gate:
        yield gate, clock


async def test_a_token_names_the_sender(tmp_path: Path) -> None:
    """What follows is by that identity; a higher role may send as well."""
    async with asking(tmp_path) as (gate, clock):
        for role in ("sends", "view"):
            answer = await gate.client.post("/alert", content=MIXED, headers=bearer(clock, role))
            assert answer.status_code == 200
        assert gate.engine.actors == ["alice", "alice"]


async def test_nobody_sends_without_a_good_token_or_a_role(tmp_path: Path) -> None:
    """401 and 403 with a challenge, counted like every answer; nothing of the body is taken."""
    async with asking(tmp_path) as (gate, clock):
        expired = {"Authorization": f"Bearer {token(clock, roles=['sends'], exp=int(clock.now()) - 120)}"}
        for headers, status in (({}, 401), (expired, 401), (bearer(clock, "nothing"), 403)):
            answer = await gate.client.post("/alert", content=MIXED, headers=headers)
            assert answer.status_code == status
            assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert gate.engine.received == []
        assert sample(gate, 'autoheal_webhooks_total{code="401"}') == "2.0"
        assert sample(gate, 'autoheal_webhooks_total{code="403"}') == "1.0"


async def test_a_sender_may_do_nothing_else(tmp_path: Path) -> None:
    """Alertmanager's machine must not read the log, nor the details of the stream."""
    async with asking(tmp_path) as (gate, clock):
        headers = bearer(clock, "sends")
        for path in ("/audit", "/rules", "/runs", "/state", "/whoami"):
            assert (await gate.client.get(path, headers=headers)).status_code == 403
        assert (await gate.client.post("/pause", headers=headers, json={"reason": "x"})).status_code == 403
        assert (await gate.client.get("/events?q=labels.a=b", headers=headers)).status_code == 403


async def test_a_session_sends_no_alerts(tmp_path: Path) -> None:
    """A page must not raise alerts by the browser of whoever is logged in."""
    async with asking(tmp_path) as (gate, clock):
        answer = await gate.client.post("/alert", content=MIXED, headers={**bearer(clock, "sends"), "Origin": ORIGIN})
        assert answer.status_code == 403
        assert gate.engine.received == []
