"""Base64url and JSON, each with one reading only: what two programs read differently is how tokens are forged."""

from __future__ import annotations

import json
import string
from binascii import a2b_base64
from typing import Any

import orjson

MAX_DEPTH = 32
"""How deep an object may be: a claim path needs a few levels."""
_ALPHABET = (string.ascii_letters + string.digits + "-_").encode()
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", None, b"==", b"=")
_LAST = (None, None, b"AQgw", b"AEIMQUYcgkosw048")
"""Of a last group of 2 or 3 characters only some bits count. With the others at will, one token had many spellings."""


def decode_segment(text: str) -> bytes:
    """The bytes of base64url without padding (RFC 7515 section 2), canonical. Raises ValueError for all else."""
    raw = text.encode()
    if raw.translate(None, _ALPHABET):
        raise ValueError("not base64url")
    rest = len(raw) % 4
    padding, last = _PADDING[rest], _LAST[rest]
    if padding is None or (last is not None and raw[-1] not in last):
        raise ValueError("not canonical base64url")
    return a2b_base64(raw.translate(_TO_STANDARD) + padding)


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON object (RFC 8259) in UTF-8. Raises ValueError for all else.

    A name that stands twice, NaN and infinities, text that is not Unicode and nesting beyond `MAX_DEPTH` are refused.
    """
    found = orjson.loads(raw)  # knows all of these but names that stand twice
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 it is the text that is wrong
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(found)
    # Written again it is the same bytes, as nearly all are: then nothing was dropped. The other way takes long.
    if orjson.dumps(found) != raw:
        _once_decoder.decode(raw.decode())
    return found


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands there twice")


_once_decoder = json.JSONDecoder(object_pairs_hook=_once)


def _check_depth(found: dict[str, Any]) -> None:
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def printable(text: object, length: int = 64) -> str | None:
    """`text` fit for a log line or a label: ASCII, at most `length` characters; None for what is not text."""
    if not isinstance(text, str):
        return None
    cut = text if len(text) <= length else f"{text[: length - 3]}..."
    return "".join(char if " " <= char <= "~" else "?" for char in cut)
