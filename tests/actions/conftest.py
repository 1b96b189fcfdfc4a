"""What tests of actions share."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoheal.actions import Context
from autoheal.clock import SystemClock
from tests.support.looping import LOOPS
from tests.support.pki import Pki
from tests.support.victims import mark, marked


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """One execution, with a secret `token` of `hunter2-hunter2`, and one, `missing`, whose file is not there."""
    token = tmp_path / "token"
    token.write_text("hunter2-hunter2\n")
    return Context(
        run="run-1",
        step=2,
        idempotency_key="log-run-1-2",
        secrets={"token": token, "missing": tmp_path / "nothing"},
        lock_dir=tmp_path / "locks",
        clock=SystemClock(),
    )


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One authority for all tests."""
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Each event loop that the gateway may run on."""
    return str(request.param)


@pytest.fixture
def victim() -> Iterator[str]:
    """An argument by which the processes that a test starts are found, and ended should the test fail."""
    text = mark()
    yield text
    for pid in marked(text):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
