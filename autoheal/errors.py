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
    │   ├── JournalUnread        a file that bears a name of the log cannot be placed in it
    │   │   └── JournalEncrypted a file of the log is encrypted, and no key that was given opens it
    │   └── RecordTooLarge       a record would exceed 64 KiB
    ├── TooManyOpen              so many alerts are open that no other one can be; try again later
    ├── NoEpisode                no open episode has this fingerprint
    ├── NoRule                   no rule in force has this name
    ├── NoRun                    no run that is still known has this id
    ├── WrongTurn                a run does not stand where the request takes it to stand
    ├── ApprovalExpired          nobody approved in time
    │   └── OtherBatch           a storm's batch is not the one that was looked at
    ├── OwnRun                   whoever caused a run asks to approve it
    ├── CannotSilence            no silence can be made for this alert
    ├── UpstreamError            another program did not answer as it should
    ├── Unauthenticated          a token does not show who asks, with the reason
    └── KeysUnavailable          the identity provider has not told what is needed; try again later

The domain never says 404: `autoheal.web.errors` is the one place that maps these to HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType


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


class JournalUnread(JournalError):
    """The file `path` bears a name of the log, and nobody can tell which seqs it holds; `why` says what is wrong."""

    first: int | None = None
    last: int | None = None

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}")


class JournalEncrypted(JournalUnread):
    """The file `path` of the log is encrypted; `why` says what is missing to read it.

    It is said to hold the seqs `first` to `last`, the last one with that `hash`.
    """

    first: int
    last: int

    def __init__(self, path: Path, first: int, last: int, hash: str, why: str) -> None:  # noqa: A002 the record's field
        self.first = first
        self.last = last
        self.hash = hash
        super().__init__(path, f"seq {first} to {last} are encrypted: {why}")
        self.why = why


class RecordTooLarge(JournalError):
    """A record would exceed the 64 KiB that one line may have."""


class TooManyOpen(AutohealError):
    """The alerts that are open take all the memory that they may; none was opened, and each end makes room."""


class NoEpisode(AutohealError):
    """No alert with this fingerprint fires, as far as autoheal knows."""


class NoRule(AutohealError):
    """No rule in force has this name."""


class NoRun(AutohealError):
    """No run has this id, or it ended so long ago that only the log knows it."""


class WrongTurn(AutohealError):
    """A run does not stand where the request takes it to stand: over, decided on by somebody else, another plan."""


class OtherBatch(WrongTurn):
    """What a storm holds is not what was looked at; `digest` is that of the batch as it is now."""

    def __init__(self, rule: str, digest: str) -> None:
        self.digest = digest
        super().__init__(f"what the storm of the rule {rule!r} holds is another batch now: its digest is {digest}")


class ApprovalExpired(AutohealError):
    """The time for an approval is over."""


class OwnRun(AutohealError):
    """Whoever caused a run must not be the one who approves it."""


class CannotSilence(AutohealError):
    """A silence for this alert would be too wide, or cannot be recorded; the text tells what to do instead."""


class UpstreamError(AutohealError):
    """Alertmanager (or another service) gave no usable answer; the text names which and why."""


class FailureReason(StrEnum):
    """Why nobody is known by a token: a label of a metric and a word in the log, so the list is closed."""

    MISSING_TOKEN = "missing_token"  # noqa: S105 a word, no secret
    MALFORMED = "malformed"
    ALG_NOT_ALLOWED = "alg_not_allowed"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_KID = "unknown_kid"
    INVALID_SIGNATURE = "invalid_signature"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_CLIENT = "wrong_client"
    WRONG_SUBJECT = "wrong_subject"
    WRONG_NONCE = "wrong_nonce"
    WRONG_HASH = "wrong_hash"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    KEYS_UNAVAILABLE = "keys_unavailable"  # counted alone: it is a 503, and says nothing against the token


_DETAILS: Mapping[FailureReason, str] = MappingProxyType(
    {
        FailureReason.MISSING_TOKEN: "A bearer token is needed.",
        FailureReason.MALFORMED: "The token is not a signed JWT in the compact form.",
        FailureReason.ALG_NOT_ALLOWED: "The token's signature algorithm is not one that is accepted here.",
        FailureReason.WRONG_TYPE: "The token is of another kind: an access token is needed.",
        FailureReason.UNKNOWN_KID: "The identity provider has no key of the token's kid.",
        FailureReason.INVALID_SIGNATURE: "The token's signature does not match.",
        FailureReason.WRONG_ISSUER: "The token was issued by another identity provider.",
        FailureReason.WRONG_AUDIENCE: "The token was issued for another service.",
        FailureReason.WRONG_CLIENT: "The token was issued to a program that may not ask here.",
        FailureReason.WRONG_SUBJECT: "The token's subject is missing, or cannot stand in a record.",
        FailureReason.WRONG_NONCE: "The ID token belongs to another login.",
        FailureReason.WRONG_HASH: "The ID token belongs to another access token.",
        FailureReason.EXPIRED: "The token has expired.",
        FailureReason.NOT_YET_VALID: "The token is not valid yet; if it should be, compare the two clocks.",
    }
)
"""What the caller may know: enough to ask for the right token, and nothing of what was expected instead."""


class Unauthenticated(AutohealError):
    """Nobody is known by this token. `kid` is what it claims its key to be, short and printable, for the log."""

    def __init__(self, reason: FailureReason, kid: str | None = None) -> None:
        self.reason = reason
        self.kid = kid
        self.detail = _DETAILS[reason]
        super().__init__(self.detail)


class KeysUnavailable(AutohealError):
    """The identity provider's keys or addresses cannot be had now; `retry_after` is in seconds, at least 1."""

    def __init__(self, why: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(why)
