"""Sealing and parsing single records."""

from __future__ import annotations

import dataclasses
import hashlib
import types
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.errors import JournalDamaged, JournalError, RecordTooLarge
from autoheal.journal.record import follow, parse, seal, seal_all
from autoheal.model import MAX_RECORD_BYTES, ZERO_HASH, Draft, Head, Kind, Mode, Reason, Record, parse_rfc3339

NOW = 1_790_000_000.25
FULL = Draft(
    kind=Kind.DECISION,
    alertname="HighCPU",
    fingerprint="b5b7a8a5b5b7a8a5",
    episode="e1",
    rule="restart",
    target="web-1",
    run="r2",
    step=1,
    mode=Mode.LIVE,
    reason=Reason.ACT,
    actor="alertmanager",
    correlation_id="c1",
    labels={"alertname": "HighCPU"},
    annotations={"summary": "é\n\u2028"},
    detail={"plan": {"argv": ["/bin/true"]}, "hash": "a nested one", "n": 1.5},
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
maybe = st.none() | texts
labels = st.none() | st.dictionaries(texts, texts, max_size=4)
drafts = st.builds(
    Draft,
    kind=st.sampled_from(Kind),
    alertname=maybe,
    fingerprint=maybe,
    episode=maybe,
    rule=maybe,
    target=maybe,
    run=maybe,
    step=st.none() | st.integers(0, 100),
    mode=st.none() | st.sampled_from(Mode),
    reason=maybe,
    actor=texts,
    correlation_id=maybe,
    labels=labels,
    annotations=labels,
    detail=st.dictionaries(texts, values, max_size=4),
)
moments = st.floats(0, 4_000_000_000)


def as_draft(record: Record) -> Draft:
    return Draft(**{field.name: getattr(record, field.name) for field in dataclasses.fields(Draft)})


def resealed(changes: dict[str, Any], drop: str = "") -> bytes:
    """A line with a right hash over contents that the journal itself would not write."""
    data = orjson.loads(seal(FULL, Head(), NOW).line) | changes
    del data["hash"]
    data.pop(drop, None)
    body = orjson.dumps(data)[:-1]
    return body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'


@given(st.lists(st.tuples(drafts, moments), max_size=6))
def test_any_drafts_come_back_as_they_were(steps: list[tuple[Draft, float]]) -> None:
    """Any sequence of drafts, under a clock that jumps at will, is a chain that parses back to the same records."""
    head, last = Head(), None
    for draft, now in steps:
        record = seal(draft, head, now)
        assert parse(record.line) == record
        assert as_draft(record) == draft
        assert follow(record.line, last) == record
        assert record.ts >= head.ts
        assert b"\n" not in record.line
        head, last = record.head, record


def test_the_line_is_the_documented_one() -> None:
    """Keys stand in the documented order, `detail` before the chain, and the hash covers all bytes before it."""
    record = seal(FULL, Head(), NOW)
    assert " ".join(orjson.loads(record.line)) == (
        "seq ts kind alertname fingerprint episode rule target run step mode reason actor correlation_id "
        "labels annotations detail prev hash"
    )
    assert record.line.startswith(b'{"seq":1,"ts":"2026-09-21T14:13:20.250000Z","kind":"decision",')
    body, _, rest = record.line.rpartition(b',"hash":"')
    assert rest == hashlib.sha256(body).hexdigest().encode() + b'"}'
    assert record.prev == ZERO_HASH


def test_what_does_not_apply_is_absent() -> None:
    """None and an empty detail leave no key behind; empty labels are labels."""
    assert list(orjson.loads(seal(Draft(kind=Kind.LOG_CREATED), Head(), NOW).line)) == [
        "seq",
        "ts",
        "kind",
        "actor",
        "prev",
        "hash",
    ]
    assert b'"labels":{},' in seal(Draft(kind=Kind.ALERT_FIRING, labels={}), Head(), NOW).line


def test_time_never_goes_back() -> None:
    """A clock set back repeats the last time; ts is the float of the very text that was written."""
    first = seal(Draft(kind=Kind.LOG_CREATED), Head(), NOW + 0.000_000_4)
    assert first.ts == parse_rfc3339(orjson.loads(first.line)["ts"]) == NOW
    assert seal(Draft(kind=Kind.DECISION), first.head, NOW - 3600).ts == NOW


def test_a_record_shares_nothing_with_its_draft() -> None:
    """Changing what a draft was made of afterwards does not change the record; tuples are lists, as on disk."""
    detail: dict[str, Any] = {"list": (1, 2)}
    record = seal(Draft(kind=Kind.DECISION, detail=detail), Head(), NOW)
    detail["list"] = "changed"
    assert record.detail == {"list": [1, 2]}


def test_read_only_mappings_are_objects() -> None:
    """A mapping that is no dict is written as an object."""
    labels = types.MappingProxyType({"a": "b"})
    assert seal(Draft(kind=Kind.ALERT_FIRING, labels=labels), Head(), NOW).labels == {"a": "b"}


def test_numbers_that_json_lacks_become_null() -> None:
    """NaN and infinities, which PromQL answers with, do not keep a record from being written."""
    record = seal(Draft(kind=Kind.DECISION, detail={"a": float("nan"), "b": float("-inf")}), Head(), NOW)
    assert record.detail == {"a": None, "b": None}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    "draft",
    [
        Draft(kind=Kind.DECISION, target="\ud800"),
        Draft(kind=Kind.DECISION, labels={"\udfff": "x"}),
        Draft(kind=Kind.DECISION, detail={"n": 2**64}),
        Draft(kind=Kind.DECISION, detail={1: "x"}),  # type: ignore[dict-item]
        Draft(kind=Kind.DECISION, detail={"x": b"bytes"}),
        Draft(kind=Kind.DECISION, detail={"x": {1, 2}}),
        Draft(kind=Kind.DECISION, detail=nested(300)),
        Draft(kind=Kind.DECISION, labels={"a": 1}),  # type: ignore[dict-item]
        Draft(kind=Kind.DECISION, step=True),
        Draft(kind=Kind.DECISION, rule=5),  # type: ignore[arg-type]
        Draft(kind=Kind.DECISION, mode="sometimes"),  # type: ignore[arg-type]
    ],
)
def test_what_no_record_can_hold_is_refused(draft: Draft) -> None:
    """What could not be read back is an error that names the kind, before anything is written."""
    with pytest.raises(JournalError, match=r"a record of kind decision cannot be written"):
        seal(draft, Head(), NOW)


