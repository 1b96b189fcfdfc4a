"""The boolean filter language of /audit, /events and the command line.

    expr := or        or  := and (OR and)*       and := not (AND not)*
    not  := NOT not | '(' expr ')' | cmp
    cmp  := field ('='|'!='|'~'|'>'|'>='|'<'|'<=') value | field IN '(' value, … ')' | field EXISTS

NOT binds over AND over OR, keywords stand in any case, a value is a bareword or a JSON string. docs/query.md
explains it to people. There are no regular expressions: whoever may ask could otherwise stop the service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from autoheal.errors import QueryError
from autoheal.query.nodes import ENVELOPE, And, Field, Node, Not, Operator, Or, Record, Term, terms
from autoheal.query.parser import MAX_DEPTH, MAX_TERMS, Parser
from autoheal.query.predicate import predicate

__all__ = [
    "ENVELOPE",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_TERMS",
    "And",
    "Field",
    "Node",
    "Not",
    "Operator",
    "Or",
    "Query",
    "Term",
    "parse",
]

MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Query:
    """A filter that has been read. `parse(str(query)) == query`, where that text is within the limits."""

    root: Node
    _test: Callable[[Record], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_test", predicate(self.root))

    def __str__(self) -> str:
        return str(self.root)

    def matches(self, record: Record) -> bool:
        """Whether `record`, a line of the log decoded from JSON, is one of those asked for."""
        return self._test(record)

    @property
    def fields(self) -> frozenset[str]:
        """The canonical name of every field that the filter looks at."""
        return frozenset(str(term.field) for term in terms(self.root))


def parse(text: str) -> Query:
    """Read a filter. Raises QueryError, and nothing else, for whatever is not one."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise QueryError("half of a surrogate pair is no character", error.start + 1) from None
    if size > MAX_BYTES:
        raise QueryError(f"the filter has {size:,} bytes, at most {MAX_BYTES:,} are read", 1)
    return Query(Parser(text).whole())
