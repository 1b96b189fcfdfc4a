"""The log as OpenTelemetry traces, as a collector gets them."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from structlog.testing import capture_logs

from autoheal.model import Draft, Kind, Mode, Record
from autoheal.traces import BATCH, TRIES, WAITING, WEBHOOKS_REMEMBERED, Spans, Traces, request
from tests.support.clock import FakeClock
from tests.support.gateway import decision, firing, of_run
from tests.support.logs import START, chain
from tests.support.monitoring import gateway
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def decoded(sent: bytes) -> ExportTraceServiceRequest:
    """What OpenTelemetry's own definition makes of a body, which must hold nothing else.

    OTLP's JSON has ids in hex where that of Protobuf has base64.
    """
    told = orjson.loads(sent)
    for span in told["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in span.keys() & {"traceId", "spanId", "parentSpanId"}:
            span[name] = b64encode(bytes.fromhex(span[name])).decode()
    return ParseDict(told, ExportTraceServiceRequest())


def spans_of(sent: bytes) -> list[Any]:
    return list(decoded(sent).resource_spans[0].scope_spans[0].spans)


def caused(*drafts: Draft, by: str | None = TRACE) -> list[Record]:
    """A log of `drafts`, a second apart, that all follow from one webhook."""
    return chain([replace(draft, correlation_id=by) for draft in drafts])


def told(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The spans of a log."""
    spans = Spans()
    return [span for record in records for span in spans.of(record)]


def brief(spans: Sequence[dict[str, Any]]) -> list[tuple[str, float, float, int]]:
    """Name, begin and end in seconds from the log's own begin, and status of each."""
    return [
        (
            span["name"],
            int(span["startTimeUnixNano"]) / 1e9 - START,
            int(span["endTimeUnixNano"]) / 1e9 - START,
            span["status"]["code"],
        )
        for span in spans
    ]


STEP = {"action": "command", "params": {}, "verify": {}}


def test_a_run_that_heals() -> None:
    """From the webhook to the verdict, each part within what it is a part of, all in the trace of the webhook."""
    records = caused(
        firing(),
        decision(2),
        of_run(Kind.ACTION_STARTED, "r2", plan=STEP),
        of_run(Kind.ACTION_OK, "r2"),
        of_run(Kind.HEAL_CONFIRMED, "r2"),
    )
    spans = told(records)
    assert brief(spans) == [
        ("webhook", 0, 0, 0),
        ("decision", 1, 1, 0),
        ("action command", 2, 3, 0),
        ("verification", 3, 4, 1),
        ("run restart-api", 1, 4, 1),
    ]
    webhook, decided, action, verdict, run = spans
    assert {span["traceId"] for span in spans} == {TRACE}
    assert len({span["spanId"] for span in spans}) == 5
    assert "parentSpanId" not in webhook
    assert run["parentSpanId"] == webhook["spanId"]
    assert {span["parentSpanId"] for span in (decided, action, verdict)} == {run["spanId"]}
    assert told(records) == spans, "the same log gives the same ids"


def test_a_run_that_people_let_act_and_that_fails() -> None:
    """Each step has its action; what failed says so, also of the whole."""
    spans = told(
        caused(
            firing(),
            decision(2),
            of_run(Kind.APPROVAL_REQUESTED, "r2"),
            of_run(Kind.APPROVAL_GRANTED, "r2"),
            of_run(Kind.ACTION_STARTED, "r2", plan=STEP),
            of_run(Kind.ACTION_FAIL, "r2"),
            of_run(Kind.HEAL_FAILED, "r2"),
            of_run(Kind.ACTION_STARTED, "r2", plan={**STEP, "action": "http"}),
            of_run(Kind.ACTION_INTERRUPTED, "r2"),
            of_run(Kind.ESCALATED, "r2"),
        )
    )
    assert brief(spans)[2:] == [
        ("approval", 2, 3, 0),
        ("action command", 4, 5, 2),
        ("verification", 5, 6, 2),
        ("action http", 7, 8, 2),
        ("run restart-api", 1, 9, 2),
    ]


