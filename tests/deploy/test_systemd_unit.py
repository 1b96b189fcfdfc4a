"""deploy/systemd as systemd itself reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoheal.config import load
from tests.support.tools import checked

pytestmark = pytest.mark.component

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = (FOLDER / "autoheal.service").read_text()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with its drop-in, as it is installed; the program is one that is there."""
    file = tmp_path / "autoheal.service"
    file.write_text(UNIT.replace("/opt/autoheal/.venv/bin/autoheal", "/bin/true"))
    drop_in = tmp_path / "autoheal.service.d" / "oidc.conf"
    drop_in.parent.mkdir()
    drop_in.write_text((FOLDER / "autoheal.service.d" / "oidc.conf").read_text())
    return file


def test_systemd_takes_it(unit: Path) -> None:
    """Without a word about unknown or wrong directives."""
    assert checked("systemd-analyze", "verify", "--man=no", unit) == ""


def test_it_is_hardened(unit: Path) -> None:
    """By systemd's own measure, where 10 is a service without any."""
    told = checked("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level for autoheal\.service: ([0-9.]+)", told)
    assert exposure is not None
    assert float(exposure[1]) <= 2


def test_it_ends_and_begins_as_operations_say() -> None:
    """SIGTERM to autoheal alone with time for actions, SIGHUP to reload, and always up again."""
    directives = dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.MULTILINE))
    assert directives["KillMode"] == "mixed"
    assert int(directives["TimeoutStopSec"]) >= 30
    assert directives["Restart"] == "always"
    assert directives["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_settings_are_valid(tmp_path: Path) -> None:
    """Autoheal takes what the example says, with the secret of the drop-in; quotes are systemd's to take off."""
    secret = tmp_path / "secret"
    secret.write_text("a client's secret")
    lines = re.findall(r"^([A-Z_]+)=(.*)$", (FOLDER / "autoheal.env").read_text(), re.MULTILINE)
    settings = load({name: value.strip("'") for name, value in lines} | {"OIDC_CLIENT_SECRET_FILE": str(secret)})
    assert settings.dry_run
    assert settings.oidc is not None
    assert settings.oidc.role_map
