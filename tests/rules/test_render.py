from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from pydantic import BaseModel

from autoheal.errors import RenderError
from autoheal.rules import Matcher, Rule, Step, plan, reveal
from autoheal.rules.render import MAX_PLAN_BYTES
from autoheal.rules.template import OF_TARGET, Flavour, Template
from tests.support.loading import firing, loaded

LADDER = """
version: 1
secrets: {TOKEN: /run/secrets/token}
rules:
  - name: heal
    match: alertname="Down"
    target: '{{ labels.container }}'
    allow_target: '(api|web)-[a-z0-9]+'
    steps:
      - command: {argv: [/opt/fix, '{{ target }}'], env: {WHO: '{{ alertname }}'}, timeout: 30s}
        verify:
          resolved_within: 5m
          probe: {http: 'http://{{ labels.instance }}/health', within: 10s, stable: 250ms}
      - http:
          url: 'https://h/restart/{{ target }}'
          headers: {Authorization: 'Bearer {{ secret.TOKEN }}'}
          json: {names: ['{{ target }}', 1, null, true], '{{ not }}': {deep: '{{ fingerprint }}'}}
        verify: {probe: {command: {argv: [/bin/check, '{{ target }}']}}}
      - command: {argv: [/opt/page]}
        verify: {probe: {tcp: '{{ labels.instance }}'}}
      - command: {argv: [/opt/page]}
"""


def test_a_plan_is_what_would_be_done_as_plain_data(tmp_path: Path) -> None:
    """Every template rendered, durations in seconds, defaults filled in, secrets as markers, keys as in the file."""
    (rule,) = loaded(tmp_path, LADDER).rules
    made = plan(rule, firing(container="web-1", instance="10.0.0.1:80"))
    assert made == {
        "target": "web-1",
        "steps": [
            {
                "action": "command",
                "params": {"argv": ["/opt/fix", "web-1"], "env": {"WHO": "Down"}, "timeout": 30.0},
                "verify": {
                    "resolved_within": 300.0,
                    "probe": {
                        "http": {"url": "http://10.0.0.1:80/health", "status": [200], "method": "GET"},
                        "within": 10.0,
                        "stable": 0.25,
                    },
                },
            },
            {
                "action": "http",
                "params": {
                    "url": "https://h/restart/web-1",
                    "headers": {"Authorization": "Bearer ⟦secret:TOKEN⟧"},
                    "body": None,
                    "json": {"names": ["web-1", 1, None, True], "{{ not }}": {"deep": "f1f2"}},
                },
                "verify": {
                    "resolved_within": None,
                    "probe": {"command": {"argv": ["/bin/check", "web-1"]}, "within": 60.0, "stable": 0.0},
                },
            },
            {
                "action": "command",
                "params": {"argv": ["/opt/page"], "env": {}, "timeout": 60.0},
                "verify": {"resolved_within": None, "probe": {"tcp": "10.0.0.1:80", "within": 60.0, "stable": 0.0}},
            },
            {
                "action": "command",
                "params": {"argv": ["/opt/page"], "env": {}, "timeout": 60.0},
                "verify": {"resolved_within": 900.0, "probe": None},
            },
        ],
    }
    assert orjson.loads(orjson.dumps(made)) == made


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({"instance": "h:1"}, "^target: label 'container' is not set$"),
        ({"container": "", "instance": "h:1"}, "^target: is empty$"),
        ({"container": " \n", "instance": "h:1"}, "^target: is empty$"),
        ({"container": "db-1", "instance": "h:1"}, "not allowed by allow_target"),
        ({"container": "web-1; rm -rf /", "instance": "h:1"}, "not allowed by allow_target"),
        ({"container": "web-1\n", "instance": "h:1"}, "not allowed by allow_target"),
        ({"container": "web-1"}, r"^steps\[0\].verify.probe.http.url: label 'instance' is not set$"),
        ({"container": "web-1", "instance": "h"}, r"^steps\[2\].verify.probe.tcp: 'h' is not HOST:PORT$"),
        ({"container": "web-" + "1" * 12_000, "instance": "h:1"}, "^target: is longer than 1024 bytes$"),
    ],
)
def test_a_plan_that_cannot_be_trusted_is_none(tmp_path: Path, labels: dict[str, str], what: str) -> None:
    """The error names the place and the reason; hostile values are in no plan."""
    (rule,) = loaded(tmp_path, LADDER).rules
    with pytest.raises(RenderError, match=what):
        plan(rule, firing(**labels))