def test_what_does_not_act_is_told_as_well() -> None:
    """Dry runs, and decisions with their reason; what is not known from its beginning is left out."""
    no_run = Draft(kind=Kind.DECISION, alertname="ApiDown", episode="e1", rule="r", reason="cooldown")
    unknown = of_run(Kind.HEAL_CONFIRMED, "r1")
    spans = told(caused(firing(1), firing(2), no_run, decision(4), of_run(Kind.ACTION_DRY_RUN, "r4"), unknown))
    assert brief(spans) == [
        ("webhook", 0, 0, 0),
        ("decision", 2, 2, 0),
        ("decision", 3, 3, 0),
        ("run restart-api", 3, 4, 0),
    ]
    shown = {each["key"]: each["value"] for each in spans[1]["attributes"]}
    assert shown["autoheal.reason"] == {"stringValue": "cooldown"}
    assert spans[1]["parentSpanId"] == spans[0]["spanId"]


def test_what_no_webhook_told_of_has_a_trace_too() -> None:
    """Of its episode; there is no span above its run."""
    spans = told(caused(firing(), decision(2), of_run(Kind.ACTION_DRY_RUN, "r2"), by=None))
    assert [span["name"] for span in spans] == ["decision", "run restart-api"]
    (trace,) = {span["traceId"] for span in spans}
    assert trace != TRACE
    assert spans_of(orjson.dumps(request(spans)))


def test_the_life_before_is_known_and_not_told_again() -> None:
    """A run that goes on over a restart has its whole length."""
    records = caused(firing(), decision(2), of_run(Kind.ACTION_DRY_RUN, "r2"))
    spans = Spans()
    for record in records[:2]:
        spans.remember(record)
    assert brief(list(spans.of(records[2]))) == [("run restart-api", 1, 2, 0)]


def test_memory_is_bounded() -> None:
    """Runs are forgotten when they end, webhooks in the order in which they came."""
    spans = Spans()
    for number in range(WEBHOOKS_REMEMBERED + 5):
        for record in caused(firing(), decision(2), of_run(Kind.ACTION_DRY_RUN, "r2"), by=f"{number + 1:032x}"):
            spans.remember(record)
    assert spans._open == {}
    assert len(spans._webhooks) == WEBHOOKS_REMEMBERED


def test_labels_and_details_stay_in_the_log() -> None:
    """And what strangers wrote is cut."""
    spans = told(caused(firing(secret="hunter2"), decision(2), of_run(Kind.ACTION_DRY_RUN, "r2", output="hunter2")))
    assert b"hunter2" not in orjson.dumps(spans)
    long = Draft(kind=Kind.DECISION, episode="e1", rule="r" * 5000, mode=Mode.LIVE)
    assert len(orjson.dumps(told(caused(long)))) < 2000


@dataclass
class Collector:
    """Answers as a test says, 200 by default."""

    got: list[httpx.Request] = field(default_factory=list)
    answers: list[int | Exception] = field(default_factory=list)

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.got.append(asked)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)


