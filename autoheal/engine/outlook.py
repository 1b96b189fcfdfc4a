"""What Alertmanager says of alerts, as facts for decisions: whether others fire, and whether people mind one."""

from __future__ import annotations

from collections.abc import Sequence

from autoheal.alertmanager import SETTLED_SECONDS, Poll
from autoheal.clock import Clock
from autoheal.engine.intake import hide_alert
from autoheal.engine.watch import Watch
from autoheal.model import Alert
from autoheal.redaction import Redaction
from autoheal.rules import Rule
from autoheal.rules.guards import Others, Standing
from autoheal.rules.unless import Unless
from autoheal.state import Episode

KEPT_SECONDS = 15.0
"""How long an answer is good for; it may have been some seconds old when it came."""
NAME_SHOWN = 200

_YOUNG = f"an Alertmanager was started less than {SETTLED_SECONDS:g} s ago, and may not know all alerts yet"


class Outlook:
    """The last answer. Without Alertmanager (`watch` is None) nothing is known of others, ever."""

    def __init__(self, watch: Watch | None, redaction: Redaction, clock: Clock) -> None:
        self._watch = watch
        self._redaction = redaction
        self._clock = clock
        self._poll = Poll()
        self._asked_at = 0.0
        self._looked_at = float("-inf")
        self._met: dict[Unless, list[Alert]] = {}

    @property
    def stale(self) -> bool:
        """Whether somebody has to `look` before facts can be told."""
        return self._watch is not None and self._clock.monotonic() - self._looked_at > KEPT_SECONDS

    async def look(self) -> None:
        """Ask Alertmanager, unless it has just been asked. That it does not answer is an answer too."""
        if self._watch is not None:
            self._poll, self._asked_at = await self._watch.now()
            self._looked_at = self._clock.monotonic()
            self._met = {}

    def facts(self, rule: Rule, episode: Episode) -> tuple[Others | None, Standing | None]:
        """What a decision on `episode` by `rule` is to know of other alerts, where it asks for them, and of its own.

        Nothing while that is `stale`.
        """
        if self.stale:
            return None, None
        return self._others(rule, episode) if rule.unless else None, self._standing(episode)

    def _standing(self, episode: Episode) -> Standing | None:
        if self._watch is None:
            return None
        seen = self._poll.alerts.get(episode.fingerprint)
        # An inhibited alert is no person's doing.
        silenced_by = sorted(seen.silenced_by) if seen is not None and seen.silenced else ()
        return Standing(self._asked_at, seen is not None, silenced_by)

    def _others(self, rule: Rule, episode: Episode) -> Others:
        if self._watch is None:
            return Others(self._clock.now(), known=False, errors=("ALERTMANAGER_URL is not set",))
        for unless in rule.unless:
            for alert in self._meeting(unless):
                if alert.fingerprint != episode.fingerprint and unless.same(episode.labels, alert.labels):
                    name = hide_alert(alert, self._redaction).alertname[:NAME_SHOWN]
                    return Others(self._asked_at, known=True, firing=(alert.fingerprint, name, str(unless)))
        if self._poll.complete:
            return Others(self._asked_at, known=True)
        return Others(self._asked_at, known=False, errors=self._poll.errors or (_YOUNG,))

    def _meeting(self, unless: Unless) -> Sequence[Alert]:
        """The alerts of which `unless` speaks; a silenced one is none: a person said that it does not matter now."""
        if unless not in self._met:
            seen = self._poll.alerts.values()
            self._met[unless] = [one.alert for one in seen if not one.silenced and unless.meets(one.alert.labels)]
        return self._met[unless]
