"""JSON bodies of people's requests, read strictly: all faults at once, and what is not understood is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from autoheal.redaction import without_userinfo
from autoheal.rules.units import parse_duration
from autoheal.web.payload import BadPayload
from autoheal.wire import Faults, excerpt

MAX_WORDS_CHARACTERS = 1000
"""Of a comment or a reason."""


class Fields:
    """The members of a body that is an object. What is wrong with it adds to `faults`; `done` raises them.

    Raises BadPayload at once when it is no object. An empty body is one without members.
    """

    def __init__(self, body: bytes, known: Sequence[str]) -> None:
        try:
            raw = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise BadPayload([f"the body is not JSON: {error}"]) from None
        if not isinstance(raw, dict):
            raise BadPayload([f"the body must be an object, not {excerpt(raw)}"])
        self.raw: dict[str, Any] = raw
        self.faults = Faults()
        for name in raw:
            if name not in known:
                self.faults.add(f"{excerpt(name)} is not known here; known: {', '.join(known)}")

    def words(self, name: str, *, needed: str | None = None) -> str:
        """People's own words, without credentials in URLs. When there are none: the fault `needed`, or empty."""
        given = self.raw.get(name, "")
        if not isinstance(given, str):
            self.faults.add(f"must be a string, not {excerpt(given)}", name)
            return ""
        if len(given) > MAX_WORDS_CHARACTERS:
            self.faults.add(f"too long: {len(given):,} characters, at most {MAX_WORDS_CHARACTERS:,}", name)
        if needed is not None and not given.strip():
            self.faults.add(needed, name)
        return without_userinfo(given).strip()

    def duration(self, name: str, shortest: float, longest: float, limit: str = "") -> float | None:
        """Seconds; None when it is not given. `limit` names what sets the longest."""
        if name not in self.raw:
            return None
        given = self.raw[name]
        if not isinstance(given, str):
            self.faults.add(f"must be a string such as 15m, not {excerpt(given)}", name)
            return None
        try:
            seconds = parse_duration(given)
        except ValueError as error:
            self.faults.add(str(error), name)
            return None
        if not shortest <= seconds <= longest:
            self.faults.add(f"must be from {shortest:g}s to {longest:g}s{limit}", name)
        return seconds

    def text(self, name: str) -> str | None:
        """A string that is not empty; None when it is not given."""
        given = self.raw.get(name)
        if name in self.raw and (not isinstance(given, str) or not given):
            self.faults.add(f"must be a string that is not empty, not {excerpt(given)}", name)
            return None
        return given

    def done(self) -> None:
        """Raise BadPayload when anything was wrong."""
        if self.faults.total:
            raise BadPayload(self.faults.texts())
