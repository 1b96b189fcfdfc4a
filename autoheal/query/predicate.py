"""What a filter means: the tree as a test of one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from autoheal.query.nodes import And, Node, Not, Operator, Or, Record, Term


def predicate(node: Node) -> Callable[[Record], bool]:
    """The test that `node` stands for. It never raises, whatever JSON the record holds."""
    match node:
        case Term():
            return _term_predicate(node)
        case Not():
            negated = predicate(node.operand)
            return lambda record: not negated(record)
        case And():
            every = tuple(map(predicate, node.operands))
            return lambda record: all(test(record) for test in every)
        case Or():
            some = tuple(map(predicate, node.operands))
            return lambda record: any(test(record) for test in some)


def _term_predicate(term: Term) -> Callable[[Record], bool]:
    value = term.field.value
    match term.operator:
        case Operator.EXISTS:
            return lambda record: value(record) is not None
        case Operator.EQ | Operator.IN:
            wanted = _Equal(term.values)
            return lambda record: wanted.to(value(record))
        case Operator.NE:
            unwanted = _Equal(term.values)
            return lambda record: not unwanted.to(value(record))
        case Operator.GLOB:
            pieces = term.values[0].split("*")
            return lambda record: (text := _text(value(record))) is not None and _glob(pieces, text)
        case _:
            ordered = _ORDER[term.operator]
            bound = term.values[0]
            number = None if term.field.path == ("ts",) else _number(bound)
            return lambda record: _in_order(ordered, value(record), bound, number)


_ORDER: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.GE: ge,
    Operator.GT: gt,
    Operator.LE: le,
    Operator.LT: lt,
}


class _Equal:
    """Equality with any of some values: a JSON number equals every way to write it, a text only itself."""

    def __init__(self, values: tuple[str, ...]) -> None:
        self._texts = frozenset(values)
        self._numbers = frozenset(number for number in map(_number, values) if number is not None)

    def to(self, found: Any) -> bool:
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return found in self._numbers
        return _text(found) in self._texts


def _in_order(ordered: Callable[[Any, Any], bool], found: Any, bound: str, number: float | None) -> bool:
    if number is None:
        return isinstance(found, str) and ordered(found, bound)
    if isinstance(found, str):
        found = _number(found)
    return isinstance(found, (int, float)) and not isinstance(found, bool) and ordered(found, number)


def _text(found: Any) -> str | None:
    """A scalar as the filter sees it; None for what is missing and for lists and objects."""
    match found:
        case str():
            return found
        case bool():
            return "true" if found else "false"
        case int() | float():
            return repr(found)
        case _:
            return None


_EXACT_DIGITS = 40
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _number(text: str) -> float | None:
    """The number that `text` is by JSON's grammar (RFC 8259 section 6), if it is one."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    # Whole numbers stay exact, 64 bits and more. int() refuses thousands of digits, float() does not.
    whole = match[2] is None and not (match[1] or "").strip(".0") and len(text) <= _EXACT_DIGITS
    return int(text.partition(".")[0]) if whole else float(text)


def _glob(pieces: list[str], text: str) -> bool:
    """Whether `text` is the pieces in order with anything between. Each piece is sought once, from where the
    one before it ended: linear, however many stars an attacker writes.
    """
    if len(pieces) == 1:
        return text == pieces[0]
    first, *middle, last = pieces
    end = len(text) - len(last)
    if end < len(first) or not text.startswith(first) or not text.endswith(last):
        return False
    at = len(first)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
