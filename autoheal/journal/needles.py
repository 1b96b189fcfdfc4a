"""What a filter lets skip: bytes that every matching line holds, and files that cannot hold a matching record.

Both only rule out. Whatever they leave is decided by the filter itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import orjson

from autoheal.query import And, Field, Node, Operator, Or, Query, Term

MAX_NEEDLES = 8
"""Beyond that, seeking each of them takes longer than parsing every line."""

_COMMON = frozenset(("kind", "mode", "reason", "actor", "ts"))
"""Fields with few values, or with values that stand close together: any other one says more."""
_NOT_ONLY_TEXT = re.compile(r"-?[0-9].*|true|false", re.DOTALL)


def needles(node: Node) -> tuple[bytes, ...]:
    r"""Byte strings of which every line that `node` matches holds at least one; () when that cannot be known.

    A line is written by orjson, without spaces, and a text is written in one way: `"rule":"a \"b\""`. The closing
    quote is not sought: bytes are compared from their end, and quotes are everywhere.
    """
    found = _needles(node)
    return found if len(found) <= MAX_NEEDLES else ()


def may_hold(query: Query, kinds: Collection[str], alertnames: Collection[str] | None) -> bool:
    """Whether a file can hold a match whose records are of these kinds and name these alerts (None: any)."""
    return _may_hold(query.root, kinds, alertnames)


def _needles(node: Node) -> tuple[bytes, ...]:
    match node:
        case Term(place, Operator.EQ | Operator.IN, values):
            return tuple(dict.fromkeys(_pair(place, value) for value in values)) if _is_text(place, values) else ()
        case Or(operands):
            branches = [_needles(operand) for operand in operands]
            return tuple(dict.fromkeys(needle for branch in branches for needle in branch)) if all(branches) else ()
        case And(operands):
            return min(filter(None, map(needles, operands)), key=_cost, default=())
        case _:
            return ()


def _is_text(place: Field, values: tuple[str, ...]) -> bool:
    """Whether a value that equals one of `values` is sure to stand in the line as a JSON string."""
    match place.path[0]:
        case "seq" | "step":
            return False
        case "detail":
            # 1 equals the number 1.0, and `true` the boolean.
            return not any(map(_NOT_ONLY_TEXT.fullmatch, values))
        case _:
            return True


def _pair(place: Field, value: str) -> bytes:
    return orjson.dumps(place.path[-1]) + b":" + orjson.dumps(value)[:-1]


def _cost(found: tuple[bytes, ...]) -> tuple[bool, int, int]:
    """The likeliest to be rare is least: a rare field, then few needles, then long ones."""
    common = any(needle[1:].startswith(tuple(b'%b"' % name.encode() for name in _COMMON)) for needle in found)
    return common, len(found), -min(map(len, found))


def _may_hold(node: Node, kinds: Collection[str], alertnames: Collection[str] | None) -> bool:
    match node:
        case And(operands):
            return all(_may_hold(operand, kinds, alertnames) for operand in operands)
        case Or(operands):
            return any(_may_hold(operand, kinds, alertnames) for operand in operands)
    # One comparison or its negation, of one field alone: asked of every value that the file has there.
    query = Query(node)
    records: list[Mapping[str, str]]
    if query.fields == {"kind"}:
        records = [{"kind": kind} for kind in kinds]
    elif query.fields == {"alertname"} and alertnames is not None:
        records = [{}, *({"alertname": name} for name in alertnames)]
    else:
        return True
    return any(map(query.matches, records))
