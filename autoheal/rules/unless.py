"""Other alerts beside which a rule does not act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema

from autoheal.rules.fields import Context, Strict
from autoheal.rules.match import Matcher, all_match
from autoheal.rules.matching import Match


def _label(value: Any, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("should be the name of a label")
    if isinstance(info.context, Context) and value in info.context.redact:
        raise ValueError(f"label {value!r} is redacted (AUTOHEAL_REDACT): a rule cannot see its value")
    return value


LabelName = Annotated[str, PlainValidator(_label), WithJsonSchema({"type": "string"})]


class Unless(Strict):
    """An alert that meets `match`, and has the same values as the rule's own in the labels of `equal`."""

    matchers: Annotated[Match, Field(alias="match")]
    equal: tuple[LabelName, ...] = ()

    def __str__(self) -> str:
        equal = f", equal: {', '.join(self.equal)}" if self.equal else ""
        return f"{', '.join(map(str, self.matchers))}{equal}"

    def meets(self, other: Mapping[str, str]) -> bool:
        """Whether an alert with those labels is one of which this speaks, `equal` aside."""
        return all_match(cast("Sequence[Matcher]", self.matchers), other)

    def same(self, labels: Mapping[str, str], other: Mapping[str, str]) -> bool:
        """Whether both have the same in all of `equal`; a label that is missing is the empty text, as in matchers."""
        return all(labels.get(name, "") == other.get(name, "") for name in self.equal)


def _long(value: Any) -> Any:
    return {"match": value} if isinstance(value, str) else value


UnlessText = Annotated[Unless, BeforeValidator(_long)]
"""A field that holds an `Unless`, and may be written as its matchers alone."""
