"""What people are to be told, and have been: a record that concerns them says in `detail.tell` whom and of what.

Each entry of `detail.tell` has `incident` (what it is about, None for what has no end), `what` becomes of it,
`severity`, `to` (the channels that are to be told) and, where a channel's queue was full, `unsaid` (those that are
not). So what is owed is known from the moment of its cause on, whatever happens to the process, and is settled by
`notified` or `notify_failed`, whose `detail.of` names the entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoheal.model import Kind, Record, rfc3339
from autoheal.state.entities import Incident, Owed

if TYPE_CHECKING:
    from autoheal.state.whole import State

HOUR = 3600.0
SENT_KEPT = 1000
"""How many times of messages are kept for each channel: no channel's limit in an hour may be higher."""
FACT_CHARACTERS = 500

_ALIEN = frozenset((Kind.ACTION_OK, Kind.ACTION_FAIL))
"""Kinds whose detail is what an action answered."""
_OF_DETAIL = (
    "error",
    "faults",
    "matchers",
    "by",
    "since",
    "expires_at",
    "until",
    "last_seen",
    "failures",
    "opens",
    "from",
    "to",
    "targets",
    "channel",
    "free_bytes",
)
"""What of a record's detail is told; of a list the first."""
_OF_ALERT = ("summary", "description", "runbook_url")


def owe(state: State, record: Record) -> None:
    """Fold what `record` says is to be told. To be called before what else it changes: an end takes its alert away."""
    if record.kind in _ALIEN:
        return
    for number, entry in enumerate(record.detail.get("tell", ())):
        name, what = entry["incident"], entry["what"]
        for channel in entry.get("unsaid", ()):
            state.unsaid[channel] = state.unsaid.get(channel, 0) + 1
        known = state.incidents.get(name) if name is not None else None
        facts = _facts(state, record) if known is None or what == "trigger" else known.facts
        seq = record.seq if known is None else known.seq
        if name is not None:
            _stands(state, name, entry, record, facts)
        if entry["to"]:
            owed = Owed(
                id=f"{record.seq}-{number}",
                incident=name or "",
                key=seq,
                what=what,
                severity=entry["severity"],
                kind=record.kind.value if known is None or what == "trigger" else known.kind,
                ts=record.ts,
                to=list(entry["to"]),
                facts=facts,
                by=None if record.actor == "system" else record.actor,
            )
            state.owed[owed.id] = owed


def settle(state: State, record: Record) -> None:
    """Fold a `notified` or `notify_failed` of a channel."""
    detail = record.detail
    channel = detail["channel"]
    if record.kind is Kind.NOTIFIED:
        sent = [ts for ts in state.sent.get(channel, ()) if ts > record.ts - HOUR]
        state.sent[channel] = [*sent, record.ts][-SENT_KEPT:]
    if detail.get("again"):
        return
    if detail.get("unsaid"):
        state.unsaid.pop(channel, None)
    for each in detail["of"]:
        owed = state.owed.get(each)
        if owed is not None and channel in owed.to:
            owed.to.remove(channel)
            if not owed.to:
                del state.owed[each]


def _stands(state: State, name: str, entry: Mapping[str, Any], record: Record, facts: dict[str, str]) -> None:
    known = state.incidents.get(name)
    if entry["what"] == "resolve":
        state.incidents.pop(name, None)
    elif entry["what"] == "acknowledge":
        if known is not None:
            known.acknowledged = True
    elif known is None:
        if entry["to"]:
            state.incidents[name] = Incident(
                record.seq, record.kind.value, entry["severity"], list(entry["to"]), facts=facts
            )
    else:
        known.kind, known.severity, known.facts = record.kind.value, entry["severity"], facts
        known.to = list(dict.fromkeys((*known.to, *entry["to"])))


def _facts(state: State, record: Record) -> dict[str, str]:
    """What there is to say of it, by name: of the record, and of its alert as long as that is known."""
    found: dict[str, Any] = {
        "alert": record.alertname,
        "target": record.target,
        "rule": record.rule,
        "run": record.run,
        "reason": record.reason,
    }
    for name in _OF_DETAIL:
        value = record.detail.get(name)
        found[name] = value[0] if isinstance(value, list) and value else value
    if record.kind is Kind.SELFTEST_FAIL:
        checks = record.detail.get("checks", {}).items()
        found["failed"] = "; ".join(f"{name}: {check['text']}" for name, check in checks if check["ok"] is False)
    episode = state.episodes.get(record.fingerprint or "")
    if episode is not None:
        found |= {name: episode.annotations.get(name) for name in _OF_ALERT}
        found["fires since"] = rfc3339(episode.starts_at)
    return {name: str(value)[:FACT_CHARACTERS] for name, value in found.items() if value not in (None, "", [])}
