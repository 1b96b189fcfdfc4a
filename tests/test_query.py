"""The filter language: what is read, what it means, and that nothing else can happen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal import query
from autoheal.errors import QueryError
from autoheal.query import And, Field, Node, Not, Operator, Or, Query, Term, parse

RECORD: dict[str, Any] = {
    "seq": 42,
    "ts": "2026-11-21T05:18:39.152000Z",
    "kind": "action_fail",
    "alertname": "HighCPU",
    "fingerprint": "df55e08d194b261e",
    "rule": "restart-api",
    "step": 0,
    "actor": "system",
    "labels": {
        "alertname": "HighCPU",
        "сервис.имя": "значение",
        "port": "8080",
        "odd name": "x",
        "empty": "",
        "big": "18446744073709551615",
    },
    "annotations": {"summary": "a (very) odd AND long one"},
    "detail": {
        "exit_code": 1.0,
        "big": 9223372036854775807,
        "ok": False,
        "plan": {"argv": ["/bin/true"], "a.b": "deep"},
        "error": None,
        "output": 'says "no"',
    },
    "prev": "0" * 64,
    "hash": "a" * 64,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind=action_fail", True),
        ("kind=action", False),
        ("kind=ACTION_FAIL", False),
        ("kind!=action_ok", True),
        ("kind=action_ok OR alertname=HighCPU", True),
        ("kind=action_ok AND alertname=HighCPU", False),
        ("kind=action_ok or not (alertname=Other aNd step=0)", True),
        ("kind IN (action_ok, action_fail)", True),
        ("kind in(action_ok)", False),
        ("NOT kind IN (action_ok)", True),
        # numbers: a JSON number equals every way to write it; a label is text
        ("step=0", True),
        ("step=0.0", True),
        ('step="0"', True),
        ("step IN (7, 0e0)", True),
        ("detail.exit_code=1", True),
        ("labels.port=8080.0", False),
        ("labels.port=8080", True),
        ("seq>41 AND seq>=42 AND seq<43 AND seq<=42", True),
        ("seq>42 OR seq<42", False),
        ("seq>9", True),
        ("labels.port>999", True),
        ("labels.port<999", False),
        ("alertname>5", False),
        ("alertname<5", False),
        ("alertname>=HighCPU AND alertname<HighCPV", True),
        ("seq>abc OR seq<abc", False),
        ("detail.big=9223372036854775807 AND detail.big=9223372036854775807.00", True),
        ("detail.big=9223372036854775806 OR detail.big=9223372036854775808", False),
        ("detail.big>9223372036854775806 AND detail.big<9223372036854775808", True),
        ("labels.big>18446744073709551614 AND labels.big<18446744073709551616", True),
        # booleans read as their JSON
        ("detail.ok=false", True),
        ("detail.ok=0", False),
        ("detail.ok<1", False),
        # globs
        ("alertname~High*", True),
        ("alertname~*PU", True),
        ("alertname~H*g*U", True),
        ("alertname~*", True),
        ("alertname~High", False),
        ("alertname~high*", False),
        ("alertname~High?PU", False),
        ("alertname~HighCPU*HighCPU", False),
        ("labels.empty~*", True),
        ("seq~4*", True),
        ("detail.ok~f*", True),
        ("ts~2026-11-21T05*", True),
        ("alertname=High*", False),
        # time, in any form that RFC 3339 has
        ("ts=2026-11-21T05:18:39.152Z", True),
        ("ts=2026-11-21T07:18:39.152000+02:00", True),
        ("ts>=2026-11-21T05:18:39Z AND ts<2026-11-21T05:18:40Z", True),
        ("ts<2026-11-21T05:18:39+00:00", False),
        ("ts IN (2026-11-21T05:18:39.152Z)", True),
        # names
        ('labels."сервис.имя"=значение', True),
        ("labels.сервис.имя=значение", True),
        ('labels."odd name"=x', True),
        ('annotations.summary="a (very) odd AND long one"', True),
        ('detail.plan."a.b"=deep', True),
        ("detail.plan.a.b=deep", False),
        (r'detail.output="says \"no\""', True),
        (r'labels."\u0441\u0435\u0440\u0432\u0438\u0441.имя" EXISTS', True),
        # there or not
        ("rule EXISTS", True),
        ("run EXISTS", False),
        ("labels.nope exists", False),
        ("labels.empty EXISTS", True),
        ("detail.error EXISTS", False),
        ("detail.plan EXISTS", True),
        ("detail.plan.argv EXISTS", True),
        ("detail.exit_code.deeper EXISTS", False),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    """Each filter holds, or does not, for one known record."""
    assert parse(text).matches(RECORD) is expected


@pytest.mark.parametrize(
    "field", ["run", "labels.nope", "detail.error", "detail.plan", "detail.plan.argv", "detail.a.b"]
)
def test_missing_field(field: str) -> None:
    """What is missing, null, a list or an object differs from everything and compares with nothing."""
    assert parse(f"{field}!=x").matches(RECORD)
    for term in ("=x", "~*", ">0", ">=0", "<9", "<=9", "<z", " IN (x, y)"):
        assert not parse(field + term).matches(RECORD), term


def test_records_of_other_shapes_match_nothing() -> None:
    """A filter is total: a field that should be an object and is not counts as missing."""
    record = {"labels": "x", "detail": [1], "kind": {"a": 1}}
    assert not parse("labels.a=x OR detail.a=1 OR kind=a OR annotations.b EXISTS").matches(record)


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", 1, "empty"),
        ("  ", 3, "empty"),
        ("kind=a kind=b", 8, 'AND or OR is missing before "kind"'),
        ("kind=a NOT kind=b", 8, "AND or OR is missing"),
        ("(kind=a kind=b)", 9, "AND, OR or )"),
        ("target=http://x?a=b", 18, "needs quotes"),
        ("kind", 5, "is expected"),
        ("kind=", 6, "a value is missing"),
        ("kind= AND rule=x", 7, "a value is missing"),
        ("kind=a AND", 11, "a field is expected"),
        ("kind=a OR OR rule=b", 11, "a field is expected"),
        ("=a", 1, "a field is expected"),
        ("NOT", 4, "a field is expected"),
        ("kind==a", 6, "a value is missing"),
        ("kind ! = a", 6, "is expected"),
        ("Kind=a", 1, "did you mean kind?"),
        ("kind=a AND alertnam=x", 12, "did you mean alertname?"),
        ("zzzzzz=1", 1, "known: seq ts"),
        ("kind.x=a", 1, "kind has no fields"),
        ("labels=a", 1, "wants one name"),
        ("labels.=a", 8, "a name is expected"),
        ('labels."a"."b"=c', 1, "wants one name"),
        ("detail EXISTS", 1, "wants a name"),
        ("detail..a=1", 8, "a name is expected"),
        ("(kind=a", 1, "never closed"),
        ("kind=a OR (rule=b AND (step=1)", 11, "never closed"),
        ("kind=a)", 7, "closes nothing"),
        ("()", 2, "a field is expected"),
        ("kind IN a", 9, "IN wants a list"),
        ("kind IN ()", 10, "a value is missing"),
        ("kind IN (a,)", 12, "a value is missing"),
        ("kind IN (a b)", 12, ", or ) expected"),
        ("kind IN (a", 9, "never closed"),
        ('kind="a', 6, "never closed"),
        ('kind="\\x"', 6, "not a JSON string"),
        ('kind="a\nb"', 6, "not a JSON string"),
        ('kind="\\ud800"', 6, "not a JSON string"),
        ("ts>yesterday", 4, "RFC 3339"),
        ("ts=2026-11-21T05:18:39", 4, "RFC 3339"),
        ("ts<0001-01-01T00:00:00+23:00", 4, "RFC 3339"),
        ("ts IN (2026-11-21T05:18:39Z, x)", 30, "RFC 3339"),
        ("kind=\ud800", 6, "surrogate"),
        ("kind \u0131n (a)", 6, "is expected"),
        ("kind exi\u017fts", 6, "is expected"),
        ("kind=\x00", 6, "a value is missing"),
    ],
)
def test_faults_point_at_their_column(text: str, column: int, says: str) -> None:
    """What is wrong is said, with the column where it is."""
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert caught.value.column == column


def test_faults_do_not_repeat_a_long_input() -> None:
    """A hostile filter is not sent back whole."""
    with pytest.raises(QueryError) as caught:
        parse("z" * 4000 + "=1")
    assert len(str(caught.value)) < 250


def test_limits_are_exact() -> None:
    """4 KiB (in bytes), 64 terms and 32 levels are read; one more is not."""
    parse("kind=" + "я" * 2045 + "a")
    assert len(("kind=" + "я" * 2045 + "a").encode()) == query.MAX_BYTES
    with pytest.raises(QueryError, match="at most 4,096"):
        parse("kind=" + "я" * 2046)
    parse(" OR ".join(["step=1"] * 64))
    with pytest.raises(QueryError, match="more than 64 terms"):
        parse(" OR ".join(["step=1"] * 65))
    parse("(" * 32 + "step=1" + ")" * 32)
    with pytest.raises(QueryError, match="deeper than 32"):
        parse("(" * 33 + "step=1" + ")" * 33)
    parse("NOT " * 32 + "step=1")
    with pytest.raises(QueryError, match="deeper than 32"):
        parse("(" * 16 + "NOT " * 17 + "step=1" + ")" * 16)
    # Depth is about nesting, not about length.
    parse(" AND ".join(["NOT (step=1)"] * 64))


def test_globs_take_linear_time() -> None:
    """A thousand stars over a text that almost matches end at once; a backtracking matcher would never."""
    glob = parse("detail.output~" + "a*" * 1000 + "b")
    assert not glob.matches({"detail": {"output": "a" * 60_000}})
    assert glob.matches({"detail": {"output": "a" * 60_000 + "b"}})


@given(st.lists(st.text("ab", max_size=2), min_size=1, max_size=5), st.text("ab", max_size=8))
def test_globs_mean_what_the_textbook_says(pieces: list[str], text: str) -> None:
    """A glob holds exactly when the regular expression with `.*` for each star matches the whole."""
    pattern = "*".join(pieces)
    expected = re.fullmatch(".*".join(map(re.escape, pieces)), text, re.DOTALL) is not None
    assert Query(Term(Field(("kind",)), Operator.GLOB, (pattern,))).matches({"kind": text}) is expected


def test_fields_are_named_canonically() -> None:
    """`fields` names every field asked about, one spelling each."""
    asked = parse('kind=a OR NOT (labels."job"=x AND labels.job=y) AND detail.plan."a.b" EXISTS OR annotations."x y"=1')
    assert asked.fields == {"kind", "labels.job", 'detail.plan."a.b"', 'annotations."x y"'}


def test_canonical_text() -> None:
    """The canonical text has no needless parentheses or quotes, and upper-case keywords."""
    assert str(parse('((kind = "a")) or (not(rule~"b c" and ((step>1))) and (seq in(1,"IN")))')) == (
        'kind=a OR NOT (rule~"b c" AND step>1) AND seq IN (1, "IN")'
    )
    assert str(parse("(kind=a AND (rule=b AND step=1)) OR (kind=c OR kind=d)")) == (
        "kind=a AND rule=b AND step=1 OR kind=c OR kind=d"
    )
    assert str(parse("labels.x=\u0131n AND rule=nOt_")) == "labels.x=\u0131n AND rule=nOt_"
    assert str(parse("ts>2026-11-21T07:00:00+02:00")) == "ts>2026-11-21T05:00:00.000000Z"


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PLACES = st.one_of(
    st.sampled_from([name for name in query.ENVELOPE if name != "ts"]).map(lambda name: Field((name,))),
    st.builds(lambda root, name: Field((root, name)), st.sampled_from(["labels", "annotations"]), TEXT),
    st.builds(lambda names: Field(("detail", *names)), st.lists(TEXT, min_size=1, max_size=3)),
)
COMPARED = [operator for operator in Operator if operator not in (Operator.IN, Operator.EXISTS)]
TERMS: st.SearchStrategy[Node] = st.one_of(
    st.builds(lambda place, operator, value: Term(place, operator, (value,)), PLACES, st.sampled_from(COMPARED), TEXT),
    st.builds(
        lambda place, values: Term(place, Operator.IN, tuple(values)), PLACES, st.lists(TEXT, min_size=1, max_size=3)
    ),
    st.builds(lambda place: Term(place, Operator.EXISTS), PLACES),
)


def _inner(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def joined(kind: type[And | Or]) -> st.SearchStrategy[Node]:
        operands = st.lists(nodes.filter(lambda node: not isinstance(node, kind)), min_size=2, max_size=3)
        return operands.map(lambda nodes: kind(tuple(nodes)))

    return st.one_of(nodes.map(Not), joined(And), joined(Or))


@given(st.recursive(TERMS, _inner, max_leaves=8))
def test_every_tree_survives_its_text(root: Node) -> None:
    """`parse(str(query)) == query` for any tree, and the text is its own canonical form."""
    once = parse(str(Query(root)))
    assert once == Query(root)
    assert str(once) == str(Query(root))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    """Python's own boolean syntax over the names a, b and c."""
    kind = draw(st.sampled_from(["name", "name", "not", "and", "or", "group"])) if depth else "name"
    match kind:
        case "name":
            return draw(st.sampled_from("abc"))
        case "not":
            return "not " + draw(expressions(depth - 1))
        case "group":
            return f"( {draw(expressions(depth - 1))} )"
        case _:
            return f"{draw(expressions(depth - 1))} {kind} {draw(expressions(depth - 1))}"


