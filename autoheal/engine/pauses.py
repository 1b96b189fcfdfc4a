"""Pauses: people's word that no run is to begin, through the API or by a file for the day when the API is down.

What a pause does is `decide`'s business alone: it looks at the pauses in the folded state. So the file counts from the
record that tells of it: the engine looks whenever it is about to decide or begin something, and once a second.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from autoheal.clock import Clock
from autoheal.engine.ledger import Ledger
from autoheal.model import By, Draft, Kind, rfc3339
from autoheal.redaction import without_userinfo

PAUSE_FILE = "PAUSE"
"""In the data directory: while it is there, everything is paused. What stands in it is the reason."""
MAX_REASON_CHARACTERS = 1000
_READ_BYTES = 4 * MAX_REASON_CHARACTERS

_log = structlog.get_logger(__name__)


class Pauses:
    """Records what pauses and what ends pauses. `file` is the one that stands for everything."""

    def __init__(self, ledger: Ledger, clock: Clock, file: Path) -> None:
        self._ledger = ledger
        self._clock = clock
        self._file = file

    async def pause(self, rule: str | None, reason: str, duration: float | None, by: By) -> None:
        """See `Engine.pause`."""
        self._ledger.refresh()
        until = {} if duration is None else {"until": rfc3339(self._clock.now() + duration)}
        await self._record(Kind.PAUSED, rule, by, {"how": "api", "reason": reason, **until})

    async def resume(self, rule: str | None, reason: str, by: By) -> None:
        """See `Engine.resume`."""
        self._ledger.refresh()
        if any((pause.rule, pause.how) == (rule, "api") for pause in self._ledger.state.paused(self._clock.now())):
            await self._record(Kind.RESUMED, rule, by, {"how": "api", "reason": reason})
        else:
            # It may have been taken back a moment ago, and that may not be durable yet.
            await self._ledger.settle()

    def look_at_file(self) -> None:
        """Record that the file has come, says something else, or is gone. Raises JournalUnavailable."""
        known = next((pause.reason for pause in self._ledger.state.pauses if pause.how == "file"), None)
        reason = _read(self._file)
        if reason == known:
            return
        if reason is None:
            self._ledger.commit([Draft(kind=Kind.RESUMED, detail={"how": "file"})])
            _log.warning("resumed", file=str(self._file))
        else:
            self._ledger.commit([Draft(kind=Kind.PAUSED, detail={"how": "file", "reason": reason})])
            _log.warning("paused", file=str(self._file), reason=reason)

    async def _record(self, kind: Kind, rule: str | None, by: By, detail: dict[str, str]) -> None:
        draft = Draft(kind=kind, rule=rule, actor=by.actor, correlation_id=by.correlation_id, detail=detail)
        self._ledger.commit([draft])
        await self._ledger.settle()
        _log.warning(kind.value, rule=rule, actor=by.actor, **detail)


def _read(file: Path) -> str | None:
    """What the file says; None when it is not there. One that cannot be read is there all the same."""
    try:
        # A pipe would never answer.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{PAUSE_FILE} cannot be read: {error.strerror}"
    try:
        text = os.read(descriptor, _READ_BYTES).decode(errors="replace")
    except OSError as error:
        return f"{PAUSE_FILE} cannot be read: {error.strerror}"
    finally:
        os.close(descriptor)
    shown = without_userinfo(" ".join(text.split()))[:MAX_REASON_CHARACTERS]
    return shown or f"{PAUSE_FILE} is there"
