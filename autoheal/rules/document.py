"""YAML text to plain data that remembers where each node stood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from autoheal.errors import Fault

MAX_NODES = 250_000
"""Nodes of one file with every alias counted as often as it is used (a thousand rules have some 30,000)."""

_TAG = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]


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
        self.data: Any = None
        try:
            self._read(text)
        except RecursionError:
            self._broken(name, "nested too deeply")

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
        yaml = YAML(typ="safe", pure=True)
        try:
            root = yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self.name}:{mark.line + 1}:{mark.column + 1}" if mark else self.name
            self._broken(where, f"not YAML: {' '.join(filter(None, (error.context, error.problem)))}")
            return
        except YAMLError as error:
            self._broken(self.name, f"not YAML: {str(error).splitlines()[0]}")
            return
        if root is None:
            self._broken(self.name, "the file is empty: it needs `version: 1` and `rules`")
            return
        self._places[()] = _place(root)
        self.data = self._value(root, (), ())

    def _fault(self, node: Node, what: str, *, whole: bool = True) -> None:
        line, column = _place(node)
        self.faults.append(Fault(f"{self.name}:{line}:{column}", what))
        self.whole = self.whole and whole

    def _broken(self, where: str, what: str) -> None:
        self.faults.append(Fault(where, what))
        self.whole = False

    def _value(self, node: Node, path: Path, above: tuple[int, ...]) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            if self._count == MAX_NODES + 1:
                self._fault(node, f"more than {MAX_NODES} nodes once aliases are resolved", whole=False)
            return None
        if id(node) in above:
            self._fault(node, "an alias stands inside the very node that it names", whole=False)
            return None
        # With an alias this is where the anchor stands: the text that is wrong, not where it is used.
        self._places[path] = _place(node)
        above = (*above, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, above)
        if isinstance(node, SequenceNode):
            return [self._value(child, (*path, index), above) for index, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

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
        match str(node.tag).removeprefix(_TAG):
            case "str" | "timestamp" | "merge":
                return self._text(node)
            case "null":
                return None
            case "bool":
                return text.lower() in ("true", "yes", "on")
            case "int" | "float" as kind:
                try:
                    return _number(text.replace("_", ""), kind)
                except ValueError:
                    self._fault(node, f"{text[:40]} is not a number that can be used: quote it if it is text")
            case tag:
                self._fault(node, f"unknown tag {tag}")
        return text


def _number(text: str, kind: str) -> float:
    if kind == "int":
        return int(text, 10 if text.lstrip("+-").isdigit() else 0)
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
