"""The folder that is filled, and what is known to be secret and must not get into it."""

from __future__ import annotations

import os
import re
import tarfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from autoheal.errors import AutohealError

SHORTEST_SECRET = 5
"""Characters below which a text stands for itself too often to be told from a secret."""
SHORTEST_SECRET_PATH = 20
SHORTEST_SECRET_VALUE = 8
"""Of what stands behind a `=`: padding of Base64 is none."""

_USERINFO = re.compile(rb"(://)[^/\s@\"'<>]{1,500}@")
_BEARER = re.compile(rb"(?i)(bearer |basic )[A-Za-z0-9._~+/-]{8,}=*")
_HIDDEN = b"[hidden]"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that was gathered, or could not be: `failed` tells why. `file` is empty where there is none."""

    name: str
    file: str
    told: str
    failed: bool


class Bundle:
    """A new folder for its owner alone. Raises AutohealError for one that is not empty, and OSError."""

    def __init__(self, folder: Path) -> None:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise AutohealError(f"{folder} is no folder: name one that is yet to be made")
        if folder.is_dir() and any(folder.iterdir()):
            raise AutohealError(f"{folder} is not empty: name a folder that is yet to be made")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.folder = folder
        self.parts: list[Part] = []
        self._secrets: list[bytes] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on none of these is written, whatever it stands in; nor a part of an address that may be one."""
        known = set(self._secrets)
        for secret in secrets:
            for form in _forms(secret):
                if len(form) >= SHORTEST_SECRET:
                    known.add(form.encode())
                    # As it stands inside of JSON.
                    known.add(orjson.dumps(form)[1:-1])
        # The longer ones first: one may be a part of another.
        self._secrets = sorted(known, key=len, reverse=True)

    def write(self, file: str, content: bytes) -> None:
        """Write `file`, without what is hidden. Raises OSError."""
        fd = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as opened:
            opened.write(self.clean(content))

    def clean(self, content: bytes) -> bytes:
        """`content` without what is hidden."""
        for secret in self._secrets:
            content = content.replace(secret, _HIDDEN)
        return _BEARER.sub(rb"\1" + _HIDDEN, _USERINFO.sub(rb"\1" + _HIDDEN + b"@", content))

    def add(self, name: str, told: str, file: str = "", content: bytes | None = None) -> None:
        """A part that was gathered, and what it tells at a glance. Raises OSError."""
        if content is not None:
            self.write(file, content)
        self.parts.append(Part(name, file, self._text(told), failed=False))

    def fail(self, name: str, why: str) -> None:
        """A part that could not be gathered."""
        self.parts.append(Part(name, "", self._text(why), failed=True))

    def pack(self) -> Path:
        """All of it as one file beside the folder, for its owner alone. Raises OSError."""
        folder = self.folder.absolute()
        packed = folder.with_name(f"{folder.name}.tar.gz")
        fd = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as opened, tarfile.open(fileobj=opened, mode="w:gz") as archive:
            archive.add(folder, folder.name)
        return packed

    def _text(self, text: str) -> str:
        return self.clean(text.encode("utf-8", "backslashreplace")).decode("utf-8", "replace").replace("\n", " ")


def _forms(secret: str) -> Iterator[str]:
    """A secret and its lines; of addresses what of them may be one, and not the hosts, which people need."""
    for one in secret.split(","):
        try:
            parts = urlsplit(one.strip())
            user, password = parts.username, parts.password
        except ValueError:
            break
        if parts.scheme not in ("http", "https", "postgresql") or not parts.netloc:
            break
        if password:
            yield from (password, unquote(password), b64encode(f"{user}:{password}".encode()).decode())
        yield parts.query
        yield from (value for _, value in parse_qsl(parts.query))
        # The address of a chat's webhook is a secret by its path; a prefix such as /alertmanager is none.
        if len(parts.path) >= SHORTEST_SECRET_PATH:
            yield parts.path.strip("/")
    else:
        return
    yield secret.strip()
    yield from (line.strip() for line in secret.splitlines())
    # Several addresses of Apprise, and headers as OpenTelemetry writes them: `name=value`, percent-encoded.
    yield from secret.split()
    for header in secret.split(","):
        value = header.partition("=")[2].strip()
        if len(value) >= SHORTEST_SECRET_VALUE:
            yield from (value, unquote(value), unquote(value).rpartition(" ")[2])
