"""`autoheal audit export`: records as they stand in the log, oldest first, to keep or to check elsewhere."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from autoheal.audit.asking import Unread, add_bounds, add_filter, answering, ask_of, search_of, write_line
from autoheal.audit.places import Add
from autoheal.errors import AutohealError

_EXAMPLES = """\
  autoheal audit export > log.jsonl                        the whole log, as one file
  autoheal audit export -o incident.jsonl --since 2h
  autoheal audit export 'run=r17' | jq -c '[.ts, .kind]'

One record a line, oldest first, byte for byte as in the log: without a filter the hashes form a chain. FILE must not
exist; it is readable by its owner alone. Exit code 0: done; 1: the log is damaged, or a
part of it is encrypted and was left out; 2: wrong usage."""


def register(add: Add) -> None:
    """`autoheal audit export [Q] [-o FILE]`."""
    command = add("export", "write the records that a filter matches as JSON lines, oldest first", _EXAMPLES)
    add_filter(command)
    add_bounds(command)
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="a new file (default: standard output)")
    command.set_defaults(run=answering(run))


def run(arguments: argparse.Namespace, unread: Unread) -> None:
    """Write what is asked for."""
    lines = (line for _, line in search_of(arguments).oldest_first(ask_of(arguments), skipped=unread))
    if arguments.output is None:
        _copy(lines, sys.stdout.buffer)
    else:
        _keep(lines, arguments.output)


def _copy(lines: Iterable[bytes], file: BinaryIO) -> None:
    for line in lines:
        write_line(file, line)


def _keep(lines: Iterable[bytes], path: Path) -> None:
    """A file that is whole, or none."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise AutohealError(f"{path} exists already: name another file, or remove it") from None
    try:
        with os.fdopen(fd, "wb") as file:
            _copy(lines, file)
    except BaseException:
        with suppress(FileNotFoundError):
            path.unlink()
        raise
