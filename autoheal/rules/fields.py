"""Types for the fields of parameter models: a field so typed is written as a template and checked at load."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationInfo, WithJsonSchema

from autoheal.rules.template import OF_PARAMS, OF_PROBE, OF_TARGET, Flavour, Template


class Strict(BaseModel):
    """A mapping whose unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What checking a template needs besides its text: pydantic's validation context."""

    secrets: frozenset[str] = field(default_factory=frozenset)
    redact: Container[str] = frozenset()


def _template(
    value: Any,
    info: ValidationInfo,
    flavour: Flavour,
    names: frozenset[str],
    check: Callable[[str], None] | None = None,
) -> Template:
    if not isinstance(value, str):
        raise ValueError(f"should be text, not {_kind(value)}: quote it")  # noqa: TRY004 pydantic collects ValueError alone
    template = Template(value, flavour, names, check)
    context = info.context if isinstance(info.context, Context) else Context(secrets=template.references.secrets)
    hidden = sorted(name for name in template.references.labels if name in context.redact)
    if hidden:
        raise ValueError(f"{hidden[0]!r} is redacted (AUTOHEAL_REDACT): a rule cannot see its value")
    unknown = sorted(template.references.secrets - context.secrets)
    if unknown:
        raise ValueError(f"secret {unknown[0]!r} is not declared under `secrets`")
    return template


def _json(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return _template(value, info, Flavour.TEXT, OF_PARAMS)
    if isinstance(value, list):
        return [_json(child, info) for child in value]
    if isinstance(value, dict):
        return {key: _json(child, info) for key, child in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{str(value)[:30]} does not fit 64 bits")
    return value


def _kind(value: Any) -> str:
    return {"dict": "a mapping", "list": "a list", "NoneType": "nothing"}.get(type(value).__name__, repr(value)[:40])


def _validator(flavour: Flavour, names: frozenset[str]) -> PlainValidator:
    return PlainValidator(partial(_template, flavour=flavour, names=names))


def described(text: str) -> WithJsonSchema:
    """What editors say of a field that is written as text."""
    return WithJsonSchema({"type": "string", "description": text})


def checked(check: Callable[[str], None]) -> PlainValidator:
    """A template for the name of a thing, without secrets; stands beside `described` in an `Annotated[Template, …]`.

    `check` is asked about the text as written when it is literal, else about each that comes of it; it raises
    RenderError, which says why not. So a bad literal is a fault of the file, and a bad label a refused plan.
    """
    return PlainValidator(partial(_template, flavour=Flavour.TEXT, names=OF_PROBE, check=check))


def literal(text: str) -> str:
    """Text that no alert may have a part in: `Annotated[str, AfterValidator(literal)]` is a field."""
    if "{{" in text or "{%" in text:
        raise ValueError("must be literal: a label must not choose it")
    return text


Text = Annotated[Template, _validator(Flavour.TEXT, OF_PARAMS), described("a template")]
"""Any text. Line breaks are allowed: what cannot bear them (a header) checks that itself."""

Argument = Annotated[Template, _validator(Flavour.ARGUMENT, OF_PARAMS), described("a template, one argument")]
"""One element of argv. A template that begins with a placeholder must not yield a leading `-` (CWE-88)."""

Url = Annotated[Template, _validator(Flavour.URL, OF_PARAMS), described("a template, an http or https URL")]
"""An http(s) URL; placeholders are percent-encoded, all but `:`, `[` and `]`. See `check_url`."""

Json = Annotated[Any, PlainValidator(_json), WithJsonSchema({"description": "any value; texts in it are templates"})]
"""Any JSON value; each text in it is a `Text`, mapping keys are not."""

TargetText = Annotated[Template, _validator(Flavour.TEXT, OF_TARGET), described("a template without target")]
ProbeArgument = Annotated[Template, _validator(Flavour.ARGUMENT, OF_PROBE), described("a template, one argument")]
ProbeUrl = Annotated[Template, _validator(Flavour.URL, OF_PROBE), described("a template, an http or https URL")]
ProbeQuery = Annotated[Template, _validator(Flavour.PROMQL, OF_PROBE), described("a template, a PromQL expression")]
"""PromQL; placeholders stand in quoted strings, where each is escaped. See `autoheal.rules.promql`."""
ProbeEndpoint = Annotated[Template, _validator(Flavour.ENDPOINT, OF_PROBE), described("a template, HOST:PORT")]