def test_without_allow_target_any_target_that_is_not_blank_is_allowed(tmp_path: Path) -> None:
    """`allow_target` is optional; a blank target still never means all."""
    text = LADDER.replace("    allow_target: '(api|web)-[a-z0-9]+'\n", "")
    (rule,) = loaded(tmp_path, text).rules
    assert plan(rule, firing(container="db; 1", instance="h:1"))["target"] == "db; 1"
    with pytest.raises(RenderError, match="is empty"):
        plan(rule, firing(container="", instance="h:1"))


def test_shell_metacharacters_stay_in_their_argument(tmp_path: Path) -> None:
    """One template is one element of argv, whatever the label holds."""
    (rule,) = loaded(tmp_path, LADDER.replace("    allow_target: '(api|web)-[a-z0-9]+'\n", "")).rules
    hostile = "a; rm -rf / $(id) `id` | x > y\n'\" &&"
    assert plan(rule, firing(container=hostile, instance="h:1"))["steps"][0]["params"]["argv"] == ["/opt/fix", hostile]


def test_a_rule_without_a_target_has_no_plan(tmp_path: Path) -> None:
    """Only a rule that is off may lack a target."""
    (rule,) = loaded(tmp_path, "version: 1\nrules: [{name: a, match: a=b, mode: off}]").rules
    with pytest.raises(RenderError, match="rule a has no target"):
        plan(rule, firing())


class Number(BaseModel):
    n: int = 2**70


def test_what_json_cannot_hold_is_no_plan() -> None:
    """A plan is recorded, so it must be writable."""
    rule = Rule(
        name="a",
        matchers=(Matcher("a", "=", "b"),),
        target=Template("t", Flavour.TEXT, OF_TARGET),
        steps=(Step("count", Number()),),
    )
    with pytest.raises(RenderError, match="cannot be written as JSON"):
        plan(rule, firing())


def test_secrets_are_revealed_in_nested_values_and_nowhere_else() -> None:
    """Markers in texts, lists and mappings' values are replaced; the value given stays as it was."""
    value = {"a": ["⟦secret:A⟧-⟦secret:B⟧", 1, None], "⟦secret:A⟧": "x", "b": {"c": "plain"}}
    assert reveal(value, {"A": "⟦secret:B⟧", "B": "2"}) == {
        "a": ["⟦secret:B⟧-2", 1, None],
        "⟦secret:A⟧": "x",
        "b": {"c": "plain"},
    }
    assert value["a"] == ["⟦secret:A⟧-⟦secret:B⟧", 1, None]


def test_a_secret_that_is_not_at_hand_is_an_error() -> None:
    """A marker never reaches the world as text."""
    with pytest.raises(RenderError, match="secret 'A' is not at hand"):
        reveal(["⟦secret:A⟧"], {})


LONG = "version: 1\nrules: [{name: r, match: job=x, target: t, steps: [{command: {argv: ['{{ labels.long }}']}}]}]\n"


@pytest.mark.parametrize("filler", ["x", "é", '"'])
def test_a_plan_of_32_kib_is_the_longest(tmp_path: Path, filler: str) -> None:
    """Bytes of its JSON are counted, escapes too; one more is an error that says how many there are."""
    (rule,) = loaded(tmp_path, LONG).rules
    room = MAX_PLAN_BYTES - len(orjson.dumps(plan(rule, firing(long=""))))
    width = len(orjson.dumps(filler)) - 2
    fits = filler * (room // width) + "x" * (room % width)
    assert len(orjson.dumps(plan(rule, firing(long=fits)))) == MAX_PLAN_BYTES == 32_768
    with pytest.raises(RenderError, match="the plan takes 32769 bytes, more than 32768"):
        plan(rule, firing(long=f"{fits}x"))
