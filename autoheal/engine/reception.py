"""How alerts come in: told by whoever posts notifications, or by Alertmanager when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType

import structlog

from autoheal.alertmanager import Alertmanager
from autoheal.clock import Clock
from autoheal.engine.disputes import told
from autoheal.engine.intake import batches, hide, rejections, take_in, with_room
from autoheal.engine.ledger import Ledger
from autoheal.engine.watch import Watch
from autoheal.engine.watchdog import Watchdog
from autoheal.errors import JournalUnavailable, TooManyOpen
from autoheal.model import ALERTMANAGER, Alert, AlertStatus, Draft, Notification, OwnName, Receipt, Rejected
from autoheal.redaction import Redaction
from autoheal.slices import Slices, every, in_turns

_log = structlog.get_logger(__name__)


class Reception:
    """Hands the log what is news, and has `mark` told on whom a decision is due.

    `turn` is held by whoever takes alerts in, or decides: a slice of one must not fall between two of another.
    `running` says whether alerts are taken.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        alertmanager: Alertmanager | None,
        watchdog: Watchdog | None,
        redaction: Redaction,
        clock: Clock,
        turn: asyncio.Lock,
        mark: Callable[[Sequence[str]], None],
        spawn: Callable[[Coroutine[object, object, None]], None],
        running: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._watchdog = watchdog
        self._redaction = redaction
        self._clock = clock
        self._turn = turn
        self._mark = mark
        self._spawn = spawn
        self._running = running
        self.watch: Watch | None = None
        """What asks Alertmanager; None where there is none to ask."""
        self._asked: dict[str, list[asyncio.Event]] = {}
        """About whose ends others are being asked, by fingerprint: one for each notification that tells of it and is
        not taken in yet, set when it is, or was refused.
        """
        if alertmanager is not None:
            tell = self._begin_from_api, self._end_from_api, self._note
            self.watch = Watch(alertmanager, clock, lambda: ledger.state, *tell)

    async def receive(
        self, sent: Notification | Slices[Notification], correlation_id: str, actor: str = ALERTMANAGER
    ) -> Receipt:
        """Take a notification by `actor` in, also one that is yet to be read; returns once what it changed is durable.

        They are read and taken in one after the other, and others get their turn meanwhile: however much is sent at
        the same time, one is unpacked, beside those of which others are asked about ends; and of each all alerts about
        which nobody is asked are in before any is decided on.

        Raises JournalUnavailable when it is not durable, and TooManyOpen when there is no room for the alerts that
        begin in it (those that end in it do): the sender is to try again, and repeats change nothing. Raises what the
        reading raises, too.
        """
        async with self._turn:
            asked = sent if isinstance(sent, Notification) else await in_turns(sent)
            notification = await in_turns(hide(asked, self._redaction))
            # By its labels as they came: what matchers name may be hidden.
            always = self._arrived(asked.alerts, actor)
            others = [alert for alert in notification.alerts if alert.fingerprint not in always]
            alerts = with_room(self._ledger.state, others)
            to_confirm = self._to_confirm(alerts)
            at_once = [alert for alert in alerts if alert.fingerprint not in to_confirm]
            suspects = await self._take(at_once, correlation_id, notification.rejected, actor=actor)
        if to_confirm:
            later = [alert for alert in alerts if alert.fingerprint in to_confirm]
            suspects += await self._take_confirmed(later, correlation_id, actor)
        await self._ledger.settle()
        if refused := len(others) - len(alerts):
            raise TooManyOpen(
                f"{len(self._ledger.state.episodes):,} alerts are open, and {refused:,} more cannot be now"
            )
        if self.watch is not None and self._running():
            if suspects:
                self._spawn(self.watch.suspects(suspects))
            if notification.truncated > 0:
                self._spawn(self.watch.rest(asked, correlation_id))
        elif self.watch is None and notification.truncated > 0:
            _log.warning("truncated_group", left_out=notification.truncated, remedy="set ALERTMANAGER_URL")
        firing = sum(alert.status is AlertStatus.FIRING for alert in notification.alerts)
        return Receipt(
            selftest=bool(asked.alerts) and all(alert.alertname == OwnName.SELFTEST for alert in asked.alerts),
            accepted=len(notification.alerts),
            firing=firing,
            resolved=len(notification.alerts) - firing,
            rejected=len(notification.rejected),
        )

    def end_disputed(self) -> None:
        """Believe the ends that are disputed, as those that are told now, where there is no Alertmanager to ask.

        Raises JournalUnavailable.
        """
        if self.watch is None:
            open_ends = [(one, one.dispute) for one in self._ledger.state.episodes.values() if one.dispute is not None]
            for batch in batches(told(episode, dispute) for episode, dispute in open_ends):
                intake = take_in(self._ledger.state, batch, now=self._clock.now(), how="webhook")
                self._ledger.commit(intake.drafts)

    def _to_confirm(self, alerts: Sequence[Alert]) -> frozenset[str]:
        """Those that have ended by the word of one Alertmanager, which another may contradict, by fingerprint; and
        those of which more is told meanwhile: it must not overtake that end.
        """
        if self.watch is None or not self.watch.several:
            return frozenset()
        # A self-test's alert is in no Alertmanager.
        ended = (alert for alert in alerts if alert.status is AlertStatus.RESOLVED)
        others = (alert.fingerprint for alert in ended if alert.alertname != OwnName.SELFTEST)
        ends = frozenset(others).intersection(self._ledger.state.episodes)
        return ends.union(alert.fingerprint for alert in alerts if alert.fingerprint in self._asked)

    async def _take_confirmed(self, alerts: Sequence[Alert], correlation_id: str, actor: str) -> list[str]:
        """Take `alerts` in once the others were asked about those of them that have ended, and after what was told of
        them before.
        """
        assert self.watch is not None, "nobody else could be asked"
        ends = [alert for alert in alerts if alert.status is AlertStatus.RESOLVED]
        fingerprints = {alert.fingerprint for alert in alerts}
        earlier = {one for fingerprint in fingerprints for one in self._asked.get(fingerprint, ())}
        done = asyncio.Event()
        for fingerprint in fingerprints:
            self._asked.setdefault(fingerprint, []).append(done)
        try:
            # While others are asked the log might give up what was taken of this notification, and then take the rest.
            await self._ledger.settle()
            # Not in `_turn`: others get theirs while we ask.
            listed = await self.watch.disputes.contradicted(ends) if ends else {}
            # Nothing else keeps the order: what comes later may find its answer there already.
            for one in earlier:
                await one.wait()
            async with self._turn:
                return await self._take(alerts, correlation_id, actor=actor, listed=listed)
        finally:
            done.set()
            for fingerprint in fingerprints:
                self._asked[fingerprint].remove(done)
                if not self._asked[fingerprint]:
                    del self._asked[fingerprint]

    async def _take(
        self,
        alerts: Sequence[Alert],
        correlation_id: str | None,
        rejected: Sequence[Rejected] = (),
        how: str = "webhook",
        actor: str = ALERTMANAGER,
        listed: Mapping[str, float] = MappingProxyType({}),
    ) -> list[str]:
        """Hand their records to the log; the fingerprints of the suspects among them. The last word to the log is the
        last thing that is done, so that whoever waits for it waits for the right one. To be called in `_turn`.
        """
        self._expect_running()
        self._ledger.refresh()
        state = self._ledger.state
        if drafts := rejections(rejected, correlation_id, actor):
            self._ledger.commit(drafts)
        opened: list[str] = []
        suspects: list[str] = []
        try:
            for pause, batch in every(1, batches(alerts)):
                if pause:
                    await asyncio.sleep(0)
                    self._expect_running()
                    self._ledger.refresh()
                    if self._ledger.state is not state:
                        raise JournalUnavailable("the log gave up the first part of the notification")
                intake = take_in(
                    self._ledger.state,
                    batch,
                    now=self._clock.now(),
                    how=how,
                    actor=actor,
                    correlation_id=correlation_id,
                    confirmed=how == "api",
                    can_ask=self.watch is not None,
                    listed=listed,
                )
                if intake.drafts:
                    self._ledger.commit(intake.drafts)
                opened += intake.opened
                suspects += intake.suspects
        finally:
            # When the log refuses half-way, those that are in count.
            self._mark(opened)
        return suspects

    def _arrived(self, alerts: Sequence[Alert], actor: str) -> frozenset[str]:
        """Take note of what has come, and tell what of it only shows that alerts arrive (see `_always`)."""
        if self._watchdog is not None:
            self._expect_running()
            self._ledger.refresh()
            self._watchdog.look(alerts, actor)
        return self._always(alerts)

    def _always(self, alerts: Sequence[Alert]) -> frozenset[str]:
        """Those of `alerts` that only show that alerts arrive, by fingerprint."""
        if self._watchdog is None:
            return frozenset()
        # One that was an alert like others when it began ends like them.
        return self._watchdog.among(alerts).difference(self._ledger.state.episodes)

    async def _begin_from_api(self, alerts: Sequence[Alert], correlation_id: str | None) -> None:
        async with self._turn:
            always = self._always(alerts)
            others = tuple(alert for alert in alerts if alert.fingerprint not in always)
            hidden = await in_turns(hide(Notification(alerts=others), self._redaction))
            if hidden.rejected:
                _log.error("api_alerts_too_large", alerts=[one.fingerprint for one in hidden.rejected[:20]])
            admitted = with_room(self._ledger.state, hidden.alerts)
            if refused := len(hidden.alerts) - len(admitted):
                _log.error("too_many_open", refused=refused, open=len(self._ledger.state.episodes))
            await self._take(admitted, correlation_id, how="api")

    def _end_from_api(self, alerts: Sequence[Alert]) -> None:
        self._ledger.refresh()
        # The labels and annotations are those of records.
        intake = take_in(self._ledger.state, alerts, now=self._clock.now(), how="api")
        if intake.drafts:
            self._ledger.commit(intake.drafts)

    def _note(self, drafts: Sequence[Draft]) -> None:
        self._ledger.refresh()
        self._ledger.commit(drafts)

    def _expect_running(self) -> None:
        if not self._running():
            raise JournalUnavailable("the service is stopping")
