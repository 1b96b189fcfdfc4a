from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.rules.units import Window, parse_duration, parse_percent, parse_window


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("0", 0.0),
        (0, 0.0),
        ("250ms", 0.25),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("1w2d", 777600.0),
        ("1y", 31536000.0),
        ("1m500ms", 60.5),
    ],
)
def test_a_duration_is_read_as_prometheus_reads_it(text: object, seconds: float) -> None:
    """Units add up to seconds; 0 alone needs none."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5", 5, 1.5, True, None, "30m1h", "1h1h", "1 h", "-5m", "1.5h", "2y", "9" * 400 + "s", "٣s", []]
)
def test_what_prometheus_would_not_read_is_no_duration(text: object) -> None:
    """Numbers without a unit, wrong order, signs, fractions and spans beyond a year are errors."""
    with pytest.raises(ValueError, match=r"no unit|not a duration|longer than"):
        parse_duration(text)


@given(st.text(max_size=20) | st.integers() | st.floats())
def test_any_text_is_a_duration_or_a_value_error(text: object) -> None:
    """No input makes the parser raise anything else, and what it returns is within bounds."""
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) <= 365 * 86400


def test_a_window_is_a_count_and_a_span() -> None:
    """`3/1h` is at most 3 in 3600 seconds."""
    assert parse_window("3/1h") == Window(3, 3600.0)
    assert parse_window(Window(3, 3600.0)) == Window(3, 3600.0)


@pytest.mark.parametrize("text", ["0/1h", "3/0s", "3/32d", "3", "3/", "/1h", "3/1x", "-1/1h", "1.5/1h", 3, None])
def test_a_window_that_never_or_always_allows_is_refused(text: object) -> None:
    """Zero runs, empty spans and spans beyond 31 days say something that a budget cannot."""
    with pytest.raises(ValueError, match=r"budget|span|not a duration"):
        parse_window(text)


@pytest.mark.parametrize(("text", "percent"), [("100%", 100.0), ("25%", 25.0), ("0.5%", 0.5), ("0.01%", 0.01)])
def test_a_share_is_a_percentage(text: str, percent: float) -> None:
    """With its sign, and at most two digits behind the point."""
    assert parse_percent(text) == percent


@pytest.mark.parametrize(
    "text", ["", "25", 25, 0.25, "25 %", "-5%", "0%", "0.00%", "100.01%", "1e1%", ".5%", "٣%", None]
)
def test_what_is_no_share_is_refused(text: object) -> None:
    """A number without its sign may be meant as a part of 1; none and more than all say something else."""
    with pytest.raises(ValueError, match=r"not a share|never acts|more than all"):
        parse_percent(text)
