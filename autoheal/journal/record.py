"""One record as one line: sealing a draft into the chain, and reading a line back.

A `Record` is always built from the line's own bytes, also for a record that was sealed a moment ago: a fold of
the running program and a fold of the file after a restart see identical values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import Any

import orjson

from autoheal.errors import JournalDamaged, JournalError, RecordTooLarge
from autoheal.model import MAX_RECORD_BYTES, Draft, Head, Kind, Mode, Record, parse_rfc3339, rfc3339

_TEXTS = ("alertname", "fingerprint", "episode", "rule", "target", "run", "mode", "reason", "actor", "correlation_id")
_OPTIONAL = (*_TEXTS[:6], "step", *_TEXTS[6:], "labels", "annotations")
_TYPES: dict[str, type] = dict.fromkeys(("ts", "kind", *_TEXTS, "prev", "hash"), str)
_TYPES |= {"seq": int, "step": int, "labels": dict, "annotations": dict, "detail": dict}
_REQUIRED = frozenset(("seq", "ts", "kind", "actor", "prev", "hash"))
_ONLY_TEXT = {str}
_KINDS = {kind.value: kind for kind in Kind}
_MODES = {mode.value: mode for mode in Mode}
_HASH_KEY = b',"hash":"'
_NEWER = "; if a newer version wrote it, start that one"
"""What somebody has to do who went back a version: cutting the log off there would forget what was done since."""
_given = attrgetter(*_OPTIONAL)
_SEAL_BYTES = len(_HASH_KEY) + 64 + len(b'"}')


def seal(draft: Draft, head: Head, now: float) -> Record:
    """The record that follows `head`. `now` is in seconds since the epoch; `ts` is never less than `head.ts`.

    Numbers that JSON has not (NaN, infinities) become null. Raises RecordTooLarge beyond 64 KiB, newline
    included, and JournalError for what no record can hold (a lone surrogate, an integer beyond 64 bits …).
    """
    try:
        stamp = rfc3339(max(now, head.ts))
    except (ValueError, OverflowError, OSError) as error:
        raise JournalError(f"a record of kind {draft.kind} cannot be written as JSON: {error}") from None
    return _seal(draft, head.seq + 1, stamp, head.hash)


def _seal(draft: Draft, seq: int, stamp: str, prev: str) -> Record:
    given = {name: value for name, value in zip(_OPTIONAL, _given(draft), strict=True) if value is not None}
    found: dict[str, Any] = {"seq": seq, "ts": stamp, "kind": draft.kind, **given}
    if draft.detail:
        found["detail"] = draft.detail
    found["prev"] = prev
    try:
        body = orjson.dumps(found, default=_plain)[:-1]
    except TypeError as error:
        raise JournalError(f"a record of kind {draft.kind} cannot be written as JSON: {error}") from None
    if len(body) + _SEAL_BYTES >= MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"a record of kind {draft.kind} would be {len(body) + _SEAL_BYTES + 1} bytes long; "
            f"a line of the log may have {MAX_RECORD_BYTES}"
        )
    line = b'%b,"hash":"%b"}' % (body, sha256(body).hexdigest().encode())
    try:
        return _decode(line)
    except JournalDamaged as error:
        raise JournalError(f"a record of kind {draft.kind} cannot be written: {error}") from None


def seal_all(drafts: Sequence[Draft], head: Head, now: float) -> tuple[Record, ...]:
    """`drafts` as a chain on `head`. Raises what `seal` raises, for all of them or none."""
    if not drafts:
        return ()
    records = [seal(drafts[0], head, now)]
    stamp = rfc3339(records[0].ts)
    for draft in drafts[1:]:
        last = records[-1]
        records.append(_seal(draft, last.seq + 1, stamp, last.hash))
    return tuple(records)


def parse(line: bytes) -> Record:
    """The record that `line` (without its newline) is.

    Raises JournalDamaged when it is none: not JSON, an unknown field or kind, or bytes that are not those
    that were sealed. Whether it follows the record before it is `follow`'s question.
    """
    if len(line) >= MAX_RECORD_BYTES:
        raise JournalDamaged(f"longer than the {MAX_RECORD_BYTES} bytes that a line may have")
    digest = sha256(line[:-_SEAL_BYTES]).hexdigest().encode()
    if line[-_SEAL_BYTES:] != b'%b%b"}' % (_HASH_KEY, digest):
        raise JournalDamaged("its hash is not that of its bytes")
    record = _decode(line)
    # Readers find a seq by bisecting the file, and look at these bytes only.
    if not line.startswith(b'{"seq":%d,' % record.seq):
        raise JournalDamaged("the line does not begin with its seq")
    return record


def follow(line: bytes, last: Record | None) -> Record:
    """As `parse`, and `line` must continue the chain after `last` (None: it begins a log)."""
    record = parse(line)
    due, prev, ts = (last.seq + 1, last.hash, last.ts) if last else _BEGINNING
    if record.seq != due:
        raise JournalDamaged(f"its seq is {record.seq} where {due} is due")
    if record.prev != prev:
        raise JournalDamaged("its prev is not the hash of the record before it")
    if record.ts < ts:
        raise JournalDamaged("its ts is before that of the record before it")
    return record


_BEGINNING = (1, Head().hash, Head().ts)


def _plain(value: object) -> dict[Any, Any]:
    """What orjson does not know by itself: read-only mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _decode(line: bytes) -> Record:
    try:
        # An object and nothing else: it ends with the seal's brace.
        data: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise JournalDamaged(f"not JSON: {error}") from None
    names = tuple(data)
    if tuple(map(type, data.values())) != _SHAPES.get(names):
        _check(data)
        _learn(names)
    _to_words(data)
    data["line"] = line
    if "detail" not in data:
        data["detail"] = {}
    # What Record(**data) does, without setting the fields of a frozen dataclass one by one; the class has the others.
    record = _new(Record)
    _set(record, "__dict__", data)
    return record


