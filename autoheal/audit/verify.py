"""`autoheal audit verify`: prove that nothing was removed or altered, or name what was."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TextIO

from autoheal.audit.places import Add, add_identity, data_dir, identities, public_key_file
from autoheal.audit.plain import plain
from autoheal.errors import AutohealError
from autoheal.journal.checkpoint import TrustedKey, load_public_keys
from autoheal.journal.verify import Report, verify

SHOWN_PROBLEMS = 20
_BAR = 40
_EXAMPLES = """\
  autoheal audit verify                              the log in AUTOHEAL_DATA_DIR, or ./data
  autoheal audit verify /mnt/copy --key checkpoint.pub.pem
  autoheal audit verify --checkpoint kept.jsonl      against checkpoints that were kept elsewhere
  autoheal audit verify --identity key.txt           a log whose rotated files are encrypted

Exit code 0: whole and unaltered; 1: it is not, and the first bad record is named; 2: it could not be checked.
docs/audit.md says what is proven, and what cannot be."""


def register(add: Add) -> None:
    """`autoheal audit verify [DIR]`."""
    command = add("verify", "check that nothing was removed from the audit log or altered in it", _EXAMPLES)
    command.add_argument("dir", metavar="DIR", nargs="?", type=Path, help="the data directory, or a backup of it")
    command.add_argument("--key", metavar="FILE", type=Path, help="the public keys (default: those of the service)")
    command.add_argument("--checkpoint", metavar="FILE", type=Path, help="checkpoints kept elsewhere, one a line")
    add_identity(command)
    command.add_argument("--quiet", action="store_true", help="no progress bar and no notes")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, say what was found, and return the exit code."""
    folder = data_dir(arguments.dir)
    key_file = arguments.key or public_key_file(folder, own=arguments.dir is None)
    keys: tuple[TrustedKey, ...] = ()
    # A log that is not signed yet has no key either; a checkpoint without a key to check it by is a fault.
    if arguments.key or key_file.exists():
        keys = load_public_keys(key_file)
    kept = arguments.checkpoint.read_bytes().splitlines() if arguments.checkpoint else None
    if kept is not None and not any(line.strip() for line in kept):
        # Whatever was to keep them does not: that must not pass for a check against them.
        raise AutohealError(f"{arguments.checkpoint} holds no checkpoint")
    private = identities(arguments.identity)
    bar = Progress(sys.stderr) if sys.stderr.isatty() and not arguments.quiet else None
    try:
        report = verify(folder, keys, kept, bar.show if bar else lambda _done, _total: None, private)
    finally:
        if bar:
            bar.end()
    if report.problems:
        for line in _bad(report):
            print(plain(line))
        return 1
    for line in _good(report):
        print(plain(line))
    if not arguments.quiet:
        for note in (*report.notes, *_limits(report, arguments.key, key_file, kept=kept is not None)):
            print(plain(f"  - {note}"))
    return 0


class Progress:
    """A bar on a terminal."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._begun = time.monotonic()
        self._shown = -1

    def show(self, done: int, total: int) -> None:
        """`done` of `total` bytes."""
        percent = 100 * done // max(total, 1)
        if percent == self._shown:
            return
        self._shown = percent
        filled = _BAR * percent // 100
        seconds = time.monotonic() - self._begun
        bar = f"{'#' * filled}{'.' * (_BAR - filled)}"
        self._terminal.write(f"\r[{bar}] {percent:3d} %  {done >> 20:,} of {total >> 20:,} MiB  {seconds:.1f} s")
        self._terminal.flush()

    def end(self) -> None:
        """Leave a clean line."""
        self._terminal.write("\r\033[K")
        self._terminal.flush()


def _good(report: Report) -> list[str]:
    files = "1 file" if report.files == 1 else f"{report.files} files"
    signed = f"{report.checkpoints:,} checkpoints, the last one vouches for seq {report.signed}"
    return [
        f"OK: {report.records:,} records in {files}, seq {report.first_seq} to {report.last_seq}, unbroken; {signed}",
        f"  log {report.log}, head {report.last_seq} {report.last_hash} {report.last_ts}",
    ]


def _bad(report: Report) -> list[str]:
    first = report.first
    assert first is not None
    lines = [f"BAD: {first}"]
    others = [problem for problem in report.problems if problem is not first]
    lines += [f"  - {problem}" for problem in others[: SHOWN_PROBLEMS - 1]]
    if (more := report.count - len(lines)) > 0:
        lines.append(f"  - and {more:,} more")
    return lines


def _limits(report: Report, given: Path | None, key_file: Path, *, kept: bool) -> list[str]:
    """What this check could not know."""
    limits = []
    if report.pruned:
        limits.append(f"seq 1 to {report.pruned}: pruned by retention, their manifests are whole")
    if not report.checkpoints:
        limits.append("no checkpoint: nothing in it is signed")
    elif given is None:
        limits.append(
            f"the key was taken from {key_file}: whoever can write there could have replaced it;"
            " keep a copy elsewhere and give it with --key"
        )
    if kept:
        found = f"{report.kept:,} checkpoints kept elsewhere agree with the log"
        limits.append(found + (f", {report.kept_pruned:,} are of its pruned past" if report.kept_pruned else ""))
        limits.append(f"what was recorded behind seq {report.kept_last}, the last one kept, could have been cut off")
    else:
        limits.append(
            "a log that was cut at the end of a line cannot be told from one that a crash ended:"
            " give checkpoints that were kept elsewhere with --checkpoint"
        )
    return limits
