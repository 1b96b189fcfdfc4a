"""Programs beside Python that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "node": "nodejs",
    "amtool": "prometheus-alertmanager",
}
"""The Debian package of a program, where its name is another."""


def require(program: str) -> str:
    """The path of `program`; without it the test is skipped, and in CI fails, so that none is skipped unseen."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    if found is not None:
        return found
    missing = f"{program} is not installed: apt-get install {PACKAGES.get(program, program)}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
