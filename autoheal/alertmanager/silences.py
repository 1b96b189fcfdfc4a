"""Silences: made in an operator's name, extended and ended, and whether somebody else has ended them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from autoheal.model import parse_rfc3339, rfc3339
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
    standing = _same(await _listed(peer), wanted)
    replaced = None if standing is None else str(standing["id"])
    return Silenced(await _post(peer, wanted, replaced), peer.name, replaced)


async def extend(peer: Peer, known: str, wanted: Wanted) -> Silenced | None:
    """See to it that a silence lasts there until `wanted.ends_at`: the one with the id `known`, or the same by the same
    person, or else a new one. One that lasts longer stays as it is, and one that somebody has ended is not made anew:
    None. Raises Unusable.
    """
    listed = await _listed(peer)
    if any(each["id"] == known and _ended_by_hand(each) for each in listed):
        return None
    lasting = (each for each in listed if each["id"] == known and _state(each) != "expired")
    standing = next(lasting, None) or _same(listed, wanted)
    if standing is None:
        return Silenced(await _post(peer, wanted, None), peer.name)
    if (ends_at := _time(standing, "endsAt")) is not None and ends_at >= wanted.ends_at:
        return Silenced(standing["id"], peer.name)
    # With its own start Alertmanager changes it in place, and it keeps its id.
    return Silenced(await _post(peer, wanted, standing["id"], standing.get("startsAt")), peer.name)


async def expire(peer: Peer, known: str) -> None:
    """End the silence with the id `known` there; one that is not there, or has ended, is no fault. Raises Unusable."""
    await peer.delete(f"silence/{quote(known, safe='')}")


async def _post(peer: Peer, wanted: Wanted, known: str | None, starts_at: object = None) -> str:
    """Make the silence, in the place of `known` where that is given. The id that it has; raises Unusable."""
    body: dict[str, Any] = {
        "matchers": [
            {"name": each.name, "value": each.value, "isRegex": "~" in each.op, "isEqual": each.op[0] == "="}
            for each in wanted.matchers
        ],
        "startsAt": starts_at or rfc3339(wanted.starts_at),
        "endsAt": rfc3339(wanted.ends_at),
        "createdBy": wanted.created_by,
        "comment": wanted.comment,
    }
    if known is not None:
        body["id"] = known
    raw = await peer.post(_PATH, body)
    made = raw.get("silenceID") if isinstance(raw, dict) else None
    if not isinstance(made, str) or not 0 < len(made) <= 100:
        raise Unusable(f"answered {excerpt(raw)} and not a silence's id")
    return made


async def withdrawn(peer: Peer, ids: Collection[str]) -> frozenset[str]:
    """Those of `ids` that were ended there before their time; none when it does not answer."""
    try:
        listed = await _listed(peer)
    except Unusable:
        return frozenset()
    return frozenset(silence["id"] for silence in listed if silence["id"] in ids and _ended_by_hand(silence))


def _ended_by_hand(silence: dict[str, Any]) -> bool:
    """Whether it was ended rather than ran out: Alertmanager then moves its end to the time of that change."""
    ends_at, updated_at = _time(silence, "endsAt"), _time(silence, "updatedAt")
    return _state(silence) == "expired" and ends_at is not None and updated_at is not None and updated_at >= ends_at


def _time(silence: dict[str, Any], name: str) -> float | None:
    try:
        return parse_rfc3339(silence[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _same(listed: Sequence[dict[str, Any]], wanted: Wanted) -> dict[str, Any] | None:
    """The silence with the same matchers by the same person that has not ended."""
    same = {(each.name, each.value, "~" in each.op, each.op[0] == "=") for each in wanted.matchers}
    for silence in listed:
        if silence.get("createdBy") != wanted.created_by or _state(silence) == "expired":
            continue
        if _matchers(silence) == same:
            return silence
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
