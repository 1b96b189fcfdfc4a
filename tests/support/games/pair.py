"""A pair of Alertmanagers, of which Prometheus may reach one only."""

from __future__ import annotations

from collections.abc import Sequence

from autoheal.model import Alert, AlertStatus, Kind, Record
from tests.support.games.outages import KEPT_SECONDS, Outages

FORGETTING_SECONDS = 250.0
"""So long, a little more than four minutes, one goes on to list what it hears no more of."""


class Pair(Outages):
    """The first tells by webhook, the second only lists; where there is no pair, nothing comes of these moves."""

    def several(self) -> bool:
        return self.alertmanager is not None and self.alertmanager.several

    def forget(self, numbers: Sequence[int]) -> None:
        """The first has not been told of these for minutes: it takes them for resolved, and says so."""
        if (api := self.alertmanager) is None or not api.several:
            return
        alerts = []
        for number in numbers:
            if number in self.firing:
                api.forgotten.add(number)
                self.doubted.add((number, self.firing[number]))
                if api.telling_since is None:
                    self._believe(number)
                alerts.append(self._end(number))
        self.stirred_at = self.clock.monotonic()
        if alerts:
            self._do(self._post(alerts))

    def remember(self) -> None:
        """It is told again of all that fires."""
        if self.alertmanager is not None:
            self.alertmanager.forgotten.clear()
            self.stirred_at = self.clock.monotonic()

    def resolve_unheard(self, numbers: Sequence[int], *, told: bool) -> None:
        """These end, and the second does not hear of it; `told` is False where the first tells nobody."""
        api = self.alertmanager
        if api is not None and api.several:
            known = {number: (self.firing[number], api.heard_at()) for number in numbers if number in self.firing}
            api.stale |= known
            self.stale_since |= dict.fromkeys(known, self.clock.monotonic())
            self.stirred_at = self.clock.monotonic()
        self.resolve(numbers, told=told)

    def forget_stale(self) -> None:
        """The second has forgotten what it was not told of any more."""
        if self.alertmanager is not None:
            self.alertmanager.stale.clear()
            self.stirred_at = self.clock.monotonic()

    def answers(self, how: str, uptime: float, *, maintenance: bool) -> None:
        if self.alertmanager is not None and how == "none":
            # Nobody contradicts the first, now or by the time that a dispute has lapsed.
            for number in self.alertmanager.forgotten & self.firing.keys():
                self._believe(number)
        super().answers(how, uptime, maintenance=maintenance)

    # The truth

    def fires_on(self, fingerprint: str, starts_at: float) -> bool:
        api, number = self.alertmanager, int(fingerprint, 16)
        at = self.firing.get(number)
        if api is None or at is None or abs(at - starts_at) > 60.0:
            return False
        return number in api.forgotten and (number, at) not in self.believed

    def taken_for_firing(self, record: Record) -> bool:
        api, number = self.alertmanager, int(str(record.fingerprint), 16)
        if record.kind is not Kind.HEAL_FAILED or record.reason != "not_resolved" or api is None:
            return False
        if number not in api.stale or number in self.firing or not api.settled or api.telling_since is None:
            return False
        if (number, api.stale[number][0]) in self.doubted:
            return False  # both have gone deaf, one after the other: nobody can tell
        since = max(self.stale_since[number], api.telling_since, self.booted_at)
        return self.journal.made[record.seq] - since > KEPT_SECONDS

    def disputable(self, alert: Alert) -> bool:
        api, number = self.alertmanager, int(alert.fingerprint, 16)
        if api is None or not api.several:
            return False
        # Whoever has contradicted its end before and cannot be asked is believed for a while.
        return number in self.firing or number in api.stale or not api.certain

    def agreed_for(self, fingerprint: str) -> float:
        """For how long nothing has been in the way of settling whether the alert fires, in seconds."""
        api = self.alertmanager
        settles = api is not None and api.certain and int(fingerprint, 16) not in api.stale
        return self.clock.monotonic() - self.stirred_at if settles else 0.0

    def _believe(self, number: int) -> None:
        """Nobody contradicts its end: told of again, it is another outage as far as anybody knows."""
        self.believed.add((number, self.firing[number]))
        self._outages += 1
        self._sent[f"{number:016x}", self.firing[number]] = self._outages

    def _end(self, number: int) -> Alert:
        alert = self.alert(number)
        about = alert.fingerprint, alert.labels, {}, alert.starts_at
        # By Prometheus' clock, which nobody has set: minutes after it began, whichever of a pair says when.
        return Alert(AlertStatus.RESOLVED, *about, ends_at=max(self.clock.wall, alert.starts_at + 61.0))
