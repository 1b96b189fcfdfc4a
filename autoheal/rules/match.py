"""Alertmanager's label matchers: `alertname="X", service=~"api|web"`.

The grammar is that of Alertmanager's UTF-8 parser (0.27 and later, package matcher/parse); a quoted string that
this parser refuses for its backslashes is read as the classic parser reads it, as Alertmanager's default mode does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import re2

Op = Literal["=", "!=", "=~", "!~"]

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # faults are reported by whoever asked, not on stderr

_CLASSIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<op>=~|!~|!=|=)|(?P<mark>[{},])"""
    r"""|(?P<quoted>"(?:[^"\\\n]|\\.)*")|(?P<bare>[^\s{}!=~,\\"'`]+)"""
)
_GO_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))"""
)
_CLASSIC_ESCAPE = re.compile(r"""\\([n"\\])""")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


class Regex:
    """An RE2 regular expression that must match a whole text, as everywhere in Alertmanager.

    RE2 takes time linear in the text, so neither a label nor a rule can make it hang (CWE-1333).
    Raises ValueError when `text` is not one.
    """

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._compiled = re2.compile(text, _OPTIONS)
        except (re2.error, UnicodeEncodeError) as error:
            raise ValueError(f"{text!r} is not an RE2 regular expression: {_reason(error)}") from None

    def fullmatch(self, text: str) -> bool:
        """Whether all of `text` matches."""
        # Bytes spare the wrapper its bookkeeping of offsets. A lone surrogate cannot be UTF-8: it counts as "?".
        return self._compiled.fullmatch(text.encode("utf-8", "replace")) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Regex({self.text!r})"


def _reason(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(error)


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that is missing counts as the empty string.

    Raises ValueError when `op` is `=~` or `!~` and `value` is no regular expression.
    """

    name: str
    op: Op
    value: str
    _regex: Regex | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_regex", Regex(self.value) if self.op in ("=~", "!~") else None)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether this condition holds for `labels`."""
        value = labels.get(self.name, "")
        if self._regex is None:
            return (value == self.value) is (self.op == "=")
        return self._regex.fullmatch(value) is (self.op == "=~")

    def __str__(self) -> str:
        """The matcher in the notation that `parse_matchers` reads back as the same matcher."""
        name = self.name if _CLASSIC_NAME.fullmatch(self.name) else _quote(self.name)
        return f"{name}{self.op}{_quote(self.value)}"


def all_match(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every one of `matchers` holds for `labels`."""
    return all(matcher.matches(labels) for matcher in matchers)


def matches_everything(matchers: Sequence[Matcher]) -> bool:
    """Whether each matcher holds for an alert without labels: Alertmanager refuses such a list for a silence."""
    return all_match(matchers, {})


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """The matchers of a comma-separated list; braces around it and a comma after the last are optional.

    Names and values are bare words or double-quoted with Go's escapes. Raises ValueError with the column (from 1)
    for anything else, an empty list and a bad regular expression included.
    """
    tokens = _tokens(text)
    end = _Token("end", "the end", len(text) + 1)
    tokens.append(end)
    at = 1 if tokens[0].text == "{" else 0
    closing = "}" if at else ""
    matchers: list[Matcher] = []
    while tokens[at].kind in ("bare", "quoted"):
        matchers.append(_matcher(*tokens[at : at + 3]))
        at += 3
        if tokens[at].text != ",":
            break
        at += 1
    if closing and tokens[at].text == closing:
        at += 1
    elif closing or tokens[at] is not end:
        wanted = "a label name" if not matchers or tokens[at - 1].text == "," else f"a comma or {closing or 'the end'}"
        raise _fault(tokens[at], f"expected {wanted}")
    if tokens[at] is not end:
        raise _fault(tokens[at], "expected the end")
    if not matchers:
        raise ValueError("column 1: no matcher: an empty list would match every alert")
    return tuple(matchers)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            what = "this quoted string has no end" if text[at] == '"' else f"unexpected {text[at]!r}: quote it"
            raise ValueError(f"column {at + 1}: {what}")
        if found.lastgroup != "space":
            tokens.append(_Token(str(found.lastgroup), found[0], at + 1))
        at = found.end()
    return tokens


def _matcher(name: _Token, op: _Token | None = None, value: _Token | None = None) -> Matcher:
    if op is None or op.kind != "op":
        raise _fault(op, f"expected =, !=, =~ or !~ after the label name {name.text}")
    if value is None or value.kind not in ("bare", "quoted"):
        raise _fault(value, f"expected a value after {name.text}{op.text}")
    label = _unquoted(name)
    if not label:
        raise _fault(name, "a label name cannot be empty")
    try:
        return Matcher(label, cast("Op", op.text), _unquoted(value))
    except ValueError as error:
        raise ValueError(f"column {value.column}: {error}") from None


def _fault(token: _Token | None, what: str) -> ValueError:
    if token is None or token.kind == "end":
        return ValueError(f"column {token.column if token else 1}: {what}, but the text ends")
    return ValueError(f"column {token.column}: {what}, not {token.text[:40]}")


def _unquoted(token: _Token) -> str:
    if token.kind == "bare":
        return token.text
    inner = token.text[1:-1]
    try:
        raw = _GO_ESCAPE.sub(_go_escape, inner).encode("utf-8", "surrogateescape")
        return raw.decode("utf-8")
    except ValueError:
        # No Go string, as in "\d+": Alertmanager then falls back to its classic parser, which knows three escapes.
        return _CLASSIC_ESCAPE.sub(lambda found: _LETTERS[found[1]], inner)


def _go_escape(found: re.Match[str]) -> str:
    letter, hexadecimal, octal, short, long, other = found.groups()
    if other is not None:
        raise ValueError(other)
    if letter is not None:
        return _LETTERS[letter]
    if hexadecimal or octal:
        # A byte, not a character: "\xc3\xa9" is é. Those that form no UTF-8 fail to decode.
        return bytes([int(hexadecimal, 16) if hexadecimal else int(octal, 8)]).decode("ascii", "surrogateescape")
    code = int(short or long, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(code)
    return chr(code)


def _quote(text: str) -> str:
    return '"' + re.sub(r'[\x00-\x1f\x7f"\\\s]', _escaped, text) + '"'


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char == " ":
        return char
    return {"\\": "\\\\", '"': '\\"', "\n": "\\n"}.get(char) or f"\\u{ord(char):04x}"
