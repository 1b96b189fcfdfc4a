"""Silences: made in an operator's name, and whether they still hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from autoheal.model import rfc3339
from autoheal.peer import Peer, Unusable
from autoheal.rules import Matcher
from autoheal.wire import excerpt

_PATH = "silences"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A silence that is to be. Times are epoch seconds."""

    matchers: Sequence[Matcher]
    starts_at: float
    ends_at: float
    created_by: str
    comment: str


@dataclass(frozen=True, slots=True)
class Silenced:
    """A silence that was made: its id, the Alertmanager that made it, and the id of the one whose place it took."""

    id: str
    by: str
    replaced: str | None = None


async def make(peer: Peer, wanted: Wanted) -> Silenced:
    """Make a silence there. Raises Unusable.

    One with the same matchers by the same person gives way to it: whoever asks again, because no answer came or for
    another end, has one silence and not two. Alertmanager ends the old one and starts the new one in one step.
    """
    replaced = await _standing(peer, wanted)
    body: dict[str, Any] = {
        "matchers": [
            {"name": each.name, "value": each.value, "isRegex": "~" in each.op, "isEqual": each.op[0] == "="}
            for each in wanted.matchers
        ],
        "startsAt": rfc3339(wanted.starts_at),
        "endsAt": rfc3339(wanted.ends_at),
        "createdBy": wanted.created_by,
        "comment": wanted.comment,
    }
    if replaced is not None:
        body["id"] = replaced
    raw = await peer.post(_PATH, body)
    made = raw.get("silenceID") if isinstance(raw, dict) else None
    if not isinstance(made, str) or not 0 < len(made) <= 100:
        raise Unusable(f"answered {excerpt(raw)} and not a silence's id")
    return Silenced(made, peer.name, replaced)


async def expired(peer: Peer, ids: Collection[str]) -> frozenset[str]:
    """Those of `ids` that are listed there as ended; none when it does not answer."""
    try:
        listed = await _listed(peer)
    except Unusable:
        return frozenset()
    return frozenset(silence["id"] for silence in listed if silence["id"] in ids and _state(silence) == "expired")


async def _standing(peer: Peer, wanted: Wanted) -> str | None:
    """The id of the silence with the same matchers by the same person that has not ended."""
    same = {(each.name, each.value, "~" in each.op, each.op[0] == "=") for each in wanted.matchers}
    for silence in await _listed(peer):
        if silence.get("createdBy") != wanted.created_by or _state(silence) == "expired":
            continue
        if _matchers(silence) == same:
            return str(silence["id"])
    return None


async def _listed(peer: Peer) -> list[dict[str, Any]]:
    raw, _ = await peer.get(_PATH)
    if not isinstance(raw, list):
        raise Unusable(f"answered {excerpt(raw)} and not a list of silences")
    return [silence for silence in raw if isinstance(silence, dict) and isinstance(silence.get("id"), str)]


def _state(silence: dict[str, Any]) -> object:
    status = silence.get("status")
    return status.get("state") if isinstance(status, dict) else None


def _matchers(silence: dict[str, Any]) -> set[tuple[str, str, bool, bool]]:
    listed = silence.get("matchers")
    matchers = listed if isinstance(listed, list) else []
    return {
        # Before 0.22 there was no isEqual: all were.
        (str(each.get("name")), str(each.get("value")), each.get("isRegex") is True, each.get("isEqual") is not False)
        for each in matchers
        if isinstance(each, dict)
    }
