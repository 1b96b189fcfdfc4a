"""A made-up alert through the whole pipe: webhook, log, decision, dry run, stream; and its end, whatever happened.

What tells our records from those of another self-test is the correlation id of the webhook's answer. Strangers see no
such ids on /events, and there the alertname has to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import orjson

from autoheal.clock import Clock
from autoheal.errors import AutohealError
from autoheal.journal.search import Ask, Search
from autoheal.model import Check, Kind, OwnName, Reason, rfc3339
from autoheal.query import parse
from autoheal.selftest.gateway import ANSWER_SECONDS, MAX_LINE, NO_TOKEN, Event, Gateway, Stream, objection
from autoheal.selftest.results import Failed, Result, Skipped
from autoheal.wire import fingerprint

LAST_WORD_SECONDS = 3.0
"""How long telling of the alert's end may take when the test itself was given up."""
CLOCK_SET_BACK_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.1

_HELD = {
    Reason.DISABLED: "AUTOHEAL_ENABLED=false: no rule is asked",
    Reason.PAUSED: "autoheal is paused: no run begins",
    Reason.FROZEN: "rules freeze everything now: no run begins",
    Reason.ACKED: "an acknowledgement covers every alert: no run begins",
    Reason.HUMAN_PRESENT: "a silence in Alertmanager covers every alert: no run begins",
    Reason.BUDGET: "the budget of all rules is spent: no run begins",
    Reason.CONCURRENCY: "AUTOHEAL_MAX_RUNNING runs are at work: no other begins",
}
"""Decisions that are no fault of the pipe, and what they mean for real alerts as well."""

_AT_THE_SOURCE = "with a proxy in between: try the service itself"
_OWN_LOG = "the service's own log says why; autoheal incident DIR gathers it with the rest"


async def pipe(gateway: Gateway, clock: Clock, forbidden: str | None, data_dir: Path | None = None) -> list[Result]:
    """The results for `alert` and `events`. `forbidden` is why no alert may be sent from here; `data_dir` is where the
    gateway's log lies on this machine, which is read where the gateway shows it only to those who have a token.
    """
    if forbidden is not None:
        return [Result(Check.ALERT, None, forbidden), Result(Check.EVENTS, None, forbidden)]
    made = _Made(gateway, clock, data_dir)
    begun = clock.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        stream: Stream | None = None
        broken: Failed | Skipped | None = None
        try:
            stream = await stack.enter_async_context(gateway.events())
        except (Failed, Skipped) as error:
            broken = error
        events: Result | None = None
        try:
            async with made.standing() as answered_at:
                events = await _delivery(made, stream, broken, answered_at)
                seen = stream if events.ok else None
                told = await _decided(made, seen)
            await _ended(made, seen)
            alert = Result(Check.ALERT, ok=True, text=told)
        except Skipped as why:
            alert = Result(Check.ALERT, None, str(why))
        except Failed as why:
            alert = Result(Check.ALERT, ok=False, text=str(why), remedy=why.remedy or _OWN_LOG)
    events = events or _unopened(broken)
    ms = (clock.monotonic() - begun) * 1000
    return [Result(alert.check, alert.ok, alert.text, alert.remedy, ms), events]


class _Made:
    """The alert, and the ids of what followed from its begin and its end."""

    def __init__(self, gateway: Gateway, clock: Clock, data_dir: Path | None) -> None:
        self.gateway = gateway
        self._data_dir = data_dir
        self._labels = {"alertname": OwnName.SELFTEST.value, "selftest": uuid4().hex, "severity": "none"}
        self._clock = clock
        self._began = clock.now()
        self.begin = self.end = ""

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[float]:
        """Have it fire, and end it in any case; when the webhook was answered, on the loop's clock. Raises Failed."""
        try:
            self.begin = await self._tell("firing")
            yield asyncio.get_running_loop().time()
        except BaseException:
            # Also one that was not answered may stand in the log, and whoever gives the test up is in a hurry.
            with contextlib.suppress(Failed, TimeoutError):
                async with asyncio.timeout(LAST_WORD_SECONDS):
                    await self._tell("resolved")
            raise
        self.end = await self._tell("resolved")

    def is_told_by(self, event: Event, kind: Kind, id_: str) -> bool:
        """Whether `event` is the record of that kind which followed from the webhook `id_`."""
        return event.get("kind") == kind and event.get("correlation_id", id_) == id_

    async def on_disk(self, q: str) -> list[Event]:
        """The newest record that `q` asks for. Raises Skipped where the log is not to be seen from here."""
        reason = f"taken in durably; what follows is for those who show a token: {NO_TOKEN}"
        if self._data_dir is None:
            raise Skipped(reason)
        ask = Ask(limit=1, query=parse(q), since=self._began - CLOCK_SET_BACK_SECONDS)
        try:
            page = await asyncio.to_thread(
                Search(self._data_dir).page, ask, self._clock, seconds=ANSWER_SECONDS, max_bytes=MAX_LINE
            )
        except (AutohealError, OSError):
            raise Skipped(reason) from None
        return [orjson.loads(line) for line in page.lines]

    async def _tell(self, status: str) -> str:
        """Send the webhook: its correlation id."""
        now = self._clock.now()
        alert = {
            "status": status,
            "labels": self._labels,
            "annotations": {"summary": "autoheal tests itself: nothing is wrong, and nothing will be done"},
            "startsAt": rfc3339(self._began),
            "endsAt": rfc3339(now) if status == "resolved" else "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": fingerprint(self._labels),
        }
        body = {"version": "4", "status": status, "receiver": "selftest", "alerts": [alert]}
        answer = await self.gateway.post("/alert", body)
        if answer.status_code != 200:
            raise Failed(f"POST /alert answered {answer.status_code}: {objection(answer)}", _remedy(answer))
        return str(answer.json().get("correlation_id", ""))


