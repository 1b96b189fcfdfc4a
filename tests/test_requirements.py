"""The locked requirements are what pyproject.toml asks for, all of it pinned by hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
OPTIONAL = [text for name, extra in EXTRAS.items() for text in extra if name != "apprise"]
"""What every installation has, so that no setting asks in vain; Apprise brings much for what few need."""
LOCKS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("run", "dev", "build")}


def _locked(name: str) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^ ]+)", LOCKS[name], re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("run", PROJECT["project"]["dependencies"] + OPTIONAL),
        (
            "dev",
            PROJECT["project"]["dependencies"] + OPTIONAL + EXTRAS["apprise"] + PROJECT["dependency-groups"]["dev"],
        ),
        ("build", PROJECT["build-system"]["requires"]),
    ],
)
def test_a_lock_holds_what_is_asked_for(lock: str, asked: list[str]) -> None:
    """Each dependency of pyproject.toml is locked, at a version that it allows."""
    for text in asked:
        requirement = Requirement(text)
        version = _locked(lock).get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is not in requirements/{lock}.txt: make lock"
        assert requirement.specifier.contains(version), f"{text}, but {version} is locked: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_its_hashes_and_names_no_host(lock: str) -> None:
    """Pip takes nothing but the very files that were resolved, from whatever index it is set up with."""
    entries = re.split(r"^(?=[\w])", LOCKS[lock], flags=re.MULTILINE)[1:]
    assert len(entries) == len(_locked(lock))
    for entry in entries:
        assert "--hash=sha256:" in entry, entry
    assert "://" not in LOCKS[lock]


def test_the_locks_agree() -> None:
    """What two of them hold they hold at one version: they are installed into one environment."""
    run, dev, build = (_locked(name) for name in LOCKS)
    assert run.items() <= dev.items()
    assert {name: version for name, version in build.items() if name in dev}.items() <= dev.items()
