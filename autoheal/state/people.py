"""What records of people change: what is left to them, what they were told, and what they acknowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoheal.model import Kind, OwnName, Record, parse_rfc3339
from autoheal.state.entities import Failure, Run, Silence
from autoheal.state.keeping import CLOCK_SET_BACK, given
from autoheal.state.notices import settle

if TYPE_CHECKING:
    from autoheal.state.whole import State


def left_to_people(state: State, run: Run, record: Record) -> None:
    """Keep that for as long as the alert fires, also where it has fired anew since the run began."""
    episode = state.episodes.get(run.fingerprint)
    if episode is None:
        return
    state.failures.setdefault(run.fingerprint, {})[run.rule] = Failure(
        run=run.id,
        episode=run.episode,
        fingerprint=run.fingerprint,
        alertname=run.alertname,
        severity=episode.labels.get("severity", ""),
        rule=run.rule,
        target=run.target,
        mode=run.mode,
        reason=record.reason or "",
        failed_at=record.ts,
        correlation_id=run.correlation_id,
    )


def tried_again(state: State, run: Run) -> None:
    """A new run on the same alert: people have asked for it, and know."""
    failures = state.failures.get(run.fingerprint, {})
    failures.pop(run.rule, None)
    if not failures:
        state.failures.pop(run.fingerprint, None)


def _notified(state: State, record: Record) -> None:
    if "of" in record.detail:
        settle(state, record)
        return
    told, run = record.kind.value, state.runs.get(record.run or "")
    if record.detail.get("alert") == OwnName.ACTIVE:
        if run is not None:
            run.hold_told = told
    elif record.run is None:
        if (storm := state.storms.get(given(record.rule))) is not None:
            storm.told = told
    else:
        failure = state.failures.get(given(record.fingerprint), {}).get(given(record.rule))
        if failure is not None and failure.run == record.run:
            failure.told = told


def _watchdog(*, missing: bool) -> Callable[[State, Record], None]:
    def change(state: State, _: Record) -> None:
        state.watchdog_missing = missing

    return change


def _silence_requested(state: State, record: Record) -> None:
    state.silence_requests.append(record.seq)


def _silence_created(state: State, record: Record) -> None:
    _silence_failed(state, record)
    known, detail = state.silences, record.detail
    known.pop(detail.get("replaces", ""), None)
    for silence in [silence for silence in known.values() if silence.ends_at <= record.ts - CLOCK_SET_BACK]:
        del known[silence.id]
    made = Silence(
        id=detail["silence_id"],
        matchers=detail["matchers"],
        actor=record.actor,
        ends_at=parse_rfc3339(detail["ends_at"]),
        comment=detail.get("comment", ""),
        made_at=record.ts,
        reminded_at=record.ts,
        ahead=record.fingerprint is None and detail.get("covers") == 0,
    )
    known[made.id] = made


def _silence_failed(state: State, record: Record) -> None:
    if record.detail["request"] in state.silence_requests:
        state.silence_requests.remove(record.detail["request"])


def _silence_extended(state: State, record: Record) -> None:
    silence = state.silences.pop(record.detail["replaces"], None)
    if silence is not None:
        silence.id = record.detail["silence_id"]
        state.silences[silence.id] = silence


def _ack_old(state: State, record: Record) -> None:
    if (silence := state.silences.get(record.detail["silence_id"])) is not None:
        silence.reminded_at = record.ts


def _silence_expired(state: State, record: Record) -> None:
    state.silences.pop(record.detail["silence_id"], None)


PEOPLE: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.SILENCE_REQUESTED: _silence_requested,
    Kind.SILENCE_CREATED: _silence_created,
    Kind.SILENCE_FAILED: _silence_failed,
    Kind.SILENCE_EXTENDED: _silence_extended,
    Kind.SILENCE_EXPIRED: _silence_expired,
    Kind.ACK_OLD: _ack_old,
    Kind.WATCHDOG_MISSING: _watchdog(missing=True),
    Kind.WATCHDOG_BACK: _watchdog(missing=False),
    Kind.NOTIFIED: _notified,
    Kind.NOTIFY_FAILED: _notified,
}
