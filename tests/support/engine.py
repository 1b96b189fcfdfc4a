"""An engine on a clock and a journal that tests own, with an action that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from autoheal.actions import Context, Outcome, Traits
from autoheal.alertmanager import Poll, Post, Seen, Silenced, Wanted
from autoheal.config import load as load_settings
from autoheal.engine import Engine
from autoheal.model import Alert, AlertStatus, Draft, Kind, Notification, Record
from autoheal.redaction import HiddenNames, Redaction
from autoheal.rules import RuleSet
from autoheal.state import fold
from tests.support.clock import FakeClock, settle
from tests.support.journal import MemoryJournal
from tests.support.rules import ONE_RULE, FakeParams, rules_from


class FakeAction:
    """Keeps what it was asked to do. `answers` are taken in order: an Outcome, or an event that it waits for."""

    name: ClassVar[str] = "fake"
    Params: ClassVar[type] = FakeParams

    def __init__(self) -> None:
        self.done: list[tuple[str, int, str]] = []
        self.keys: list[str] = []
        self.answers: list[Outcome | asyncio.Event | Exception | Callable[[], Awaitable[Outcome]]] = []

    def traits(self, params: Mapping[str, Any]) -> Traits:
        return Traits(idempotent=True, reversible=False)

    def describe(self, params: Mapping[str, Any]) -> str:
        return f"fake {params['do']}"

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        self.done.append((context.run, context.step, params["do"]))
        self.keys.append(context.idempotency_key)
        answer = self.answers.pop(0) if self.answers else Outcome(ok=True)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return Outcome(ok=True)
        return await answer() if callable(answer) else answer


class Watched(FakeAction):
    """One that can tell how its target is: `state`, which a test changes."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Any = "as it was"
        self.looks = 0

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        self.looks += 1
        if isinstance(self.state, Exception):
            raise self.state
        told: str | None = self.state
        return told


