"""What a check comes to, and all of them together as a record of the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoheal.model import Check, Draft, Kind

MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Result:
    """One check's. `ok` is None when it could not be made, which is no failure; `text` tells why, or what was seen.

    Where it failed, `remedy` says what to do. `ms` is how long it took.
    """

    check: Check
    ok: bool | None
    text: str
    remedy: str = ""
    ms: float = 0.0

    @property
    def word(self) -> str:
        """For people and programs: `ok`, `FAIL` or `skipped`."""
        return "skipped" if self.ok is None else "ok" if self.ok else "FAIL"


class Failed(Exception):
    """Why a check failed, for people, and what they can do about it."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy


class Skipped(Exception):
    """Why a check cannot be made here."""


def passed(results: Sequence[Result]) -> bool:
    """Whether no check failed."""
    return all(result.ok is not False for result in results)


def report(results: Sequence[Result]) -> Draft:
    """The record of a self-test."""
    checks = {
        result.check.value: {"ok": result.ok, "ms": round(result.ms, 1), "text": result.text[:MAX_TEXT]}
        for result in results
    }
    return Draft(kind=Kind.SELFTEST_OK if passed(results) else Kind.SELFTEST_FAIL, detail={"checks": checks})
