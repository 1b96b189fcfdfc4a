"""Searching the log, newest first or oldest first, over its current, rotated and compressed files.

All of it blocks; callers on an event loop use a thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from autoheal.age import Identities
from autoheal.clock import Clock
from autoheal.errors import JournalEncrypted, JournalUnread
from autoheal.journal.ask import Ask, Range
from autoheal.journal.backward import CutShort
from autoheal.journal.files import TRIES, open_again
from autoheal.journal.walk import Forward, Indices, Step, Walk

__all__ = ["Ask", "Page", "Search", "Step"]


Skipped = Callable[[JournalUnread], object]


def _raise(error: JournalUnread) -> None:
    raise error


@dataclass(slots=True)
class Page:
    """What was found, newest first. `next` is the `before` to go on with; None when nothing is left.

    `partial` says that the search stopped before it had found `limit` records or come to its end, or that it went
    past the files in `unread`, which are encrypted and no key opens them, or cannot be placed.
    """

    lines: list[bytes] = field(default_factory=list)
    next: int | None = None
    partial: bool = False
    unread: list[JournalUnread] = field(default_factory=list)


class Search:
    """The log in `data_dir`, for any number of threads.

    `durable` tells the last seq that may be shown. Without it (no service is asked) all whole lines may be.
    `identities` open what is encrypted. Where none does the search goes on without that file, and tells.
    """

    def __init__(
        self, data_dir: Path, durable: Callable[[], int] | None = None, identities: Identities | None = None
    ) -> None:
        self._data_dir = data_dir
        self._identities = identities
        self._durable = durable
        self._indices = Indices()

    def page(self, ask: Ask, clock: Clock, *, seconds: float, max_bytes: int) -> Page:
        """Search until `ask` is met, the log ends, `seconds` have passed or the lines exceed `max_bytes`.

        Asking again with `before` set to `next` goes on without a gap or a repeat, however the log has grown or
        was rotated. Raises what `newest_first` raises.
        """
        page = Page()
        deadline = clock.monotonic() + seconds
        size = 0
        found = self.newest_first(ask, lambda: clock.monotonic() > deadline, page.unread.append)
        with contextlib.closing(found) as steps:
            for seq, line in steps:
                if line is not None:
                    page.lines.append(line)
                    size += len(line)
                full = len(page.lines) == ask.limit
                if (full or size > max_bytes or clock.monotonic() > deadline) and seq > 1:
                    page.next, page.partial = seq, not full
                    break
                if full:
                    break
        page.partial = page.partial or bool(page.unread)
        return page

    def newest_first(
        self, ask: Ask, stop: Callable[[], bool] = lambda: False, skipped: Skipped = _raise
    ) -> Generator[Step, None, None]:
        """What `ask` asks for (`limit` aside), with a step of None after each block: the caller may end there.

        While a compressed file is unpacked there is nothing to give: such a step comes when `stop` says so.
        `skipped` is told of each file that might hold what is asked for and cannot be read; without it, JournalUnread
        is raised.
        Raises JournalDamaged, naming file and byte, for a line that is not what was sealed, and OSError.
        """
        walk = Walk(self._range(ask, skipped), self._indices, stop)
        yield from _again(self._data_dir, walk.steps)

    def oldest_first(
        self, ask: Ask, after: int = 0, skipped: Skipped = _raise
    ) -> Generator[tuple[int, bytes], None, None]:
        """The lines with a seq above `after` that `ask` asks for (`limit` aside), oldest first, each with its seq.

        Raises what `newest_first` raises.
        """
        return self.follow(ask, after, skipped)()

    def follow(
        self, ask: Ask, after: int, skipped: Skipped = _raise
    ) -> Callable[[], Generator[tuple[int, bytes], None, None]]:
        """`oldest_first` that can be called again and again: each time it gives what has come since."""
        walk = Forward(self._range(ask, skipped), after)
        return lambda: _again(self._data_dir, walk.lines)

    def unreadable(self, ask: Ask) -> list[JournalUnread]:
        """The files that might hold what `ask` asks for and cannot be read, newest first where that is known."""
        found: list[JournalUnread] = []
        asked = self._range(ask, found.append)
        for file, known in reversed(asked.files()):
            outside = asked.before is not None and file.first >= asked.before
            if file.header is None or outside or asked.too_old(known) or asked.can_skip(known):
                continue
            with contextlib.suppress(FileNotFoundError):
                try:
                    open_again(self._data_dir, file, self._identities)[1].close()
                except JournalEncrypted as error:
                    asked.skip(error)
        return found

    def _range(self, ask: Ask, skipped: Skipped) -> Range:
        durable = None if self._durable is None else self._durable()
        return Range(self._data_dir, ask, durable, self._identities, skipped)


_T = TypeVar("_T")


def _again(data_dir: Path, rest: Callable[[], Iterator[_T]]) -> Generator[_T, None, None]:
    """What `rest` gives, begun anew where it stands when a file is cut short.

    Somebody truncated a file under the reader: what was there is in a copy by now (logrotate's copytruncate).
    """
    for _ in range(TRIES):
        try:
            yield from rest()
        except CutShort:
            continue
        return
    raise OSError(f"the files in {data_dir} are cut short faster than they can be read; try again")
