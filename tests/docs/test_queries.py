"""The PromQL on the pages is PromQL, about metrics that there are; the words to look for in a log are words of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.pages import PAGES, ROOT, blocks
from tests.support.tools import checked

QUERIES = [(block.where, block.text.strip()) for page in PAGES for block in blocks(page) if block.language == "promql"]
OTHERS = {"autoheal_haproxy", "autoheal_session"}
"""The module of an example and a cookie, which look like metrics."""
RULES = (ROOT / "deploy" / "prometheus" / "autoheal.rules.yml").read_text()


@pytest.mark.component
def test_every_query_parses(tmp_path: Path) -> None:
    """By promtool, as the expressions of recording rules."""
    assert len(QUERIES) > 20
    rules = [{"record": f"query:{number}", "expr": query} for number, (_, query) in enumerate(QUERIES)]
    file = tmp_path / "queries.yml"
    YAML(typ="safe").dump({"groups": [{"name": "pages", "rules": rules}]}, file)
    checked("promtool", "check", "rules", file)


def test_they_ask_for_metrics_that_there_are() -> None:
    """In blocks, in commands and in the text: a renamed metric would answer with silence."""
    documented = set(re.findall(r"^\| `(autoheal_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    recorded = set(re.findall(r"record: (autoheal:\S+)", RULES))
    for page in PAGES:
        text = page.read_text()
        asked = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\bautoheal_[a-z_]+\b", text)}
        assert asked - documented - OTHERS == set(), page.name
        assert set(re.findall(r"\bautoheal:[a-z_]+:\w+", text)) <= recorded, page.name


def test_words_to_look_for_in_the_log_are_said() -> None:
    """What `logs | grep` looks for is an event of the service's own log."""
    source = "".join(path.read_text() for path in (ROOT / "autoheal").rglob("*.py"))
    looked_for = {
        word
        for page in PAGES
        for asked in re.findall(r"logs \| grep (?:-E )?'?([\w|]+)", page.read_text())
        for word in asked.split("|")
    }
    assert looked_for
    assert {word for word in looked_for if f'"{word}"' not in source} == set()