def _check(data: Mapping[str, Any]) -> None:
    """Raise JournalDamaged unless these are a record's fields, each of its type."""
    for name, value in data.items():
        if type(value) is not _TYPES.get(name):
            problem = "of the wrong type" if name in _TYPES else "unknown"
            raise JournalDamaged(f"the field {name[:40]!r} is {problem}")
    if not data.keys() >= _REQUIRED:
        raise JournalDamaged(f"these fields are missing: {', '.join(sorted(_REQUIRED - data.keys()))}")


_new, _set = object.__new__, object.__setattr__
_SHAPES: dict[tuple[str, ...], tuple[type, ...]] = {}
"""Of checked records: their fields in their order, and the type of each."""
MAX_SHAPES = 10_000


def _learn(names: tuple[str, ...]) -> None:
    # A log that somebody else wrote may have its fields in any order.
    if len(_SHAPES) < MAX_SHAPES:
        _SHAPES[names] = tuple(_TYPES[name] for name in names)


# Records of one batch have the same.
_moment = lru_cache(maxsize=64)(parse_rfc3339)


def _to_words(data: dict[str, Any]) -> None:
    """Replace texts by the domain's words, in place."""
    kind = _KINDS.get(data["kind"])
    if kind is None:
        raise JournalDamaged(f"the kind {data['kind'][:40]!r} is unknown to this version{_NEWER}")
    data["kind"] = kind
    if "mode" in data:
        mode = _MODES.get(data["mode"])
        if mode is None:
            raise JournalDamaged(f"the mode {data['mode'][:40]!r} is unknown to this version{_NEWER}")
        data["mode"] = mode
    for name in ("labels", "annotations"):
        texts = data.get(name)
        if texts and set(map(type, texts.values())) != _ONLY_TEXT:
            raise JournalDamaged(f"{name} holds something that is not text")
    try:
        data["ts"] = _moment(data["ts"])
    except (ValueError, OverflowError) as error:
        raise JournalDamaged(f"ts: {error}") from None
