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
    ("alertname", "receivers"), [("ServiceDown", "autoheal,people"), ("Watchdog", "autoheal,nobody")]
)
def test_people_are_told_as_before(file: Path, alertname: str, receivers: str) -> None:
    """Every alert goes to autoheal and to people; the heartbeat calls nobody."""
    labels = f"alertname={alertname}"
    assert checked("amtool", "config", "routes", "test", f"--config.file={file}", labels).strip() == receivers
