"""The shape of a rules file, and of the rules that it becomes.

The pydantic models say what may be written; JSON Schema for editors is made from them. `Rule` and what it holds is
what the rest of the program sees: defaults filled in, matchers parsed, templates compiled.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    StrictBool,
    WithJsonSchema,
    create_model,
)

from autoheal.model import CHANNELS, Mode
from autoheal.rules.fields import ProbeArgument, ProbeEndpoint, ProbeQuery, ProbeUrl, Strict, TargetText
from autoheal.rules.fleet import Fleet
from autoheal.rules.freeze import Freeze
from autoheal.rules.match import Matcher, Regex
from autoheal.rules.matching import MATCHERS_SCHEMA, Match, MatcherText
from autoheal.rules.template import Template
from autoheal.rules.units import Budget, Duration, Percent, Storm, Timeout, Window
from autoheal.rules.unless import Unless, UnlessText

__all__ = [
    "Approval",
    "CommandProbe",
    "Defaults",
    "Duration",
    "HttpProbe",
    "Probe",
    "Rule",
    "RuleBudget",
    "Step",
    "Timeout",
    "Verify",
    "Window",
    "document_model",
    "json_schema",
]


def _regex(value: Any) -> Regex:
    if not isinstance(value, str):
        raise ValueError("should be text with a regular expression")  # noqa: TRY004 pydantic wants it
    return Regex(value)


def _secret_path(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"'{path}' must be an absolute path: the service's working directory is not yours")
    return path


Protect = tuple[MatcherText, ...]
AllowTarget = Annotated[Regex, PlainValidator(_regex), WithJsonSchema({"type": "string", "description": "RE2"})]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
SecretPath = Annotated[Path, AfterValidator(_secret_path)]


def _channel(value: Any) -> Any:
    if value not in CHANNELS:
        raise ValueError(f"should be one of {', '.join(CHANNELS)}")
    return value


ChannelName = Annotated[str, BeforeValidator(_channel), WithJsonSchema({"enum": list(CHANNELS)})]


class Exhausted(Strict):
    """Who is told what a rule leaves to people, or asks them: the channels `notify`; without it all that there are."""

    notify: tuple[ChannelName, ...] | None = None


class Defaults(Strict):
    """What rules have that do not say otherwise."""

    mode: Mode = Mode.DRY_RUN
    cooldown: Duration = 600.0
    timeout: Timeout = 60.0
    exhausted: Exhausted = Exhausted()


class RuleBudget(Strict):
    """How often one rule may act: on each target, and on all of them together."""

    target: tuple[Budget, ...] = ()
    rule: tuple[Budget, ...] = ()


class Breaker(Strict):
    """After so many `failures` in a row a rule rests for `reset`, and then has one run to show that it helps.

    One that goes on not to help is demoted: it becomes what `demote` says, or stays what it is where that is less.
    """

    failures: Annotated[int, Field(strict=True, ge=1, le=1000)]
    reset: Timeout
    demote: Literal["dry_run", "approve"] = "dry_run"


def _long_budget(value: Any) -> Any:
    return {"target": value} if isinstance(value, list) else value


def _long_http(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


def _statuses(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _program(argv: tuple[Template, ...]) -> tuple[Template, ...]:
    if not argv[0].literal:
        raise ValueError("the program must be literal: a label must not choose what is executed")
    return argv


_WINDOWS_SCHEMA = {"type": "array", "items": {"type": "string", "pattern": "^[0-9]{1,6}/[0-9a-z]+$"}}
_STATUS_SCHEMA = {"type": "integer", "minimum": 100, "maximum": 599}
Status = Annotated[int, Field(strict=True, ge=100, le=599)]


class HttpProbe(Strict):
    """Holds when a request is answered with one of `status`."""

    url: ProbeUrl
    status: Annotated[
        tuple[Status, ...],
        Field(min_length=1),
        BeforeValidator(_statuses),
        WithJsonSchema({"anyOf": [_STATUS_SCHEMA, {"type": "array", "items": _STATUS_SCHEMA, "minItems": 1}]}),
    ] = (200,)
    method: Literal["GET", "HEAD"] = "GET"


class CommandProbe(Strict):
    """Holds when a program ends with exit code 0. No shell reads `argv`."""

    argv: Annotated[tuple[ProbeArgument, ...], Field(min_length=1), AfterValidator(_program)]


class Probe(Strict):
    """A question asked of the world after a step: exactly one of `tcp`, `http`, `command` and `promql` is there.

    It must first hold before `within` is over, then go on to hold for `stable`.
    """

    tcp: ProbeEndpoint | None = None
    http: Annotated[HttpProbe | None, BeforeValidator(_long_http)] = None
    command: CommandProbe | None = None
    promql: ProbeQuery | None = None
    within: Timeout = 60.0
    stable: Duration = 0.0


class Verify(Strict):
    """What must all hold for a step to have healed; at least one of the two is there."""

    resolved_within: Timeout | None = None
    probe: Probe | None = None


DEFAULT_VERIFY = Verify.model_validate({"resolved_within": "15m"})
"""For a step without `verify`: Alertmanager tells of a resolution only every `group_interval`, 5 min by default."""


DEFAULT_STORM = Window(30, 600.0)
"""More distinct targets of one rule than that within ten minutes are a storm."""


class Approval(Strict):
    """How long people have to approve what a rule with `mode: approve` would do."""

    expires: Timeout = 900.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a rule's ladder. `params` is an instance of that action's model, templates not yet rendered."""

    action: str
    params: BaseModel
    verify: Verify = DEFAULT_VERIFY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule with all defaults filled in; durations in seconds. `protect` and `freeze` are what the rule adds to the
    top-level ones.

    `target` is None and `steps` is empty at most where `mode` is off. `redact` are names it must not see. `digest` is
    the SHA-256 (hex) of what is written of it, `defaults` and `secrets` included: another one is another rule.
    `rollout` is the percentage of episodes that it acts on, `notify` the channels that hear of what concerns people
    (None: all that there are).
    """

    name: str
    matchers: tuple[Matcher, ...]
    target: Template | None
    steps: tuple[Step, ...]
    for_: float = 0.0
    allow_target: Regex | None = None
    protect: tuple[tuple[Matcher, ...], ...] = ()
    freeze: tuple[Freeze, ...] = ()
    unless: tuple[Unless, ...] = ()
    mode: Mode = Mode.DRY_RUN
    rollout: float = 100.0
    cooldown: float = 600.0
    budget: RuleBudget = field(default_factory=RuleBudget)
    breaker: Breaker | None = None
    storm: Window | None = DEFAULT_STORM
    fleet: Fleet | None = None
    concurrency: int | None = None
    approval: Approval = field(default_factory=Approval)
    cancel_on_resolve: bool = False
    page_hold: bool = False
    rerun_interrupted: bool = False
    notify: tuple[str, ...] | None = None
    continue_: bool = False
    digest: str = ""
    redact: Container[str] = frozenset()


class RuleText(Strict):
    """A rule as it is written, all but its steps."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    matchers: Annotated[Match, Field(alias="match")]
    for_: Annotated[Duration, Field(alias="for")] = 0.0
    target: TargetText | None = None
    allow_target: AllowTarget | None = None
    protect: Protect = ()
    freeze: tuple[Freeze, ...] = ()
    unless: tuple[UnlessText, ...] = ()
    mode: Mode | None = None
    rollout: Percent = 100.0
    cooldown: Duration | None = None
    budget: Annotated[RuleBudget, BeforeValidator(_long_budget)] = RuleBudget()
    breaker: Breaker | None = None
    storm: Storm = DEFAULT_STORM
    fleet: Fleet | None = None
    concurrency: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    approval: Approval = Approval()
    cancel_on_resolve: StrictBool = False
    page_hold: StrictBool = False
    rerun_interrupted: StrictBool = False
    exhausted: Exhausted = Exhausted()
    continue_: Annotated[StrictBool, Field(alias="continue")] = False


