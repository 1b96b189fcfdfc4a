"""The filter language's text, read."""

from __future__ import annotations

import difflib
import re
from typing import NoReturn

import orjson

from autoheal.errors import QueryError
from autoheal.model import parse_rfc3339, rfc3339
from autoheal.query.nodes import (
    ENVELOPE,
    FLAT,
    NAME,
    NESTED,
    WORD,
    And,
    Field,
    Node,
    Not,
    Operator,
    Or,
    Term,
    keyword,
    quoted,
)

MAX_TERMS = 64
MAX_DEPTH = 32

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_COMPARE = re.compile(r"!=|>=|<=|[=~><]")


class Parser:
    """Recursive descent over the text itself; `MAX_DEPTH` bounds the recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._terms = 0

    def whole(self) -> Node:
        """The filter that the whole text is; QueryError if it is none."""
        self._skip()
        if self._at == len(self._text):
            self._fail("the filter is empty")
        root = self._or()
        if self._at < len(self._text):
            if self._text[self._at] == ")":
                self._fail("this ) closes nothing")
            self._fail(f"AND or OR is missing before {self._here()}; a value with such characters needs quotes")
        return root

    def _or(self) -> Node:
        operands = [self._and()]
        while self._keyword("OR"):
            operands.append(self._and())
        flat = [inner for node in operands for inner in (node.operands if isinstance(node, Or) else (node,))]
        return flat[0] if len(flat) == 1 else Or(tuple(flat))

    def _and(self) -> Node:
        operands = [self._not()]
        while self._keyword("AND"):
            operands.append(self._not())
        flat = [inner for node in operands for inner in (node.operands if isinstance(node, And) else (node,))]
        return flat[0] if len(flat) == 1 else And(tuple(flat))

    def _not(self) -> Node:
        opened = self._at
        if self._keyword("NOT"):
            self._deeper(opened)
            inner: Node = Not(self._not())
        elif self._token("("):
            self._deeper(opened)
            inner = self._or()
            if not self._token(")"):
                if self._at < len(self._text):
                    self._fail(f"AND, OR or ) expected before {self._here()}")
                self._fail("this ( is never closed", opened)
        else:
            return self._term()
        self._depth -= 1
        return inner

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH}", at)

    def _term(self) -> Term:
        start = self._at
        self._terms += 1
        if self._terms > MAX_TERMS:
            self._fail(f"more than {MAX_TERMS} terms")
        place = self._field()
        if self._keyword("EXISTS"):
            return Term(place, Operator.EXISTS)
        if self._keyword("IN"):
            return Term(place, Operator.IN, self._list(place))
        sign = _COMPARE.match(self._text, self._at)
        if sign is None:
            name = self._text[start : self._at].strip()
            self._fail(f"after {_excerpt(name)} one of = != ~ > >= < <= IN EXISTS is expected")
        self._at = sign.end()
        self._skip()
        operator = Operator(sign[0])
        return Term(place, operator, (self._value(place, glob=operator is Operator.GLOB),))

    def _list(self, place: Field) -> tuple[str, ...]:
        opened = self._at
        if not self._token("("):
            self._fail("IN wants a list: IN (value, value)")
        values = [self._value(place)]
        while self._token(","):
            values.append(self._value(place))
        if not self._token(")"):
            if self._at < len(self._text):
                self._fail(f", or ) expected before {self._here()}")
            self._fail("this ( is never closed", opened)
        return tuple(values)

    def _field(self) -> Field:
        start = self._at
        match = NAME.match(self._text, start)
        if match is None or keyword(match[0]) is not None:
            self._fail(f"a field is expected{f', not {self._here()}' if start < len(self._text) else ''}")
        root = match[0]
        self._at = match.end()
        path = [root]
        while self._text.startswith(".", self._at):
            self._at += 1
            path.append(self._name(root))
        self._check(root, path, start)
        self._skip()
        return Field(tuple(path))

    def _name(self, root: str) -> str:
        if self._text.startswith('"', self._at):
            return self._string()
        match = (WORD if root in FLAT else NAME).match(self._text, self._at)
        if match is None:
            self._fail(f"a name is expected after {_excerpt(root)}.")
        self._at = match.end()
        return match[0]

    def _check(self, root: str, path: list[str], start: int) -> None:
        if root in FLAT and len(path) != 2:
            self._fail(f'{root} wants one name: {root}.job or {root}."any name"', start)
        if root == NESTED and len(path) < 2:
            self._fail(f"{root} wants a name: {root}.exit_code", start)
        if root in FLAT or root == NESTED:
            return
        if root not in ENVELOPE:
            close = difflib.get_close_matches(root.lower(), [*ENVELOPE, *FLAT, NESTED], n=1)
            hint = (
                f"did you mean {close[0]}?" if close else f"known: {' '.join(ENVELOPE)} labels.* annotations.* detail.*"
            )
            self._fail(f"unknown field {_excerpt(root)}; {hint}", start)
        if len(path) > 1:
            self._fail(f"{root} has no fields of its own", start)

    def _value(self, place: Field, *, glob: bool = False) -> str:
        start = self._at
        if self._text.startswith('"', start):
            value = self._string()
        else:
            match = WORD.match(self._text, start)
            if match is None or keyword(match[0]) is not None:
                before = f" before {self._here()}" if start < len(self._text) else ""
                self._fail(f"a value is missing{before}; one that is a keyword or has special characters needs quotes")
            value = match[0]
            self._at = match.end()
        if place.path == ("ts",) and not glob:
            value = self._time(value, start)
        self._skip()
        return value

    def _time(self, value: str, start: int) -> str:
        try:
            return rfc3339(parse_rfc3339(value))
        except (ValueError, OverflowError):
            self._fail(f"{_excerpt(value)} is not an RFC 3339 time such as 2026-11-21T05:18:39Z", start)

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            self._fail("this string is never closed")
        try:
            value = orjson.loads(match[0])
        except orjson.JSONDecodeError as error:
            self._fail(f"not a JSON string: {error.msg.partition(':')[0]}")
        self._at = match.end()
        return str(value)

    def _keyword(self, wanted: str) -> bool:
        match = WORD.match(self._text, self._at)
        if match is None or keyword(match[0]) != wanted:
            return False
        self._at = match.end()
        self._skip()
        return True

    def _token(self, token: str) -> bool:
        if not self._text.startswith(token, self._at):
            return False
        self._at += len(token)
        self._skip()
        return True

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1

    def _here(self) -> str:
        word = WORD.match(self._text, self._at)
        return _excerpt(word[0] if word else self._text[self._at])

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        raise QueryError(message, (self._at if at is None else at) + 1)


def _excerpt(text: str) -> str:
    return quoted(text if len(text) <= 40 else f"{text[:40]}…")
