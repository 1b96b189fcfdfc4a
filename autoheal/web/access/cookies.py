"""The cookies of the login: their names, and what browsers are told about them."""

from __future__ import annotations

import re
from hashlib import sha256
from urllib.parse import urlsplit

MAX_LOGIN_COOKIES = 5
"""Of one browser: as many tabs may be on their way through a login."""

_PLAIN = re.compile(r"(/[A-Za-z0-9._~%-]+)+")
"""What may stand in a Set-Cookie header without being taken for an attribute."""


class Cookies:
    """Of the gateway at `origin`.

    Behind https their names begin with `__Host-`: no other host, no path and no plain http can set or overwrite them
    (RFC 6265bis section 4.1.3.2). On loopback over http, which knows no such names, they carry the port, so that two
    gateways of one machine do not log each other's people out; programs there that people visit can read them.
    """

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self._secure = parts.scheme == "https"
        prefix, suffix = ("__Host-", "") if self._secure else ("", f"_{parts.port or 80}")
        self.session = f"{prefix}autoheal_session{suffix}"
        self._login = f"{prefix}autoheal_login{suffix}_"

    def login(self, state: str) -> str:
        """The name of the one that binds a login to its browser: each tab's login has its own."""
        return self._login + sha256(state.encode()).hexdigest()[:16]

    def surplus(self, names: list[str]) -> list[str]:
        """Of the cookies' `names` that a browser sends, oldest first, those of logins that must make room for one."""
        return [name for name in names if name.startswith(self._login)][: 1 - MAX_LOGIN_COOKIES]

    def set(self, name: str, value: str, max_age: float | None = None, path: str = "/") -> str:
        """A Set-Cookie header's value; `max_age` in seconds, None until the browser ends."""
        parts = [f"{name}={value}", f"Path={path}", "HttpOnly", "SameSite=Lax"]
        if self._secure:
            parts.append("Secure")
        if max_age is not None:
            parts.append(f"Max-Age={max_age:.0f}")
        return "; ".join(parts)

    def clear(self, name: str, path: str = "/") -> str:
        """A Set-Cookie header's value that takes the cookie back."""
        return self.set(name, "", 0, path)

    def clear_all(self, name: str, path: str) -> list[str]:
        """Set-Cookie headers' values that take back every cookie of this name that comes with a request for `path`.

        Ours is for all paths; another program's may be for any part of this one (RFC 6265 section 5.1.4).
        """
        parts = path.split("/")
        heads = ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]
        own = [one for head in heads if _PLAIN.fullmatch(head) for one in (head, f"{head}/")]
        return [self.clear(name, one) for one in ("/", *own)]
