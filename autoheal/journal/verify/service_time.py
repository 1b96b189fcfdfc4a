"""How long the service ran without signing a checkpoint: removed checkpoints are noticed by the time they leave.

Service time runs from `service_started` to `service_stopped`, or to the last record of a life that ended without
one. It is added up over lives: many short ones cannot hide that nothing is signed any more. Nor can lives of no
length at all: a checkpoint is written together with each start, and only a crash at that moment can part them.
"""

from __future__ import annotations

from collections.abc import Callable

from autoheal.model import Kind, parse_rfc3339, rfc3339

MAX_SECONDS = 600.0
MAX_STARTS = 3
# What opening the log may add, hours after the life before ended, in front of `service_started`.
_OPENING = frozenset((Kind.LOG_REPAIRED, Kind.LOG_OPENED, Kind.SNAPSHOT))
_ALWAYS = ""
# A record's year has four digits.
_LAST_TIME = parse_rfc3339("9999-12-31T23:59:59Z")


class ServiceTime:
    """Watches the records pass. `report` is called with the seq where it had been too long, and the reason."""

    kinds = frozenset((*_OPENING, Kind.CHECKPOINT, Kind.SERVICE_STARTED, Kind.SERVICE_STOPPED))

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self._report = report
        self._alive = False
        self._begun = 0.0
        self._served = 0.0
        self._starts = 0
        self._opening_since: float | None = None
        # When a life that begins without `service_started` began, should these turn out to be no opening.
        self._opened_at = 0.0
        self._overdue: tuple[int, str] | None = None
        # Records of other kinds with a `ts` that is not greater (as text) need not be shown.
        self.limit = _ALWAYS

    def take(self, kind: str, seq: int, ts: str, before: str) -> None:
        """The record `seq`; `before` is the ts of the one before it (any text in front of the first)."""
        now = parse_rfc3339(ts)
        if kind == Kind.CHECKPOINT:
            self._starts = 0
        if kind == Kind.SERVICE_STARTED:
            self._start(now, before)
            self._starts += 1
            if self._starts > MAX_STARTS:
                what = f"by {ts} the service had started more than {MAX_STARTS} times without signing a checkpoint"
                self._report(seq, what)
                self._starts = 0
        elif kind in _OPENING or (kind == Kind.CHECKPOINT and self._opening_since is not None):
            self._open(kind, seq, now, ts, before)
        else:
            self._serve(kind, seq, now, ts)
        if self._opening_since is not None:
            self.limit = _ALWAYS
        elif self._alive:
            self.limit = rfc3339(min(self._begun + MAX_SECONDS - self._served, _LAST_TIME))
        else:
            # Nothing but a start may follow a stop; whatever does is service time again.
            self.limit = _ALWAYS

    def _start(self, now: float, before: str) -> None:
        if self._alive:
            ended = self._opening_since if self._opening_since is not None else parse_rfc3339(before)
            self._served += max(0.0, ended - self._begun)
        self._alive, self._begun, self._opening_since, self._overdue = True, now, None, None

    def _open(self, kind: str, seq: int, now: float, ts: str, before: str) -> None:
        if self._opening_since is None:
            self._opening_since = parse_rfc3339(before) if before else now
            self._opened_at = now
        if kind == Kind.CHECKPOINT:
            # Whether it came in time shows when the next record says if it belongs to a start.
            if not self._alive:
                self._begun = self._opened_at
            if self._late(now):
                self._overdue = (seq, ts)
            self._served, self._begun, self._opening_since, self._opened_at = 0.0, now, now, now

    def _serve(self, kind: str, seq: int, now: float, ts: str) -> None:
        if self._overdue is not None:
            self._tell_late(*self._overdue)
        if not self._alive:
            self._alive, self._begun = True, now if self._opening_since is None else self._opened_at
        self._opening_since = self._overdue = None
        if late := self._late(now):
            self._tell_late(seq, ts)
        if late or kind == Kind.CHECKPOINT:
            self._served, self._begun = 0.0, now
        if kind == Kind.SERVICE_STOPPED:
            self._served += now - self._begun
            self._alive = False

    def _tell_late(self, seq: int, ts: str) -> None:
        self._report(seq, f"by {ts} the service had run for more than ten minutes without signing a checkpoint")

    def _late(self, now: float) -> bool:
        return self._served + now - self._begun > MAX_SECONDS
