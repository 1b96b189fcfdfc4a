"""Whatever bytes a rules file holds, each fault of them has a place, and the place is in the text."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from autoheal.errors import ConfigError
from autoheal.rules import load
from tests.support.loading import ACTIONS

VALID = """\
version: 1
defaults: {mode: live, cooldown: 1m, timeout: 5s}
budget: [5/1h]
protect: ['namespace="kube-system"']
secrets: {TOKEN: /run/secrets/token}
rules:
  - name: one
    match: ['a=~"b|c"', "\\u00e9=x"]
    for: 30s
    target: &t '{{ labels.instance.split(":")[0] | int + 1 }}'
    allow_target: '[a-z]+'
    budget: {target: [1/1h], rule: [3/1d]}
    steps: &s
      - command: {argv: [/x, '{{ target }}'], env: {A: "b"}}
        verify: {resolved_within: 1m, probe: {tcp: 'h:1', stable: 2s}}
      - http: {url: 'http://h/{{ target }}', json: {n: [1, null, 0x1F, 1.5]}}
  - {name: two, match: b=c, target: *t, steps: *s, mode: off, continue: true}
"""
PARTS = [
    *(
        "%YAML 1.2\n",
        "%YAML 1.1\n",
        "%YAML 1.9\n",
        "%TAG ! x:\n",
        "---\n",
        "...\n",
        "!!set ",
        "!!int ",
        "! ",
        "!a ",
        "&t ",
    ),
    *(
        "*t",
        "*s",
        "<<: ",
        "? ",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "|\n",
        ">-\n",
        '"',
        "'",
        "#",
        "\\",
        "\t",
        "\r",
        "\n",
    ),
    *("{{", "}}", "{% if", " | ", "1+" * 300, "(" * 300, "[" * 150, "- " * 150, "\x00", "\ufeff", "\x85", "\u2028"),
    *("\\ud800", "0x", "9" * 5000, "1e999", ".nan", "é", "\U0001f600", "\ufffe", "=", "~", "a=b", "secret.TOKEN"),
]


def faults_of(raw: bytes) -> list[str]:
    """What `load` finds wrong with the bytes, without the file's name; nothing else may be raised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.yaml"
        path.write_bytes(raw)
        try:
            load(path, actions=ACTIONS)
        except ConfigError as error:
            return [str(fault).removeprefix(f"{path}:") for fault in error.faults]
    return []


def check(raw: bytes) -> None:
    lines = re.split("\r\n|\r|\n", raw.decode("utf-8", "replace"))
    for fault in faults_of(raw):
        found = re.match(r"([0-9]+):([0-9]+): ", fault)
        assert found, fault
        line, column = int(found[1]), int(found[2])
        assert 1 <= line <= len(lines), fault
        assert 1 <= column <= len(lines[line - 1]) + 1, fault


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xef\xbb\xbf\xff")
@example(b"a: 1\r\nb: \xc3\xa9\xc3")
def test_any_bytes(raw: bytes) -> None:
    """Binary files too."""
    check(raw)


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=12).map("".join))
def test_any_parts_of_yaml(text: str) -> None:
    """Directives, tags, anchors, brackets without end, characters that YAML forbids."""
    check(text.encode("utf-8", "surrogatepass"))


@given(
    st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from(PARTS) | st.text(max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_a_valid_file_with_parts_cut_out_and_put_in(edits: list[tuple[int, int, str]]) -> None:
    """A slip of the hand anywhere in a file that was right."""
    text = VALID
    for at, cut, put in edits:
        text = text[:at] + put + text[at + cut :]
    check(text.encode("utf-8", "surrogatepass"))
