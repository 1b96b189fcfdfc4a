from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.rules.document import Document


def read(text: str) -> Document:
    return Document("f.yaml", text)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: off", {"a": "off"}),
        ("a: [yes, no, true, False, null, ~]", {"a": ["yes", "no", True, False, None, None]}),
        ("a: [1, -2, 010, 0o17, 0x1F, 1.5, 1e3]", {"a": [1, -2, 10, 15, 31, 1.5, 1000.0]}),
        ("a: 2001-01-01", {"a": "2001-01-01"}),
        ("a: !!str 5", {"a": "5"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ('{"a": 1,\n\t"b": ["\\u00e9", null, true]}', {"a": 1, "b": ["é", None, True]}),
        ("\ufeffa: 1", {"a": 1}),
        ("%YAML 1.2 # so\n---\na: off", {"a": "off"}),
        (
            "[!!int 0x1F, !!bool true, !!null '', !!float 1, !!map {b: !!seq [c]}, =]",
            [31, True, None, 1.0, {"b": ["c"]}, "="],
        ),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}),
        ("[" * 100 + "]" * 100, json.loads("[" * 100 + "]" * 100)),
        (r'{"a": "\ud83d\ude00"}', {"a": "😀"}),
    ],
)
def test_yaml_is_1_2_so_that_json_is_yaml_and_off_is_a_word(text: str, data: object) -> None:
    """The core schema of YAML 1.2: `off` and `yes` are text, `010` is ten."""
    document = read(text)
    assert document.faults == []
    assert document.data == data


def test_every_node_and_key_has_a_place() -> None:
    """Lines and columns count from 1; what the text does not have counts as what holds it."""
    document = read("a:\n  - b: [x,\n         y]\n")
    assert document.where(("a", 0, "b", 1)) == "f.yaml:3:10"
    assert document.where(("a", 0, "b"), key=True) == "f.yaml:2:5"
    assert document.where(("a", "long", 0, "b", "c")) == "f.yaml:2:8"
    assert document.where(()) == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [", "f.yaml:1:5: not YAML: while parsing a flow node"),
        ("a: b: c", "f.yaml:1:5: not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: not YAML: expected a single document"),
        ("a: *x", "f.yaml:1:4: not YAML: found undefined alias"),
        ("a: \x01", "f.yaml:1:4: not YAML: U+0001 is not allowed"),
        ("\ufeffa: é\r\nb: '\x00'", "f.yaml:2:5: not YAML: U+0000 is not allowed"),
        ("a: 1\rb: \ufffe", "f.yaml:2:4: not YAML: U+FFFE is not allowed"),
        ("", "f.yaml:1:1: the file is empty"),
        ("# nothing", "f.yaml:1:1: the file is empty"),
        ("a: &x [*x]", "f.yaml:1:4: an alias stands inside the very node that it names"),
        ("a:\n " + "[" * 100 + "]" * 100, "f.yaml:2:101: nested deeper than 100 levels"),
        ("[" * 100_000, "f.yaml:1:101: nested deeper than 100 levels"),
        ("? " * 5000, "f.yaml:1:201: nested deeper than 100 levels"),
        ("%YAML 1.1\n---\na: off", "f.yaml:1:1: this says another version than 1.2"),
        ("# so\n%YAML 1.3\n---\na: b", "f.yaml:2:1: this says another version than 1.2"),
        ("a: b\n...\n%YAML 2\n---\na: b", "f.yaml:3:1: this says another version than 1.2"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text: str, fault: str) -> None:
    """Syntax, empty files, self-reference and depth leave nothing to check further."""
    document = read(text)
    assert not document.whole
    assert str(document.faults[0]).startswith(fault)


def test_faults_that_leave_the_data_readable_are_told_together() -> None:
    """Duplicate keys, keys that are not text, unknown tags and odd numbers do not end the reading."""
    document = read(f'a: 1\na: 2\n? [x]\n: 1\n5: x\nb: !foo y\nc: .nan\nd: {"9" * 5000}\ne: fine\nf: "\\ud800"')
    assert [str(fault)[:32] for fault in document.faults] == [
        "f.yaml:2:1: duplicate key 'a': i",
        "f.yaml:3:3: a key must be text: ",
        "f.yaml:5:1: a key must be text: ",
        "f.yaml:6:4: the tag !foo means n",
        "f.yaml:7:4: .nan is not a number",
        "f.yaml:8:4: 99999999999999999999",
        "f.yaml:10:4: half of a character",
    ]
    assert document.whole
    assert document.data["e"] == "fine"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: !foo {b: 1}", "the tag !foo means nothing here"),
        ("a: !foo [b]", "the tag !foo means nothing here"),
        ("a: !foo b", "the tag !foo means nothing here"),
        ("a: !!set {b}", "the tag !!set means nothing here"),
        ("a: !!omap [b: 1]", "the tag !!omap means nothing here"),
        ("a: !!binary aGk=", "the tag !!binary means nothing here"),
        ("a: !!str [b]", "the tag !!str means nothing here"),
        ("a: !!seq {b: 1}", "the tag !!seq means nothing here"),
        ("a: !!bool maybe", "maybe is not what the tag !!bool says"),
        ("a: !!null nothing", "nothing is not what the tag !!null says"),
        ("a: !!int 1.5", "1.5 is not a number that can be used"),
    ],
)
def test_a_tag_that_would_change_nothing_is_a_fault(text: str, fault: str) -> None:
    """Whoever writes a tag means something by it: it must not pass silently as something else."""
    (found,) = read(text).faults
    assert str(found).startswith(f"f.yaml:1:4: {fault}")


def test_aliases_cannot_nest_deeper_than_text_may() -> None:
    """A hundred aliases, each inside the next, are told once, not as a RecursionError."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [[[*a{n - 1}]]]" for n in range(1, 400)]
    document = read("\n".join(lines))
    assert not document.whole
    (fault,) = document.faults
    assert fault.what == "more than 100 levels once aliases are resolved"


def test_aliases_cannot_grow_a_small_file_into_a_huge_one() -> None:
    """A billion laughs: ten aliases of ten aliases of … stop at the limit of nodes, with one fault (CWE-776)."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    document = read("\n".join(lines))
    assert not document.whole
    assert [fault.what for fault in document.faults] == ["more than 250000 nodes once aliases are resolved"]


@given(st.text(alphabet="ab:-[]{}&*!|>'\"# \n\t?,01~<%@", max_size=40) | st.text(max_size=40))
def test_any_text_is_data_or_faults(text: str) -> None:
    """No text makes the reader raise."""
    document = read(text)
    assert document.faults or document.whole
