from __future__ import annotations

import pytest

from autoheal.journal import snapshots
from tests.support.snapshots import EVERY


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are put down every few records."""
    monkeypatch.setattr(snapshots, "EVERY", EVERY)
