"""Tells people what the log owes them, each channel at its own pace: one that is dead delays no other, and no run.

What is owed is a fold of the log, and so is what was told: a gateway that dies goes on where it was. Between a message
and its record it may die too; then the message comes again, with the id that it had.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from autoheal.clock import Clock
from autoheal.engine import telling
from autoheal.engine.ledger import Ledger
from autoheal.engine.waiting import event_or_time
from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind, Record
from autoheal.notify import Channel, Notice, Severity, Undelivered, What
from autoheal.state import Owed

PAUSES = (15.0, 45.0, 135.0, 405.0)
"""Between the attempts of one message, seconds: five attempts in ten minutes. Each is spread by a quarter."""
LONGEST_PAUSE = 3600.0
"""Of what a channel may ask for by Retry-After."""
FAULT_SECONDS = 60.0
LOOK_SECONDS = 5.0
LOG_DOWN_SECONDS = 30.0
"""How long the log may refuse records before people hear of it, though that cannot be recorded."""
LOG_AGAIN_SECONDS = 3600.0
"""How long after that they hear of it again at the earliest."""

_SETTLING = frozenset((Kind.NOTIFIED, Kind.NOTIFY_FAILED))

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one message: after how many attempts, and what was wrong with the last, if that failed."""

    attempts: int
    fault: Undelivered | None = None

    @property
    def kind(self) -> Kind:
        return Kind.NOTIFIED if self.fault is None else Kind.NOTIFY_FAILED

    @property
    def detail(self) -> dict[str, Any]:
        error = {} if self.fault is None else {"error": str(self.fault)}
        return {"attempts": self.attempts, **error}


