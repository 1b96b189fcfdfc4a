"""Every error that autoheal raises on purpose.

    AutohealError
    ├── ConfigError              settings or rules are wrong: all faults at once
    ├── QueryError               a filter expression is wrong, with its column
    ├── RenderError              a template cannot be rendered for this alert
    ├── JournalError
    │   ├── JournalUnavailable   a record cannot be made durable now; try again later
    │   ├── NotRecordedYet       something was done, and the log refuses the record of it; it is offered again
    │   ├── JournalConflict      the log has moved on since the caller looked
    │   ├── JournalDamaged       a line in the middle of the log is not what it was
    │   └── RecordTooLarge       a record would exceed 64 KiB
    ├── NoEpisode                no open episode has this fingerprint
    ├── CannotSilence            no silence can be made for this alert
    └── UpstreamError            another program did not answer as it should

The domain never says 404: `autoheal.web.errors` is the one place that maps these to HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AutohealError(Exception):
    """Base of all errors below; its text is meant for a person."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a configuration, and where.

    `where` is `FILE:LINE:COLUMN` for rules and the variable's name for settings.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ConfigError(AutohealError):
    """Settings or rules that cannot be used; carries every fault, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class QueryError(AutohealError):
    """A filter expression that cannot be read; `column` counts characters from 1."""

    def __init__(self, message: str, column: int) -> None:
        self.column = column
        super().__init__(f"column {column}: {message}")


class RenderError(AutohealError):
    """A template that has no safe value for this alert (an unknown label, an empty target …)."""


class JournalError(AutohealError):
    """The audit log could not do what was asked."""


class JournalUnavailable(JournalError):
    """Nothing can be made durable now: disk full, I/O error, shutting down. Nothing was kept."""


class NotRecordedYet(JournalError):
    """Something was done outside, and its record is not durable: the log is offered it until it takes it."""


class JournalConflict(JournalError):
    """`append` was told a head that is not the log's head any more. Nothing was kept."""


class JournalDamaged(JournalError):
    """The log holds a line that is not a record, or that breaks the chain; names file and seq."""


class RecordTooLarge(JournalError):
    """A record would exceed the 64 KiB that one line may have."""


class NoEpisode(AutohealError):
    """No alert with this fingerprint fires, as far as autoheal knows."""


class CannotSilence(AutohealError):
    """A silence for this alert would be too wide, or cannot be recorded; the text tells what to do instead."""


class UpstreamError(AutohealError):
    """Alertmanager (or another service) gave no usable answer; the text names which and why."""
