"""Text with one reading only."""

from __future__ import annotations

import contextlib
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.oidc.encoding import decode_segment, parse_object, printable

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary())
def test_segments_come_back(raw: bytes) -> None:
    """What was encoded decodes to itself."""
    assert decode_segment(urlsafe_b64encode(raw).rstrip(b"=").decode()) == raw


@given(st.text("AZaz09-_+/=\n \u0410", max_size=12))
def test_a_segment_that_decodes_has_no_other_spelling(text: str) -> None:
    """So a token has one, and what is remembered or forbidden by its text is that token."""
    try:
        raw = decode_segment(text)
    except ValueError:
        return
    assert urlsafe_b64encode(raw).rstrip(b"=").decode() == text


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.sampled_from((None, 1)), st.booleans())
def test_objects_are_read_however_they_are_written(value: dict[str, Any], indent: int | None, escaped: bool) -> None:
    """Compact or not, with escapes or without."""
    try:
        raw = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return
    assert parse_object(raw) == value


@given(st.lists(st.tuples(st.sampled_from("abc"), VALUES), max_size=4), st.booleans(), st.booleans())
def test_names_that_stand_twice_are_refused(pairs: list[tuple[str, Any]], inside: bool, spaced: bool) -> None:
    """At any depth, and whatever the white space; all others are read."""
    separators = (", ", ": ") if spaced else (",", ":")
    text = separators[0].join(
        f'"{name}"{separators[1]}{json.dumps(value, ensure_ascii=False, separators=separators)}'
        for name, value in pairs
    )
    try:
        raw = (f'{{"x":[{{{text}}}]}}' if inside else f"{{{text}}}").encode()
    except UnicodeEncodeError:
        return
    if len(dict(pairs)) < len(pairs):
        with pytest.raises(ValueError, match="twice"):
            parse_object(raw)
    else:
        assert parse_object(raw) == ({"x": [dict(pairs)]} if inside else dict(pairs))


def test_a_name_twice_in_two_spellings() -> None:
    """An escape is no other name."""
    with pytest.raises(ValueError, match="twice"):
        parse_object(b'{"alg":"none","\\u0061lg":"RS256"}')


@given(st.binary())
def test_any_bytes_are_an_object_or_a_value_error(raw: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse_object(raw), dict)


def test_printable() -> None:
    """ASCII on one line, and not endless."""
    assert printable("kid-1 ") == "kid-1 "
    assert printable("a\tb\u20ac\x7f") == "a?b??"
    assert printable("x" * 65) == "x" * 61 + "..."
    assert printable(7) is None
