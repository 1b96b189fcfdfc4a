"""Whom a record is to reach: pure, state and rules in, the drafts with `detail.tell` out (autoheal/state/notices.py).

It is written with its cause, in one record: nothing can fall between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import structlog

from autoheal.model import Draft, Kind
from autoheal.notify import Channel, Severity, What
from autoheal.rules import RuleSet
from autoheal.rules.match import all_match
from autoheal.rules.silencing import parsed
from autoheal.state import State

QUEUE = 300
"""Triggers that wait for one channel at most; of what is more, people learn the number."""
ENTRIES = 50
"""Of one record at most, so that it fits into 64 KiB: an acknowledgement may cover thousands of incidents."""

_SEVERITIES: Mapping[str, Severity] = {
    **dict.fromkeys(("error", "high", "major", "average"), Severity.ERROR),
    **dict.fromkeys(("warning", "warn", "medium", "minor"), Severity.WARNING),
    **dict.fromkeys(("info", "informational", "information", "notice", "low", "none", "debug"), Severity.INFO),
}
"""What labels say. Anything else is critical: whoever left an alert to autoheal must not overlook what it left."""

_log = structlog.get_logger(__name__)

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a kind tells people: `incident` names what it is about; an empty name is nothing to tell. `severity` None is
    that of the alert. A `reminder` has no end. Of what is told `once` people do not hear again until it was over.
    """

    incident: Callable[[Draft], str]
    severity: Severity | None
    reminder: bool = False
    once: bool = False


def _alert(draft: Draft) -> str:
    return f"alert {draft.fingerprint} {draft.rule}"


def _alert_or_storm(draft: Draft) -> str:
    return f"storm {draft.rule}" if draft.run is None else _alert(draft)


def _breaker(draft: Draft) -> str:
    return f"breaker {draft.rule}"


def _channel(draft: Draft) -> str:
    # Alertmanager is asked again and again anyway, and has a metric and an alert of its own.
    return f"channel {draft.detail['channel']}" if "of" in draft.detail else ""


def _just(name: str) -> Callable[[Draft], str]:
    return lambda _: name


TRIGGERS: Mapping[Kind, Trigger] = {
    Kind.ESCALATED: Trigger(_alert_or_storm, None),
    Kind.APPROVAL_REQUESTED: Trigger(_alert, Severity.WARNING),
    Kind.APPROVAL_EXPIRED: Trigger(_alert, None),
    Kind.BREAKER_OPENED: Trigger(_breaker, Severity.WARNING),
    Kind.RULE_DEMOTED: Trigger(_breaker, Severity.WARNING),
    Kind.WATCHDOG_MISSING: Trigger(_just("watchdog"), Severity.CRITICAL),
    Kind.ACK_OLD: Trigger(_just("ack"), Severity.WARNING, reminder=True),
    Kind.CONFIG_REJECTED: Trigger(_just("rules"), Severity.ERROR),
    Kind.SPACE_LOW: Trigger(_just("space"), Severity.CRITICAL),
    Kind.KEYS_FAILED: Trigger(_just("keys"), Severity.ERROR),
    Kind.NOTIFY_FAILED: Trigger(_channel, Severity.ERROR, once=True),
    # A warning, as the alert of Prometheus is: what must wake somebody is told by a kind of its own as well.
    Kind.SELFTEST_FAIL: Trigger(_just("selftest"), Severity.WARNING, once=True),
}
ENDS: Mapping[Kind, Callable[[Draft], str]] = {
    Kind.HEAL_CONFIRMED: _alert,
    Kind.APPROVAL_GRANTED: _alert,
    Kind.APPROVAL_DENIED: _alert,
    Kind.ACTION_CANCELLED: _alert,
    Kind.STORM_ENDED: _alert_or_storm,
    Kind.BREAKER_CLOSED: _breaker,
    Kind.WATCHDOG_BACK: _just("watchdog"),
    Kind.CONFIG_LOADED: _just("rules"),
    Kind.SPACE_OK: _just("space"),
    Kind.KEYS_BACK: _just("keys"),
    Kind.NOTIFIED: _channel,
    Kind.SELFTEST_OK: _just("selftest"),
}
"""What each kind ends, besides `alert_resolved`, which ends all that was told of the alert."""
_OF_APPROVALS = frozenset((Kind.APPROVAL_GRANTED, Kind.APPROVAL_DENIED, Kind.ACTION_CANCELLED))
"""Kinds that end a question to people, and no failure."""
_OF_RULES = frozenset(
    (Kind.ESCALATED, Kind.APPROVAL_REQUESTED, Kind.APPROVAL_EXPIRED, Kind.BREAKER_OPENED, Kind.RULE_DEMOTED)
)
"""Kinds of which the channels hear that the rule names; of all others, which are faults of autoheal's own, all do."""


