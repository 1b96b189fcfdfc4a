from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoheal.rules.match import Matcher, Op, Regex, all_match, parse_matchers
from tests.support.components import require

OPS: tuple[Op, ...] = ("=", "!=", "=~", "!~")
REGEXES = st.sampled_from(["", ".*", ".+", "a|b", "a.*", "(a|b)c?", "[a-z]+", r"\d+", "a{1,3}", "(?i)A", "^a$", "|a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('alertname="X"', [("alertname", "=", "X")]),
        (
            '{alertname="X", service=~"api|web"}',
            [("alertname", "=", "X"), ("service", "=~", "api|web")],
        ),
        ("a=b,c!=d,", [("a", "=", "b"), ("c", "!=", "d")]),
        ("  a  !~  b  ", [("a", "!~", "b")]),
        ('"utf8 näme"="ü\\u00fc"', [("utf8 näme", "=", "üü")]),
        ('"a\\"b\\\\"="\\n\\t\\x41\\101\\U0001F600"', [('a"b\\', "=", "\n\tAA😀")]),
        ('a="\\xc3\\xa9"', [("a", "=", "é")]),
        ('a=""', [("a", "=", "")]),
        ("a.b=c.d", [("a.b", "=", "c.d")]),
        ("foo:bar=~a.*|[b-c]+", [("foo:bar", "=~", "a.*|[b-c]+")]),
        ('a=",{}=!~"', [("a", "=", ",{}=!~")]),
    ],
)
def test_matchers_are_read_as_alertmanager_reads_them(text: str, expected: list[tuple[str, Op, str]]) -> None:
    """Bare and quoted words, four operators, optional braces, a comma at the end, Go's escapes."""
    assert parse_matchers(text) == tuple(Matcher(*parts) for parts in expected)


def test_a_quoted_regex_may_hold_backslashes_that_go_does_not_know() -> None:
    r"""`"\d"` is no Go string; Alertmanager falls back to its classic parser, which keeps the backslash."""
    assert parse_matchers(r'a=~"10\.\d+"')[0].value == r"10\.\d+"
    assert parse_matchers(r'a="\d\n\"\\"')[0].value == '\\d\n"\\'


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("{}", 1),
        ("a", 2),
        ("a=", 3),
        ("=b", 1),
        ("a=b c=d", 5),
        ("a=b,,c=d", 5),
        ("{a=b", 5),
        ("a=b}", 4),
        ("{a=b} x", 7),
        ("{{a=b}}", 2),
        ('a="b', 3),
        ('a="b\n"', 3),
        ("a='b'", 3),
        ("a=`b`", 3),
        ("a==b", 3),
        ('""="b"', 1),
        ('a=b, c=~"("', 9),
        ('a=~"(?=x)"', 4),
        ('a=~"x{2000}"', 4),
    ],
)
def test_an_error_names_the_column(text: str, column: int) -> None:
    """What cannot be read is told with the column where reading stopped."""
    with pytest.raises(ValueError, match=rf"^column {column}: "):
        parse_matchers(text)


@pytest.mark.parametrize(
    ("matcher", "labels", "holds"),
    [
        (Matcher("a", "=", "x"), {"a": "x"}, True),
        (Matcher("a", "=", "x"), {}, False),
        (Matcher("a", "=", ""), {}, True),
        (Matcher("a", "!=", "x"), {}, True),
        (Matcher("a", "!=", ""), {}, False),
        (Matcher("a", "=~", "x|y"), {"a": "xy"}, False),
        (Matcher("a", "=~", "x|y"), {"a": "y"}, True),
        (Matcher("a", "=~", "x"), {"a": "x\n"}, False),
        (Matcher("a", "=~", ".*"), {"a": "x\ny"}, False),
        (Matcher("a", "=~", ".*"), {}, True),
        (Matcher("a", "!~", ".+"), {}, True),
        (Matcher("a", "!~", "x.*"), {"a": "xyz"}, False),
        (Matcher("a", "=~", "."), {"a": "é"}, True),
        (Matcher("a", "=~", "."), {"a": "\ud800"}, True),
        (Matcher("a", "=", "\ud800"), {"a": "\ud800"}, True),
    ],
)
def test_a_matcher_holds_as_in_alertmanager(matcher: Matcher, labels: dict[str, str], *, holds: bool) -> None:
    """Regexes match whole values, a missing label is the empty string, and no value raises."""
    assert matcher.matches(labels) is holds


