"""The log's records as OpenTelemetry traces: what followed from each webhook, and how long each part took.

The trace's id is the correlation id, which is as long as one (W3C Trace Context section 3.2.2.3), so that log lines,
records and traces are found by the same word. Spans are a fold of the log like everything else, ids included:

    webhook
    └─ run RULE                     from the decision to act to the end
       ├─ decision                  (of no length; one that does not act hangs from the webhook)
       ├─ approval
       ├─ action NAME               one for each step
       └─ verification

They leave as OTLP over HTTP in JSON (opentelemetry.io/docs/specs/otlp, JSON Protobuf Encoding), which needs no library.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import httpx
import orjson
import structlog

from autoheal import __version__
from autoheal.clock import Clock
from autoheal.model import Kind, Record

WAITING = 10_000
"""Spans that may wait for a collector that does not answer; then the oldest give way."""
BATCH = 500
GATHER_SECONDS = 1.0
TRIES = 3
FIRST_PAUSE_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
TEXT_CHARACTERS = 256
WEBHOOKS_REMEMBERED = 1000

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_OK, _ERROR = 1, 2
_APPROVALS = (Kind.APPROVAL_GRANTED, Kind.APPROVAL_DENIED, Kind.APPROVAL_EXPIRED)
_ACTIONS = (Kind.ACTION_OK, Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED, Kind.ACTION_CANCELLED)
_VERDICTS = (Kind.HEAL_CONFIRMED, Kind.HEAL_FAILED, Kind.HEAL_INCONCLUSIVE)
_ENDS = (
    Kind.HEAL_CONFIRMED,
    Kind.ESCALATED,
    Kind.ACTION_CANCELLED,
    Kind.ACTION_DRY_RUN,
    Kind.APPROVAL_DENIED,
    Kind.APPROVAL_EXPIRED,
)
_BAD = (Kind.ACTION_FAIL, Kind.ACTION_INTERRUPTED, Kind.HEAL_FAILED, Kind.ESCALATED)
_NAMED = ("alertname", "episode", "rule", "target", "run", "step", "mode", "reason", "actor", "correlation_id")
"""Fields of a record that its span shows. Labels, annotations and details stay in the log."""

_log = structlog.get_logger(__name__)

Span = dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A run that goes on: its first record, and since when what it does now is done."""

    decided: Record
    approval: float | None = None
    action: tuple[float, str] | None = None
    verification: float | None = None


@dataclass(slots=True)
class Spans:
    """The fold: records in, spans out as soon as they have ended. Runs that began before it are left out."""

    _open: dict[str, _Open] = field(default_factory=dict)
    _webhooks: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def remember(self, record: Record) -> None:
        """Fold a record of the life before: its spans have been told."""
        deque(self.of(record), maxlen=0)

    def of(self, record: Record) -> Iterator[Span]:
        """The spans that end with `record`."""
        if record.kind is Kind.ALERT_FIRING and record.correlation_id is not None:
            yield from self._webhook(record)
        elif record.kind is Kind.DECISION:
            yield from self._decision(record)
        elif record.run in self._open:
            yield from self._moved(str(record.run), self._open[str(record.run)], record)

    def _webhook(self, record: Record) -> Iterator[Span]:
        """One for all of its alerts, which follow one another, if not without a gap."""
        trace = _trace(record)
        if trace not in self._webhooks:
            self._webhooks[trace] = None
            if len(self._webhooks) > WEBHOOKS_REMEMBERED:
                self._webhooks.popitem(last=False)
            yield _span(record, "webhook", trace[:16], None, record.ts)

    def _decision(self, record: Record) -> Iterator[Span]:
        webhook = _trace(record)[:16]
        if record.run is None:
            yield _span(record, "decision", _id(record, "decision", str(record.seq)), webhook, record.ts)
            return
        # A run that a guard stops has a second decision, after its own.
        known = self._open.setdefault(record.run, _Open(record))
        yield _span(record, "decision", _id(record, "decision", str(record.seq)), _id(known.decided, "run"), record.ts)

    def _moved(self, run: str, known: _Open, record: Record) -> Iterator[Span]:
        parent = _id(known.decided, "run")

        def part(name: str, since: float) -> Span:
            return _span(record, name, _id(record, name, str(record.seq)), parent, since)

        if record.kind is Kind.APPROVAL_REQUESTED:
            known.approval = record.ts
        elif record.kind is Kind.ACTION_STARTED:
            known.action = record.ts, str(record.detail.get("plan", {}).get("action", ""))
        elif record.kind in _APPROVALS and known.approval is not None:
            yield part("approval", known.approval)
            known.approval = None
        elif record.kind in _ACTIONS and known.action is not None:
            since, name = known.action
            yield part(f"action {name}", since)
            known.action, known.verification = None, record.ts
        elif record.kind in _VERDICTS and known.verification is not None:
            yield part("verification", known.verification)
            known.verification = None
        if record.kind in _ENDS:
            del self._open[run]
            yield _span(record, f"run {record.rule}", parent, _trace(record)[:16], known.decided.ts)


