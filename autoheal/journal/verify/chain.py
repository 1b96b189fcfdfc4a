"""One line after another, as a verifier looks at them: whether each is what was sealed, and stands where it belongs.

What is proven of every line: its hash is that of its bytes; it is one JSON object with the fields of a record, each
once, in their order and of their type, of a kind that is known; its seq follows, its `prev` is the hash of the line
before, its `ts` is not less. What a field says (whether a label is text, what stands in `detail`) is not looked at.
A Record is not built: that would double the time, and the service does it at every start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson

from autoheal.errors import JournalDamaged
from autoheal.model import MAX_RECORD_BYTES, ZERO_HASH, Head, Kind, parse_rfc3339, rfc3339

# Stated once more, and not taken from record.py: the verifier is to notice when the writer strays from the format.
FIELDS = {
    "seq": int,
    "ts": str,
    "kind": str,
    "alertname": str,
    "fingerprint": str,
    "episode": str,
    "rule": str,
    "target": str,
    "run": str,
    "step": int,
    "mode": str,
    "reason": str,
    "actor": str,
    "correlation_id": str,
    "labels": dict,
    "annotations": dict,
    "detail": dict,
    "prev": str,
    "hash": str,
}
_ORDER = {name: place for place, name in enumerate(FIELDS)}
_REQUIRED = {"seq", "ts", "kind", "actor", "prev", "hash"}
_KINDS = frozenset(kind.value for kind in Kind)
_TS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9]\.[0-9]{6}Z")
_MINUTE = len("2026-11-21T11:47")
_SEAL_BYTES = len(',"hash":""}') + 64
_ANY = 10**15
MAX_PROBLEMS = 1000

Shape = tuple[tuple[str, ...], tuple[type, ...]]


class Finding(StrEnum):
    """What can be wrong with a log."""

    CHANGED = "changed"
    MISSING = "missing"
    LOST = "lost to copytruncate"
    MOVED = "moved"
    DOUBLED = "doubled"
    TORN_APART = "torn apart"
    TORN = "torn last line"
    BACKWARD = "time goes back"
    CUT = "cut off"
    UNSIGNED = "no checkpoints"
    SIGNATURE = "bad checkpoint"
    MANIFEST = "bad manifest"
    REWRITTEN = "rewritten"
    ENCRYPTED = "encrypted"


_RUNS = frozenset((Finding.CHANGED, Finding.MOVED, Finding.DOUBLED))


@dataclass(slots=True)
class Problem:
    """One thing that is wrong. `seq` is the first record concerned, None when it cannot be told.

    `file` is relative to the data directory; `line` counts from 1, None when the file as a whole is meant. `lines`
    tells how many lines in a row have it.
    """

    finding: Finding
    seq: int | None
    file: str
    line: int | None
    what: str
    lines: int = 1

    def goes_on_with(self, other: Problem) -> bool:
        """Whether `other` is the same on the very next line."""
        if self.line is None:
            return False
        return (self.finding, self.file, self.line + self.lines) == (other.finding, other.file, other.line)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        more = f" (and so the {self.lines - 1} lines behind it)" if self.lines > 1 else ""
        seq = "" if self.seq is None else f"seq {self.seq}, "
        return f"{self.finding}: {seq}{place}: {self.what}{more}"


@dataclass(slots=True)
class Report:
    """What was found. `first_seq` to `last_seq` are there; `last_ts` is RFC 3339; `size` in bytes.

    `pruned` is the last seq that retention took, `signed` the last one that a good checkpoint in the log vouches
    for, `kept` how many checkpoints kept elsewhere agree with the log, `kept_pruned` how many of them are of its
    pruned past, `kept_last` the seq of the last one. `unread` are the first and last seqs of encrypted files that no
    key opened: each is a problem too. Beyond 1,000, `problems` are only counted.
    """

    log: str = ""
    files: int = 0
    records: int = 0
    first_seq: int = 0
    last_seq: int = 0
    last_hash: str = ""
    last_ts: str = ""
    pruned: int = 0
    checkpoints: int = 0
    signed: int = 0
    kept: int = 0
    kept_pruned: int = 0
    kept_last: int = 0
    unread: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Keep `problem`; as a part of the last one when it is the same on the line behind."""
        if self.problems and problem.finding in _RUNS and self.problems[-1].goes_on_with(problem):
            self.problems[-1].lines += 1
            return
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    @property
    def first(self) -> Problem | None:
        """The problem with the lowest seq."""
        return min(self.problems, key=lambda problem: problem.seq or 0, default=None)