def test_a_regex_that_backtracking_engines_die_of_is_quick() -> None:
    """RE2 is linear: sixty thousand characters against nested repetition (CWE-1333)."""
    assert not Regex("(a+)+(a+)+").fullmatch("a" * 60_000 + "b")


@given(
    st.lists(
        st.builds(Matcher, st.text(min_size=1, max_size=8), st.sampled_from(OPS[:2]), st.text(max_size=8))
        | st.builds(Matcher, st.text(min_size=1, max_size=8), st.sampled_from(OPS[2:]), REGEXES),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_is_read_back(matchers: list[Matcher]) -> None:
    """`str` of any matchers, joined with commas and with braces or without, parses as the same matchers."""
    text = ", ".join(map(str, matchers))
    assert parse_matchers(text) == tuple(matchers)
    assert parse_matchers(f"{{{text}}}") == tuple(matchers)


@given(st.text(alphabet="ab ,{}=!~\"\\'`\n\tu0x1é", max_size=24) | st.text(max_size=24))
def test_any_text_is_matchers_or_a_value_error(text: str) -> None:
    """No text makes the parser raise anything else; what it accepts survives being written and read again."""
    try:
        matchers = parse_matchers(text)
    except ValueError as error:
        assert str(error).startswith("column ")  # noqa: PT017 any text may also be right
    else:
        assert parse_matchers(", ".join(map(str, matchers))) == matchers


NAMES = st.sampled_from(["a", "b", "alertname", "_x1"])
VALUES = st.sampled_from(["", "a", "b", "ab", "aac", "A", "7", "a b", 'q"q', "x\\y", "é", "a\nb", "{a,b}"])


@pytest.mark.component
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    lists=st.lists(
        st.lists(
            st.builds(Matcher, NAMES, st.sampled_from(OPS[:2]), VALUES)
            | st.builds(Matcher, NAMES, st.sampled_from(OPS[2:]), REGEXES),
            min_size=1,
            max_size=3,
        ),
        min_size=20,
        max_size=40,
    ),
    labels=st.dictionaries(NAMES, VALUES.filter(lambda value: value != "")),
)
def test_amtool_matches_what_we_match(tmp_path: Path, lists: list[list[Matcher]], labels: dict[str, str]) -> None:
    """Routes with the matchers as we write them go to the receivers that our matching says."""
    routes = [
        {"receiver": f"r{position}", "continue": True, "matchers": [str(matcher) for matcher in matchers]}
        for position, matchers in enumerate(lists)
    ]
    found = _route(
        tmp_path, routes, [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items()]
    )
    assert found.returncode == 0, found.stderr
    expected = [f"r{position}" for position, matchers in enumerate(lists) if all_match(matchers, labels)]
    assert found.stdout.strip().split(",") == (expected or ["none"])


@pytest.mark.component
@pytest.mark.parametrize(
    "text",
    [
        *(
            'a="b"',
            '{a="b"}',
            "a=b",
            "a = b",
            'a=~"x|y",b!~"z"',
            "a=b,",
            r'a=~"\d+"',
            r'a="\"\\\n"',
            "a=~[a-z]+",
            'a=""',
        ),
        *("a", "=b", "a=~(", 'a="b', 'a=~"x{2000}"', 'a=~"(?=x)"', "a b=c", '"'),
    ],
)
def test_amtool_accepts_what_we_accept(tmp_path: Path, text: str) -> None:
    """Amtool 0.25 and our parser agree, but for unbalanced braces, which only the classic syntax overlooks."""
    found = _route(tmp_path, [{"receiver": "r0", "matchers": [text]}], [])
    try:
        parse_matchers(text)
    except ValueError:
        assert found.returncode != 0
    else:
        assert found.returncode == 0, found.stderr


def _route(folder: Path, routes: list[dict[str, object]], labels: list[str]) -> subprocess.CompletedProcess[str]:
    receivers = [{"name": "none"}, *({"name": str(route["receiver"])} for route in routes)]
    config = folder / "alertmanager.yml"
    config.write_text(json.dumps({"route": {"receiver": "none", "routes": routes}, "receivers": receivers}))
    command = [require("amtool"), "config", "routes", "test", f"--config.file={config}", *labels]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
