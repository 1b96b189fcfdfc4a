"""Jinja as templates see it: names, a few operations, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

from jinja2 import StrictUndefined, Undefined, nodes
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from autoheal.errors import RenderError
from autoheal.rules.operations import FILTERS, METHODS, TESTS, added, concatenated, joined

OPEN, CLOSE = "⟦", "⟧"
"""The brackets of a secret's place in a plan. No other text may hold them, so no label can forge one."""

_CONCATENATE = "~"


class Names:
    """What `labels` and `annotations` are inside a template: names to values and nothing else."""

    __slots__ = ("_redact", "_values", "_what")

    def __init__(self, what: str, values: Mapping[str, str], redact: Container[str]) -> None:
        self._what = what
        self._values = values
        self._redact = redact

    def look(self, name: object) -> str | Undefined:
        """The value of `name`; undefined when it is not set. Raises RenderError when it is redacted."""
        if name in self._redact:
            raise RenderError(f"{self._what} {_brief(name)} is redacted (AUTOHEAL_REDACT)")
        value = self._values.get(name) if isinstance(name, str) else None
        return StrictUndefined(f"{self._what} {_brief(name)} is not set") if value is None else value


class Marker(str):
    """A secret's place in a plan; only `Secrets` makes them."""

    __slots__ = ()


class Secrets(Names):
    """What `secret` is inside a template: markers that `autoheal.rules.render.reveal` replaces."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("secret", {}, frozenset())

    def look(self, name: object) -> str | Undefined:
        """The marker of `name`; which names exist was checked at load."""
        return Marker(f"{OPEN}secret:{name}{CLOSE}")


class Environment(SandboxedEnvironment):
    """Jinja reduced to names, string methods and a few filters, none of which depends on time or chance."""

    intercepted_binops = frozenset("+")
    concat = staticmethod(joined)  # of what a template yields piece by piece

    def __init__(self, finalize: Callable[[Any], str]) -> None:
        super().__init__(undefined=StrictUndefined, finalize=finalize, keep_trailing_newline=True, autoescape=False)
        self.globals.clear()
        self.filters = {**FILTERS, _CONCATENATE: concatenated}
        self.tests = {name: self.tests[name] for name in TESTS}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A name of `labels` or `annotations`, or a method of text; else undefined."""
        # Jinja would look for a Python attribute first: a label called `items` must be the label.
        if isinstance(obj, Names):
            return obj.look(attribute)
        if isinstance(obj, str) and attribute in METHODS:
            return partial(METHODS[attribute], obj)
        return StrictUndefined(f"there is no {attribute!r} here")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 Jinja's
        """The operator `+`, the only one that is intercepted."""
        return added(left, right)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A name of `labels` or `annotations`, or a part of a text or a list; else undefined."""
        if isinstance(obj, Names):
            return obj.look(argument)
        if isinstance(obj, str | list | tuple) and isinstance(argument, int):
            try:
                return obj[argument]
            except IndexError:
                return StrictUndefined(f"there is no part {argument}")
        return StrictUndefined(f"there is no {_brief(argument)} here")


class Concatenations(NodeTransformer):
    """Turns each `~`, for which Jinja has no hook, into a filter that no author can name."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802 Jinja's name
        """The filter in the place of a `~`."""
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, _CONCATENATE, [], [], None, None, lineno=node.lineno)


def _brief(name: object) -> str:
    return repr(name)[:80]
