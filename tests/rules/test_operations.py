"""What a hostile label can make of filters and methods: an error at most."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.errors import RenderError
from autoheal.rules.environment import Names
from autoheal.rules.operations import FILTERS, MAX_CHARACTERS, METHODS, TESTS
from autoheal.rules.template import OF_TARGET, Flavour, Template

LONG = 48 * 1024  # what an alert may have all together


def render(source: str, **labels: str) -> str:
    template = Template(source, Flavour.TEXT, OF_TARGET)
    return template.render({"labels": Names("label", labels, frozenset()), "alertname": "Down"})


@pytest.mark.parametrize(
    "source",
    [
        "{{ labels.x | replace('', labels.x) }}",
        "{{ labels.x.replace('a', labels.x) }}",
        "{{ labels.x | replace('a', labels.x, 40000) }}",
        "{{ labels.x.split('a') | join(labels.x) }}",
        "{{ labels.x | join(labels.x) }}",
        "{{ labels.x ~ labels.x }}",
        "{{ labels.x + labels.x }}",
        "{{ [labels.x, labels.x] | join }}",
        "{{ [labels.x, labels.x] | tojson }}",
        "{{ (labels.x.split('a') + labels.x.split('a')) | length }}",
        "{{ labels.x }}{{ labels.x }}",
        "{{ labels.x }}" * 1000,
        "{% if labels.x ~ labels.x %}{% endif %}",
        "{{ labels.s | upper }}",
        "{{ labels.s.upper() }}",
        "{{ labels.c | tojson }}",
    ],
)
def test_nothing_grows_beyond_the_limit(source: str) -> None:
    """The error comes before the text is there: a few labels of 48 KiB cost no more than some copies of them."""
    labels = {"x": "a" * LONG, "s": "ΐ" * (LONG // 2), "c": "\x01" * LONG}
    template = Template(source, Flavour.TEXT, OF_TARGET)
    values = {"labels": Names("label", labels, frozenset())}
    tracemalloc.start()
    try:
        with pytest.raises(RenderError, match=f"longer than {MAX_CHARACTERS} characters"):
            template.render(values)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "source",
    [
        "{{ labels.x.replace('a', 'bb', 16384) }}",
        "{{ labels.x ~ labels.y }}",
        "{{ labels.x + labels.y }}",
        "{{ [labels.x, labels.y] | join }}",
        "{{ labels.x }}{{ labels.y }}",
    ],
)
def test_what_fits_is_made(source: str) -> None:
    """Up to 65,536 characters, not one less."""
    assert len(render(source, x="a" * LONG, y="b" * (MAX_CHARACTERS - LONG))) == MAX_CHARACTERS


@pytest.mark.parametrize("junk", ["", "x", "1.5", " 5", "5 ", "1_0", "0x1", "٣", "1e3", "--1", "9" * 19, "inf", "+"])
def test_int_guesses_nothing(junk: str) -> None:
    """Junk has no value: were it 0, a `0` that means "all" would be done to all."""
    with pytest.raises(RenderError, match="is not a whole number"):
        render("{{ labels.x | int }}", x=junk)
    assert render("{{ labels.x | int(7) }}", x=junk) == "7"
    with pytest.raises(RenderError, match="is not a whole number"):
        render("{{ 'x' | int(labels.x) }}", x=junk)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("-5", -5), ("+5", 5), ("9" * 18, 10**18 - 1)])
def test_int_reads_whole_numbers(text: str, number: int) -> None:
    """Decimal digits with a sign, up to 18; a number stays itself."""
    assert render("{{ labels.x | int }}", x=text) == str(number)
    assert render("{{ labels.x | int | int + 1 }}", x=text) == str(number + 1)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ labels.x | first }}{{ labels.x | last }}", "ac"),
        ("{{ labels.x.split('b') | first }}", "a"),
        ("{{ labels.empty | first | default('none') }}", "none"),
        ("{{ labels.x | join('-') }}", "a-b-c"),
        ("{{ ['a', 1] | join(', ') }}", "a, 1"),
        ("{{ labels.x | length }}", "3"),
        ("{{ labels.x | replace('b', 'B') | lower | upper | trim('A') }}", "BC"),
        ("{{ labels.x.replace('', '-') }}", "-a-b-c-"),
        ("{{ labels.x | replace('', '-', 2) }}", "-a-bc"),
        ("{{ 1 ~ 'a' ~ labels.x ~ (2 ~ 3) }}", "1aabc23"),
        ("{{ 1 + 2 }}{{ 'a' + 'b' }}{{ ([1] + [2]) | last }}", "3ab2"),
        ("{{ labels.x.removeprefix('a').removesuffix('c') }}", "b"),
        ("{{ labels.x.rsplit('b', 1)[1] if labels.x.startswith('a') and labels.x.endswith('c') }}", "c"),
        ("{{ labels.x.strip('a').upper().lower() }}", "bc"),
    ],
)
def test_each_operation_does_what_its_name_says(source: str, text: str) -> None:
    """As in Jinja and Python."""
    assert render(source, x="abc", empty="") == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ labels.empty | first }}",
        "{{ labels.empty | last }}",
        "{{ labels.empty.split('') }}",
        "{{ labels.nope | int(5) }}",
        "{{ labels.nope | upper }}",
        "{{ labels.nope | length }}",
        "{{ labels.nope | join }}",
        "{{ labels.nope ~ 'x' }}",
        "{{ labels.nope + 'x' }}",
        "{{ 'x' | replace('x', labels.nope) }}",
        "{{ labels.x.split('b') ~ 'x' }}",
        "{{ labels.x.split('b') | upper }}",
        "{{ [[labels.x]] | join }}",
        "{{ (labels.x == 'abc') ~ 'x' }}",
        "{{ (labels.x == 'abc') | int }}",
        "{{ labels.x + 1 }}",
        "{{ 1 + labels.x }}",
        "{{ labels.x | length | first }}",
        "{{ labels.x.split('b').upper() }}",
        "{{ labels.x['upper'] }}",
        "{{ labels.x.replace('a', 'b', labels.x) }}",
    ],
)
def test_what_makes_no_sense_has_no_value(source: str) -> None:
    """Empty, unknown, and of a kind that the operation is not for: never Python's own way to write it."""
    with pytest.raises(RenderError):
        render(source, x="abc", empty="")


