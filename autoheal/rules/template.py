"""Templates that rules' authors write and hostile labels fill: `{{ labels.instance }}`.

A template is checked whole when it is loaded (syntax, names, filters, secrets, redacted labels) and compiled once.
Jinja's sandbox runs it; what is allowed here is far less than the sandbox would allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import TemplateSyntaxError, UndefinedError, nodes

from autoheal.errors import RenderError
from autoheal.rules.address import check_endpoint, check_url
from autoheal.rules.environment import CLOSE, OPEN, Concatenations, Environment, Marker
from autoheal.rules.operations import FILTERS, METHODS, TESTS, text_of
from autoheal.rules.promql import EDGE, filled

OF_TARGET = frozenset({"labels", "annotations", "alertname", "fingerprint"})
OF_PROBE = OF_TARGET | {"target"}
OF_PARAMS = OF_PROBE | {"secret"}

MAX_NESTING = 40
"""Levels of one expression, conditions around it included; Python itself refuses some 70."""

_TOO_DEEP = "the template is nested too deeply"
_MAPPINGS = frozenset({"labels", "annotations", "secret"})
_NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Name, nodes.Const, nodes.Getattr),
    *(nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or),
    *(nodes.Not, nodes.Neg, nodes.CondExpr, nodes.Concat, nodes.Add, nodes.Sub, nodes.Call, nodes.List),
    *(nodes.Tuple, nodes.Keyword),
)


class Flavour(StrEnum):
    """Where a template's result goes, hence what its placeholders may hold."""

    TEXT = "text"
    ARGUMENT = "argument"
    URL = "url"
    ENDPOINT = "endpoint"
    PROMQL = "promql"


class References(NamedTuple):
    """What a template statically asks for."""

    labels: frozenset[str]
    """Names of labels and annotations."""
    secrets: frozenset[str]


class Template:
    """A compiled template. `source` is what its author wrote; `literal` tells that it has no placeholder."""

    __slots__ = ("_check", "_flavour", "_leads", "_render", "literal", "references", "source")

    def __init__(
        self, source: str, flavour: Flavour, names: frozenset[str], check: Callable[[str], None] | None = None
    ) -> None:
        """Raises ValueError, saying what is wrong with `source`, when it may ask for `names` alone.

        `check` is asked about each text that comes of it, and raises RenderError to refuse one.
        """
        self.source = source
        self._flavour = flavour
        self._check = check
        self._render, self.references, self._leads = _compile(source, flavour, names)
        self.literal = self._render is None
        if self.literal:
            try:
                self._judge(source, leads=False)
            except RenderError as error:
                raise ValueError(str(error)) from None

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for one alert. Raises RenderError when a name has no value or a value has no place here."""
        if self._render is None:
            return self.source
        try:
            text: str = self._render(values)
        except RenderError:
            raise
        except UndefinedError as error:
            raise RenderError(str(error)) from None
        except Exception as error:  # noqa: BLE001 an expression meets any label; whatever it raises, it has no value
            raise RenderError(f"{self.source[:200]!r} has no value: {str(error)[:200]}") from None
        if self._flavour is Flavour.PROMQL:
            text = filled(text)
        self._judge(text, leads=self._leads)
        return text

    def _judge(self, text: str, *, leads: bool) -> None:
        _check(text, self._flavour, leads=leads)
        if self._check is not None:
            self._check(text)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"


@lru_cache(maxsize=8192)
def _compile(
    source: str, flavour: Flavour, names: frozenset[str]
) -> tuple[Callable[[Mapping[str, Any]], str] | None, References, bool]:
    if OPEN in source or CLOSE in source:
        raise ValueError(f"{OPEN} and {CLOSE} are reserved for secrets")
    if "\0" in source:
        raise ValueError("holds a NUL")
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return None, References(frozenset(), frozenset()), False
    environment = _environment(flavour)
    try:
        tree = environment.parse(source)
        labels: set[str] = set()
        secrets: set[str] = set()
        _inspect(tree, names, labels, secrets)
        if flavour is Flavour.PROMQL:
            _inspect_promql(tree)
        tree = Concatenations().visit(tree).set_environment(environment)
        compiled = environment.from_string(tree)
    except TemplateSyntaxError as error:
        raise ValueError(f"{source[:200]!r} is not a template: {error.message}") from None
    except SyntaxError as error:
        # Jinja lets pass what the Python that it writes may not hold: one keyword twice.
        raise ValueError(f"{source[:200]!r} is not a template: {error.msg}") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    first = tree.body[0] if tree.body else None
    leads = not (isinstance(first, nodes.Output) and isinstance(first.nodes[0], nodes.TemplateData))
    return compiled.render, References(frozenset(labels), frozenset(secrets)), leads


def _inspect(
    node: nodes.Node, names: frozenset[str], labels: set[str], secrets: set[str], depth: int = MAX_NESTING
) -> None:
    """Refuse all that is not plainly harmless, and collect the names asked for."""
    if depth < 0:
        raise ValueError(_TOO_DEEP)
    inspect = partial(_inspect, names=names, labels=labels, secrets=secrets, depth=depth - 1)
    if not isinstance(node, _NODES):
        raise ValueError(  # noqa: TRY004 the author's text is wrong, not a caller's type
            f"templates have no {type(node).__name__.lower()}: only placeholders and if"
        )
    if isinstance(node, nodes.Output):
        for child in node.nodes:
            name = _secret(child)
            if name is None or "secret" not in names:
                inspect(child)
            else:
                secrets.add(name)
        return
    if isinstance(node, nodes.Getattr | nodes.Getitem) and isinstance(node.node, nodes.Name):
        owner = node.node.name
        if owner == "secret":
            raise ValueError(_misused(owner, names))
        if owner in names & _MAPPINGS:
            asked = _key(node)
            if asked is not None:
                labels.add(asked)
            elif isinstance(node, nodes.Getitem):
                inspect(node.arg)
            return
    if isinstance(node, nodes.Name) and (node.name not in names or node.name in _MAPPINGS):
        raise ValueError(_misused(node.name, names))
    if isinstance(node, nodes.Name) and node.name == "alertname":
        labels.add("alertname")
    if isinstance(node, nodes.Const) and isinstance(node.value, str) and (OPEN in node.value or CLOSE in node.value):
        raise ValueError(f"{OPEN} and {CLOSE} are reserved for secrets")
    if isinstance(node, nodes.Call):
        if not isinstance(node.node, nodes.Getattr) or node.node.attr not in METHODS:
            raise ValueError(f"only these can be called: {', '.join(METHODS)}")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise ValueError("arguments are written one by one, without * and **")
        for part in (node.node.node, *node.args, *node.kwargs):
            inspect(part)
        return
    if isinstance(node, nodes.Getattr):
        inspect(node.node)
        raise ValueError(f"unknown attribute {node.attr!r}")  # noqa: TRY004 as above
    for kind, known in ((nodes.Filter, FILTERS), (nodes.Test, TESTS)):
        if isinstance(node, kind) and node.name not in known:
            raise ValueError(f"unknown {kind.__name__.lower()} {node.name!r}: known are {', '.join(known)}")
    for below in node.iter_child_nodes():
        inspect(below)


def _inspect_promql(tree: nodes.Template) -> None:
    """Refuse a place in which no value could stand. Where there are conditions only rendering can tell."""
    pieces: list[str] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return
        pieces += [child.data if isinstance(child, nodes.TemplateData) else EDGE + EDGE for child in output.nodes]
    try:
        filled("".join(pieces))
    except RenderError as error:
        raise ValueError(str(error)) from None


def _key(node: nodes.Getattr | nodes.Getitem) -> str | None:
    """The name that `labels.NAME` or `labels["NAME"]` asks for; None when only rendering can tell."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    return node.arg.value if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str) else None


