"""Hostile labels in PromQL: each stands in its string for itself, or the template is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autoheal.errors import RenderError
from autoheal.rules.environment import Names
from autoheal.rules.match import Regex
from autoheal.rules.promql import EDGE, filled
from autoheal.rules.template import OF_PROBE, Flavour, Template
from tests.support.monitoring import prometheus
from tests.support.ports import free_port

HOSTILE = ['"} or vector(1) #', "a\\", '\\"', "'", "`", "\n", "\\n", "x\ty", "ж", ".*", "a|b", "{{ x }}", "\u2028"]


def render(source: str, **labels: str) -> str:
    values = {"labels": Names("label", labels, frozenset()), "target": "t"}
    return Template(source, Flavour.PROMQL, OF_PROBE).render(values)


@pytest.mark.parametrize(
    ("source", "value", "text"),
    [
        ('up{job="{{ labels.x }}"}', "api", 'up{job="api"}'),
        ('up{job="{{ labels.x }}"}', '"} or vector(1) #', 'up{job="\\"} or vector(1) #"}'),
        ("up{job='{{ labels.x }}'}", "'\"\\", "up{job='\\'\"\\\\'}"),
        ("up{job=`{{ labels.x }}`}", "'\"\\", "up{job=`'\"\\`}"),
        ('up{job="{{ labels.x }}"}', "a\nb", 'up{job="a\\nb"}'),
        ('up{job="{{ labels.x }}"}', "a.*", 'up{job="a.*"}'),
        ('up{job=~"{{ labels.x }}|b.*"}', "a.*", 'up{job=~"a\\\\.\\\\*|b.*"}'),
        ('up{job !~ "{{ labels.x }}"}', "(", 'up{job !~ "\\\\("}'),
        ("up{job=~`{{ labels.x }}`}", "a+", "up{job=~`a\\+`}"),
        ('up{a=~"b", job="{{ labels.x }}"}', "a.*", 'up{a=~"b", job="a.*"}'),
        ('up{a="=~", job="{{ labels.x }}"}', ".", 'up{a="=~", job="."}'),
        ('up # it\'s "x\n{job="{{ labels.x }}{{ labels.x }}:80"}', '"', 'up # it\'s "x\n{job="\\"\\":80"}'),
        ('up{job="a\\"{{ labels.x }}"}', '"', 'up{job="a\\"\\""}'),
        ('up{job="a\\\\{{ labels.x }}"}', '"', 'up{job="a\\\\\\""}'),
        ('{% if labels.x == "a" %}up{% else %}up{job="{{ labels.x }}"}{% endif %}', '"', 'up{job="\\""}'),
        (
            'label_replace(up{j="{{ labels.x }}"}, "a", "$1", "b", "(.*)")',
            ".",
            'label_replace(up{j="."}, "a", "$1", "b", "(.*)")',
        ),
        (
            'label_replace(up, "a", "b", "c", "") + (up{j="{{ labels.x }}"})',
            ".",
            'label_replace(up, "a", "b", "c", "") + (up{j="."})',
        ),
        ("up == 1", "", "up == 1"),
    ],
)
def test_a_value_stands_for_itself(source: str, value: str, text: str) -> None:
    """Escaped as the quotes around it demand, and for RE2 where a regular expression is expected."""
    assert render(source, x=value) == text


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("up{job={{ labels.x }}}", "must stand in a quoted string"),
        ("{{ labels.x }}", "must stand in a quoted string"),
        ("rate(up[{{ labels.x }}])", "must stand in a quoted string"),
        ('up{job="a"}{{ labels.x }}', "must stand in a quoted string"),
        ("up # '{{ labels.x }}'", "must stand in a quoted string"),
        ("up{job={{ labels.x | tojson }}}", "must stand in a quoted string"),
        ('up{job="\\{{ labels.x }}"}', "a backslash must not stand before a placeholder"),
        ('label_replace(up, "a", "$1", "b", "{{ labels.x }}(.*)")', "a text of label_replace"),
        ('1 or label_replace (up{a="b"}, "a", "{{ labels.x }}", "b", "(.*)")', "a text of label_replace"),
        ('up{job="{{ labels.x }}', "a quoted string does not end"),
        ('up{job="a}', "a quoted string does not end"),
        ("", "cannot be empty"),
        (" {# nothing #} ", "cannot be empty"),
    ],
)
def test_a_place_in_which_no_value_could_stand_is_a_fault_of_the_file(source: str, what: str) -> None:
    """Told when it is loaded, not in the night."""
    with pytest.raises(ValueError, match=re.escape(what)):
        Template(source, Flavour.PROMQL, OF_PROBE)


@pytest.mark.parametrize(
    ("source", "value", "what"),
    [
        ("{% if labels.x %}up{job={{ labels.x }}}{% endif %}", "a", "must stand in a quoted string"),
        ("{% if not labels.x %}up{% endif %}", "a", "cannot be empty"),
        ("up{job=`{{ labels.x }}`}", "a`b", "between backticks cannot hold one"),
        ('up{job="{{ labels.x }}"}', "a\0b", "holds a NUL"),
    ],
)
def test_what_only_rendering_can_tell_is_refused_then(source: str, value: str, what: str) -> None:
    """The decision's reason is then `bad_target`."""
    with pytest.raises(RenderError, match=what):
        render(source, x=value)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus's API."""
    port = free_port()
    with prometheus(Path(tmp_path_factory.mktemp("prometheus")), port, free_port(), {}):
        yield f"http://127.0.0.1:{port}/api/v1/"


@pytest.fixture
def ask(real: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=real, trust_env=False, timeout=10) as client:
        yield client


@pytest.mark.component
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=6))
@example(HOSTILE)
def test_prometheus_reads_the_very_value(ask: httpx.Client, values: list[str]) -> None:
    """A string literal comes back as it was before it was escaped, in each kind of quotes."""
    for value in values:
        for quote in "\"'`" if "`" not in value else "\"'":
            query = filled(f"{quote}<{EDGE}{value}{EDGE}>{quote}")
            told = orjson.loads(ask.post("query", data={"query": query}).content)
            assert told["status"] == "success", (query, told)
            assert told["data"]["result"][1] == f"<{value}>"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0`")), st.text(st.characters(codec="utf-8")))
@example("a.*", "ab")
@example("a|b", "b")
@example("\\Q", "Q")
def test_a_regular_expression_matches_nothing_but_the_value(value: str, other: str) -> None:
    """`=~` with a label's value is `=`, by the very engine that Prometheus has."""
    regex = Regex(filled(f"x=~`{EDGE}{value}{EDGE}`").removeprefix("x=~")[1:-1])
    assert regex.fullmatch(value)
    assert bool(regex.fullmatch(other)) is (value == other)