def _remedy(answer: httpx.Response) -> str:
    return {
        401: "it asks for a token: --token-file, or AUTOHEAL_SELFTEST_TOKEN_FILE",
        403: "AUTOHEAL_ALERT_ALLOWLIST must name the address that the self-test comes from",
        503: "the log cannot be written, or too many alerts are open: see GET /readyz and the disk",
    }.get(answer.status_code, _OWN_LOG)


def _unopened(broken: Failed | Skipped | None) -> Result:
    """The result for `events` where none could come: why there is no stream, or that there was no alert."""
    if broken is None:
        return Result(Check.EVENTS, None, "there was no alert to be told of")
    if isinstance(broken, Skipped):
        return Result(Check.EVENTS, None, str(broken))
    return Result(Check.EVENTS, ok=False, text=str(broken), remedy=broken.remedy or f"{_AT_THE_SOURCE}; {_OWN_LOG}")


async def _delivery(made: _Made, stream: Stream | None, broken: Failed | Skipped | None, answered_at: float) -> Result:
    if stream is None:
        return _unopened(broken)
    try:
        at, _ = await stream.until(lambda event: made.is_told_by(event, Kind.ALERT_FIRING, made.begin))
    except Failed as error:
        return Result(Check.EVENTS, ok=False, text=f"of the alert that was taken in, {error}", remedy=_OWN_LOG)
    # It may come before the answer does: both wait for the same moment.
    ms = max(0.0, (at - answered_at) * 1000)
    return Result(Check.EVENTS, ok=True, text=f"delivered {ms:.1f} ms after the webhook's answer", ms=ms)


async def _decided(made: _Made, stream: Stream | None) -> str:
    """What was decided, and that the dry run followed where one had to."""

    async def record(kind: Kind) -> Event:
        if stream is None:
            return await _from_audit(made, kind)
        try:
            return (await stream.until(lambda event: made.is_told_by(event, kind, made.begin)))[1]
        except Failed as error:
            raise Failed(f"after alert_firing, {kind.value}: {error}") from None

    reason = str((await record(Kind.DECISION)).get("reason"))
    if reason == Reason.DRY_RUN:
        await record(Kind.ACTION_DRY_RUN)
        return "alert_firing, decision, action_dry_run"
    if reason in _HELD:
        return f"alert_firing, decision {reason} ({_HELD[Reason(reason)]})"
    raise Failed(f"the decision was {reason}, where a dry run had to follow")


async def _ended(made: _Made, stream: Stream | None) -> None:
    if stream is None:
        await _from_audit(made, Kind.ALERT_RESOLVED)
        return
    try:
        await stream.until(lambda event: made.is_told_by(event, Kind.ALERT_RESOLVED, made.end))
    except Failed as error:
        raise Failed(f"after its end was told, alert_resolved: {error}") from None


async def _from_audit(made: _Made, kind: Kind) -> Event:
    """What the stream did not tell. Raises Skipped where only it could."""
    id_ = made.end if kind is Kind.ALERT_RESOLVED else made.begin
    q = f'correlation_id="{id_}" AND kind={kind.value}'
    last = asyncio.get_running_loop().time() + ANSWER_SECONDS
    while True:
        answer = await made.gateway.get("/audit", {"q": q, "n": "1"})
        if answer.status_code in (401, 403):
            records = await made.on_disk(q)
        elif answer.status_code == 200:
            records = answer.json()["records"]
        else:
            raise Failed(f"GET /audit answered {answer.status_code}: {objection(answer)}")
        if records:
            return records[0]
        if asyncio.get_running_loop().time() > last:
            raise Failed(f"{kind.value} is not in the log after {ANSWER_SECONDS:g} s")
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
