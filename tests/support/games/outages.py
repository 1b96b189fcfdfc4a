"""What happens in the world, and what monitoring tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoheal.errors import UpstreamError
from autoheal.model import Alert, AlertStatus, Notification, Record
from tests.support.games.doubles import Firings
from tests.support.games.ground import BEGIN, MOMENT, WATCHDOG, WATCHDOG_AFTER, Ground
from tests.support.games.laws import ALERTS

FRESH_SECONDS = 5.0
"""How old an answer of Alertmanager's or Prometheus's may be when an action begins."""
KEPT_SECONDS = 20.0
"""What was asked is good for a quarter of a minute, and may have been some seconds old."""


class Outages(Ground):
    """Alerts that fire and end, who tells of them and how; and with that the truth of which no record tells."""

    def __init__(self, folder: Path, *, alertmanagers: int) -> None:
        super().__init__(folder, self)
        self.alertmanager: Firings | None = Firings(self, alertmanagers) if alertmanagers else None
        self.firing: dict[int, float] = {}
        """When each alert that fires began."""
        self.doubted: set[tuple[int, float]] = set()
        """Alerts and when they began, of which one Alertmanager has said that they ended, and that was not so."""
        self.believed: set[tuple[int, float]] = set()
        """Those of them that nobody contradicted."""
        self.stale_since: dict[int, float] = {}
        """When alerts ended that one Alertmanager goes on to list, on the monotonic clock."""
        self.stirred_at = 0.0
        """When what Alertmanager or Prometheus tells has last changed, on the monotonic clock."""
        self._ended_at: dict[int, float] = {}
        self._sent: dict[tuple[str, float], int] = {}
        self._outages = 0
        self.heartbeat_at = 0.0
        """When the alert that always fires has last come, on the monotonic clock."""

    def alert(self, number: int, *, skew: float = 0.0, starts_at: float | None = None) -> Alert:
        at = (self.firing[number] if starts_at is None else starts_at) + skew
        return Alert(AlertStatus.FIRING, f"{number:016x}", dict(ALERTS[number]), {}, at)

    # What Alertmanager posts

    def fire(self, numbers: Sequence[int], ago: float = 0.0) -> None:
        """These begin to fire, or are told of again."""
        for number in numbers:
            if number not in self.firing:
                self._begins(number, self.clock.wall // 1 - ago)
        self._do(self._post([self.alert(number) for number in numbers]))

    def fire_anew(self, number: int) -> None:
        """Its end was not told; at least a minute later it fires again."""
        if self.clock.wall - self.firing.get(number, BEGIN) > 62.0:
            self._begins(number, self.clock.wall // 1)
        self.fire([number])

    def fire_twice(self, number: int, skew: float) -> None:
        """The other one of a pair tells of it."""
        if number in self.firing:
            alert = self.alert(number, skew=skew)
            self._sent[alert.fingerprint, alert.starts_at] = self._outage(number)
            self._do(self._post([alert]))

    def fire_late(self, number: int) -> None:
        """A slow one tells of a firing that has ended."""
        if number in self._ended_at and number not in self.firing:
            alert = self.alert(number, starts_at=self._ended_at[number])
            # It is believed when it insists and nobody can be asked.
            self._sent.pop((alert.fingerprint, alert.starts_at), None)
            self._do(self._post([alert]))

    def resolve(self, numbers: Sequence[int], *, told: bool = True) -> None:
        """These end; `told` is False where a silence swallows that."""
        alerts = []
        for number in numbers:
            if number in self.firing:
                alert = self.alert(number)
                about = alert.fingerprint, alert.labels, {}, alert.starts_at
                # By Prometheus' clock, which nobody has set: nothing ends before it began.
                ends_at = self.clock.wall if self.clock.wall > alert.starts_at else alert.starts_at + 61.0
                alerts.append(Alert(AlertStatus.RESOLVED, *about, ends_at=ends_at))
                self._ended_at[number] = self.firing.pop(number)
                if self.alertmanager is not None:
                    self.alertmanager.forgotten.discard(number)
        if told and alerts:
            self._do(self._post(alerts))

    def heartbeat(self) -> None:
        """The alert that always fires."""
        self._do(self._beat(Alert(AlertStatus.FIRING, "e" * 16, WATCHDOG, {}, BEGIN)))

    def _begins(self, number: int, at: float) -> None:
        self._outages += 1
        self.firing[number] = at
        self._sent[f"{number:016x}", at] = self._outages
        if (api := self.alertmanager) is not None:
            api.listed_since[number] = self.clock.monotonic()
            api.forgotten.discard(number)
            api.stale.pop(number, None)

    def _outage(self, number: int) -> int:
        return self._sent.get((f"{number:016x}", self.firing[number]), 0)

    async def _post(self, alerts: Sequence[Alert]) -> None:
        await self.engine.receive(Notification(alerts=tuple(alerts)), self._request())
        for alert in alerts:
            known = self.watchman.episodes.get(alert.fingerprint)
            if alert.status is AlertStatus.FIRING and int(alert.fingerprint, 16) in self.firing:
                kept = known is not None or alert.fingerprint in self.watchman.suspects
                self._promised(f"firing {alert.fingerprint}", kept=kept)
            elif alert.status is AlertStatus.RESOLVED:
                kept = known is None or abs(known.starts_at - alert.starts_at) > 60.0
                # Where the disk was slow, it may have shown meanwhile that it fires.
                still = known is not None and (known.disputed or int(alert.fingerprint, 16) in self.firing)
                kept |= still and self.disputable(alert)
                self._promised(f"resolved {alert.fingerprint}", kept=kept)

    async def _beat(self, alert: Alert) -> None:
        at = self.clock.monotonic()
        await self.engine.receive(Notification(alerts=(alert,)), self._request())
        self.heartbeat_at = at
        self._promised("a heartbeat", kept=not self.watchman.watchdog_missing)

    # What Alertmanager and Prometheus answer

    def answers(self, how: str, uptime: float, *, maintenance: bool) -> None:
        """`all` answer, `some` of those that there are, or `none`."""
        if (api := self.alertmanager) is not None:
            api.answered, api.uptime = how == "all", uptime
            api.maintenance_since = self.clock.wall if maintenance else None
            api.maintained_since = self.clock.monotonic()
            api.tell(telling=how != "none")
            self.stirred_at = self.clock.monotonic()

    def takes(self, *, anything: bool) -> None:
        """Whether Alertmanager takes silences and alerts."""
        if self.alertmanager is not None:
            self.alertmanager.refusal = None if anything else UpstreamError("it takes nothing")

    def mind(self, number: int, *, there: bool) -> None:
        """Somebody silences an alert in Alertmanager itself, or ends that."""
        if (api := self.alertmanager) is not None and there != (number in api.minded):
            if there:
                api.minded[number] = self.clock.monotonic()
            else:
                del api.minded[number]
            self.stirred_at = self.clock.monotonic()

    def population(self, count: float | None) -> None:
        """So many are there; None is that Prometheus does not answer."""
        self.prometheus.becomes(count)
        self.stirred_at = self.clock.monotonic()

    # The truth

    def now(self) -> float:
        return self.clock.now()

    def in_force(self) -> str:
        return self.engine.rules.digest

    def outage(self, fingerprint: str, starts_at: float) -> int | None:
        return self._sent.get((fingerprint, starts_at))

    def fires(self, fingerprint: str) -> bool:
        return int(fingerprint, 16) in self.firing

    def barred(self, unless: str | None) -> str | None:
        if self.pause_file.exists():
            return "paused by a file"
        if unless is None:
            return None
        api = self.alertmanager
        if api is None:
            return "nobody knows of other alerts"
        late = self.clock.monotonic() - api.maintained_since > KEPT_SECONDS
        return "other alerts" if late and api.maintenance_since is not None else None

    def minded(self, fingerprint: str) -> bool:
        api, number = self.alertmanager, int(fingerprint, 16)
        if api is None or api.telling_since is None or number not in api.minded or number not in self.firing:
            return False
        since = max(api.telling_since, api.minded[number], api.listed_since[number])
        return self.clock.monotonic() - since > FRESH_SECONDS + MOMENT

    def untold(self, record: Record) -> bool:
        api = self.alertmanager
        silent = api is not None and api.telling_since is None
        return api is not None and silent and self.journal.made[record.seq] - api.silent_since > KEPT_SECONDS

    def counted(self, record: Record) -> float:
        at = self.journal.made[record.seq]
        return self.prometheus.most(at - FRESH_SECONDS - MOMENT, at)

    def changed(self, target: str, observed: str, before: Record, *, by_then: bool = False) -> bool:
        state, since = self.action.state(target)
        made = self.journal.made[before.seq]
        return state != observed and (since < made or (by_then and since == made))

    def withdrawn(self, silence: str) -> bool:
        return self.alertmanager is not None and silence in self.alertmanager.ended

    def disputable(self, alert: Alert) -> bool:
        """Whether somebody may still list an alert whose end was told."""
        raise NotImplementedError

    def heartbeat_late(self, record: Record) -> bool:
        return self.journal.made[record.seq] - max(self.heartbeat_at, self.booted_at) > WATCHDOG_AFTER - MOMENT
