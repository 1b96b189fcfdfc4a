"""From a rules file to an executed plan: what the examples in docs/actions.md rely on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from autoheal.actions import ACTIONS, Context, Traits, builtin
from autoheal.actions.probes import probe
from autoheal.model import Alert, AlertStatus
from autoheal.rules import json_schema, load, plan
from tests.support.webserver import answer, web_server

PARAMS = {name: action.Params for name, action in builtin(ssh_hosts=["*.example.org"]).items()}
DOCS = Path(__file__).parents[2] / "docs" / "actions.md"

RULES = """\
version: 1
defaults: {timeout: 20s}
secrets: {token: TOKEN_FILE}
rules:
  - name: fix
    match: alertname="Down"
    target: '{{ labels.container }}'
    steps:
      - command:
          argv: [/bin/echo, '{{ target }}', '{{ labels.note }}', '{{ secret.token }}']
          env: {NOTE: '{{ labels.note }}'}
          cwd: /tmp
          timeout: 1m30s
        verify: {probe: {tcp: '{{ labels.instance }}'}}
      - http:
          url: 'http://{{ labels.instance }}/fix/{{ labels.note }}'
          json: {text: ['{{ labels.note }}', 5]}
          status: [200, 300-302]
        verify: {probe: {http: 'http://{{ labels.instance }}/'}}
"""


async def test_a_plan_is_executed_as_it_was_rendered(context: Context, tmp_path: Path) -> None:
    """Hostile labels arrive in programs, URLs and bodies as the texts that they are; a plan survives JSON."""
    note = 'a"b; $(id)\n{{ secret.token }}/..'
    (tmp_path / "rules.yaml").write_text(RULES.replace("TOKEN_FILE", str(context.secrets["token"])))
    rules = load(tmp_path / "rules.yaml", actions=PARAMS)
    async with web_server(answer(200)) as web:
        labels = {"alertname": "Down", "container": "api-1", "note": note, "instance": f"127.0.0.1:{web.port}"}
        (rule,) = rules.match(labels)
        alert = Alert(status=AlertStatus.FIRING, fingerprint="f", labels=labels, annotations={}, starts_at=0.0)
        made = orjson.loads(orjson.dumps(plan(rule, alert)))
        for step in made["steps"]:
            outcome = await ACTIONS[step["action"]].run(step["params"], context)
            assert outcome.ok, outcome
            assert (await probe(step["verify"]["probe"], context)).ok
            if step["action"] == "command":
                assert outcome.detail["output"] == f"api-1 {note} [redacted]\n"
    assert made["steps"][0]["params"]["timeout"] == 90.0
    assert made["steps"][1]["params"]["timeout"] == 20.0
    (posted,) = [asked for asked in web.asked if asked.line.startswith("POST")]
    assert posted.line == "POST /fix/a%22b%3B%20%24%28id%29%0A%7B%7B%20secret.token%20%7D%7D%2F.. HTTP/1.1"
    assert orjson.loads(posted.body) == {"text": [note, 5]}


def test_the_schema_for_editors_knows_the_parameters() -> None:
    """In the words of the file."""
    schema = orjson.loads(orjson.dumps(json_schema(PARAMS)))
    assert set(schema["$defs"]["CommandParams"]["properties"]) == {"argv", "cwd", "env", "timeout"}
    assert set(schema["$defs"]["HttpParams"]["properties"]) == {
        *("url", "method", "headers", "json", "body", "status", "timeout", "retries"),
    }


def _examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("example", _examples())
def test_the_examples_of_the_docs_load(example: str, tmp_path: Path) -> None:
    """As they stand, pasted into a file."""
    (tmp_path / "rules.yaml").write_text(example)
    assert load(tmp_path / "rules.yaml", actions=PARAMS).rules


@pytest.mark.parametrize("name", PARAMS)
def test_every_parameter_is_documented(name: str) -> None:
    """docs/actions.md has a row for each, and none for what is not there."""
    section = re.split(r"^## ", DOCS.read_text(), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"`{name}`")]
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    fields: dict[str, Any] = dict(PARAMS[name].model_fields)
    assert rows == {field.alias or attribute for attribute, field in fields.items()}


def test_what_each_promises_is_documented() -> None:
    """The table in docs/actions.md says of each action what the log will say."""
    rows = re.findall(r"^\| (`.*) \| (yes|no) \| (yes|no) \|$", DOCS.read_text(), re.MULTILINE)
    told = set()
    for what, idempotent, reversible in rows:
        (name, _, verb), *others = [code.partition(": ") for code in re.findall("`(.*?)`", what)]
        words = [verb, *(word for word, _, _ in others)] if verb else [word for word, _, _ in others]
        for word in words or ["POST"]:
            traits = ACTIONS[name].traits({word: "x1"} if verb else {"method": word})
            assert traits == Traits(idempotent=idempotent == "yes", reversible=reversible == "yes"), what
            told.add((name, word))
    assert told >= {("command", "POST"), ("http", "PUT"), ("http", "POST"), ("docker", "stop")}
    assert {name for name, _ in told} == set(ACTIONS)
