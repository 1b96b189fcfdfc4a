from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from autoheal import actions
from autoheal.rules import load
from autoheal.rules.document import Document
from tests.support import schema

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(schema.text())
GUIDE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
ACTIONS = (ROOT / "docs" / "actions.md").read_text(encoding="utf-8")
EXAMPLES = [block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "rules:" in block]
TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def valid(value: Any, rule: dict[str, Any]) -> bool:
    """Whether `value` conforms to `rule`, by the keywords that our schema uses."""
    known = {
        "$ref",
        "type",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "items",
        "minItems",
    }
    known |= {"additionalProperties", "patternProperties", "minimum", "maximum", "minLength", "description", "format"}
    assert rule.keys() <= known | {"$defs", "$schema", "title"}, rule.keys() - known
    checks = [
        "$ref" not in rule or valid(value, SCHEMA["$defs"][rule.get("$ref", "").rpartition("/")[2]]),
        "type" not in rule
        or (isinstance(value, TYPES[rule["type"]]) and isinstance(value, bool) is (rule["type"] == "boolean")),
        "enum" not in rule or value in rule["enum"],
        "const" not in rule or (value == rule["const"] and type(value) is type(rule["const"])),
        "anyOf" not in rule or any(valid(value, option) for option in rule["anyOf"]),
        "oneOf" not in rule or sum(valid(value, option) for option in rule["oneOf"]) == 1,
    ]
    if isinstance(value, str):
        checks.append(re.search(rule.get("pattern", ""), value) is not None)
    if isinstance(value, int):
        checks.append(rule.get("minimum", value) <= value <= rule.get("maximum", value))
    if isinstance(value, list):
        checks.append(len(value) >= rule.get("minItems", 0))
        checks.extend(valid(child, rule.get("items", {})) for child in value)
    if isinstance(value, dict):
        more = rule.get("additionalProperties", True)
        checks.append(all(name in value for name in rule.get("required", ())))
        for name, child in value.items():
            patterns = rule.get("patternProperties", {}).items()
            matching = next((child_rule for pattern, child_rule in patterns if re.search(pattern, name)), more)
            known_rule = rule.get("properties", {}).get(name, matching)
            checks.append(known_rule if isinstance(known_rule, bool) else valid(child, known_rule))
    return all(checks)


def test_the_published_schema_is_current() -> None:
    """docs/rules.schema.json is what the code accepts; how to write it anew stands in tests/support/schema.py."""
    assert (ROOT / "docs" / "rules.schema.json").read_text(encoding="utf-8") == schema.text()


def test_the_guide_has_examples() -> None:
    """The tests below are about something."""
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_of_the_guide_loads_and_is_valid(tmp_path: Path, example: str) -> None:
    """What the guide shows works as pasted, with the true actions, and satisfies the schema."""
    file = tmp_path / "rules.yaml"
    file.write_text(example, encoding="utf-8")
    assert load(
        file, actions=schema.PARAMS, idempotent=lambda name, params: actions.ACTIONS[name].traits(params).idempotent
    ).rules
    assert valid(Document("rules.yaml", example).data, SCHEMA)


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_keys, value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list) else set()


def _properties(rule: Any) -> set[str]:
    if isinstance(rule, dict):
        named = rule.get("properties")
        found = set(named) if isinstance(named, dict) else set()
        return found.union(*map(_properties, rule.values()))
    return set().union(*map(_properties, rule)) if isinstance(rule, list) else set()


def test_every_key_is_explained_and_shown() -> None:
    """Each key that a rules file may have stands in a table of docs/rules.md or actions.md, and in an example."""
    pages = [GUIDE, ACTIONS]
    heads = [line.split("|")[1] for page in pages for line in page.splitlines() if line.startswith("| `")]
    explained = {word for head in heads for word in re.findall(r"`(\w+)", head)}
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    shown = set().union(*(_keys(Document("docs", block).data) for block in blocks))
    assert _properties(SCHEMA) - explained == set()
    assert _properties(SCHEMA) - shown == set()


@pytest.mark.parametrize(
    "text",
    [
        "{version: 2, rules: []}",
        "{version: 1}",
        "{version: 1, rules: [], more: 1}",
        "{version: 1, rules: [{name: a b, match: a=b}]}",
        "{version: 1, rules: [{name: a, match: []}]}",
        "{version: 1, rules: [{name: a, match: a=b, for: 5}]}",
        "{version: 1, rules: [{name: a, match: a=b, mode: ask}]}",
        "{version: 1, rules: [{name: a, match: a=b, continue: 'yes'}]}",
        "{version: 1, rules: [{name: a, match: a=b, steps: [{verify: {resolved_within: 5m}}]}]}",
        "{version: 1, rules: [{name: a, match: a=b, steps: [{command: {argv: []}}]}]}",
        "{version: 1, rules: [{name: a, match: a=b, steps: [{command: {argv: [a]}, http: {url: 'http://h/'}}]}]}",
        "{version: 1, rules: [{name: a, match: a=b, steps: [{docker: {}}]}]}",
        "{version: 1, rules: [{name: a, match: a=b, steps: [{docker: {start: a1, stop: a1}}]}]}",
        "{version: 1, rules: [{name: a, match: a=b, budget: [often]}]}",
        "{version: 1, rules: [{name: a, match: a=b, budget: {targets: []}}]}",
    ],
)
def test_the_schema_refuses_what_load_refuses(text: str) -> None:
    """An editor shows the same faults of shape."""
    assert not valid(Document("rules.yaml", text).data, SCHEMA)


def test_shorthands_are_valid() -> None:
    """An editor does not complain about the short forms."""
    step = "{command: {argv: [a]}, verify: {probe: {http: 'http://h/', within: 5s}}}"
    text = (
        f"{{version: 1, rules: [{{name: a, match: [a=b], budget: [1/1h], cooldown: 0, target: t, steps: [{step}]}}]}}"
    )
    assert valid(Document("rules.yaml", text).data, SCHEMA)


def test_the_guide_names_every_key() -> None:
    """Each key of a rules file stands in docs/rules.md as code; docs/actions.md has the parameters of actions."""
    params = {model.__name__ for model in schema.PARAMS.values()}
    rules = [SCHEMA, *(rule for name, rule in SCHEMA["$defs"].items() if name not in params)]
    properties = {name for rule in rules for name in rule.get("properties", {})}
    assert [name for name in sorted(properties) if f"`{name}`" not in GUIDE] == []
