"""YAML text to plain data that remembers where each node stood."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, StringMark
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from autoheal.errors import Fault

MAX_NODES = 250_000
"""Nodes of one file with every alias counted as often as it is used (a thousand rules have some 30,000)."""

MAX_DEPTH = 100
"""Levels of one file, aliases resolved (a rule needs ten)."""

BOM = "\ufeff"

_TAG = "tag:yaml.org,2002:"
_BREAK = re.compile(r"\r\n?|\n")
# Wherever it stands: the parser takes every line that begins so for one, and breaks on versions that it does not know.
_OTHER_VERSION = re.compile(r"(?:\A|[\r\n])\ufeff*(%YAML\b(?![ \t]+1\.2(?:\s|\Z)))")

Path = tuple[str | int, ...]


def line_column(text: str, index: int) -> str:
    """`LINE:COLUMN` of the character at `index` (from 0) of `text`; both count from 1, a byte order mark does not."""
    breaks = [found.end() for found in _BREAK.finditer(text) if found.end() <= index]
    start = breaks[-1] if breaks else 0
    return f"{len(breaks) + 1}:{len(text[start:index].replace(BOM, '')) + 1}"


class Document:
    """The data of one file, the line and column of every node in it, and what is wrong with it as YAML.

    `whole` is false when there is no data that further checks could make sense of: bad syntax, self-reference, too
    many nodes. Duplicate keys, keys that are not text, unknown tags and odd numbers are `faults` too, and passed over.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.faults: list[Fault] = []
        self.whole = True
        self._places: dict[Path, tuple[int, int]] = {}
        self._keys: dict[Path, tuple[int, int]] = {}
        self._count = 0
        self._endless = False
        self.data: Any = None
        self._read(text)

    def found(self, path: Sequence[str | int]) -> Path:
        """`path` without the parts that the text does not have: a shorthand is checked in its long form."""
        found: Path = ()
        for part in path:
            if (*found, part) in self._places:
                found = (*found, part)
        return found

    def where(self, path: Sequence[str | int], *, key: bool = False) -> str:
        """`FILE:LINE:COLUMN` of the node `found` at `path`, or of its key in the mapping that holds it."""
        found = self.found(path)
        line, column = self._keys.get(found, self._places[found]) if key else self._places[found]
        return f"{self.name}:{line}:{column}"

    def _read(self, text: str) -> None:
        if (other := _OTHER_VERSION.search(text)) is not None:
            self._broken(line_column(text, other.start(1)), "this says another version than 1.2: rules are YAML 1.2")
            return
        yaml = YAML(typ="safe", pure=True)
        yaml.max_depth = MAX_DEPTH
        yaml.composer.warn_double_anchors = False
        try:
            root = yaml.compose(text)
        except ReaderError as error:
            what = f"not YAML: U+{error.character:04X} is not allowed: write an escape in double quotes"
            self._broken(line_column(text, error.position), what)
        except MaxDepthExceededError as error:
            self._broken(_at(error.problem_mark), f"nested deeper than {MAX_DEPTH} levels")
        except MarkedYAMLError as error:
            what = f"not YAML: {' '.join(filter(None, (error.context, error.problem)))}"
            self._broken(_at(error.problem_mark or error.context_mark), what)
        else:
            if root is None:
                self._broken("1:1", "the file is empty: it needs `version: 1` and `rules`")
            else:
                self._places[()] = _place(root)
                self.data = self._value(root, (), ())

    def _fault(self, node: Node, what: str, *, whole: bool = True) -> None:
        line, column = _place(node)
        self.faults.append(Fault(f"{self.name}:{line}:{column}", what))
        self.whole = self.whole and whole

    def _broken(self, at: str, what: str) -> None:
        self.faults.append(Fault(f"{self.name}:{at}", what))
        self.whole = False

    def _value(self, node: Node, path: Path, above: tuple[int, ...]) -> Any:
        self._count += 1
        if id(node) in above:
            self._fault(node, "an alias stands inside the very node that it names", whole=False)
            return None
        if self._count > MAX_NODES or len(above) == MAX_DEPTH:
            if not self._endless:
                limit = f"{MAX_NODES} nodes" if self._count > MAX_NODES else f"{MAX_DEPTH} levels"
                self._fault(node, f"more than {limit} once aliases are resolved", whole=False)
            self._endless = True
            return None
        # With an alias this is where the anchor stands: the text that is wrong, not where it is used.
        self._places[path] = _place(node)
        above = (*above, id(node))
        if isinstance(node, MappingNode):
            self._expect(node, "map")
            return self._mapping(node, path, above)
        if isinstance(node, SequenceNode):
            self._expect(node, "seq")
            return [self._value(child, (*path, index), above) for index, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _expect(self, node: Node, kind: str) -> None:
        if node.tag != f"{_TAG}{kind}":
            self._fault(node, f"the tag {_shown(node)} means nothing here: leave it out")

    def _mapping(self, node: MappingNode, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, child in node.value:
            if not isinstance(key, ScalarNode) or key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                self._fault(key, "a key must be text: quote it")
            elif (name := self._text(key)) in data:
                line, column = self._keys[(*path, name)]
                self._fault(key, f"duplicate key {name!r}: it stands at {line}:{column} already")
            else:
                self._keys[(*path, name)] = _place(key)
                data[name] = self._value(child, (*path, name), above)
        return data

    def _text(self, node: ScalarNode) -> str:
        """The node's text; JSON writes a character beyond the BMP as two escapes, which YAML reads as two halves."""
        try:
            text: str = node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._fault(node, "half of a character: a lone surrogate is no text")
            return ""
        return text

    def _scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        kind = str(node.tag).removeprefix(_TAG)
        if kind in ("str", "timestamp", "merge", "value"):
            return self._text(node)
        try:
            return _READ[kind](text)
        except KeyError:
            self._fault(node, f"the tag {_shown(node)} means nothing here: leave it out")
        except ValueError:
            what = "a number that can be used" if kind in ("int", "float") else f"what the tag {_shown(node)} says"
            self._fault(node, f"{text[:40]} is not {what}: quote it if it is text")
        return text


def _int(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 10 if digits.lstrip("+-").isdigit() else 0)


def _float(text: str) -> float:
    value = float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _bool(text: str) -> bool:
    return bool(("false", "true").index(text.lower()))


def _null(text: str) -> None:
    if text.lower() not in ("", "~", "null"):
        raise ValueError(text)


_READ: Mapping[str, Callable[[str], Any]] = {"int": _int, "float": _float, "bool": _bool, "null": _null}


def _shown(node: Node) -> str:
    return str(node.tag).replace(_TAG, "!!")[:40]


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _at(mark: StringMark) -> str:
    return f"{mark.line + 1}:{mark.column + 1}"
