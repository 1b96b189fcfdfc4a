"""Rules files to a `RuleSet`: all of them or none, and every fault of every file at once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ValidationError

from autoheal.errors import ConfigError, Fault
from autoheal.model import Mode, OwnName
from autoheal.rules.document import Document, line_column
from autoheal.rules.faults import Idempotent, combination_faults, rerun_faults, shape_faults
from autoheal.rules.fields import Context
from autoheal.rules.freeze import Freeze
from autoheal.rules.index import RuleIndex
from autoheal.rules.match import Matcher
from autoheal.rules.schema import DEFAULT_STORM, DEFAULT_VERIFY, Defaults, Rule, Step, document_model
from autoheal.rules.selftest import SELF_TEST
from autoheal.rules.units import Window

ONCE = ("defaults", "budget", "protect", "freeze", "storm", "secrets")
"""Keys that only one file of a folder may have."""

_WHERE = re.compile(r"(.*?)(?::([0-9]+):([0-9]+))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules in force, in the order in which they are tried.

    `digest` is the SHA-256 (hex) over the files' names and texts; `texts` holds them by name. `protect` are matcher
    lists of which none may hold, whatever the rule, and `freeze` the times at which none may act; `budget` is for all
    rules together; `secrets` maps names to files.
    """

    rules: tuple[Rule, ...] = ()
    budget: tuple[Window, ...] = (Window(60, 3600.0),)
    protect: tuple[tuple[Matcher, ...], ...] = ()
    freeze: tuple[Freeze, ...] = ()
    secrets: Mapping[str, Path] = field(default_factory=dict)
    digest: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    _index: RuleIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", RuleIndex([rule.matchers for rule in self.rules]))

    def match(self, labels: Mapping[str, str]) -> list[Rule]:
        """The rules for an alert with `labels`: the first that matches, and the next ones while `continue` is true.

        For that of the self-test there is one alone, which is no part of `rules`.
        """
        if labels.get("alertname") == OwnName.SELFTEST:
            return [SELF_TEST]
        found: list[Rule] = []
        for position in self._index.matching(labels):
            found.append(self.rules[position])
            if not found[-1].continue_:
                break
        return found


def _nothing_is_idempotent(_action: str, _params: Mapping[str, Any]) -> bool:
    return False


def load(
    path: Path,
    *,
    actions: Mapping[str, type[BaseModel]],
    redact: Container[str] = frozenset(),
    idempotent: Idempotent = _nothing_is_idempotent,
) -> RuleSet:
    """The rules in the file `path`, or in the `*.yaml` and `*.yml` files of the folder `path` in the order of names.

    `actions` maps the name of each action to the model of its parameters; `redact` are names of labels and
    annotations that no rule may use; `idempotent` says whether an action with such parameters may be done twice.
    Raises ConfigError with every fault as `FILE:LINE:COLUMN`.
    """
    faults: list[Fault] = []
    documents: list[Document] = []
    texts = _read(path, faults)
    for file, text in texts.values():
        document = Document(str(file), text)
        faults.extend(document.faults)
        if document.whole:
            documents.append(document)
    shared = _shared(documents, faults)
    context = Context(secrets=frozenset(_names(shared.get("secrets"))), redact=redact)
    defaults = shared.get("defaults")
    default_mode = defaults.get("mode") if isinstance(defaults, dict) else None
    model = document_model(actions)
    read: list[Any] = []
    named: dict[str, str] = {}
    for document in documents:
        try:
            read.append(made := model.model_validate(document.data, context=context))
            faults.extend(rerun_faults(document, made, actions, idempotent))
        except ValidationError as error:
            faults.extend(shape_faults(document, model, error))
        faults.extend(combination_faults(document, actions, default_mode, named))
    if faults:
        raise ConfigError(sorted(set(faults), key=_order))
    digests = [_digest(rule, shared) for document in documents for rule in document.data["rules"]]
    return _rule_set(read, {name: text for name, (_, text) in texts.items()}, redact, digests)


def asking_prometheus(rules: RuleSet) -> list[str]:
    """The names of the rules, those that are off aside, whose `fleet` or probes only Prometheus can answer."""
    return [
        rule.name
        for rule in rules.rules
        if rule.mode is not Mode.OFF
        and (rule.fleet or any(step.verify.probe and step.verify.probe.promql for step in rule.steps))
    ]


def naming_channels(rules: RuleSet, configured: Container[str]) -> dict[str, list[str]]:
    """The channels that rules name in `exhausted.notify` and are not `configured`, and the rules that name each."""
    found: dict[str, list[str]] = {}
    for rule in rules.rules:
        for channel in rule.notify or ():
            if channel not in configured:
                found.setdefault(channel, []).append(rule.name)
    return found