class Stage:
    """One engine and its world. `start` may be called again after `crash`: the log is all that stays."""

    def __init__(self, tmp_path: Path, rules: str = ONE_RULE, **environ: str) -> None:
        self.clock = FakeClock()
        self.journal = MemoryJournal(self.clock)
        self.action = FakeAction()
        self.rules = rules
        self.alertmanager: Any = None
        self.prometheus: Any = None
        self.channels: Sequence[Any] = ()
        self.environ = {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_DATA_DIR": str(tmp_path), **environ}
        self.engine: Engine

    def load_rules(self) -> RuleSet:
        return rules_from(self.rules)

    def build(self) -> Engine:
        """A new life from the durable log; it is yet to be started."""
        return Engine(
            settings=load_settings(self.environ),
            journal=self.journal,
            state=fold(self.journal.replay()),
            load_rules=self.load_rules,
            actions={"fake": self.action},
            alertmanager=self.alertmanager,
            prometheus=self.prometheus,
            redaction=Redaction(HiddenNames(["*secret*"]), b"key"),
            sign=lambda _, head: Draft(kind=Kind.CHECKPOINT, detail={"seq": head.seq, "hash": head.hash}),
            clock=self.clock,
            channels=self.channels,
            random=lambda: 0.5,
        )

    async def start(self) -> Engine:
        self.engine = self.build()
        await self.engine.start()
        await settle()
        return self.engine

    async def crash(self) -> None:
        """As kill -9 does: what is not durable is gone, and nobody gets to say a last word."""
        self.journal.held = True
        self.journal.fail()
        everything = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
        self.journal.held = False
        self.journal.healthy = True

    def alert(self, instance: str = "api-1", *, resolved: bool = False, ago: float = 10.0, **labels: str) -> Alert:
        labels = {"alertname": "Down", "instance": instance, **labels}
        now = self.clock.now()
        status = AlertStatus.RESOLVED if resolved else AlertStatus.FIRING
        fingerprint = f"{sum(instance.encode()):016x}"
        return Alert(status, fingerprint, labels, {}, now - ago, now if resolved else None)

    async def tell(self, *alerts: Alert) -> None:
        await self.engine.receive(Notification(alerts=alerts or (self.alert(),)), "c1")
        await settle()

    def decided(self) -> dict[str, str]:
        """The reason of the last decision on each target."""
        decisions = [record for record in self.journal.records if record.kind is Kind.DECISION]
        return {str(record.target): str(record.reason) for record in decisions}

    def story(self, *, of: Callable[[Record], bool] = lambda record: True) -> list[str]:
        """Kinds (and reasons) of all records but the service's own, and those that tell of its own alerts."""
        own = ("log_created", "service_started", "service_stopped", "config_loaded", "checkpoint")
        own += ("notified", "notify_failed")
        return [
            record.kind.value + (f" {record.reason}" if record.reason else "")
            for record in self.journal.records
            if record.kind.value not in own and of(record)
        ]


class Api:
    """An Alertmanager's API as far as the engine asks it."""

    def __init__(self, *alerts: Alert) -> None:
        self.listed = {
            alert.fingerprint: SimpleNamespace(
                alert=alert, silenced=False, inhibited=False, silenced_by=frozenset(), heard_at=alert.starts_at
            )
            for alert in alerts
        }
        self.several = False
        self.denied: set[str] = set()
        """Which of those that are listed one of several does not list."""
        self.missed: set[str] = set()
        """Which of those that are listed more than one does not list."""
        self.answered = True
        self.uptime = 3600.0
        self.asked: list[dict[str, Any]] = []
        self.let = asyncio.Event()
        """While it is clear no question is answered."""
        self.let.set()
        self.silenced: list[Wanted] = []
        self.refusal: Exception | None = None
        """Raised instead of making a silence."""
        self.answer: Callable[[], Awaitable[None]] | None = None
        """Awaited after a silence was made, before that is told."""
        self.extended: list[tuple[str, Wanted]] = []
        self.taken_back: list[str] = []
        self.posted: list[Post] = []
        self.unwell: Sequence[str] = ()
        """What is wrong with those that do not take what one of them does."""
        self.lost: dict[str, str] = {}
        """Silences that it knows no more, and the ids that they have once they are made anew."""
        self.ended: set[str] = set()
        """Silences that people have ended there."""

    async def silence(self, wanted: Wanted) -> Silenced:
        if self.refusal is not None:
            raise self.refusal
        same = [
            number
            for number, one in enumerate(self.silenced, 1)
            if (one.created_by, one.matchers) == (wanted.created_by, wanted.matchers)
        ]
        self.silenced.append(wanted)
        if self.answer is not None:
            await self.answer()
        return Silenced(f"s{len(self.silenced)}", "http://am", f"s{same[-1]}" if same else None)

    async def extend(self, known: str, wanted: Wanted) -> Silenced | None:
        if self.refusal is not None:
            raise self.refusal
        if known in self.ended:
            return None
        self.extended.append((known, wanted))
        return Silenced(self.lost.pop(known, known), "http://am")

    async def expire(self, known: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken_back.append(known)

    async def post(self, alerts: Sequence[Post]) -> Sequence[str]:
        if self.refusal is not None:
            raise self.refusal
        self.posted += alerts
        return self.unwell

    async def withdrawn(self, ids: Collection[str]) -> frozenset[str]:
        return frozenset(self.ended & set(ids))

    async def poll(self, **about: Any) -> Poll:
        self.asked.append(about)
        await self.let.wait()
        # An answer is of its moment, whatever changes while it is looked at.
        return Poll(
            alerts={fingerprint: Seen(**vars(seen)) for fingerprint, seen in self.listed.items()},
            answered=self.answered,
            errors=() if self.answered else ("down",),
            uptime=self.uptime,
            denied=frozenset(self.denied),
            missed=frozenset(self.missed),
        )
