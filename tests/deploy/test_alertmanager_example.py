"""deploy/alertmanager.yml and the stack's own configuration, as Alertmanager itself reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tools import checked

pytestmark = pytest.mark.component

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = [DEPLOY / "alertmanager.yml", DEPLOY / "compose" / "alertmanager.yml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_it_is_valid(file: Path) -> None:
    """Alertmanager starts with it."""
    assert "SUCCESS" in checked("amtool", "check-config", file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
@pytest.mark.parametrize(
    ("alertname", "receivers"),
    [
        ("ServiceDown", "autoheal,people"),
        ("Watchdog", "autoheal"),
        ("AutohealDown", "people"),
        ("AutohealActive", "nobody"),
    ],
)
def test_people_are_told_as_before(file: Path, alertname: str, receivers: str) -> None:
    """Alerts go to autoheal and to people, those about autoheal to people alone; the heartbeat calls nobody."""
    labels = f"alertname={alertname}"
    assert checked("amtool", "config", "routes", "test", f"--config.file={file}", labels).strip() == receivers


def test_the_stack_has_the_example() -> None:
    """But for where autoheal is, and comments at the top."""
    example, stack = (file.read_text().partition("route:")[2] for file in FILES)
    assert stack == example.replace("127.0.0.1:9009", "autoheal:9009")