OPERATIONS = [
    *(f"{{{{ labels.x | {name} }}}}" for name in FILTERS if name != "replace"),
    *(f"{{{{ labels.x.{name}(labels.y) }}}}" for name in METHODS if name not in ("replace", "lower", "upper")),
    *(
        f"{{% if labels.x is {test} labels.y %}}a{{% endif %}}"
        for test in TESTS
        if test not in ("defined", "undefined")
    ),
    *(
        "{{ labels.x | replace(labels.y, labels.x) }}",
        "{{ labels.x.split(labels.y)[1] }}",
        "{{ labels.x[labels.y|int] }}",
    ),
    *(
        "{{ labels.x.rsplit(labels.y) | last }}",
        "{{ labels[labels.x] }}",
        "{{ labels.x < labels.y }}",
        "{{ -labels.x }}",
    ),
    *(
        "{{ labels.x | join(labels.y) }}",
        "{{ labels.x ~ labels.y }}",
        "{{ labels.x + labels.y }}",
        "{{ labels.x[1:] }}",
    ),
]


@given(st.sampled_from(OPERATIONS), st.text() | st.sampled_from(["1", "-1"]), st.text(max_size=3))
def test_any_operation_on_any_labels_has_a_value_or_an_error(source: str, x: str, y: str) -> None:
    """Text within the limit or RenderError, and nothing else."""
    try:
        text = render(source, x=x, y=y)
    except RenderError as error:
        assert len(str(error)) < 500  # noqa: PT017 most have a value
    else:
        assert len(text) <= MAX_CHARACTERS


def test_the_documentation_names_every_operation() -> None:
    """docs/rules.md and the code hold the same filters, tests and methods."""
    text = (Path(__file__).parent.parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    for names in (FILTERS, TESTS, METHODS):
        *most, last = [f"`{name}`" for name in names]
        assert f"{', '.join(most)} and {last}" in " ".join(text.split())
