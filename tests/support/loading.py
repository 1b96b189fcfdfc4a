"""Small actions, and rules loaded from a text: the true actions live above the rules and are not needed here."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from autoheal.errors import ConfigError
from autoheal.model import Alert, AlertStatus
from autoheal.rules import RuleSet, load
from autoheal.rules.fields import Argument, Json, Text, Url
from autoheal.rules.schema import Timeout


class Command(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    argv: list[Argument] = Field(min_length=1)
    env: dict[str, Text] = Field(default_factory=dict)
    timeout: Timeout | None = None


class Http(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    url: Url
    headers: dict[str, Text] = Field(default_factory=dict)
    body: Text | None = None
    content: Json = Field(None, alias="json")


ACTIONS: dict[str, type[BaseModel]] = {"command": Command, "http": Http}


def loaded(folder: Path, text: str, *, redact: frozenset[str] = frozenset()) -> RuleSet:
    """The rules in `text`."""
    file = folder / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, actions=ACTIONS, redact=redact)


def faults(folder: Path, text: str, *, redact: frozenset[str] = frozenset()) -> list[str]:
    """The faults of `text`, each as `LINE:COLUMN: what`."""
    try:
        loaded(folder, text, redact=redact)
    except ConfigError as error:
        return [str(fault).split("rules.yaml:", 1)[-1] for fault in error.faults]
    return []


def firing(**labels: str) -> Alert:
    """A firing alert with `labels`."""
    return Alert(AlertStatus.FIRING, "f1f2", {"alertname": "Down", **labels}, {"summary": "it is down"}, 0.0)