class Addressing:
    """Adds to drafts whom they are to reach. `key_errors`: whether people hear of the identity provider's keys."""

    def __init__(self, channels: Sequence[Channel], rules: Callable[[], RuleSet], *, key_errors: bool) -> None:
        self._channels = {channel.name: channel for channel in channels}
        self._rules = rules
        self._key_errors = key_errors

    def __call__(self, state: State, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """`drafts` as they are to be written to a log whose state is `state`."""
        if not self._channels:
            return drafts
        return [self._addressed(state, draft) for draft in drafts]

    def _addressed(self, state: State, draft: Draft) -> Draft:
        try:
            entries = list(islice(self._entries(state, draft), ENTRIES))
        except Exception:  # noqa: BLE001 see below; its text goes to the service's own log alone
            # A record that people do not hear of is better than none: without it nothing would be done at all.
            _log.exception("nobody_told", kind=draft.kind)
            return draft
        return replace(draft, detail={**draft.detail, "tell": entries}) if entries else draft

    def _entries(self, state: State, draft: Draft) -> Iterator[Entry]:
        kind = draft.kind
        if kind in TRIGGERS:
            yield from self._triggered(state, draft, TRIGGERS[kind])
        elif kind is Kind.ALERT_RESOLVED:
            if state.incidents and (episode := state.episodes.get(draft.fingerprint or "")) is not None:
                for rule in {**episode.decisions, **state.failures.get(episode.fingerprint, {})}:
                    yield from self._follows(state, f"alert {episode.fingerprint} {rule}", What.RESOLVE)
        elif kind is Kind.SILENCE_CREATED:
            for name in _covered(state, draft):
                yield from self._follows(state, name, What.ACKNOWLEDGE)
        elif kind in ENDS:
            ended = ENDS[kind](draft)
            known = state.incidents.get(ended)
            if kind in _OF_APPROVALS and known is not None and known.kind != Kind.APPROVAL_REQUESTED:
                return
            yield from self._follows(state, ended, What.RESOLVE)

    def _triggered(self, state: State, draft: Draft, trigger: Trigger) -> Iterator[Entry]:
        name = trigger.incident(draft)
        if not name or (draft.kind is Kind.KEYS_FAILED and not self._key_errors):
            return
        if trigger.once and name in state.incidents:
            return
        wanted = self._wanted(draft)
        if draft.kind is Kind.NOTIFY_FAILED:
            if draft.detail["channel"] not in self._channels:
                return  # somebody has taken it out
            wanted = [each for each in wanted if each != draft.detail["channel"]]
        if trigger.reminder:
            wanted = [each for each in wanted if not self._channels[each].holds_incidents]
        waiting = [channel for owed in state.owed.values() for channel in owed.to]
        full = [each for each in wanted if waiting.count(each) >= QUEUE]
        if not wanted:
            return
        severity = trigger.severity or _severity(state, draft)
        if draft.detail.get("again") or (draft.kind is Kind.KEYS_FAILED and draft.reason == "retry"):
            severity = Severity.WARNING
        to = [each for each in wanted if each not in full]
        # An alert that has ended already will not end again: then nothing follows that could be told of it.
        over = trigger.reminder or (name.startswith("alert ") and draft.fingerprint not in state.episodes)
        entry: Entry = {
            "incident": None if over else name,
            "what": What.TRIGGER.value,
            "severity": severity.value,
            "to": to,
        }
        yield {**entry, "unsaid": full} if full else entry

    def _follows(self, state: State, name: str, what: What) -> Iterator[Entry]:
        """What becomes of an incident is told where it was told of: nothing, when it was not."""
        incident = state.incidents.get(name)
        if incident is None or (what is What.ACKNOWLEDGE and incident.acknowledged):
            return
        known = (self._channels.get(each) for each in incident.to)
        to = [channel.name for channel in known if channel is not None and what in channel.hears]
        yield {"incident": name, "what": what.value, "severity": incident.severity, "to": to}

    def _wanted(self, draft: Draft) -> list[str]:
        """Those channels that are to hear of it, as far as they are there."""
        if draft.kind in _OF_RULES:
            for rule in self._rules().rules:
                if rule.name == draft.rule and rule.notify is not None:
                    return [name for name in self._channels if name in rule.notify]
        return list(self._channels)


def _severity(state: State, draft: Draft) -> Severity:
    episode = state.episodes.get(draft.fingerprint or "")
    label = "" if episode is None else episode.labels.get("severity", "")
    return _SEVERITIES.get(label.lower(), Severity.CRITICAL)


def _covered(state: State, draft: Draft) -> Iterator[str]:
    """The incidents that an acknowledgement is about."""
    for name in state.incidents:
        about, _, rest = name.partition(" ")
        fingerprint = rest.rpartition(" ")[0]
        if about != "alert" or (episode := state.episodes.get(fingerprint)) is None:
            continue
        if draft.fingerprint is not None:
            covers = draft.fingerprint == fingerprint
        else:
            covers = all_match(parsed(draft.detail["matchers"]), episode.labels)
        if covers:
            yield name
