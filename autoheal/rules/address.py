"""Addresses: those that a template yields, which a label must not have bent, and the Docker Engine's."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from autoheal.errors import RenderError

MAX_SOCKET_BYTES = 107
"""Of a socket's path: what Linux takes (unix(7)), less the NUL at its end."""

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def check_url(url: str) -> None:
    """Raise RenderError unless `url` is http(s) with a plain host, no userinfo, no white space, no dot segments.

    Whoever reveals a secret inside a URL asks again: a file may hold anything.
    """
    if any(char.isspace() or ord(char) < 0x20 or ord(char) == 0x7F or char == "\\" for char in url):
        raise RenderError("a URL holds no white space, control characters or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RenderError(f"{url[:200]!r} is not a URL: {error}") from None
    if port == 0:
        # HTTP libraries take it for none, and ask whoever listens at the scheme's own port.
        raise RenderError(f"{url[:200]!r} has port 0, which nobody listens at")
    if parts.scheme not in ("http", "https"):
        raise RenderError(f"{url[:200]!r} does not begin with http:// or https://")
    if "@" in parts.netloc:
        raise RenderError("a URL holds no user or password: use an Authorization header")
    host = re.sub(r":[0-9]*$", "", parts.netloc)
    if not _HOST.fullmatch(host):
        raise RenderError(f"{host[:200]!r} is not a host name or an address")
    if any(re.sub("%2e", ".", segment, flags=re.IGNORECASE) in (".", "..") for segment in parts.path.split("/")):
        # Servers and proxies resolve them, and the label has then left its place in the path (CWE-22).
        raise RenderError("a URL's path holds no '.' or '..' segments")


def check_endpoint(text: str) -> None:
    """Raise RenderError unless `text` is `HOST:PORT`; an IPv6 address stands in square brackets."""
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise RenderError(f"{text[:200]!r} is not HOST:PORT")


class EngineAddress(NamedTuple):
    """Where a Docker Engine listens: the path of its socket, if it is one, and the URL that requests begin with."""

    socket: str | None
    url: str


def parse_engine(text: str) -> EngineAddress:
    """A Docker Engine's address as a person writes it: `unix:///PATH`, `tcp://HOST:PORT` or `https://HOST:PORT`.

    Raises ValueError for anything else.
    """
    scheme, found, place = text.partition("://")
    if found and scheme == "unix":
        if not place.startswith("/") or "\0" in place or len(place.encode(errors="replace")) > MAX_SOCKET_BYTES:
            raise ValueError(f"{text[:200]!r} has no absolute path of at most {MAX_SOCKET_BYTES} bytes")
        return EngineAddress(place, "http://docker")
    if found and scheme in ("tcp", "https"):
        try:
            check_endpoint(place)
        except RenderError as error:
            raise ValueError(f"{text[:200]!r}: {error}") from None
        return EngineAddress(None, f"{'http' if scheme == 'tcp' else 'https'}://{place}")
    raise ValueError(f"{text[:200]!r} does not begin with unix://, tcp:// or https://")
