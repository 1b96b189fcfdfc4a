"""From a rule and an alert to a plan: exactly what would be done, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Protocol

import orjson
from pydantic import BaseModel

from autoheal.errors import RenderError
from autoheal.rules.address import check_url
from autoheal.rules.environment import CLOSE, OPEN, Names, Secrets
from autoheal.rules.fields import Argument, Json, Text, Url
from autoheal.rules.schema import Probe, Rule
from autoheal.rules.template import Template

__all__ = ["Argument", "Firing", "Json", "Text", "Url", "check_url", "plan", "reveal", "target_of"]

MAX_PLAN_BYTES = 32 * 1024
"""Half of what a record may have, so that a plan always fits one with the rest of what it tells."""

MAX_TARGET_BYTES = 1024

_MARKER = re.compile(f"{OPEN}secret:([^{CLOSE}]*){CLOSE}")


class Firing(Protocol):
    """What a plan is made for: an alert, or the episode that it opened."""

    @property
    def alertname(self) -> str: ...  # noqa: D102 as in Alert
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def annotations(self) -> Mapping[str, str]: ...  # noqa: D102


def plan(rule: Rule, alert: Firing) -> dict[str, Any]:
    """What `rule` would do about `alert`: `{"target", "steps": [{"action", "params", "verify"}]}`, ready for JSON.

    With a `fleet` its query stands there as `fleet`: runs with the same one are counted together. Durations are
    seconds; a secret is a marker that `reveal` replaces. Raises RenderError, naming the place, when a
    template has no safe value, the target is blank or not allowed, or the plan is longer than 32 KiB as JSON.
    """
    values = _values(rule, alert)
    target = _target(rule, values)
    values["target"] = target
    fleet = {} if rule.fleet is None else {"fleet": _rendered(rule.fleet.of, values, "fleet.of")}
    made = {
        "target": target,
        **fleet,
        "steps": [
            {
                "action": step.action,
                "params": _rendered(step.params, values, f"steps[{number}].{step.action}"),
                "verify": {
                    "resolved_within": step.verify.resolved_within,
                    "probe": _probe(step.verify.probe, values, f"steps[{number}].verify.probe"),
                },
            }
            for number, step in enumerate(rule.steps)
        ],
    }
    try:
        size = len(orjson.dumps(made))
    except TypeError as error:
        raise RenderError(f"the plan cannot be written as JSON: {error}") from None
    if size > MAX_PLAN_BYTES:
        raise RenderError(f"the plan takes {size} bytes, more than {MAX_PLAN_BYTES}")
    return made


def outline(params: BaseModel) -> dict[str, Any]:
    """`params` as they stand in a plan, with the text of each template in the place of its value."""
    made: dict[str, Any] = _rendered(params, None, "")
    return made


def target_of(rule: Rule, alert: Firing) -> str:
    """The target of `plan` alone. Raises RenderError as that does."""
    return _target(rule, _values(rule, alert))


def reveal(value: Any, secrets: Mapping[str, str]) -> Any:
    """`value` (text, list, mapping, anything else) with each secret's marker replaced by that secret.

    To be called at the moment of execution only: the result must not be recorded. Raises RenderError when a secret
    that a marker names is not among `secrets`.
    """
    if isinstance(value, str):
        try:
            return _MARKER.sub(lambda found: secrets[found[1]], value) if OPEN in value else value
        except KeyError as error:
            raise RenderError(f"secret {error} is not at hand") from None
    if isinstance(value, Mapping):
        return {key: reveal(child, secrets) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(child, secrets) for child in value]
    return value


def _values(rule: Rule, alert: Firing) -> dict[str, Any]:
    return {
        "labels": Names("label", alert.labels, rule.redact),
        "annotations": Names("annotation", alert.annotations, rule.redact),
        "alertname": alert.alertname,
        "fingerprint": alert.fingerprint,
        "secret": Secrets(),
    }


def _target(rule: Rule, values: Mapping[str, Any]) -> str:
    if rule.target is None:
        raise RenderError(f"rule {rule.name} has no target")
    target = str(_rendered(rule.target, values, "target"))
    if not target.strip():
        # Many tools take an empty name for "all of them".
        raise RenderError("target: is empty")
    if len(orjson.dumps(target)) > MAX_TARGET_BYTES:
        # It stands several times in a record, which has 64 KiB.
        raise RenderError(f"target: is longer than {MAX_TARGET_BYTES} bytes")
    if rule.allow_target is not None and not rule.allow_target.fullmatch(target):
        raise RenderError(f"target: {target[:200]!r} is not allowed by allow_target {rule.allow_target.text!r}")
    return target


def _probe(probe: Probe | None, values: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    if probe is None:
        return None
    made: dict[str, Any] = _rendered(probe, values, where)
    return {name: value for name, value in made.items() if value is not None}


def _rendered(value: Any, values: Mapping[str, Any] | None, where: str) -> Any:
    if isinstance(value, Template):
        if values is None:
            return value.source
        try:
            return value.render(values)
        except RenderError as error:
            raise RenderError(f"{where}: {error}") from None
    if isinstance(value, BaseModel):
        # In the words of the file: `json`, not what the model's author had to call it in Python.
        fields = type(value).model_fields.items()
        return {
            name: _rendered(getattr(value, attribute), values, f"{where}.{name}")
            for attribute, field in fields
            for name in (field.alias or attribute,)
        }
    if isinstance(value, Mapping):
        return {str(key): _rendered(child, values, f"{where}.{key}") for key, child in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_rendered(child, values, f"{where}[{index}]") for index, child in enumerate(value)]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, PurePath) else value