@pytest.mark.parametrize("now", [float("nan"), float("inf"), 1e18])
def test_an_impossible_clock_is_refused(now: float) -> None:
    """A time that RFC 3339 cannot express is an error, not a traceback."""
    with pytest.raises(JournalError, match="cannot be written"):
        seal(Draft(kind=Kind.DECISION), Head(), now)


def test_the_size_limit_counts_the_newline() -> None:
    """The longest line is 65,536 bytes with its newline; one byte more is refused."""
    bare = len(seal(Draft(kind=Kind.DECISION, target=""), Head(), NOW).line)
    room = MAX_RECORD_BYTES - 1 - bare
    record = seal(Draft(kind=Kind.DECISION, target="x" * room), Head(), NOW)
    assert len(record.line) + 1 == MAX_RECORD_BYTES
    assert parse(record.line) == record
    with pytest.raises(RecordTooLarge, match=f"{MAX_RECORD_BYTES + 1} bytes long; a line of the log may have 65536"):
        seal(Draft(kind=Kind.DECISION, target="x" * (room + 1)), Head(), NOW)


def test_a_batch_is_sealed_whole_or_not() -> None:
    """One draft that is too large keeps the others out."""
    with pytest.raises(RecordTooLarge):
        seal_all([FULL, Draft(kind=Kind.DECISION, target="x" * 70_000)], Head(), NOW)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (resealed({"kind": "party"}), "the kind 'party' is unknown to this version; if a newer version wrote it"),
        (resealed({"mode": "sometimes"}), "the mode 'sometimes' is unknown to this version; if a newer"),
        (resealed({"mood": "x"}), "the field 'mood' is unknown"),
        (resealed({"rule": 1}), "the field 'rule' is of the wrong type"),
        (resealed({"step": True}), "the field 'step' is of the wrong type"),
        (resealed({"rule": None}), "the field 'rule' is of the wrong type"),
        (resealed({"labels": {"a": 1}}), "labels holds something that is not text"),
        (resealed({"ts": "yesterday"}), "ts: 'yesterday' is not an RFC 3339 time"),
        (resealed({"ts": "2026-09-21T13:33:20.25"}), "has no UTC offset"),
        (resealed({}, drop="actor"), "these fields are missing: actor"),
        (resealed({"seq": 2}).replace(b'{"seq"', b'{ "seq"'), "its hash is not that of its bytes"),
        (resealed({}).replace(b"web-1", b"web-2"), "its hash is not that of its bytes"),
        (resealed({}) + b"\n", "its hash is not that of its bytes"),
        (b"", "its hash is not that of its bytes"),
        (b"x" * 65_536, "longer than the 65536 bytes"),
    ],
)
def test_what_is_no_record_is_named(line: bytes, problem: str) -> None:
    """Each way in which a line is no record has its own words, also when somebody computed a right hash."""
    with pytest.raises(JournalDamaged) as caught:
        parse(line)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            b'{"kind":"decision","seq":1,"ts":"2026-09-21T13:33:20Z","actor":"x","prev":"x"',
            "does not begin with its seq",
        ),
        (b"[1", "not JSON"),
        (b'[{"seq":1', "not JSON"),
        (b'{"seq":\xff', "not JSON"),
    ],
)
def test_well_hashed_rubbish_is_no_record(body: bytes, problem: str) -> None:
    """A right hash over something else than a record in our form does not make it one."""
    with pytest.raises(JournalDamaged, match=problem):
        parse(body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}')


def test_the_chain_is_followed() -> None:
    """A record after the wrong one, with a gap, or before its predecessor's time does not continue the log."""
    first = seal(FULL, Head(), NOW)
    second = seal(FULL, first.head, NOW)
    other = seal(Draft(kind=Kind.DECISION), Head(), NOW)
    earlier = seal(FULL, first.head._replace(ts=0.0), NOW - 1)
    for line, last, problem in [
        (second.line, None, "its seq is 2 where 1 is due"),
        (first.line, first, "its seq is 1 where 2 is due"),
        (second.line, other, "its prev is not the hash of the record before it"),
        (earlier.line, first, "its ts is before that of the record before it"),
    ]:
        with pytest.raises(JournalDamaged, match=problem):
            follow(line, last)
