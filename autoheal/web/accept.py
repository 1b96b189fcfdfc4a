"""What a client takes: media types and encodings (RFC 9110 section 12.5)."""

from __future__ import annotations

import re

from starlette.requests import Request

NDJSON = "application/x-ndjson"

_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def prefers_ndjson(request: Request) -> bool:
    """Whether JSON lines are asked for by name, and a single JSON object is not wanted as much."""
    accepted = _accepted(request, "accept")
    wanted = accepted.get(NDJSON, 0.0)
    by_name = accepted.get("application/json", 0.0)
    by_any = accepted.get("application/*", accepted.get("*/*", 0.0))
    return wanted > by_name and wanted >= (by_name or by_any)


def takes_gzip(request: Request) -> bool:
    """Whether an answer may be gzip'd; one without the header says nothing of it, and gets it plain."""
    accepted = _accepted(request, "accept-encoding")
    return accepted.get("gzip", accepted.get("x-gzip", accepted.get("*", 0.0))) > 0


def _accepted(request: Request, name: str) -> dict[str, float]:
    """What the header lists, in lower case, with its quality; an unreadable quality counts as none."""
    found: dict[str, float] = {}
    for item in ",".join(request.headers.getlist(name)).split(","):
        value, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        found[value] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return found
