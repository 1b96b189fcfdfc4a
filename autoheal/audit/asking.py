"""What `query`, `tail` and `export` have in common: their arguments, and how an answer is written."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from autoheal import query
from autoheal.audit.colours import coloured
from autoheal.audit.places import add_identity, data_dir, identities
from autoheal.audit.plain import plain
from autoheal.errors import AutohealError, JournalDamaged, JournalUnread, QueryError
from autoheal.journal.search import Ask, Search
from autoheal.model import parse_rfc3339

_COUNT = re.compile(r"[1-9][0-9]{0,14}")


def add_filter(command: argparse.ArgumentParser) -> None:
    """The filter, where the log is, and what opens it."""
    command.add_argument("q", metavar="Q", nargs="?", help="a filter, as for GET /audit: 'kind=action_fail OR step>1'")
    command.add_argument("--data", metavar="DIR", type=Path, help="the data directory (AUTOHEAL_DATA_DIR, or ./data)")
    add_identity(command)


def add_bounds(command: argparse.ArgumentParser) -> None:
    """Bounds in time and in the log."""
    command.add_argument("--since", metavar="TIME", type=moment, help="no older ones: RFC 3339, or 24h back from now")
    command.add_argument("--until", metavar="TIME", type=moment, help="only older ones than that")
    command.add_argument("--before", metavar="SEQ", type=count, help="only records with a smaller seq")


def add_count(command: argparse.ArgumentParser, default: int) -> None:
    """How many records."""
    command.add_argument("-n", metavar="N", type=count, default=default, help=f"how many records ({default})")


def count(text: str) -> int:
    """A positive whole number. ArgumentTypeError otherwise."""
    if not _COUNT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number from 1 on")
    return int(text)


def moment(text: str) -> float:
    """RFC 3339, or a duration back from now; seconds since the epoch. ArgumentTypeError otherwise."""
    from autoheal.rules.units import parse_duration  # noqa: PLC0415 a quarter of the start, for one of the arguments

    with suppress(ValueError):
        return time.time() - parse_duration(text)
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is neither an RFC 3339 time (2026-05-01T12:00:00Z) nor a duration (24h)"
        ) from None


def ask_of(arguments: argparse.Namespace) -> Ask:
    """What the arguments ask for. Raises QueryError."""
    given = vars(arguments)
    return Ask(
        limit=given.get("n"),
        query=query.parse(arguments.q) if arguments.q is not None else None,
        since=given.get("since"),
        until=given.get("until"),
        before=given.get("before"),
    )


def search_of(arguments: argparse.Namespace) -> Search:
    """The log that is asked. Raises AutohealError when there is no such directory, or the private key is none."""
    folder = data_dir(arguments.data)
    if not folder.is_dir():
        raise AutohealError(f"there is no data directory {folder}: name it with --data, or in AUTOHEAL_DATA_DIR")
    return Search(folder, identities=identities(arguments.identity))


class Unread:
    """Says on standard error what an answer leaves out: files that are encrypted, or cannot be placed."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, error: JournalUnread) -> None:
        """Tell of one."""
        self.any = True
        print(f"autoheal: left out: {plain(str(error))}", file=sys.stderr)


class Answer:
    """Where records go: raw lines, or for people on a terminal one coloured line each."""

    def __init__(self) -> None:
        self._people = sys.stdout.isatty()
        # https://no-color.org
        self._colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def write(self, line: bytes) -> None:
        """One record."""
        if self._people:
            print(coloured(line, colours=self._colours))
        else:
            write_line(sys.stdout.buffer, line)

    def flush(self) -> None:
        """Show what was written."""
        sys.stdout.flush()


def write_line(file: BinaryIO, line: bytes) -> None:
    """A record as it stands in the log."""
    file.write(line)
    file.write(b"\n")


def answering(run: Callable[[argparse.Namespace, Unread], None]) -> Callable[[argparse.Namespace], int]:
    """`run` with its exit code: 0; 1 when the log is damaged or a part of it could not be read, 2 when the filter is
    wrong. What is else wrong goes on.

    Whoever reads the answer may stop reading at any time (`| head`): that is no error.
    """

    def code(arguments: argparse.Namespace) -> int:
        unread = Unread()
        try:
            run(arguments, unread)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except QueryError as error:
            print(f"autoheal: {error}\n  {_printable(arguments.q)}\n  {' ' * (error.column - 1)}^", file=sys.stderr)
            return 2
        except JournalDamaged as error:
            sys.stdout.flush()
            print(f"autoheal: {error}\nautoheal: `autoheal audit verify` tells more", file=sys.stderr)
            return 1
        return 1 if unread.any else 0

    return code


def _printable(text: str) -> str:
    """`text` with one printable character for each of its own, so that a caret below points at the right one."""
    return "".join(char if char.isprintable() else "?" for char in text)
