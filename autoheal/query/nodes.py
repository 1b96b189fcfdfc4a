"""A filter as a tree, and as its canonical text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

ENVELOPE = (
    "seq",
    "ts",
    "kind",
    "alertname",
    "fingerprint",
    "episode",
    "rule",
    "target",
    "run",
    "step",
    "mode",
    "reason",
    "actor",
    "correlation_id",
    "prev",
    "hash",
)
"""The fields of a record that hold one value each."""

FLAT = ("labels", "annotations")
"""Fields that hold names with one text each: all that follows the first dot is the name."""

NESTED = "detail"
"""The field that holds an object of any shape: a dot goes one level down."""

Record = Mapping[str, Any]

KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "EXISTS"})
WORD = re.compile(r"[^\s\x00-\x1f\x7f()=!~<>,\"]+")
"""What needs no quotes; also a name below one of `FLAT`."""
NAME = re.compile(r"[^\s\x00-\x1f\x7f()=!~<>,\".]+")
"""A name of a path that dots divide."""


def keyword(word: str) -> str | None:
    """The keyword that `word` is, in upper case; in ASCII alone, for the upper case of a Turkish dotless i is I too."""
    upper = word.upper()
    return upper if word.isascii() and upper in KEYWORDS else None


class Operator(StrEnum):
    """What a term may ask of its field."""

    EQ = "="
    NE = "!="
    GLOB = "~"
    GE = ">="
    GT = ">"
    LE = "<="
    LT = "<"
    IN = "IN"
    EXISTS = "EXISTS"


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a record: `Field(("labels", "job"))`. Its text is canonical: quoted only where it must be."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        root, *names = self.path
        bare = WORD if root in FLAT else NAME
        return ".".join([root, *(name if bare.fullmatch(name) else quoted(name) for name in names)])

    def value(self, record: Record) -> Any:
        """What `record` holds here; None when it is missing (a JSON null counts as missing)."""
        found: Any = record
        for name in self.path:
            if not isinstance(found, Mapping):
                return None
            found = found.get(name)
        return found


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. `values` is one value, for IN one or more, for EXISTS none; times are in the log's form."""

    field: Field
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return f"{self.field} EXISTS"
            case Operator.IN:
                return f"{self.field} IN ({', '.join(map(_value_text, self.values))})"
            case _:
                return f"{self.field}{self.operator}{_value_text(self.values[0])}"


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when `operand` does not."""

    operand: Node

    def __str__(self) -> str:
        return f"NOT {_enclosed(self.operand, And, Or)}"


@dataclass(frozen=True, slots=True)
class And:
    """Holds when all of two or more `operands` do; none of them is an And itself."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " AND ".join(_enclosed(operand, Or) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """Holds when any of two or more `operands` does; none of them is an Or itself."""

    operands: tuple[Node, ...]

    def __str__(self) -> str:
        return " OR ".join(str(operand) for operand in self.operands)


Node = Term | Not | And | Or


def terms(node: Node) -> Iterator[Term]:
    """Every comparison in `node`, from left to right."""
    match node:
        case Term():
            yield node
        case Not():
            yield from terms(node.operand)
        case And() | Or():
            for operand in node.operands:
                yield from terms(operand)


def _value_text(value: str) -> str:
    return value if WORD.fullmatch(value) and keyword(value) is None else quoted(value)


def quoted(text: str) -> str:
    """`text` as a JSON string."""
    return orjson.dumps(text).decode()


def _enclosed(node: Node, *kinds: type[Node]) -> str:
    return f"({node})" if isinstance(node, kinds) else str(node)
