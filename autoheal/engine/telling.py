"""What people are told, and when: pure. What is owed comes in, notices come out, and how long a channel has to wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoheal.model import Kind
from autoheal.notify import Notice, Severity, What, one_line
from autoheal.state import Owed

HOUR = 3600.0
HELD_SECONDS = 60.0
"""What has waited longer for a channel with a limit comes together with all that waits, in one message."""
DIGEST_LINES = 100
AT_ONCE = 500
"""What one digest settles at most: the record that says so may have 64 KiB."""

_SAID: Mapping[str, str] = {
    Kind.ESCALATED: "{rule} leaves {alert} on {target} to people: {reason}",
    Kind.APPROVAL_REQUESTED: "{rule} asks whether it may act on {target} ({alert}), until {expires_at}",
    Kind.APPROVAL_EXPIRED: "Nobody has said in time whether {rule} may act on {target} ({alert})",
    Kind.BREAKER_OPENED: "{rule} rests: it has failed {failures} times in a row",
    Kind.RULE_DEMOTED: "{rule} does not act by itself any more: it is made {to}, its breaker has opened {opens} times",
    Kind.WATCHDOG_MISSING: "Alerts may no longer arrive: {matchers} has stayed away",
    Kind.ACK_OLD: "{by} has acknowledged {matchers} since {since}, and nobody is called for it",
    Kind.CONFIG_REJECTED: "The rules were not loaded, those of before stay in force: {faults}",
    Kind.SPACE_LOW: "The audit log's disk is nearly full: no live run begins any more",
    Kind.KEYS_FAILED: "The identity provider's keys cannot be fetched: {error}",
    Kind.NOTIFY_FAILED: "Notices do not reach {channel}: {error}",
    Kind.SELFTEST_FAIL: "autoheal finds fault with itself: {failed}",
}
"""Sentences of triggers, with facts in braces."""
_STORM = "{rule} leaves a storm to people: its alerts are about {targets} targets at once"
_RANK = list(Severity)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a channel is to send next: `of` as one notice each or, with `digest`, as one for all, after `wait` seconds.

    Without either there is nothing to send, and `wait` is None.
    """

    of: tuple[Owed, ...] = ()
    digest: bool = False
    wait: float | None = None


def turn(owed: Sequence[Owed], unsaid: int, sent: Sequence[float], limit: int | None, now: float) -> Turn:
    """The next message of a channel that took messages at `sent` and takes `limit` in any hour.

    Singly while there is room; the last one that there is room for holds all that waits.
    """
    if not owed and not unsaid:
        return Turn()
    if limit is not None:
        recent = sorted(ts for ts in sent if ts > now - HOUR)
        room = limit - len(recent)
        if room <= 0:
            return Turn(wait=min(HOUR, max(0.001, recent[-room] + HOUR - now)))
        if len(owed) > 1 and (room == 1 or now - owed[0].ts > HELD_SECONDS):
            return Turn(tuple(owed[:AT_ONCE]), digest=True)
    return Turn((owed[0],)) if owed else Turn(digest=True)


def said(owed: Owed) -> str:
    """One sentence on it."""
    storm = owed.kind == Kind.ESCALATED and "run" not in owed.facts
    template = _STORM if storm else _SAID.get(owed.kind, owed.kind.replace("_", " "))
    # The template is ours and the facts are only put into it: braces in them mean nothing.
    return template.format_map(_Facts(owed.facts))


def notice(owed: Owed, log_id: str, public_url: str | None) -> Notice:
    """What is said of it by itself."""
    by = (("by", owed.by),) if owed.by is not None else ()
    return Notice(
        id=f"autoheal-{log_id}-{owed.id}",
        key=f"autoheal-{log_id}-{owed.key}",
        what=What(owed.what),
        severity=Severity(owed.severity),
        summary=said(owed),
        context=(*owed.facts.items(), *by),
        at=owed.ts,
        link=_link(public_url, owed.facts.get("run")),
    )


def digest(of: Sequence[Owed], unsaid: int, log_id: str, public_url: str | None, now: float) -> Notice:
    """One notice for all of them, and for so many that are `unsaid`."""
    worst = min((Severity(owed.severity) for owed in of), key=_RANK.index, default=Severity.WARNING)
    lines = [
        f"[{owed.severity if owed.what == What.TRIGGER else owed.what}] {one_line(said(owed), 300)}" for owed in of
    ]
    last = of[-1].id if of else f"{now:.0f}"
    more = f", and {unsaid} of which only the audit log tells" if unsaid else ""
    return Notice(
        id=f"autoheal-{log_id}-digest-{last}",
        key=f"autoheal-{log_id}-digest-{last}",
        what=What.TRIGGER,
        severity=worst,
        summary=f"{len(of)} notices at once{more}" if of else f"{unsaid} notices of which only the audit log tells",
        lines=tuple(lines[:DIGEST_LINES]),
        at=now,
        link=_link(public_url, None),
    )


class _Facts(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "?"


def _link(public_url: str | None, run: str | None) -> str | None:
    if public_url is None:
        return None
    return f"{public_url}/console#/runs/{run}" if run else f"{public_url}/console"
