"""Refused identities in the audit log: enough of them to see an attack, and never so many that they fill the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_network

import structlog
from starlette.types import Scope

from autoheal.clock import Clock
from autoheal.errors import JournalUnavailable
from autoheal.model import Draft, Kind
from autoheal.web.correlation import correlation_id
from autoheal.web.security import peer_address

AGAIN_SECONDS = 600.0
"""From one record to the next of the same reason and address (of IPv6 the /64, which one machine has whole)."""
MAX_PER_HOUR = 120
"""Of all reasons and addresses together: some 1.5 MB a day at most."""
MAX_PATH = 100

_log = structlog.get_logger(__name__)


class Failures:
    """Records them through `note`, which is the engine's."""

    def __init__(self, note: Callable[[Draft], Awaitable[None]], clock: Clock) -> None:
        self._note = note
        self._clock = clock
        self._told: deque[tuple[float, str, str]] = deque()
        """The records of the last hour: when, reason and network."""
        self._left_out = 0

    async def tell(self, scope: Scope, reason: str, *, actor: str = "system", kid: str | None = None) -> None:
        """Record that a request was refused, unless there are enough of these; `actor` is whose it was, if known.

        An audit log that takes no records does not turn a 401 into something else: the service's own log has it.
        """
        address, network = _where(scope)
        now = self._clock.now()
        while self._told and now - self._told[0][0] >= 3600.0:
            self._told.popleft()
        known = any(now - at < AGAIN_SECONDS and key == [reason, network] for at, *key in self._told)
        if known or len(self._told) >= MAX_PER_HOUR:
            self._left_out += 1
            return
        detail: dict[str, str | int] = {"address": address, "method": scope["method"], "path": scope["path"][:MAX_PATH]}
        if kid is not None:
            detail["kid"] = kid
        if self._left_out:
            detail["left_out"] = self._left_out
        draft = Draft(
            kind=Kind.AUTH_FAILED, reason=reason, actor=actor, correlation_id=correlation_id(scope), detail=detail
        )
        # Before the wait: others may fail meanwhile.
        self._told.append((now, reason, network))
        self._left_out = 0
        try:
            await self._note(draft)
        except JournalUnavailable as error:
            _log.warning("auth_failed_not_recorded", reason=reason, address=address, error=str(error))


def _where(scope: Scope) -> tuple[str, str]:
    """The peer's address, and what counts as the same one."""
    address = peer_address(scope)
    if isinstance(address, IPv6Address):
        return str(address), str(ip_network((address, 64), strict=False))
    return str(address), str(address)