class Notifier:
    """Delivers to `channels`. `random` gives numbers from 0 up to 1, by which attempts are spread.

    With `tell_retries` the first attempt of a message that fails is recorded too, of which other channels then hear.
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Sequence[Channel],
        clock: Clock,
        *,
        public_url: str | None,
        random: Callable[[], float],
        tell_retries: bool,
    ) -> None:
        self._ledger = ledger
        self._channels = channels
        self._clock = clock
        self._public_url = public_url
        self._random = random
        self._tell_retries = tell_retries
        self._news = {channel.name: asyncio.Event() for channel in channels}

    @property
    def waiting(self) -> Mapping[str, int]:
        """How much is owed to each channel."""
        return {name: len(self._owed(name)) for name in self._news}

    def changed(self, records: Sequence[Record]) -> None:
        """Look anew where `records` may have changed what is owed, or to be said."""
        if any(record.kind in _SETTLING or "tell" in record.detail for record in records):
            self.look()

    def look(self) -> None:
        """Look anew at what is owed."""
        for news in self._news.values():
            news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._ledger.insist(self._orphans)
        async with asyncio.TaskGroup() as tasks:
            for channel in self._channels:
                tasks.create_task(self._serve(channel))
            if self._channels:
                tasks.create_task(self._mind_the_log())

    def _owed(self, name: str) -> list[Owed]:
        return [owed for owed in self._ledger.state.owed.values() if name in owed.to]

    def _orphans(self) -> Sequence[Draft]:
        """The end of what is owed to channels that are no longer there."""
        error = "this channel is not configured any more"
        gone = {name for owed in self._ledger.state.owed.values() for name in owed.to}.difference(self._news)
        drafts = []
        for name in sorted(gone):
            ids = [owed.id for owed in self._owed(name)]
            for first in range(0, len(ids), telling.AT_ONCE):
                of = ids[first : first + telling.AT_ONCE]
                detail = {"channel": name, "of": of, "attempts": 0, "error": error}
                drafts.append(Draft(kind=Kind.NOTIFY_FAILED, detail=detail))
        return drafts

    async def _serve(self, channel: Channel) -> None:
        while True:
            try:
                await self._look(channel)
            except JournalUnavailable:
                await self._ledger.healthy()
            except Exception as error:  # noqa: BLE001 whatever it is, the next look tries again
                # Where, but not its text: that may quote a secret.
                where = traceback.format_tb(error.__traceback__)
                _log.error("notifier_raised", channel=channel.name, error=type(error).__name__, where=where)
                await self._clock.sleep(FAULT_SECONDS)

    async def _look(self, channel: Channel) -> None:
        """Send the next message, or wait until there may be one."""
        news = self._news[channel.name]
        news.clear()
        state, now = self._ledger.state, self._clock.now()
        unsaid = state.unsaid.get(channel.name, 0)
        turn = telling.turn(self._owed(channel.name), unsaid, state.sent.get(channel.name, ()), channel.limit, now)
        if not turn.of and not turn.digest:
            await event_or_time(self._clock, news, turn.wait)
            return
        log_id = self._ledger.journal.log_id
        if turn.digest:
            notice = telling.digest(turn.of, unsaid, log_id, self._public_url, now)
        else:
            notice = telling.notice(turn.of[0], log_id, self._public_url)
        # Nothing is told that may be taken back: a log that gives up its last batch decides anew.
        await self._ledger.settle()
        about = _about(turn, notice, channel.name, unsaid if turn.digest else 0)
        outcome = await self._deliver(channel, notice, about)
        await self._ledger.insist(lambda: self._settled(channel.name, turn, outcome, about))

    def _settled(self, name: str, turn: telling.Turn, outcome: _Outcome, about: Mapping[str, Any]) -> Sequence[Draft]:
        owed = self._ledger.state.owed
        if turn.of and not any(name in owed[each.id].to for each in turn.of if each.id in owed):
            return []
        return [_draft(outcome.kind, about, **outcome.detail)]

    async def _deliver(self, channel: Channel, notice: Notice, about: Mapping[str, Any] | None = None) -> _Outcome:
        """Try until it is taken, refused for good, or not worth another attempt."""
        for attempt, pause in enumerate((*PAUSES, None), 1):
            fault = await _sent(channel, notice)
            if fault is None:
                return _Outcome(attempt)
            _log.warning("notice_not_taken", channel=channel.name, attempt=attempt, error=str(fault))
            if fault.permanent or pause is None:
                return _Outcome(attempt, fault)
            if attempt == 1 and self._tell_retries and about is not None:
                again = _draft(Kind.NOTIFY_FAILED, about, attempts=1, error=str(fault), again=True)
                self._ledger.refresh()
                self._ledger.commit([again])
            asked = min(fault.retry_after or 0.0, LONGEST_PAUSE)
            await self._clock.sleep(max(pause * (0.75 + self._random() / 2), asked))
        raise AssertionError("the last attempt has no pause after it")

    async def _mind_the_log(self) -> None:
        """Tell of a log that takes no records, which no record can: by its own hand, and recorded afterwards."""
        told = float("-inf")
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if self._ledger.journal.healthy or self._clock.monotonic() - told < LOG_AGAIN_SECONDS:
                continue
            await self._clock.sleep(LOG_DOWN_SECONDS)
            if not self._ledger.journal.healthy:
                told = self._clock.monotonic()
                since = self._clock.now()
                await asyncio.gather(*(self._tell_of_the_log(channel, since) for channel in self._channels))

    async def _tell_of_the_log(self, channel: Channel, since: float) -> None:
        key = f"autoheal-{self._ledger.journal.log_id}-log-{since:.0f}"
        for what, summary in (
            (What.TRIGGER, "The audit log cannot be written: no alert is taken in, and nothing is acted on"),
            (What.RESOLVE, "The audit log can be written again"),
        ):
            notice = Notice(
                id=f"{key}-{what}",
                key=key,
                what=what,
                severity=Severity.CRITICAL,
                summary=summary,
                at=self._clock.now(),
                link=None if self._public_url is None else f"{self._public_url}/console",
            )
            outcome = await self._deliver(channel, notice)
            about = {"detail": {"channel": channel.name, "of": [], "what": what.value, "key": key, "about": "log"}}
            draft = _draft(outcome.kind, about, **outcome.detail)
            await self._ledger.insist(lambda draft=draft: [draft])  # type: ignore[misc]


async def _sent(channel: Channel, notice: Notice) -> Undelivered | None:
    """What was wrong with it, if anything was."""
    try:
        await channel.send(notice)
    except Undelivered as fault:
        return fault
    except Exception as error:  # noqa: BLE001 a channel that breaks its promise must not end the others' messages
        return Undelivered(f"a fault of autoheal's own: {type(error).__name__}", permanent=True)
    return None


def _about(turn: telling.Turn, notice: Notice, channel: str, unsaid: int) -> dict[str, Any]:
    """What the records of a message say besides its outcome; of one that is about a run, whose it is."""
    detail: dict[str, Any] = {
        "channel": channel,
        "of": [owed.id for owed in turn.of],
        "what": "digest" if turn.digest else notice.what.value,
        "key": notice.key,
    }
    if unsaid:
        detail["unsaid"] = unsaid
    if turn.digest:
        return {"detail": detail}
    facts = turn.of[0].facts
    return {
        "alertname": facts.get("alert"),
        "rule": facts.get("rule"),
        "target": facts.get("target"),
        "run": facts.get("run"),
        "detail": {**detail, "about": turn.of[0].kind},
    }


def _draft(kind: Kind, about: Mapping[str, Any], **outcome: object) -> Draft:
    return Draft(kind=kind, **{**about, "detail": {**about["detail"], **outcome}})
