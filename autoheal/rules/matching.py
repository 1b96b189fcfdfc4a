"""Types for the fields that hold matchers: written in Alertmanager's notation, and checked at load."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from autoheal.rules.fields import Context
from autoheal.rules.match import Matcher, matches_everything, parse_matchers


def _matchers(value: Any, info: ValidationInfo) -> tuple[Matcher, ...]:
    if not isinstance(value, str):
        raise ValueError("should be text with matchers, as in 'alertname=\"X\"'")  # noqa: TRY004 pydantic wants it
    matchers = parse_matchers(value)
    redact = info.context.redact if isinstance(info.context, Context) else frozenset()
    for matcher in matchers:
        if matcher.name in redact:
            raise ValueError(f"label {matcher.name!r} is redacted (AUTOHEAL_REDACT): a rule cannot see its value")
    return matchers


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _one_list(lists: list[tuple[Matcher, ...]]) -> tuple[Matcher, ...]:
    matchers = tuple(matcher for part in lists for matcher in part)
    if matches_everything(matchers):
        raise ValueError("holds for an alert without labels, so for far too many: add a matcher that needs a value")
    return matchers


MATCHERS_SCHEMA = {"type": "string", "description": 'Alertmanager\'s matchers: alertname="X", service=~"a|b"'}
MatcherText = Annotated[tuple[Matcher, ...], PlainValidator(_matchers), WithJsonSchema(MATCHERS_SCHEMA)]
"""All of which must hold."""

Match = Annotated[
    list[MatcherText],
    Field(min_length=1),
    BeforeValidator(_as_list),
    AfterValidator(_one_list),
    WithJsonSchema({"anyOf": [MATCHERS_SCHEMA, {"type": "array", "items": MATCHERS_SCHEMA, "minItems": 1}]}),
]
"""One text or a list of them, all of which must hold; not such as hold for nearly everything."""
