"""`autoheal audit restore`: a copy of the log becomes the log of a new data directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autoheal.audit.places import Add, add_identity, identities
from autoheal.audit.plain import plain
from autoheal.errors import JournalDamaged
from autoheal.journal.backup import restore

_EXAMPLES = """\
  autoheal audit restore /mnt/backup/autoheal-0123456789abcdef-20261121T021500Z --data /var/lib/autoheal
  autoheal audit restore COPY --data DIR --key checkpoint.pub.pem      trust this key, not the one in the copy

Exit code 0: DIR has the log, verified there once more; 1: the copy does not verify, nothing was written; 2: DIR is not
empty, or something cannot be read or written."""


def register(add: Add) -> None:
    """`autoheal audit restore COPY --data DIR`."""
    command = add("restore", "put a copy that verifies into an empty data directory", _EXAMPLES)
    command.add_argument("copy", metavar="COPY", type=Path, help="a folder that `autoheal audit backup` made")
    command.add_argument("--data", metavar="DIR", type=Path, required=True, help="a data directory: empty, or missing")
    command.add_argument("--key", metavar="FILE", type=Path, help="the public keys to trust (default: the copy's)")
    add_identity(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Restore, and say what there is now."""
    try:
        report = restore(arguments.copy, arguments.data, arguments.key, identities(arguments.identity))
    except JournalDamaged as error:
        print(plain(f"BAD: {error}"), file=sys.stderr)
        return 1
    head = f"{report.last_seq} {report.last_hash} {report.last_ts}"
    print(plain(f"OK: {arguments.data}: {report.records:,} records, head {head}"))
    print("  the service will sign with a new key from here on; put back what else it needs (rules, secrets, settings)")
    return 0
