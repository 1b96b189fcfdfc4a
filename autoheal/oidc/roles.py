"""From what the provider says that somebody is to what he may do here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from autoheal.model import Role

_SCOPES = ("scope", "scp")
"""Texts of words with spaces between them (RFC 8693 section 4.2; Entra ID's `scp`)."""

_log = structlog.get_logger(__name__)


class Roles:
    """The highest of our roles that a token's claim at `path` stands for, by `mapped`.

    With no map a valid token is an operator: who may only look, approve or administer must be said explicitly.
    """

    def __init__(self, path: Sequence[str], mapped: Mapping[str, Role] | None) -> None:
        self._path = tuple(path)
        self._mapped = mapped

    def of(self, claims: Mapping[str, Any]) -> Role | None:
        """The role, or None: no such claim, of another type than expected, or nothing in it that is mapped."""
        if self._mapped is None:
            return Role.OPERATOR
        found: Any = claims
        for name in self._path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            self._tell_overage(claims)
        return max((self._mapped[one] for one in self._values(found) if one in self._mapped), default=None)

    def _values(self, found: object) -> list[str]:
        if isinstance(found, str):
            return found.split(" ") if self._path[-1] in _SCOPES else [found]
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return found
        return []

    def _tell_overage(self, claims: Mapping[str, Any]) -> None:
        """Entra ID leaves out the groups of who has too many, and says where they could be asked for."""
        elsewhere = claims.get("_claim_names")
        if (isinstance(elsewhere, dict) and self._path[0] in elsewhere) or "hasgroups" in claims:
            _log.warning(
                "roles_not_in_token",
                claim=self._path[0],
                remedy="the provider left them out as too many: let it send app roles, or only the groups of this app",
            )
