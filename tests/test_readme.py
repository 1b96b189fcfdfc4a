"""What the README and the other pages show has to work as pasted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from autoheal.actions import ACTIONS
from autoheal.cli import main
from autoheal.rules import load, plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RULE, RECEIVER = re.findall(r"^```yaml\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


class _Firing:
    alertname = "ServiceDown"
    fingerprint = "df55e08d194b261e"
    labels = {"alertname": alertname, "service": "nginx", "instance": "127.0.0.1:80"}  # noqa: RUF012 never changed
    annotations: dict[str, str] = {}  # noqa: RUF012


def test_the_rule_works_as_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten lines that `autoheal check` accepts and that make the plan which their text promises."""
    assert len(RULE.splitlines()) == 10
    file = tmp_path / "rules.yaml"
    file.write_text(RULE)
    assert main(["check", str(file)]) == 0
    assert "1 rule" in capsys.readouterr().out
    rules = load(file, actions={name: action.Params for name, action in ACTIONS.items()})
    (rule,) = rules.match(_Firing.labels)
    made = plan(rule, _Firing())
    assert made["target"] == "nginx"
    assert made["steps"][0]["params"]["argv"] == ["systemctl", "restart", "nginx"]
    assert made["steps"][0]["verify"]["probe"]["tcp"] == "127.0.0.1:80"


def test_the_receiver_is_the_one_that_is_tried() -> None:
    """The README's receiver is that of deploy/alertmanager.yml, which the end-to-end tests run."""
    yaml = YAML(typ="safe")
    assert yaml.load(RECEIVER)["receivers"][0] in yaml.load(ROOT / "deploy" / "alertmanager.yml")["receivers"]


def test_every_command_shown_is_there() -> None:
    """Each `make TARGET` on any page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {name for page in PAGES for name in re.findall(r"(?:^    |`)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test", "install"} <= shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    """Each link to a file of this repository leads to one, and to a heading that is in it."""
    for link, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        there = (page.parent / link) if link else page
        assert there.exists(), f"{page.name} links to {link}, which is not there"
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in slugs, f"{page.name} links to {link}#{heading}: there is no such heading"
