"""Which alerts fire now, according to every Alertmanager that was named.

An alert fires if any of them says so and has ended only if all of them answer and none lists it.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autoheal.clock import Clock
from autoheal.model import Alert, AlertStatus, parse_rfc3339
from autoheal.peer import Parameters, Peer, Unusable
from autoheal.slices import Slices, every, in_turns
from autoheal.wire import Faults, excerpt, read_alert, read_fingerprint, read_time

UNREADABLE_NAMED = 3
AT_ONCE = 100
"""Alerts read before others on the event loop get their turn."""
SETTLED_SECONDS = 300.0
"""How long an Alertmanager must have been up before what it does not list has ended. It does not keep alerts over a
restart; Prometheus sends firing ones again at least once a minute (`--rules.alert.resend-delay`).
"""

Verdict = Literal["firing", "silenced", "ended", "unknown"]

_CLASSIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Seen:
    """A firing alert as the API lists it; silenced or inhibited only where every Alertmanager that lists it agrees.

    `silenced_by` are the ids of the silences that cover it at any of them. `heard_at` (epoch seconds, by its own clock)
    is when the one that heard of it last did: `updatedAt`, which Prometheus moves with each firing that it sends.
    """

    alert: Alert
    silenced: bool
    inhibited: bool
    silenced_by: frozenset[str] = frozenset()
    heard_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Poll:
    """What all Alertmanagers together answered. A poll with filters knows nothing of alerts that they leave out.

    `unreadable` are the fingerprints of listed alerts that cannot be taken (too large for a record, no labels …).
    `answered` is whether all gave a usable answer; `errors` says who did not, and why, and which alerts are unreadable.
    `uptime` is that of the youngest, in seconds by its own clock; None when one did not tell. `denied` are the alerts
    that one lists and another does not that has been up for long enough to know of them; `missed` are those that two or
    more do not list.
    """

    alerts: Mapping[str, Seen] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()
    answered: bool = False
    errors: tuple[str, ...] = ()
    uptime: float | None = None
    denied: frozenset[str] = frozenset()
    missed: frozenset[str] = frozenset()

    @property
    def complete(self) -> bool:
        """Whether an alert that is not listed is certain not to fire."""
        settled = self.uptime is not None and self.uptime >= SETTLED_SECONDS
        return self.answered and settled and not self.unreadable

    def verdict(self, fingerprint: str, settled: float = SETTLED_SECONDS) -> Verdict:
        """How the alert stands. When it is `firing` or `silenced`, `alerts` holds it.

        `ended` is certain: all answered, none lists it, and the youngest has been up for `settled` seconds.
        """
        seen = self.alerts.get(fingerprint)
        if seen is not None:
            return "silenced" if seen.silenced else "firing"
        certain = self.answered and self.uptime is not None and self.uptime >= settled
        return "ended" if certain and fingerprint not in self.unreadable else "unknown"


def matcher_filters(labels: Mapping[str, str]) -> list[str]:
    """Matchers for the API's `filter` that hold for exactly these labels: `name="value"`.

    Names outside the classic alphabet are quoted, the others are not: Alertmanager 0.25 takes no quoted name at all.
    """
    return [f"{name if _CLASSIC_NAME.fullmatch(name) else _quoted(name)}={_quoted(labels[name])}" for name in labels]


def _quoted(text: str) -> str:
    # The only escapes that Alertmanager's matcher grammars, old and new, agree on.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _merge(first: Seen | None, second: Seen) -> Seen:
    if first is None:
        return second
    silenced_by = first.silenced_by | second.silenced_by
    return Seen(
        first.alert,
        first.silenced and second.silenced,
        first.inhibited and second.inhibited,
        silenced_by,
        max(first.heard_at, second.heard_at),
    )


@dataclass(slots=True)
class Answer:
    """What one Alertmanager answered."""

    alerts: dict[str, Seen] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    listed: bool = False
    uptime: float | None = None
    errors: list[str] = field(default_factory=list)


def together(answers: Sequence[Answer]) -> Poll:
    """What all of them say."""
    merged: dict[str, Seen] = {}
    for answer in answers:
        for fingerprint, seen in answer.alerts.items():
            merged[fingerprint] = _merge(merged.get(fingerprint), seen)
    listing = Counter(fingerprint for answer in answers for fingerprint in answer.alerts)
    uptimes = [answer.uptime for answer in answers if answer.uptime is not None]
    settled = [answer for answer in answers if answer.listed and (answer.uptime or 0.0) >= SETTLED_SECONDS]
    return Poll(
        alerts=merged,
        unreadable=frozenset().union(*(answer.unreadable for answer in answers)) - merged.keys(),
        answered=bool(answers) and all(answer.listed for answer in answers),
        errors=tuple(error for answer in answers for error in answer.errors),
        uptime=min(uptimes) if answers and len(uptimes) == len(answers) else None,
        denied=frozenset().union(*(merged.keys() - answer.alerts.keys() - answer.unreadable for answer in settled)),
        missed=frozenset(fingerprint for fingerprint, count in listing.items() if len(answers) - count > 1),
    )


async def ask(peer: Peer, clock: Clock, filters: Sequence[str], receiver: str | None) -> Answer:
    """Ask one Alertmanager for its alerts and its uptime, at once. Raises nothing: `errors` tell."""
    answer = Answer()
    params = [(name, "true") for name in ("active", "silenced", "inhibited", "unprocessed")]
    params += [("filter", matcher) for matcher in filters]
    params += [("receiver", receiver)] if receiver is not None else []
    await asyncio.gather(_list(peer, answer, tuple(params)), _status(peer, answer, clock))
    return answer


async def _list(peer: Peer, answer: Answer, params: Parameters) -> None:
    try:
        await in_turns(_read(peer, answer, (await peer.get("alerts", params))[0]))
    except Unusable as error:
        answer.errors.append(f"{peer.name} (alerts): {error}")


async def _status(peer: Peer, answer: Answer, clock: Clock) -> None:
    try:
        raw, date = await peer.get("status")
        # By its own clock: were ours minutes ahead, one that has just started would seem to have settled.
        now = clock.now() if date is None else date
        answer.uptime = max(0.0, now - parse_rfc3339(raw["uptime"]))  # a Date is whole seconds
    except Unusable as error:
        answer.errors.append(f"{peer.name} (status): {error}")
    except (TypeError, KeyError, ValueError, OverflowError):
        answer.errors.append(f"{peer.name} (status): does not tell its uptime")


def _read(peer: Peer, answer: Answer, raw: Any) -> Slices[None]:
    if not isinstance(raw, list):
        raise Unusable(f"answered {excerpt(raw)} and not a list of alerts")
    for index, (pause, item) in enumerate(every(AT_ONCE, raw)):
        if pause:
            yield
        _take(peer, answer, index, item)
    if (more := len(answer.unreadable) - UNREADABLE_NAMED) > 0:
        answer.errors.append(f"{peer.name} (alerts): {more:,} more alerts cannot be read")
    answer.listed = True


def _take(peer: Peer, answer: Answer, index: int, item: Any) -> None:
    """Add a listed alert. One that cannot be read spoils the others only when nobody knows which it is."""
    fields: dict[str, Any] = item if isinstance(item, dict) else {}
    fingerprint = read_fingerprint(fields.get("fingerprint"))
    status = fields.get("status")
    if fingerprint is None or not isinstance(status, dict):
        raise Unusable(f"alert {index} has no fingerprint or no status")
    faults = Faults()
    alert = read_alert(item, f"alert {fingerprint}", faults, AlertStatus.FIRING)
    if alert is None:
        answer.unreadable.add(fingerprint)
        if len(answer.unreadable) <= UNREADABLE_NAMED:
            answer.errors.append(f"{peer.name} (alerts): {faults.texts()[0]}")
    else:
        silences = status.get("silencedBy")
        silenced_by = frozenset(map(str, silences)) if isinstance(silences, list) else frozenset()
        inhibited = bool(status.get("inhibitedBy"))
        # One that does not tell has never heard of it anew: what rests on that stays unknown.
        heard_at = read_time(fields.get("updatedAt")) or 0.0
        answer.alerts[fingerprint] = Seen(alert, bool(silences), inhibited, silenced_by, heard_at)
