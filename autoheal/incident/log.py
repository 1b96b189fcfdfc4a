"""The audit log as it lies on the disk: whether it is whole, and its last records, however damaged it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from autoheal.age import Identities
from autoheal.clock import SystemClock
from autoheal.errors import AutohealError
from autoheal.journal.ask import Ask
from autoheal.journal.checkpoint import load_public_keys
from autoheal.journal.files import FILE_NAME
from autoheal.journal.search import Search
from autoheal.journal.verify import verify
from autoheal.model import Kind

VERIFY_SECONDS = 30.0
SEARCH_SECONDS = 10.0
MAX_BYTES = 16 * 1024 * 1024

ERRORS = frozenset(
    (
        Kind.LOG_REPAIRED,
        Kind.SPACE_LOW,
        Kind.CONFIG_REJECTED,
        Kind.ALERT_REJECTED,
        Kind.ACTION_FAIL,
        Kind.ACTION_INTERRUPTED,
        Kind.HEAL_FAILED,
        Kind.HEAL_INCONCLUSIVE,
        Kind.ESCALATED,
        Kind.APPROVAL_EXPIRED,
        Kind.BREAKER_OPENED,
        Kind.RULE_DEMOTED,
        Kind.STORM_BEGAN,
        Kind.SILENCE_FAILED,
        Kind.NOTIFY_FAILED,
        Kind.WATCHDOG_MISSING,
        Kind.KEYS_FAILED,
        Kind.AUTH_FAILED,
        Kind.SELFTEST_FAIL,
    )
)
"""Kinds of records that somebody who looks for a fault reads first."""


class _TooSlow(Exception):
    """The check was given up."""


def checked(data_dir: Path, key_file: Path, identities: Identities | None) -> tuple[str, str]:
    """Whether the log is whole, in a line and in full. Raises AutohealError, and OSError, when that cannot be told."""
    last = time.monotonic() + VERIFY_SECONDS

    def give_up(_done: int, _total: int) -> None:
        if time.monotonic() > last:
            raise _TooSlow

    keys = load_public_keys(key_file) if key_file.exists() else ()
    try:
        found = verify(data_dir, keys, None, give_up, identities)
    except _TooSlow:
        what = f"not known: it takes longer than {VERIFY_SECONDS:g} s; run autoheal audit verify"
        raise AutohealError(what) from None
    range_ = f"{found.records:,} records, seq {found.first_seq} to {found.last_seq}, in {found.files} files"
    told = f"BAD: {found.first}" if found.problems else f"whole: {range_}"
    lines = [told, range_, f"head {found.last_seq} {found.last_hash} {found.last_ts}"]
    lines += [f"{found.checkpoints} checkpoints; the last one vouches for seq {found.signed}"]
    lines += [f"problem: {problem}" for problem in found.problems] + [f"note: {note}" for note in found.notes]
    return told, "\n".join(lines) + "\n"


def last_records(data_dir: Path, count: int, identities: Identities | None) -> list[bytes]:
    """The newest `count` lines, newest last; those of the last file alone where the log cannot be searched.

    Raises OSError.
    """
    try:
        page = Search(data_dir, None, identities).page(
            Ask(limit=count), SystemClock(), seconds=SEARCH_SECONDS, max_bytes=MAX_BYTES
        )
        if page.lines:
            return page.lines[::-1]
    except (AutohealError, OSError):
        pass  # it is damaged: what can be read of it is wanted all the more
    with (data_dir / FILE_NAME).open("rb") as file:
        file.seek(max(0, (data_dir / FILE_NAME).stat().st_size - MAX_BYTES))
        return file.read(MAX_BYTES).splitlines()[-count:]


def errors(lines: Sequence[bytes]) -> list[bytes]:
    """Those of `lines` that tell of a fault, or that nobody can read."""
    return [line for line in lines if _is_error(line)]


def _is_error(line: bytes) -> bool:
    try:
        return bool(orjson.loads(line)["kind"] in ERRORS)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return True
