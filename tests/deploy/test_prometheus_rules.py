"""The alerts that autoheal is watched by: valid, tried one by one, and each with a page that helps."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.tools import checked

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "autoheal.rules.yml"
TESTS = sorted(FOLDER.glob("*.test.yml"))
INDEX = (ROOT / "docs" / "runbooks.md").read_text()
RUNBOOKS = {page.stem: page.read_text() for page in (ROOT / "docs" / "runbooks").glob("*.md")}
HEADINGS = ["Symptoms", "Impact", "First minute", "Diagnosis", "Remediation", "Prevention"]


def load(file: Path) -> Any:
    return YAML(typ="safe").load(file)


GROUPS = load(RULES)["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}


@pytest.mark.component
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.rules.yml")), ids=lambda file: file.name)
def test_the_rules_are_valid(file: Path) -> None:
    """Expressions and the templates of annotations parse."""
    checked("promtool", "check", "rules", file)


@pytest.mark.component
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_the_alerts_fire_when_they_should(file: Path) -> None:
    """Their own unit tests pass."""
    checked("promtool", "test", "rules", file)


def test_every_alert_is_seen_firing_and_silent() -> None:
    """Each has a unit test under its name that sees it both ways."""
    seen: defaultdict[str, set[bool]] = defaultdict(set)
    for file in TESTS:
        for test in load(file)["tests"]:
            for case in test["promql_expr_test"]:
                assert case["expr"] == f'ALERTS{{alertname="{test["name"]}",alertstate="firing"}}'
                seen[test["name"]].add(bool(case["exp_samples"]))
    assert seen == {name: {True, False} for name in ALERTS}


def test_ratios_are_evaluated_first() -> None:
    """Promtool evaluates groups that are not named at random: a test of a ratio would fail now and then."""
    for file in TESTS:
        assert load(file)["group_eval_order"] == [group["name"] for group in GROUPS]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    """Its severity routes it; its runbook has the same parts for all."""
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    parts = re.findall(r"^## (.+)\n\n(.)", RUNBOOKS[name], re.MULTILINE)
    assert RUNBOOKS[name].startswith(f"# {name}\n")
    assert [heading for heading, _ in parts] == HEADINGS
    assert all(begins != "#" for _, begins in parts), "a part says nothing"


def test_every_runbook_has_its_alert() -> None:
    """None is left over from an alert that is gone."""
    assert RUNBOOKS.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_the_list_of_runbooks_is_whole(name: str) -> None:
    """It has each page, with the alert's own severity and summary."""
    alert = ALERTS[name]
    told = f"{alert['labels']['severity']} | {alert['annotations']['summary']} |"
    assert f"| [{name}](runbooks/{name}.md) | {told}" in INDEX


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    """A renamed metric would make an alert silent for ever."""
    documented = set(re.findall(r"^\| `(autoheal_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    asked = set(re.findall(r"\bautoheal_\w+", RULES.read_text()))
    assert {re.sub("_bucket$", "", name) for name in asked} <= documented
