"""What is wrong with a rules file, in words for its author."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from autoheal.errors import Fault
from autoheal.rules.document import Document, Path
from autoheal.rules.render import outline

Idempotent = Callable[[str, Mapping[str, Any]], bool]

PROBES = ("tcp", "http", "command", "promql")
OPTIONAL = ("target", "allow_target", "mode", "cooldown", "breaker", "fleet", "concurrency")
"""Keys of a rule that may be absent but not empty: `allow_target:` and nothing would allow everything."""

_WORDS = {
    "string_type": "should be text",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "bool_type": "should be true or false",
    "too_short": "should not be empty",
}


def shape_faults(document: Document, model: type[BaseModel], error: ValidationError) -> Iterator[Fault]:
    """The faults that pydantic found."""
    details = error.errors(include_url=False)
    wrong = [detail["loc"] for detail in details]
    for detail in details:
        loc = detail["loc"]
        # Pydantic counts only the sound items of a list, so that one bad item also makes it "too short".
        if detail["type"] != "too_short" or not any(other[: len(loc)] == loc != other for other in wrong):
            yield _shape_fault(document, model, detail)


def _shape_fault(document: Document, model: type[BaseModel], error: ErrorDetails) -> Fault:
    loc = error["loc"]
    name = next((part for part in reversed(document.found(loc)) if isinstance(part, str)), "the file")
    if error["type"] == "missing":
        return Fault(document.where(loc[:-1]), f"{loc[-1]!r} is missing")
    if error["type"] == "extra_forbidden":
        return Fault(document.where(loc, key=True), _unknown(str(loc[-1]), _keys_at(model, loc[:-1])))
    where = document.where(loc, key=loc[-1:] == ("[key]",))
    if error["type"] == "value_error":
        return Fault(where, f"{name}: {error['ctx']['error']}")
    what = _WORDS.get(error["type"], error["msg"].replace("Input should", "should").replace("String should", "should"))
    given = error["input"]
    shown = "" if isinstance(given, Mapping | list | tuple) else f", not {str(given)[:40]!r}"
    return Fault(where, f"{name}: {what}{shown if given is not None else ', not nothing'}")


def combination_faults(
    document: Document, actions: Mapping[str, type[BaseModel]], default_mode: object, named: dict[str, str]
) -> Iterator[Fault]:
    """Faults that no single key shows: duplicate names, no action or two, no target or steps though not off.

    Reads the data as written, whatever its types, so that these are told together with all others. `named` maps the
    names of rules seen so far, in other files too, to their places; it is added to.
    """
    for index, rule in enumerate(_list(_get(document.data, "rules"))):
        if not isinstance(rule, dict):
            continue
        at: Path = ("rules", index)
        name = rule.get("name")
        if isinstance(name, str):
            if name in named:
                yield Fault(document.where((*at, "name")), f"duplicate rule name {name!r}: it stands at {named[name]}")
            else:
                named[name] = document.where((*at, "name"))
        for key in OPTIONAL:
            if key in rule and rule[key] is None:
                yield Fault(document.where((*at, key), key=True), f"{key!r} has no value")
        if rule.get("mode", default_mode) != "off":
            if "target" not in rule:
                yield Fault(document.where(at), "'target' is missing: what is to be locked, cooled down and budgeted")
            if rule.get("steps", []) == []:
                yield Fault(document.where(at), "'steps' is missing: a rule needs one unless it has `mode: off`")
        for number, step in enumerate(_list(rule.get("steps"))):
            yield from _step_faults(document, (*at, "steps", number), step, actions)


def _step_faults(document: Document, at: Path, step: object, actions: Mapping[str, type[BaseModel]]) -> Iterator[Fault]:
    if not isinstance(step, dict):
        return
    known = ", ".join(sorted(actions))
    # An unknown key is most likely the action misspelt, and is told as that.
    others = [key for key in step if key != "verify"]
    if not others:
        yield Fault(document.where(at), f"a step needs an action: one of {known}")
    elif len(found := [key for key in others if key in actions]) > 1:
        yield Fault(document.where((*at, found[1]), key=True), f"a step has one action, not {' and '.join(found)}")
    for key in others:
        if key in actions and step[key] is None:
            yield Fault(document.where((*at, key), key=True), f"{key!r} needs its parameters")
    verify = step.get("verify")
    if "verify" not in step:
        return
    if not verify or (isinstance(verify, dict) and None in verify.values()):
        yield Fault(
            document.where((*at, "verify"), key=True),
            "'verify' needs resolved_within, probe or both, each with a value",
        )
    probe = _get(verify, "probe")
    if isinstance(probe, dict):
        asked = [key for key in PROBES if probe.get(key) is not None]
        if len(asked) != 1:
            where = document.where((*at, "verify", "probe"), key=True)
            yield Fault(
                where, f"a probe is exactly one of tcp, http, command and promql, not {' and '.join(asked) or 'none'}"
            )


def rerun_faults(
    document: Document, text: Any, actions: Mapping[str, type[BaseModel]], idempotent: Idempotent
) -> Iterator[Fault]:
    """Steps that must not be taken twice in rules, as read, with `rerun_interrupted`."""
    for index, rule in enumerate(text.rules):
        for number, step in enumerate(rule.steps if rule.rerun_interrupted else ()):
            for name in sorted(step.model_fields_set & actions.keys()):
                params = getattr(step, name)
                if params is not None and not idempotent(name, outline(params)):
                    where = document.where(("rules", index, "steps", number, name), key=True)
                    why = "to do this twice may not be the same as once"
                    yield Fault(where, f"{name}: {why}, so a rule with it cannot have 'rerun_interrupted'")


def _unknown(key: str, known: Sequence[str]) -> str:
    close = get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {key!r}: {hint}"


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    inner: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str) and inner is not None:
            fields = {field.alias or name: field for name, field in inner.model_fields.items()}
            inner = _model_in(fields[part].annotation) if part in fields else inner
    return [] if inner is None else [field.alias or name for name, field in inner.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _get(data: object, key: str) -> object:
    return data.get(key) if isinstance(data, dict) else None


def _list(data: object) -> list[Any]:
    return data if isinstance(data, list) else []
