"""The journal and the state folded from it, kept in step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import structlog

from autoheal.clock import Clock
from autoheal.errors import JournalConflict, JournalUnavailable
from autoheal.model import Draft, Head, Kind, Record
from autoheal.state import State, fold

RETRY_SECONDS = 0.5
"""How often an outcome that the log refused is offered again."""

_log = structlog.get_logger(__name__)


class Journal(Protocol):
    """What the engine asks of an audit log: a file today, a database when several machines share one."""

    @property
    def head(self) -> Head:
        """The end of the log, batches included that are not durable yet."""
        ...

    @property
    def log_id(self) -> str:
        """The first 16 hex digits of record 1's hash."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether an append would be taken now."""
        ...

    def append(self, drafts: Sequence[Draft], expected: Head) -> tuple[Record, ...]:
        """Hand over records; raises JournalUnavailable or JournalConflict and keeps nothing then."""
        ...

    def free(self) -> int | None:
        """Bytes that the log's disk has left; None when it is not this machine's to know."""
        ...

    def turn(
        self,
        snapshot: Callable[[], Sequence[Draft]],
        expected: Head,
        small: Callable[[], Sequence[Draft]] | None = None,
    ) -> tuple[Record, ...]:
        """Append what follows from something done to the log behind its back: a fresh file after a rotation, say.

        A fresh file begins with the records of `snapshot`. Those of `small`, the same or none where they would take
        long, may come in between, too. The answer is as a rule nothing; raises JournalUnavailable.
        """
        ...

    async def wait(self, seq: int) -> None:
        """Return when `seq` is durable; raises JournalUnavailable when its batch was given up."""
        ...

    def replay(self) -> Iterator[Record]:
        """The durable records from which the state folds, oldest first."""
        ...


class Ledger:
    """Appends and folds in one breath, so that two decisions of one moment see each other.

    A record is folded when it is handed over, before it is durable; whoever lets something leave the process (an
    answer, an action) waits with `settle` first. When the journal gives a batch up, the state is folded again from
    what is durable. `sign` makes a checkpoint of a log id and a head; one follows each snapshot. `address` adds to
    records whom they are to reach.
    """

    def __init__(
        self,
        journal: Journal,
        state: State,
        clock: Clock,
        *,
        changed: Callable[[Sequence[Record]], None],
        refolded: Callable[[], None],
        sign: Callable[[str, Head], Draft],
        address: Callable[[State, Sequence[Draft]], Sequence[Draft]] = lambda _, drafts: drafts,
    ) -> None:
        self.journal = journal
        self.state = state
        self._clock = clock
        self._changed = changed
        self._refolded = refolded
        self._sign = sign
        self._address = address

    def commit(self, drafts: Sequence[Draft]) -> tuple[Record, ...]:
        """Append `drafts` as one batch and fold them. Raises JournalUnavailable, and keeps nothing then."""
        try:
            records = self.journal.append(self._address(self.state, drafts), self.state.head)
        except JournalConflict as conflict:
            # What the drafts were made from is gone; whoever made them looks again.
            self.refresh()
            raise JournalUnavailable("the log was cut back while this was written") from conflict
        self._fold(records)
        return records

    def checkpoint(self) -> None:
        """Sign the head as it is now. Raises JournalUnavailable."""
        self.commit([self._sign(self.journal.log_id, self.state.head)])

    def refresh(self) -> None:
        """Fold again from the durable log when a batch was given up since the last look, and begin a fresh file when
        the current one was rotated away.

        Whoever makes ids of the head asks for this first. Raises JournalUnavailable when the log cannot be read now,
        or cannot take the fresh file's first records.
        """
        if self.state.head != self.journal.head:
            _log.warning("state_folded_again", had=self.state.head.seq, has=self.journal.head.seq)
            try:
                self.state = fold(self.journal.replay())
            except OSError as error:
                raise JournalUnavailable(f"the log cannot be read again now: {error}") from error
            self._refolded()
        small = None if self.state.large else self.state.small_snapshot
        if records := self.journal.turn(self.state.snapshot, self.state.head, small):
            first = records[0]
            if first.kind is not Kind.SNAPSHOT:
                tell = _log.info if first.detail.get("how") == "renamed" else _log.warning
                tell(first.kind.value, seq=first.seq, **first.detail)
            self._fold(records)
            if any(record.kind is Kind.SNAPSHOT for record in records):
                self.checkpoint()

    async def settle(self) -> None:
        """Return when all that is folded now is durable. Raises JournalUnavailable when it will not be."""
        await self.journal.wait(self.state.head.seq)

    async def insist(self, make: Callable[[], Sequence[Draft]]) -> None:
        """Record what has happened already, however long the log refuses; `make` is asked anew for each try."""
        while True:
            try:
                self.refresh()
                if drafts := make():
                    self.commit(drafts)
                    await self.settle()
            except JournalUnavailable as error:
                _log.error("outcome_not_recorded_yet", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return

    async def healthy(self) -> None:
        """Return when the journal takes records again."""
        while True:
            if self.journal.healthy:
                with contextlib.suppress(JournalUnavailable):
                    self.refresh()
                    return
            await self._clock.sleep(RETRY_SECONDS)

    def _fold(self, records: Sequence[Record]) -> None:
        for record in records:
            self.state.apply(record)
        self._changed(records)
