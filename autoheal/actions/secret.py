"""Secrets of actions: read from files at execution, and kept out of all that is recorded."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

from autoheal.errors import AutohealError

MAX_SECRET_BYTES = 64 * 1024
MIN_SECRET_CHARS = 4
"""Hiding a shorter one would garble every output, and make it longer than a record may be."""

MIN_LINE_CHARS = 8
"""A line of a secret that is shorter is not hidden on its own: `}` is in every other output as well."""

REDACTED = b"[redacted]"
_MASK, _OTHER_BYTE = b"\xff", b"\xfe"  # neither is ever a part of UTF-8
_UNPRINTABLE = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\r\n"}


class SecretUnreadable(AutohealError):
    """A secret that a plan names cannot be had; says which and why, never what is in it."""


class Secrets(Mapping[str, str]):
    """The secrets as they are in their files now; the last line's end is no part of one.

    All are read, whether the step names them or not, so that what an earlier step was given is hidden as well.
    Looking one up raises SecretUnreadable when its file cannot be used.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._values: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        for name, path in files.items():
            try:
                self._values[name] = _read(path)
            except OSError as error:
                self._faults[name] = os.strerror(error.errno) if error.errno else str(error)
            except ValueError as error:
                self._faults[name] = str(error)
        self._forms = sorted({form.encode() for value in self._values.values() for form in _forms(value)})
        self.longest = max(map(len, self._forms), default=0)
        """Bytes of the longest text that is hidden."""

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            raise SecretUnreadable(f"secret {name!r}: {self._faults.get(name, 'is not declared')}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def masked(self, raw: bytes) -> bytes:
        """`raw`, just as long, with a mask over each secret that can be cut anywhere and still hides it.

        To be read with `unmasked`.
        """
        masked = bytearray(raw.replace(_MASK, _OTHER_BYTE))
        for form in self._forms:
            start = raw.find(form)
            while start >= 0:
                masked[start : start + len(form)] = _MASK * len(form)
                start = raw.find(form, start + 1)
        return bytes(masked)

    def hidden(self, text: str) -> str:
        """`text` with `[redacted]` in the place of each secret."""
        return unmasked(self.masked(text.encode(errors="replace")))


def unmasked(masked: bytes) -> str:
    """A masked text for people: `[redacted]` for each mask, U+FFFD for what is not UTF-8 or would steer a terminal."""
    return re.sub(_MASK + b"+", REDACTED, masked).decode(errors="replace").translate(_UNPRINTABLE)


def read_regular(path: Path, limit: int) -> bytes:
    """What is in a regular file of at most `limit` bytes. Raises OSError, and ValueError for what is another thing."""
    # O_NONBLOCK: opening a FIFO that nobody writes to would stop the whole service.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"is longer than {limit} bytes")
    return content


def _read(path: Path) -> str:
    content = read_regular(path, MAX_SECRET_BYTES)
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if len(value) < MIN_SECRET_CHARS:
        raise ValueError(f"is shorter than {MIN_SECRET_CHARS} characters")
    return value


def _forms(value: str) -> Iterator[str]:
    """How `value` may come back: as it is, line by line, inside a URL, a form or a JSON text."""
    lines = value.splitlines()
    for text in (value, *(line for line in lines if len(lines) > 1 and len(line) >= MIN_LINE_CHARS)):
        yield text
        yield quote(text, safe="")
        yield quote(text)
        yield quote_plus(text)
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
