"""Query parameters, read strictly: what is not understood is refused, never ignored."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.requests import Request

from autoheal.model import parse_rfc3339
from autoheal.rules.units import parse_duration
from autoheal.web.errors import BadParameter

_UNITS = ("y", "w", "d", "h", "m", "s", "ms")
_AGO = re.compile("".join(rf"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS))
_NUMBER = re.compile(r"[0-9]{1,15}")


def parameters(request: Request, allowed: Collection[str]) -> dict[str, str]:
    """The query string's parameters. Raises BadParameter for one that is not `allowed` or stands twice."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise BadParameter(name[:60], f"unknown parameter; known here: {known}")
        if name in found:
            raise BadParameter(name, "given more than once")
        found[name] = value
    return found


def number(given: dict[str, str], name: str, *, low: int, high: int) -> int | None:
    """The whole number `name`, None when it is not given. Raises BadParameter outside of `low` … `high`."""
    text = given.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise BadParameter(name, f"must be a whole number from {low} to {high}")
    return int(text)


def moment(given: dict[str, str], name: str, now: float) -> float | None:
    """The time `name` in seconds since the epoch: RFC 3339, or a duration back from `now`. BadParameter otherwise."""
    text = given.get(name)
    if text is None:
        return None
    if (ago := _ago(text)) is not None:
        return now - ago
    try:
        # In a query string `+` is a space, and `+02:00` is what people paste.
        return parse_rfc3339(text.replace(" ", "+") if " " in text[19:] else text)
    except (ValueError, OverflowError):
        raise BadParameter(
            name, "must be an RFC 3339 time (2026-05-01T12:00:00Z) or a duration back from now (24h)"
        ) from None


def _ago(text: str) -> float | None:
    """Seconds of a duration, written as in rules but as long as one likes; None for anything else."""
    found = _AGO.fullmatch(text) if text != "0" else _AGO.fullmatch("0s")
    if not text or found is None:
        return None
    return sum(
        int(count) * parse_duration(f"1{unit}") for count, unit in zip(found.groups(), _UNITS, strict=True) if count
    )
