"""What every channel is given and promises."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class What(StrEnum):
    """What becomes of the incident that a notice is about. The words are those of PagerDuty's Events API v2."""

    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


class Severity(StrEnum):
    """How bad it is, the worst first. The words are those of PagerDuty's Events API v2."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell people.

    `id` is the message's: a second attempt, also after a restart, has the same. `key` is the incident's, which all
    notices about it share. Both are at most 100 characters of `[a-z0-9.-]`. Everything else may hold what alerts said,
    so it is hostile: whoever sends it escapes and cuts it. `lines` are those of a digest, `at` is in epoch seconds.
    """

    id: str
    key: str
    what: What
    severity: Severity
    summary: str
    context: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    at: float = 0.0
    link: str | None = None


class Undelivered(Exception):
    """A notice was not taken; the text says why, for people, and holds no address, no key and no secret.

    `permanent`: the same would be refused again. `retry_after`: seconds for which the channel asked to be left alone.
    """

    def __init__(self, why: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        self.permanent = permanent
        self.retry_after = retry_after
        super().__init__(why)


class Channel(Protocol):
    """A way to people. `name` is its name in rules, records and metrics.

    `hears` is what it is told of. `holds_incidents` says that what is triggered there stands until it is resolved, so
    that it is told of nothing that has no end. `limit` is how many messages it takes in any hour (None: no limit).
    """

    name: str
    hears: frozenset[What]
    holds_incidents: bool
    limit: int | None

    async def send(self, notice: Notice) -> None:
        """Return when `notice` was taken. Raises Undelivered, within the channel's own timeout."""
        ...


EVERYTHING = frozenset(What)
NO_ACKNOWLEDGEMENTS = frozenset((What.TRIGGER, What.RESOLVE))


def one_line(text: str, characters: int) -> str:
    """`text` without line breaks and control characters, cut to `characters`."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"