class Chain:
    """Follows a log from line to line. `seq`, `hash` and `ts` are those of the last good record.

    `hash` is None where it cannot be known. `file` and `line` say where the line in hand stands; whoever opens the
    next file sets them. `explain` tells what is known of a range of seqs that is missing.
    """

    def __init__(self, report: Callable[[Problem], None], explain: Callable[[int, int], str]) -> None:
        self._report = report
        self._explain = explain
        self.seq = 0
        self.hash: str | None = ZERO_HASH
        self.ts = ""
        self.file = ""
        self.line = 0
        self.gap: Problem | None = None
        self._gaps: list[tuple[int, int]] = []
        self._strange = 0
        # The last minute that was found to be one.
        self._minute = ""
        self._shapes: set[Shape] = set()

    @property
    def due(self) -> int:
        """The seq of the line in hand, as far as that can be told."""
        return self.seq + self._strange + 1

    def take(self, line: bytes) -> dict[str, Any] | None:
        """The record in `line`, which has no newline, when the chain goes on with it; None when it was reported."""
        self.line += 1
        try:
            data = self._decode(line)
        except JournalDamaged as error:
            self.strange(str(error))
            return None
        seq, ts = data["seq"], data["ts"]
        if (seq != self.seq + 1 or data["prev"] != self.hash) and not self._find_place(data):
            return None
        if ts < self.ts:
            self.report(Finding.BACKWARD, seq, f"its ts {ts} is before {self.ts} of the record before it")
        self.seq, self.hash, self.ts, self._strange = seq, data["hash"], ts, 0
        return data

    def _decode(self, line: bytes) -> dict[str, Any]:
        digest = sha256(line[:-_SEAL_BYTES]).hexdigest()
        if line[-_SEAL_BYTES:] != b',"hash":"%b"}' % digest.encode():
            raise JournalDamaged("its hash is not that of its bytes")
        try:
            data: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise _unlike(f"not JSON: {error}") from None
        shape = (tuple(data), tuple(map(type, data.values())))
        if shape not in self._shapes:
            _check_shape(shape)
            self._shapes.add(shape)
        try:
            # Made anew from what was read, the bytes are nearly always the same: then no field stands there twice.
            if orjson.dumps(data) != line:
                _check_spelling(line, data)
        except orjson.JSONEncodeError as error:
            raise _unlike(f"it cannot be written as JSON again: {error}") from None
        if data["kind"] not in _KINDS:
            raise _unlike(f"the kind {data['kind'][:40]!r} is unknown to this version")
        if not self._is_time(data["ts"]):
            raise _unlike(f"its ts {data['ts'][:40]!r} is not a time as autoheal writes it")
        if len(line) >= MAX_RECORD_BYTES:
            raise _unlike(f"longer than {MAX_RECORD_BYTES} bytes")
        return data

    def begin_behind(self, before: Head | None, first: int, due: int) -> None:
        """The log begins with seq `first`: behind `before`, or with `due` and what follows missing."""
        self.seq = first - 1
        if before is not None:
            self.hash, self.ts = before.hash, rfc3339(before.ts)
            return
        self.hash = None
        self._miss(due, first - 1)

    def pass_over(self, first: int, last: int, hash_: str, ts: float) -> None:
        """Go on behind a file that cannot be read, and is said to hold those seqs and end with that hash and time."""
        if first > self.due:
            self._miss(self.due, first - 1)
        elif first <= self.seq:
            self.report(Finding.DOUBLED, first, f"it begins with seq {first}, behind seq {self.seq}")
        self.seq, self.hash, self.ts, self._strange = last, hash_, max(self.ts, rfc3339(ts)), 0

    def strange(self, why: str) -> None:
        """The line in hand is not what was written there."""
        self.report(Finding.CHANGED, self.due, why)
        self._strange += 1

    def lose_track(self) -> None:
        """The rest of a file cannot be read: how many records stood there is not known."""
        self._strange = _ANY

    def report(self, finding: Finding, seq: int | None, what: str) -> Problem:
        """Tell of the line in hand."""
        problem = Problem(finding, seq, self.file, self.line or None, what)
        self._report(problem)
        return problem

    def _miss(self, first: int, last: int) -> None:
        self.gap = self.report(Finding.MISSING, first, f"{missing(first, last)} {self._explain(first, last)}")
        self._gaps.append((first, last))

    def _is_time(self, ts: str) -> bool:
        if _TS.fullmatch(ts) is None:
            return False
        if ts[:_MINUTE] != self._minute:
            try:
                parse_rfc3339(ts)
            except ValueError:
                return False
            self._minute = ts[:_MINUTE]
        return True

    def _find_place(self, data: dict[str, Any]) -> bool:
        """Report a record that is not the one due; whether the chain goes on from it."""
        seq, due = data["seq"], self.due
        if seq == self.seq + 1:
            if self.hash is not None and data["prev"] != self.hash:
                what = f"its prev is not the hash of seq {self.seq}: one of the two comes from elsewhere"
                self.report(Finding.TORN_APART, seq, what)
            return True
        if self.seq < seq <= due:
            # There were as many strange lines as seqs to fill: what the last one's hash had been cannot be known.
            return True
        if seq > due:
            self._miss(due, seq - 1)
            return True
        if any(first <= seq <= last for first, last in self._gaps):
            self.report(Finding.MOVED, seq, f"it stands behind seq {self.seq}")
        else:
            again = "the same line" if data["hash"] == self.hash else "a line with this seq"
            self.report(Finding.DOUBLED, seq, f"{again} stands here once more, behind seq {self.seq}")
        return False


def missing(first: int, last: int) -> str:
    """Seqs in words, with the verb that follows."""
    return f"seq {first} is missing" if first == last else f"seqs {first} to {last} are missing"


def _unlike(what: str) -> JournalDamaged:
    return JournalDamaged(f"its hash is right, but autoheal writes no such line: {what}")


def _check_shape(shape: Shape) -> None:
    names, types = shape
    if unknown := [name for name in names if name not in FIELDS]:
        raise _unlike(f"the field {unknown[0][:40]!r} is unknown")
    if absent := sorted(_REQUIRED.difference(names)):
        raise _unlike(f"these fields are missing: {', '.join(absent)}")
    if wrong := [name for name, found in zip(names, types, strict=True) if found is not FIELDS[name]]:
        raise _unlike(f"the field {wrong[0]!r} is of the wrong type")
    places = [_ORDER[name] for name in names]
    if places != sorted(places):
        raise _unlike("its fields are not in their order")


def _check_spelling(line: bytes, data: dict[str, Any]) -> None:
    """Another version may spell a number otherwise; a field that is there twice is read differently by each reader."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice.append("")
        return found

    try:
        json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _unlike(f"other readers refuse it: {type(error).__name__}") from None
    if twice:
        raise _unlike("a field stands in it twice")
    if not line.startswith(b'{"seq":%d,' % data["seq"]):
        raise _unlike("it does not begin with its seq")