class Traces:
    """Tells the collector at `endpoint` (OTEL_EXPORTER_OTLP_ENDPOINT: `/v1/traces` is added) what `tell` is told."""

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], spans: Spans, client: httpx.AsyncClient, clock: Clock
    ) -> None:
        base = httpx.URL(endpoint)
        self._url = base.copy_with(path=base.path.rstrip("/") + "/v1/traces")
        self._headers = {**headers, "Content-Type": "application/json"}
        self._client = client
        self._clock = clock
        self._spans = spans
        self._waiting: deque[Span] = deque(maxlen=WAITING)
        self._lost = 0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def tell(self, records: Sequence[Record]) -> None:
        """Take durable `records`."""
        for record in records:
            for span in self._spans.of(record):
                self._lost += len(self._waiting) == WAITING
                self._waiting.append(span)
        if self._waiting:
            self._idle.clear()
            self._news.set()

    async def run(self) -> None:
        """Send what waits, oldest first, until cancelled. A collector that is away costs spans, and nothing else."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._clock.sleep(GATHER_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Send all that waits now."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not await self._sent(batch):
                self._lost += len(batch)
            if self._lost:
                _log.warning("spans_lost", spans=self._lost)
                self._lost = 0
        self._idle.set()

    async def told(self) -> None:
        """Return when nothing waits any more."""
        await self._idle.wait()

    async def _sent(self, batch: Sequence[Span]) -> bool:
        body = orjson.dumps(request(batch))
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, TRIES + 1):
            retry = True
            try:
                response = await self._client.post(
                    self._url, content=body, headers=self._headers, timeout=TIMEOUT_SECONDS, follow_redirects=False
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                what = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return True
                what = f"answered {response.status_code}"
                # OTLP, Failures: these may pass, the rest is for good.
                retry = response.status_code in (429, 502, 503, 504)
            to = str(self._url.copy_with(userinfo=b"", query=None))
            _log.warning("spans_not_delivered", to=to, attempt=attempt, of=TRIES, error=what)
            if not retry:
                return False
            if attempt < TRIES:
                await self._clock.sleep(pause)
                pause *= 2
        return False


def request(spans: Sequence[Span]) -> dict[str, Any]:
    """An ExportTraceServiceRequest."""
    about = {"service.name": "autoheal", "service.version": __version__}
    scope = {"name": "autoheal", "version": __version__}
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(about)}, "scopeSpans": [{"scope": scope, "spans": list(spans)}]}
        ]
    }


def _span(record: Record, name: str, span_id: str, parent: str | None, since: float) -> Span:
    shown = {f"autoheal.{key}": value for key in _NAMED if (value := getattr(record, key)) is not None}
    code = _ERROR if record.kind in _BAD else _OK if record.kind is Kind.HEAL_CONFIRMED else 0
    return {
        "traceId": _trace(record),
        "spanId": span_id,
        **({} if parent is None else {"parentSpanId": parent}),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": _nanoseconds(since),
        "endTimeUnixNano": _nanoseconds(record.ts),
        "attributes": _attributes({**shown, "autoheal.kind": record.kind, "autoheal.seq": record.seq}),
        "status": {"code": code},
    }


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    """A 64-bit integer is a string in JSON."""
    return [
        {
            "key": key,
            "value": {"intValue": str(value)}
            if isinstance(value, int)
            else {"stringValue": str(value)[:TEXT_CHARACTERS]},
        }
        for key, value in values.items()
    ]


def _trace(record: Record) -> str:
    """What Alertmanager's API told of has no webhook: the episode's own."""
    given = record.correlation_id or ""
    return given if _TRACE_ID.fullmatch(given) else sha256(f"{given}/{record.episode}".encode()).hexdigest()[:32]


def _id(record: Record, *what: str) -> str:
    return sha256("/".join((_trace(record), str(record.run), *what)).encode()).hexdigest()[:16]


def _nanoseconds(ts: float) -> str:
    """Of the microseconds that records have."""
    return str(round(ts * 1e6) * 1000)
