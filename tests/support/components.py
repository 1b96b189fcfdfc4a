"""Programs beside Python that some tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "node": "nodejs",
    "amtool": "prometheus-alertmanager",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "busybox": "busybox-static",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "kubectl": "kubernetes-client",
    "setpriv": "util-linux",
}
"""The Debian package of a program, where its name is another."""


def require(program: str) -> str:
    """The path of `program`; without it the test is skipped, and in CI fails, so that none is skipped unseen."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
    if found is None:
        lacking(f"{program} is not installed: apt-get install {PACKAGES.get(program, program)}")
    return found


def require_root(what: str) -> None:
    """As `require`, for `what` only root can start."""
    if os.geteuid() != 0:
        lacking(f"{what} needs root")


def lacking(why: str) -> NoReturn:
    """Skip the test, or fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
