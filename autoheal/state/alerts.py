"""What records of alerts change: episodes, suspects, ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoheal.model import Kind, Record, parse_rfc3339
from autoheal.state.entities import Dispute, End, Episode, Suspect
from autoheal.state.keeping import REMEMBERED, forget, given

if TYPE_CHECKING:
    from autoheal.state.whole import State


def _alert_firing(state: State, record: Record) -> None:
    fingerprint = given(record.fingerprint)
    _close(state, fingerprint)
    state.open_bytes += len(record.line)
    state.episodes[fingerprint] = Episode(
        id=given(record.episode),
        fingerprint=fingerprint,
        labels=dict(record.labels or {}),
        annotations=dict(record.annotations or {}),
        starts_at=parse_rfc3339(record.detail["starts_at"]),
        opened_at=record.ts,
        correlation_id=record.correlation_id,
        caused_by=record.actor,
        size=len(record.line),
    )


def _close(state: State, fingerprint: str) -> Episode | None:
    """Nothing is open about that alert any more: the episode that was."""
    episode, suspect = state.episodes.pop(fingerprint, None), state.suspects.pop(fingerprint, None)
    state.open_bytes -= sum(known.size for known in (episode, suspect) if known is not None)
    return episode


def _alert_resolved(state: State, record: Record) -> None:
    fingerprint = given(record.fingerprint)
    state.failures.pop(fingerprint, None)
    episode = _close(state, fingerprint)
    if episode is not None:
        for run_id in episode.runs.values():
            state.runs[run_id].resolved = record.detail["how"]
    for rule, storm in list(state.storms.items()):
        if storm.held.pop(fingerprint, None) is not None and storm.over and not storm.held:
            del state.storms[rule]
    known = state.ends.pop(fingerprint, None)
    ends_at = parse_rfc3339(record.detail["ends_at"])
    state.ends[fingerprint] = End(max(ends_at, known.ends_at) if known else ends_at, record.ts)
    forget(state.ends, record.ts, lambda end: end.ts, at_most=REMEMBERED)


def _alert_disputed(state: State, record: Record) -> None:
    episode = state.episodes.get(given(record.fingerprint))
    if episode is not None and episode.id == record.episode:
        episode.dispute = Dispute(
            record.ts, parse_rfc3339(record.detail["ends_at"]), parse_rfc3339(record.detail["heard_at"])
        )


def _alert_undisputed(state: State, record: Record) -> None:
    episode = state.episodes.get(given(record.fingerprint))
    if episode is not None and episode.id == record.episode:
        episode.dispute = None


def _alert_suspect(state: State, record: Record) -> None:
    fingerprint = given(record.fingerprint)
    if (known := state.suspects.pop(fingerprint, None)) is not None:
        state.open_bytes -= known.size
    state.open_bytes += len(record.line)
    state.suspects[fingerprint] = Suspect(
        labels=dict(record.labels or {}),
        annotations=dict(record.annotations or {}),
        starts_at=parse_rfc3339(record.detail["starts_at"]),
        seen_at=record.ts,
        correlation_id=record.correlation_id,
        size=len(record.line),
    )
    state.open_bytes -= sum(
        suspect.size for suspect in forget(state.suspects, record.ts, lambda suspect: suspect.seen_at)
    )


ALERTS: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.ALERT_FIRING: _alert_firing,
    Kind.ALERT_RESOLVED: _alert_resolved,
    Kind.ALERT_DISPUTED: _alert_disputed,
    Kind.ALERT_UNDISPUTED: _alert_undisputed,
    Kind.ALERT_SUSPECT: _alert_suspect,
}
