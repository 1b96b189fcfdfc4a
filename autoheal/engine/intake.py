"""What a notification changes: alerts compared with the open episodes. Pure: state in, drafts out.

Alertmanager sends a group's whole list again and again, HA pairs send it twice and out of order, and every peer may
carry another `startsAt`; only what is news becomes a record (DESIGN, "Rules": episodes, suspects, supersession).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from autoheal.model import ALERTMANAGER, Alert, AlertStatus, Draft, Kind, Notification, Rejected, rfc3339
from autoheal.redaction import Redaction, without_userinfo
from autoheal.slices import Slices, every
from autoheal.state import ENDS_KEPT, Episode, State
from autoheal.wire import MAX_ALERT_BYTES, alert_size

SKEW_SECONDS = 60.0
"""A `startsAt` that differs less is the same firing seen by another replica, or too soon to tell."""
MAX_OPEN_BYTES = 64 * 1024 * 1024
"""Of the records of open alerts, after which none is opened: some 50,000 as Kubernetes has them. One notification more
may be open, and the memory that they take is some four times as much.
"""
AT_ONCE = 100
"""Alerts taken in before others on the event loop get their turn."""
REJECTED_RECORDED = 100
"""Bad alerts of one notification that get a record each; the last one tells how many more there were."""


@dataclass(slots=True)
class Intake:
    """What a batch of alerts changes: the records, who is to be decided on, and whom to ask Alertmanager about."""

    drafts: list[Draft] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)


def hide(notification: Notification, redaction: Redaction) -> Slices[Notification]:
    """`notification` with all values replaced that must not be recorded: the first thing that is done with it.

    A token may be longer than what it stands for; an alert that no record could hold then is rejected, not cut.
    """
    alerts: list[Alert] = []
    rejected = [
        replace(one, alertname=one.alertname and redaction.of("alertname", one.alertname))
        for one in notification.rejected
    ]
    for index, (pause, alert) in enumerate(every(AT_ONCE, notification.alerts)):
        if pause:
            yield
        hidden = hide_alert(alert, redaction)
        if (size := alert_size(hidden.labels, hidden.annotations, hidden.generator_url)) > MAX_ALERT_BYTES:
            fault = f"alerts[{index}]: too large once redacted: {size:,} bytes, at most {MAX_ALERT_BYTES:,}"
            rejected.append(Rejected(index, (fault,), fingerprint=alert.fingerprint))
        else:
            alerts.append(hidden)
    return replace(notification, alerts=tuple(alerts), rejected=tuple(rejected))


def hide_alert(alert: Alert, redaction: Redaction) -> Alert:
    """One alert as `hide` leaves it; hiding it again changes nothing."""
    return replace(
        alert,
        labels=redaction.texts(alert.labels),
        annotations=redaction.texts(alert.annotations),
        generator_url=without_userinfo(alert.generator_url),
    )


def with_room(state: State, alerts: Sequence[Alert]) -> tuple[Alert, ...]:
    """Those of `alerts` for which there is room: all, or when too much is open those that open nothing more."""
    if state.open_bytes < MAX_OPEN_BYTES:
        return tuple(alerts)
    return tuple(
        alert
        for alert in alerts
        if alert.status is AlertStatus.RESOLVED
        or alert.fingerprint in state.episodes
        or alert.fingerprint in state.suspects
    )


def batches(alerts: Iterable[Alert]) -> Iterator[list[Alert]]:
    """Split so that no fingerprint occurs twice in a batch: a second word on one alert must see the first folded.

    None has more than `AT_ONCE`.
    """
    batch: dict[str, Alert] = {}
    for alert in alerts:
        if alert.fingerprint in batch or len(batch) == AT_ONCE:
            yield list(batch.values())
            batch = {}
        batch[alert.fingerprint] = alert
    if batch:
        yield list(batch.values())


def take_in(
    state: State,
    alerts: Sequence[Alert],
    *,
    now: float,
    how: str,
    actor: str = ALERTMANAGER,
    correlation_id: str | None = None,
    confirmed: bool = False,
    can_ask: bool = False,
    listed: Mapping[str, float] = MappingProxyType({}),
) -> Intake:
    """Compare `alerts` (distinct fingerprints) with the state.

    `how` is the way the word came: `webhook` or `api`. `confirmed` says that Alertmanager itself was asked, so that
    no firing among them is a suspect; `can_ask` that it can be asked, so that a suspect's coming again settles
    nothing. `listed` are those whose end another Alertmanager contradicts, with when that one last heard of them. `now`
    is the wall clock. Times are seconds since the epoch.
    """
    intake = Intake()

    def add(kind: Kind, alert: Alert, episode: str | None, **detail: object) -> None:
        intake.drafts.append(
            Draft(
                kind=kind,
                alertname=alert.alertname,
                fingerprint=alert.fingerprint,
                episode=episode,
                actor=actor,
                correlation_id=correlation_id,
                labels=alert.labels,
                annotations=alert.annotations,
                detail=detail,
            )
        )

    for alert in alerts:
        episode = state.episodes.get(alert.fingerprint)
        if alert.status is AlertStatus.RESOLVED:
            if not _ends(state, episode, alert, now):
                continue
            if episode is None or alert.fingerprint not in listed:
                ended = rfc3339(_ends_at(alert, now))
                add(Kind.ALERT_RESOLVED, alert, episode.id if episode else None, how=how, ends_at=ended)
            elif episode.dispute is None:
                # As it was told: by the clock that tells when the next firing begins.
                times = {"ends_at": told_end(alert, now), "heard_at": listed[alert.fingerprint]}
                told = {name: rfc3339(at) for name, at in times.items()}
                add(Kind.ALERT_DISPUTED, alert, episode.id, how=how, **told)
            continue
        if episode is not None:
            if _same_firing(episode, alert, now):
                continue
            # Before the new start: a batch that is torn here must not make that firing a suspect.
            ends_at = min(alert.starts_at, now) - 1e-6
            add(Kind.ALERT_RESOLVED, alert, episode.id, how="superseded", ends_at=rfc3339(ends_at))
        elif not confirmed and _stale(state, alert, now):
            suspect = state.suspects.get(alert.fingerprint)
            if suspect is None:
                end = rfc3339(state.ends[alert.fingerprint].ends_at)
                add(Kind.ALERT_SUSPECT, alert, None, starts_at=rfc3339(alert.starts_at), last_end=end)
                intake.suspects.append(alert.fingerprint)
                continue
            if can_ask:
                intake.suspects.append(alert.fingerprint)
                continue
            if now - suspect.seen_at <= SKEW_SECONDS:
                continue
        # Ids are seqs: unique in the log, the same at every replay, and a pointer to the record that tells of it.
        seq = state.head.seq + 1 + len(intake.drafts)
        add(
            Kind.ALERT_FIRING,
            alert,
            f"e{seq}",
            how=how,
            starts_at=rfc3339(alert.starts_at),
            generator_url=alert.generator_url[:2048],
        )
        intake.opened.append(alert.fingerprint)
    return intake


def rejections(rejected: Sequence[Rejected], correlation_id: str | None, actor: str = ALERTMANAGER) -> list[Draft]:
    """An `alert_rejected` for each bad alert among good ones, bounded: a sender must not fill the disk with them."""
    drafts = [
        Draft(
            kind=Kind.ALERT_REJECTED,
            alertname=one.alertname,
            fingerprint=one.fingerprint,
            actor=actor,
            correlation_id=correlation_id,
            detail={"index": one.index, "faults": list(one.faults)},
        )
        for one in rejected[:REJECTED_RECORDED]
    ]
    if more := len(rejected) - len(drafts):
        drafts.append(
            Draft(
                kind=Kind.ALERT_REJECTED,
                actor=actor,
                correlation_id=correlation_id,
                detail={"more": more},
            )
        )
    return drafts


def _ends(state: State, episode: Episode | None, alert: Alert, now: float) -> bool:
    """Whether a resolved alert tells something new."""
    if episode is not None:
        same = abs(alert.starts_at - episode.starts_at) <= SKEW_SECONDS and not _of_before(state, episode, alert)
        return same or _ends_at(alert, now) >= _began(episode)
    if alert.fingerprint in state.suspects:
        return True
    known = state.ends.get(alert.fingerprint)
    return known is None or now - known.ts > ENDS_KEPT or _ends_at(alert, now) > known.ends_at


def _of_before(state: State, episode: Episode, alert: Alert) -> bool:
    """Whether a slow peer still tells the end of the firing before this one, however short a time ago that began."""
    end = state.ends.get(alert.fingerprint)
    return end is not None and alert.starts_at <= end.ends_at < episode.starts_at


def _same_firing(episode: Episode, alert: Alert, now: float) -> bool:
    if (dispute := episode.dispute) is not None and alert.starts_at > dispute.ends_at:
        # However soon: when it is settled that the one before has ended, nobody tells of this one again.
        return False
    if abs(alert.starts_at - episode.starts_at) <= SKEW_SECONDS:
        return True
    return min(alert.starts_at, now) - _began(episode) <= SKEW_SECONDS


def _began(episode: Episode) -> float:
    # A sender whose clock ran ahead must not make the next firing, or the end, look older than this one.
    return min(episode.starts_at, episode.opened_at)


def told_end(alert: Alert, now: float) -> float:
    """When a resolved alert has ended, by the clock of whoever tells it; `now` where it does not say."""
    return now if alert.ends_at is None else alert.ends_at


def _ends_at(alert: Alert, now: float) -> float:
    # An end in the future would make every firing until then a suspect.
    return min(told_end(alert, now), now)


def _stale(state: State, alert: Alert, now: float) -> bool:
    end = state.ends.get(alert.fingerprint)
    return end is not None and now - end.ts <= ENDS_KEPT and alert.starts_at <= end.ends_at
