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
NOT_OURS = {"serviceMonitorSelector", "dmesg", "nice", "ls", "df", "SSL_CERT_FILE"}
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


@pytest.mark.parametrize("page", ["runbooks/AutohealDown.md", "troubleshooting.md"])
def test_messages_to_look_for_are_said(page: str) -> None:
    """What a start that fails is said to say is what the source says."""
    source = "".join(path.read_text() for path in (ROOT / "autoheal").rglob("*.py"))
    rows = re.findall(r"^\| (?:exit code \d, )?`([a-z][^`]* [^`]*)`", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert len(rows) >= 5
    assert [words for words in rows if words not in source] == []


def test_words_of_the_runbooks_are_ours() -> None:
    """Kinds, reasons, settings and keys in code marks are in the source or in what is deployed; programs are few."""
    folders = [*(ROOT / "autoheal").rglob("*.py"), *(ROOT / "deploy").rglob("*.y*ml"), *(ROOT / "logrotate").iterdir()]
    source = "".join(path.read_text() for path in [*folders, ROOT / "docker-compose.prod.yml"])
    for page in [ROOT / "docs" / "runbooks.md", *(ROOT / "docs" / "runbooks").iterdir()]:
        outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        words = set(re.findall(r"`(\w+)`", outside)) - NOT_OURS
        assert {word for word in words if not re.search(rf"\b{word}\b", source)} == set(), page.name