@given(expressions(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_precedence_is_that_of_python(expression: str, facts: tuple[bool, bool, bool]) -> None:
    """NOT over AND over OR: Python's own evaluator of the same words agrees."""
    names = dict(zip("abc", facts, strict=True))
    text = " ".join(f"labels.{word}=1" if word in names else word for word in expression.split())
    record = {"labels": {name: "1" for name, held in names.items() if held}}
    expected = eval(expression, {"__builtins__": {}}, names)
    assert parse(text).matches(record) is expected


SNIPPETS = st.one_of(
    st.sampled_from(["kind", "labels.", 'labels."', "ts", "1", "2026-11-21T05:18:39Z", "*", "x", "9" * 400, "1e999"]),
    st.sampled_from(["=", "!=", "~", ">", " IN (", ",", ")", "(", " AND ", " OR ", "NOT ", " EXISTS", '"', "\\", "."]),
    st.sampled_from(["\ud800", "\x00", "\u2028"]),
)


@given(st.one_of(st.text(st.characters(), max_size=60), st.lists(SNIPPETS, max_size=25).map("".join)))
def test_garbage_is_a_query_error_and_nothing_else(text: str) -> None:
    """Whatever is sent either is a filter, which then answers, or is a QueryError with a column inside the text."""
    try:
        read = parse(text)
    except QueryError as error:
        assert 1 <= error.column <= len(text) + 1  # noqa: PT017 most inputs fail, some do not
    else:
        assert read.matches(RECORD) in (True, False)
        assert read.matches({}) in (True, False)


def test_the_documentation_names_every_field_and_operator() -> None:
    """docs/query.md and the language hold the same fields, and each of its indented examples is read."""
    text = (Path(__file__).parent.parent / "docs" / "query.md").read_text()
    assert f"`{' '.join(query.ENVELOPE)}`" in text
    for operator in Operator:
        assert str(operator) in text
    examples = re.findall(r"^    (.+)$", text, re.MULTILINE)
    assert len(examples) == 5
    for example in examples:
        parse(example)
