"""Sensitive values: which labels and annotations are hidden, and what stands in their place.

A hidden value is replaced once, at intake, before anything is recorded or decided, by an HMAC under a key of this
installation: two records with the same value show the same token, and nobody who reads the log can tell the value.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from autoheal.disk import write_whole
from autoheal.errors import AutohealError
from autoheal.model import OWN_ALERTS

DEFAULT_NAMES = ("*password*", "*token*", "*secret*", "authorization", "*_key", "*apikey*")
KEY_BYTES = 32

_TOKEN = re.compile(r"\[redacted:[0-9a-f]{16}\]")
_USERINFO = re.compile(r"(?<=[A-Za-z0-9+.-]://)(?:[^\s/?#\"<>]+|[^\s/?#\"<>:@\[\]]*:(?![0-9]*[/?#])[^\s\"<>]{1,256})@")
"""The user and password of a URL: all from the slashes to the last @ of the authority (RFC 3986 section 3.2.1).

People forget to escape `/`, `?` and `#` in passwords. What follows the colon of an authority is a port or nothing; so
where it is neither, it is a password, up to the last @ of the word
(bounded: a text full of `a://b:` must not take a second look at all of itself for each).
"""

_CUT = "://*@"
"""What stands before the host of a URL whose credentials were cut out."""


class HiddenNames:
    """Names of labels and annotations whose values are hidden: `name in HiddenNames(...)`.

    Each pattern matches a whole name, whatever the case; `*` stands for any characters.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        texts = (".*".join(map(re.escape, pattern.casefold().split("*"))) for pattern in self.patterns)
        found = re.compile("|".join(f"(?:{text})" for text in texts) or r"(?!)", re.DOTALL)
        # Names repeat with every alert; hostile ones do not, and must not fill the memory.
        self._hides = lru_cache(maxsize=4096)(lambda name: found.fullmatch(name.casefold()) is not None)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._hides(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HiddenNames) and other.patterns == self.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"HiddenNames({', '.join(self.patterns)})"


class Redaction:
    """Replaces hidden values, under `key`, and cuts credentials out of every URL."""

    def __init__(self, names: HiddenNames, key: bytes) -> None:
        self.names = names
        self._key = key

    def of(self, name: str, value: str) -> str:
        """What stands for `value` of the label or annotation `name`: its token, or it less credentials in URLs."""
        if name not in self.names or (name == "alertname" and value.startswith(OWN_ALERTS)):
            # Names of alerts about autoheal are no secret, and by them it knows what it must never act on.
            return without_userinfo(value)
        if _TOKEN.fullmatch(value):
            return value  # of an episode that was taken in before
        digest = hmac.digest(self._key, value.encode(errors="surrogatepass"), "sha256").hex()
        return f"[redacted:{digest[:16]}]"

    def shows(self, name: str, recorded: str) -> bool:
        """Whether `recorded` is the value of the label or annotation `name` as it was received, as far as one can
        tell: neither a token, nor in place of one, nor a URL that may have lost its credentials.
        """
        return name not in self.names and not _TOKEN.fullmatch(recorded) and _CUT not in recorded

    def texts(self, values: Mapping[str, str]) -> dict[str, str]:
        """All `values`, each in the form that may be recorded."""
        return {name: self.of(name, value) for name, value in values.items()}


def without_userinfo(text: str) -> str:
    """`text` with `*` for the user and password of every URL in it; never longer."""
    return _USERINFO.sub("*@", text) if "@" in text and "://" in text else text


def load_key(path: Path) -> bytes:
    """The installation's key in the file `path`, made when there is none.

    Raises AutohealError when it cannot be read or made, is readable by others, or is no such key: with another key
    the same value would show another token.
    """
    try:
        if not path.exists():
            write_whole(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode(), 0o600)
        mode = path.stat().st_mode & 0o777
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AutohealError(f"the redaction key {path} cannot be read or made: {error}") from None
    if mode & 0o077:
        raise AutohealError(f"the redaction key {path} has mode {mode:03o}, so others can read it: chmod 600 {path}")
    if re.fullmatch(f"[0-9a-f]{{{2 * KEY_BYTES}}}", text) is None:
        raise AutohealError(f"{path} is no redaction key: {2 * KEY_BYTES} hexadecimal digits. Restore it from a backup")
    return bytes.fromhex(text)
