"""What records of self-tests change: what is known of the last ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoheal.model import Kind, Record
from autoheal.state.entities import SelfTest
from autoheal.state.keeping import SELFTESTS_KEPT

if TYPE_CHECKING:
    from autoheal.state.whole import State


def _tested(state: State, record: Record) -> None:
    failed = [name for name, result in record.detail["checks"].items() if result["ok"] is False]
    state.selftests = [*state.selftests, SelfTest(record.ts, failed)][-SELFTESTS_KEPT:]


SELFTESTS: Mapping[Kind, Callable[[State, Record], None]] = {
    Kind.SELFTEST_OK: _tested,
    Kind.SELFTEST_FAIL: _tested,
}