async def sent(collector: Collector, records: Sequence[Record], clock: FakeClock) -> list[dict[str, Any]]:
    """Have `records` told to `collector`; the log's lines. Time passes by itself."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(collector)) as client:
        traces = Traces("https://u:pw@collector/base/", {"x-key": "hunter2"}, Spans(), client, clock)
        running = asyncio.create_task(traces.run())
        with capture_logs() as logs:
            traces.tell(records)
            while traces._waiting or not traces._idle.is_set():
                await clock.advance(1)
            await traces.told()
        running.cancel()
    return [dict(line) for line in logs]


async def test_spans_leave_in_batches() -> None:
    """To /v1/traces below the address, with its headers and credentials."""
    collector = Collector()
    decisions = [Draft(kind=Kind.DECISION, episode="e1", rule="r") for _ in range(BATCH + 1)]
    assert await sent(collector, caused(*decisions), FakeClock()) == []
    assert [len(spans_of(each.content)) for each in collector.got] == [BATCH, 1]
    first = collector.got[0]
    assert (first.method, str(first.url.copy_with(userinfo=b""))) == ("POST", "https://collector/base/v1/traces")
    assert first.headers["x-key"] == "hunter2"
    assert first.headers["authorization"].startswith("Basic ")
    assert first.headers["content-type"] == "application/json"


@pytest.mark.parametrize("fault", [503, 429, httpx.ConnectError("nobody is there")])
async def test_a_collector_that_is_away_is_asked_again(fault: int | Exception) -> None:
    """And the warning repeats no secret."""
    collector = Collector(answers=[fault])
    logs = await sent(collector, caused(firing()), FakeClock())
    assert [line["event"] for line in logs] == ["spans_not_delivered"]
    assert len(collector.got) == 2
    assert collector.got[0].content == collector.got[1].content
    assert "pw" not in str(logs)
    assert "hunter2" not in str(logs)


@pytest.mark.parametrize(("answers", "tries"), [([400], 1), ([503] * TRIES, TRIES)])
async def test_spans_that_nobody_takes_are_given_up_aloud(answers: list[int | Exception], tries: int) -> None:
    """What it refuses for good is not sent again."""
    collector = Collector(answers=answers)
    logs = await sent(collector, caused(firing()), FakeClock())
    assert len(collector.got) == tries
    assert logs[-1]["event"] == "spans_lost"
    assert logs[-1]["spans"] == 1


async def test_the_oldest_spans_give_way() -> None:
    """What waits is bounded, and how much is lost is told."""
    decisions = [Draft(kind=Kind.DECISION, episode="e1", rule="r") for _ in range(WAITING + 3)]
    collector = Collector()
    logs = await sent(collector, caused(*decisions), FakeClock())
    assert sum(each.content.count(b'"spanId"') for each in collector.got) == WAITING
    assert [line["spans"] for line in logs] == [3]


@contextmanager
def collecting() -> Iterator[tuple[int, list[bytes]]]:
    """A collector on loopback: its port, and the bodies that came to /v1/traces."""
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], bodies
        finally:
            server.shutdown()
            thread.join()


RULES = """\
version: 1
rules:
  - name: touch
    match: 'alertname="Down"'
    target: '{{ labels.instance }}'
    mode: live
    steps: [{command: {argv: [/bin/true]}, verify: {resolved_within: 1m}}]
"""


def test_the_real_process_tells_a_collector(tmp_path: Path) -> None:
    """From the webhook to the verdict, under the id that the webhook was answered with; the last of it at stop."""
    port = free_port()
    with collecting() as (collector, bodies):
        env = {"AUTOHEAL_DRY_RUN": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}"}
        with gateway(tmp_path, port, RULES, env):
            url = f"http://127.0.0.1:{port}"
            fire = body(alert("1" * 16, instance="one", name="Down"))
            made = httpx.post(f"{url}/alert", json=fire, trust_env=False).json()["correlation_id"]
            verifying = lambda: '"verifying"' in httpx.get(f"{url}/runs", trust_env=False).text  # noqa: E731
            wait_until(verifying, what="the action's end")
            over = body(
                {**alert("1" * 16, instance="one", name="Down"), "status": "resolved", "endsAt": "2099-01-01T00:00:00Z"}
            )
            httpx.post(f"{url}/alert", json=over, trust_env=False).raise_for_status()
            wait_until(lambda: '"healed"' in httpx.get(f"{url}/runs", trust_env=False).text, what="the verdict")
    spans = [span for each in bodies for span in spans_of(each)]
    assert {span.name for span in spans} == {"webhook", "decision", "action command", "verification", "run touch"}
    assert {span.trace_id.hex() for span in spans if span.name != "decision"} == {made}
    resource = decoded(bodies[0]).resource_spans[0].resource
    assert {each.key: each.value.string_value for each in resource.attributes}["service.name"] == "autoheal"
