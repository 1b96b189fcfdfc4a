"""Logins under way: what must be remembered between the way to the provider and the way back (RFC 6749, RFC 7636)."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from urllib.parse import unquote

from autoheal.clock import Clock

LOGIN_SECONDS = 600.0
"""From /login to the provider's answer."""
MAX_LOGINS = 10_000
"""Under way at the same time; a further one ends the oldest. Anybody may begin one, and none holds others up."""
MAX_PATH = 512

_PATH = re.compile(r"/(?![/\\])(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(?=[/?;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Begun:
    """A login's secrets. `binding` is the browser's to keep, the others go to the provider; all are 256 random bits.

    `challenge` is the PKCE S256 one (RFC 7636 section 4.2).
    """

    state: str
    binding: str
    nonce: str
    challenge: str


@dataclass(frozen=True, slots=True)
class Login:
    """What is remembered of one. `binding` is the SHA-256 of the browser's."""

    binding: bytes
    nonce: str
    verifier: str
    return_to: str
    began: float


class Logins:
    """All that are under way, oldest first. `random(n)` gives n random bytes."""

    def __init__(self, clock: Clock, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._clock = clock
        self._random = random
        self._by_state: dict[bytes, Login] = {}

    def __len__(self) -> int:
        return len(self._by_state)

    def begin(self, return_to: str) -> Begun:
        """A login that, once done, goes on at `return_to`, which `is_own_path`."""
        now = self._clock.now()
        while self._by_state:
            oldest = next(iter(self._by_state))
            if len(self._by_state) < MAX_LOGINS and now - self._by_state[oldest].began < LOGIN_SECONDS:
                break
            del self._by_state[oldest]
        state, binding, nonce, verifier = (self._secret() for _ in range(4))
        self._by_state[_hash(state)] = Login(_hash(binding), nonce, verifier, return_to, now)
        return Begun(state, binding, nonce, urlsafe_b64encode(_hash(verifier)).rstrip(b"=").decode())

    def redeem(self, state: str, binding: str) -> Login | None:
        """The login of `state`, once, to the browser that began it, within ten minutes; None otherwise.

        Another browser's try ends it as well: it shows that the state is known to somebody else.
        """
        login = self._by_state.pop(_hash(state), None)
        if login is None or self._clock.now() - login.began >= LOGIN_SECONDS:
            return None
        return login if compare_digest(login.binding, _hash(binding)) else None

    def _secret(self) -> str:
        return urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()


def is_own_path(text: str) -> bool:
    """Whether a browser sent to `text` stays at our own origin, and does not come back to /login for ever.

    One slash and no second one, no backslash (browsers take it for a slash), no control character (browsers drop
    them, and what they parted joins), no dot segment, plain or escaped, and nothing that is not ASCII.
    """
    path = text.partition("?")[0]
    return (
        len(text) <= MAX_PATH
        and _PATH.fullmatch(text) is not None
        and "//" not in path
        and _DOTS.search(path) is None
        and re.match(r"/(login|logout)(?![A-Za-z0-9])", unquote(path)) is None
    )


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()
