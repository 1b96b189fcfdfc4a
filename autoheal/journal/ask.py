"""What is asked of the log, and which of its files can hold it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from autoheal.age import Identities
from autoheal.errors import JournalDamaged, JournalUnread
from autoheal.journal import manifest as manifests
from autoheal.journal.files import LogFile, Storage, Strays, log_files
from autoheal.journal.manifest import Manifest
from autoheal.journal.needles import may_hold
from autoheal.journal.record import parse
from autoheal.model import Record
from autoheal.query import Query

_LAST_TS = 253402300799.0


@dataclass(frozen=True, slots=True)
class Ask:
    """At most `limit` records that `query` matches, with `since` ≤ ts < `until` and a seq below `before`."""

    limit: int | None = None
    query: Query | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None


class Range:
    """What both directions share: the bounds of an ask, what manifests tell of whole files, the private keys.

    `skipped` is told once of each file that might hold what is asked for and cannot be read.
    """

    def __init__(
        self,
        data_dir: Path,
        ask: Ask,
        durable: int | None,
        identities: Identities | None,
        skipped: Callable[[JournalUnread], object],
    ) -> None:
        self.data_dir = data_dir
        self.query = ask.query
        self.since = None if ask.since is None else _clamped(ask.since)
        self.until = None if ask.until is None else _clamped(ask.until)
        self.durable = durable
        ends = [end for end in (ask.before, None if durable is None else durable + 1) if end is not None]
        self.before = min(ends, default=None)
        self.identities = identities
        self._skipped = skipped
        self._told: set[int | Path] = set()

    def files(self) -> list[tuple[LogFile, Manifest | None]]:
        """Those that hold anything durable, oldest first, with what is known of them.

        Those that cannot be placed are told of at once: whatever is found, something may stand between it.
        """
        strays: Strays = {}
        files = log_files(self.data_dir, strays)
        for path in strays:
            if not self._written_before(path):
                self.skip(JournalUnread(path, "it does not begin as a file of the log does"))
        described = {int(path.name[:15]): path for path in manifests.paths(self.data_dir / manifests.FOLDER_NAME)}
        return [
            (file, _manifest(described.get(file.first), file))
            for file in files
            if self.durable is None or file.first <= self.durable
        ]

    def too_old(self, known: Manifest | None) -> bool:
        """Whether no record of that file, nor of any before it, is asked for."""
        return known is not None and self.since is not None and known.last.ts < self.since

    def can_skip(self, known: Manifest | None) -> bool:
        """Whether no record of that file is asked for."""
        if known is None:
            return False
        if self.until is not None and known.first_ts >= self.until:
            return True
        return self.query is not None and not may_hold(self.query, known.kinds, known.alertnames)

    def skip(self, error: JournalUnread) -> None:
        """Go on without a file that cannot be read."""
        place = error.path if error.first is None else error.first
        if place not in self._told:
            self._told.add(place)
            self._skipped(error)

    def _written_before(self, path: Path) -> bool:
        """Whether a file was last written to before all that is asked for; gzip keeps that time."""
        try:
            return self.since is not None and path.stat().st_mtime < self.since
        except FileNotFoundError:
            return True

    def matches(self, path: Path, offset: int, line: bytes) -> Record | None:
        """The record that `line` is when the query asks for it."""
        try:
            if self.query is not None and not self.query.matches(orjson.loads(line)):
                return None
            return parse(line)
        except (orjson.JSONDecodeError, JournalDamaged) as error:
            raise JournalDamaged(f"{path}, byte {offset}: {error}") from None


def _clamped(ts: float) -> float:
    """A time that RFC 3339 can tell; the log has none beyond."""
    return min(max(ts, 0.0), _LAST_TS)


def _manifest(path: Path | None, file: LogFile) -> Manifest | None:
    """What is known of a file. A manifest that does not fit it saves nothing here; `verify` tells of it."""
    if path is None:
        return None
    try:
        known = manifests.read(path)
    except JournalDamaged:
        return None
    return known if file.storage is not Storage.PLAIN or file.size == known.size else None