def describe(rules: RuleSet) -> str:
    """One line for a person, as promtool has it."""
    return f"SUCCESS: {len(rules.rules)} rule{'' if len(rules.rules) == 1 else 's'} found"


def _read(path: Path, faults: list[Fault]) -> dict[str, tuple[Path, str]]:
    try:
        inside = sorted(path.iterdir()) if path.is_dir() else None
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {error.strerror}")]) from None
    files = [path]
    if inside is not None:
        # A folder that Kubernetes mounts also holds `..data` and the like.
        files = [file for file in inside if file.suffix in (".yaml", ".yml") and not file.name.startswith(".")]
    if not files:
        faults.append(Fault(str(path), "no *.yaml or *.yml file in this folder"))
    texts: dict[str, tuple[Path, str]] = {}
    for file in files:
        try:
            raw = file.read_bytes()
            texts[file.name] = (file, raw.decode("utf-8"))
        except OSError as error:
            faults.append(Fault(str(file), f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8")
            what = f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8"
            faults.append(Fault(f"{file}:{line_column(before, len(before))}", what))
    return texts


def _shared(documents: list[Document], faults: list[Fault]) -> dict[str, Any]:
    """The values of the keys that may stand once, as written."""
    shared: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for document in documents:
        for key in ONCE:
            if isinstance(document.data, dict) and key in document.data:
                where = document.where((key,), key=True)
                if key in seen:
                    faults.append(Fault(where, f"{key!r} stands at {seen[key]} already: only one file may have it"))
                else:
                    seen[key], shared[key] = where, document.data[key]
    return shared


def _names(secrets: object) -> list[str]:
    return [name for name in secrets if isinstance(name, str)] if isinstance(secrets, dict) else []


def _order(fault: Fault) -> tuple[str, int, int, str]:
    found = _WHERE.fullmatch(fault.where)
    file, line, column = found.groups() if found else (fault.where, None, None)
    return file, int(line or 0), int(column or 0), fault.what


def _digest(rule: object, shared: Mapping[str, Any]) -> str:
    """Of a rule as written, and of what stands elsewhere in the files and changes what it does.

    Neither the order of keys counts, nor comments and white space.
    """
    told = [rule, shared.get("defaults"), shared.get("secrets")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _rule_set(read: list[Any], texts: dict[str, str], redact: Container[str], digests: Sequence[str]) -> RuleSet:
    top: dict[str, Any] = {
        key: getattr(document, key) for key in ONCE for document in read if key in document.model_fields_set
    }
    defaults = top.pop("defaults", Defaults())
    storm = top.pop("storm", DEFAULT_STORM)
    return RuleSet(
        rules=tuple(
            _rule(rule, defaults, storm, redact, digest)
            for rule, digest in zip((rule for document in read for rule in document.rules), digests, strict=True)
        ),
        digest=hashlib.sha256(orjson.dumps(list(texts.items()))).hexdigest(),
        texts=MappingProxyType(texts),
        **top,
    )


def _rule(text: Any, defaults: Defaults, storm: Window | Literal["off"], redact: Container[str], digest: str) -> Rule:
    storm = text.storm if "storm" in text.model_fields_set else storm
    return Rule(
        name=text.name,
        matchers=text.matchers,
        target=text.target,
        steps=tuple(_step(step, defaults) for step in text.steps),
        for_=text.for_,
        allow_target=text.allow_target,
        protect=text.protect,
        freeze=text.freeze,
        unless=text.unless,
        mode=defaults.mode if text.mode is None else text.mode,
        rollout=text.rollout,
        cooldown=defaults.cooldown if text.cooldown is None else text.cooldown,
        budget=text.budget,
        breaker=text.breaker,
        fleet=text.fleet,
        concurrency=text.concurrency,
        storm=None if storm == "off" else storm,
        approval=text.approval,
        cancel_on_resolve=text.cancel_on_resolve,
        page_hold=text.page_hold,
        rerun_interrupted=text.rerun_interrupted,
        notify=defaults.exhausted.notify if text.exhausted.notify is None else text.exhausted.notify,
        continue_=text.continue_,
        digest=digest,
        redact=redact,
    )


def _step(text: Any, defaults: Defaults) -> Step:
    action = next(name for name in sorted(text.model_fields_set - {"verify"}))
    params: BaseModel = getattr(text, action)
    if "timeout" in type(params).model_fields and "timeout" not in params.model_fields_set:
        params = params.model_copy(update={"timeout": defaults.timeout})
    return Step(action=action, params=params, verify=text.verify or DEFAULT_VERIFY)
