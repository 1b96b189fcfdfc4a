"""`autoheal audit backup`: a verified copy of the log, made while the service runs."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from autoheal.audit.places import Add, add_identity, data_dir, identities, public_key_file
from autoheal.audit.plain import plain
from autoheal.journal.backup import backup

_DAY = 86400.0
_UNITS = {"d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY}
_EXAMPLES = """\
  autoheal audit backup /mnt/backup                  into /mnt/backup/autoheal-LOG-TIME
  autoheal audit backup /mnt/backup --keep 30d       and remove older copies of this log, once that one verified

The service may run and logrotate may rotate meanwhile. The private key is not copied.
Encrypted files are copied as they are; verifying the copy needs the key that opens them.
Exit code 0: the copy verifies; 1: it does not, so it is named -unverified and no older one is removed; 2: no copy."""


def register(add: Add) -> None:
    """`autoheal audit backup DIR`."""
    command = add("backup", "make a verified copy of the audit log, in a folder of its own", _EXAMPLES)
    command.add_argument("dir", metavar="DIR", type=Path, help="where the copies are; better on another disk")
    command.add_argument("--keep", metavar="AGE", type=age, help="remove copies older than that: 30d, 12w, 7y")
    command.add_argument("--data", metavar="DIR", type=Path, help="the data directory (AUTOHEAL_DATA_DIR, or ./data)")
    add_identity(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Copy, and say what came of it."""
    folder = data_dir(arguments.data)
    key_file = public_key_file(folder, own=arguments.data is None)
    made = backup(folder, key_file, arguments.dir, time.time(), arguments.keep, identities(arguments.identity))
    report = made.report
    if report.problems:
        print(plain(f"BAD: the copy does not verify: {report.first}"))
        print(plain(f"  it is kept as {made.path}; no older one was removed"))
        return 1
    head = f"{report.last_seq} {report.last_hash} {report.last_ts}"
    print(plain(f"OK: {made.path}: {report.records:,} records, head {head}"))
    for path in made.pruned:
        print(plain(f"  - removed {path}"))
    return 0


def age(text: str) -> float:
    """Seconds of an age in days, weeks or years. ArgumentTypeError otherwise."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no age: days, weeks or years, such as 30d, 12w or 7y")
    return int(found[1]) * _UNITS[found[2]]