def _version(value: Any) -> Any:
    if value != 1 or isinstance(value, bool):
        raise ValueError(f"should be 1, not {str(value)[:40]!r}")
    return value


class DocumentText(Strict):
    """A rules file as it is written, all but its rules."""

    version: Annotated[Literal[1], BeforeValidator(_version)]
    defaults: Defaults = Defaults()
    budget: tuple[Budget, ...] = (Window(60, 3600.0),)
    protect: Protect = ()
    freeze: tuple[Freeze, ...] = ()
    storm: Storm = DEFAULT_STORM
    secrets: dict[SecretName, SecretPath] = Field(default_factory=dict)


@cache
def _document_model(actions: tuple[tuple[str, type[BaseModel]], ...]) -> type[DocumentText]:
    choices: dict[str, Any] = {name: (params | None, None) for name, params in actions}
    step = create_model(
        "Step",
        __base__=Strict,
        __doc__="Exactly one action, and how to tell that it helped.",
        verify=(Verify | None, None),
        **choices,
    )
    rule = create_model("Rule", __base__=RuleText, __doc__="A rule.", steps=(tuple[step, ...], ()))  # type: ignore[valid-type]
    return create_model("Rules", __base__=DocumentText, __doc__="A rules file.", rules=(tuple[rule, ...], ...))  # type: ignore[valid-type]


def document_model(actions: Mapping[str, type[BaseModel]]) -> type[DocumentText]:
    """The model of a whole file whose steps may use `actions`; its `rules` have `steps` with a field per action."""
    return _document_model(tuple(sorted(actions.items())))


def json_schema(actions: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a rules file whose steps may use `actions`, for editors."""
    schema: dict[str, Any] = _tidy(document_model(actions).model_json_schema())
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "autoheal rules"
    definitions = schema["$defs"]
    for name, key, short in (("Rule", "budget", _WINDOWS_SCHEMA), ("Probe", "http", {"type": "string"})):
        properties = definitions[name]["properties"]
        properties[key] = {"anyOf": [short, properties[key]]}
    unless = definitions["Rule"]["properties"]["unless"]
    unless["items"] = {"anyOf": [MATCHERS_SCHEMA, unless["items"]]}
    definitions["Step"]["oneOf"] = [{"required": [name]} for name in sorted(actions)]
    return schema


def _tidy(node: Any) -> Any:
    """Without titles, and without defaults: those are seconds here and `10m` in a file."""
    if isinstance(node, list):
        return [_tidy(child) for child in node]
    if not isinstance(node, dict):
        return node
    named = ("properties", "$defs")
    return {
        key: {name: _tidy(child) for name, child in value.items()} if key in named else _tidy(value)
        for key, value in node.items()
        if key not in ("title", "default")
    }