def _secret(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Getattr | nodes.Getitem) and isinstance(node.node, nodes.Name):
        return _key(node) if node.node.name == "secret" else None
    return None


def _misused(name: str, names: frozenset[str]) -> str:
    if name == "secret" and name in names:
        return "a secret stands alone, as in {{ secret.NAME }}: its value is not there when the plan is made"
    if name == "secret":
        return "secrets can be used in the parameters of a step alone"
    if name == "target" and name not in names:
        return "`target` cannot be used in the target itself"
    if name in names:
        return f'write {name}.NAME or {name}["NAME"]'
    return f"unknown name {name!r}: known are {', '.join(sorted(names))}"


@lru_cache(maxsize=len(Flavour))
def _environment(flavour: Flavour) -> Environment:
    return Environment({Flavour.URL: _encoded, Flavour.PROMQL: _edged}.get(flavour, _plain))


def _plain(value: Any) -> str:
    """A placeholder's value as text. Raises RenderError when it is none, or could pass for something else."""
    if isinstance(value, Marker):
        return value
    text = text_of(value)
    if "\0" in text:
        raise RenderError(f"a value holds a NUL: {text[:60]!r}")
    if OPEN in text or CLOSE in text:
        raise RenderError(f"a value holds {OPEN} or {CLOSE}, which are reserved for secrets: {text[:60]!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RenderError(f"a value is not valid Unicode: {text[:60]!a}") from None
    return text


def _encoded(value: Any) -> str:
    """As `_plain`, percent-encoded, so that a label cannot end its part of the URL."""
    return _plain(value) if isinstance(value, Marker) else quote(_plain(value), safe=":[]")


def _edged(value: Any) -> str:
    """As `_plain`, for `filled`."""
    return f"{EDGE}{_plain(value)}{EDGE}"


def _check(text: str, flavour: Flavour, *, leads: bool) -> None:
    if flavour is Flavour.ARGUMENT and leads and text.startswith("-"):
        raise RenderError(f"the argument would become an option: {text[:60]!r} (write the option as literal text)")
    if flavour is Flavour.URL and not _is_marker(text):
        check_url(text)
    if flavour is Flavour.ENDPOINT:
        check_endpoint(text)
    if flavour is Flavour.PROMQL:
        filled(text)


def _is_marker(text: str) -> bool:
    """Whether a secret is the whole text: what it is can then be judged only once it is revealed."""
    return text.startswith(f"{OPEN}secret:") and text.find(CLOSE) == len(text) - 1
