"""What a template may do to a value. Nothing grows beyond 64 Ki characters, and nothing is guessed.

A hostile label is as long as an alert may be: `labels.x | replace("", labels.y)` would be gigabytes (CWE-400). And a
filter that answers something for junk, as Jinja's `int` answers 0, would make it mean what nobody has said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.filters import do_default

from autoheal.errors import RenderError

MAX_CHARACTERS = 64 * 1024
"""Of any text that a template makes on its way, and parts of any list."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def text_of(value: Any) -> str:
    """Text or a number as text. Raises RenderError for anything else, and for text that is too long."""
    if isinstance(value, Undefined) or not isinstance(value, str | int | float) or isinstance(value, bool):
        shown = str(value)  # raises what is undefined, by name
        raise RenderError(f"a value must be text or a number, not {shown[:60]}")
    text = str(value)
    _bound(len(text))
    return text


def joined(pieces: Iterable[str]) -> str:
    """All `pieces`, taken one by one, so that no more than the limit is ever there."""
    taken: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        _bound(size)
        taken.append(piece)
    return "".join(taken)


def concatenated(parts: Iterable[Any]) -> str:
    """The operator `~`."""
    return joined(map(text_of, parts))


def added(left: Any, right: Any) -> Any:
    """The operator `+`: of numbers, texts or lists."""
    if not isinstance(left, int | float):
        _bound(len(left) + len(right))
    return left + right


def _bound(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise RenderError(f"a value would be longer than {MAX_CHARACTERS} characters")


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old)
    _bound(len(text) + (found if count < 0 else min(found, count)) * (len(new) - len(old)))
    return text.replace(old, new, count)


def _join(parts: Any, separator: str = "") -> str:
    texts = [text_of(part) for part in parts]
    _bound(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _int(value: Any, default: Any = None) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = text_of(value)
    if _WHOLE.fullmatch(text):
        return int(text)
    if default is None:
        raise RenderError(f"{text[:60]!r} is not a whole number of at most 18 digits")
    return _int(default)


def _part(value: Any, index: int) -> Any:
    return value[index] if len(value) else StrictUndefined("there is no part of what is empty")


def _tojson(value: Any) -> str:
    # A list or a string, never something that Jinja made: a JSON text without its HTML escapes.
    text = json.dumps(value, ensure_ascii=False)
    _bound(len(text))
    return text


def _of_text(operation: Callable[..., Any]) -> Callable[..., Any]:
    """`operation`, a method of `str`, on text or a number, with a result that is not too long."""

    @wraps(operation)
    def bounded(value: Any, *arguments: Any, **named: Any) -> Any:
        result = operation(text_of(value), *arguments, **named)
        if not isinstance(result, bool):
            _bound(len(result))
        return result

    return bounded


FILTERS: Mapping[str, Callable[..., Any]] = {
    "default": do_default,
    "first": lambda value: _part(value, 0),
    "int": _int,
    "join": _join,
    "last": lambda value: _part(value, -1),
    "length": len,
    "lower": _of_text(str.lower),
    "replace": _of_text(_replace),
    "tojson": _tojson,
    "trim": _of_text(str.strip),
    "upper": _of_text(str.upper),
}
TESTS = ("defined", "undefined", "in", "eq", "equalto", "ne")
METHODS: Mapping[str, Callable[..., Any]] = {
    "endswith": _of_text(str.endswith),
    "lower": _of_text(str.lower),
    "removeprefix": _of_text(str.removeprefix),
    "removesuffix": _of_text(str.removesuffix),
    "replace": _of_text(_replace),
    "rsplit": _of_text(str.rsplit),
    "split": _of_text(str.split),
    "startswith": _of_text(str.startswith),
    "strip": _of_text(str.strip),
    "upper": _of_text(str.upper),
}
