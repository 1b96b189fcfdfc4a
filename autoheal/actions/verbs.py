"""Parameters of actions that do one of several things to something with a name: `restart: NAME` or `stop: NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.config import JsonDict


def one_of(verbs: Sequence[str]) -> JsonDict:
    """What a model's JSON Schema says besides: exactly one of `verbs` is there."""
    return {"oneOf": [{"required": [verb]} for verb in verbs]}


def the_one(params: BaseModel, verbs: Sequence[str]) -> str:
    """The one of `verbs` that `params` has. Raises ValueError when there is none, or there are several."""
    asked = [verb for verb in verbs if getattr(params, verb) is not None]
    if len(asked) != 1:
        raise ValueError(f"needs exactly one of {', '.join(verbs)}, not {' and '.join(asked) or 'none'}")
    return asked[0]


def order(params: Mapping[str, Any], verbs: Sequence[str]) -> tuple[str, str]:
    """The verb of a plan's `params`, and the name."""
    return next((verb, params[verb]) for verb in verbs if params.get(verb) is not None)
