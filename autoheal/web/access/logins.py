"""Logins under way: what must be remembered between the way to the provider and the way back (RFC 6749, RFC 7636)."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from autoheal.clock import Clock

LOGIN_SECONDS = 600.0
"""From /login to the provider's answer."""
MAX_REDEEMED = 10_000
"""States remembered as used. Whoever pushes out another's gains nothing: to play that answer again needs the cookie of
its browser, and the provider takes a code once."""
MAX_PATH = 512

_NONCE_BYTES = 12
_PATH = re.compile(r"/(?![/\\])(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(?=[/?;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Begun:
    """A login's secrets, of 256 random bits each. `sealed` is the browser's to keep, the others go to the provider.

    `challenge` is the PKCE S256 one (RFC 7636 section 4.2).
    """

    state: str
    sealed: str
    nonce: str
    challenge: str


@dataclass(frozen=True, slots=True)
class Login:
    """What is sealed of one. `began` is the clock's `monotonic`."""

    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    return_to: str
    began: float


class Logins:
    """All of this process. `random(n)` gives n random bytes.

    None is kept here: each is sealed (AES-256-GCM, under a key that ends with the process, for its state alone) in a
    cookie of the browser that began it. Anybody may begin one, and however many do, nobody loses theirs by it.
    """

    def __init__(self, clock: Clock, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._clock = clock
        self._random = random
        self._cipher = AESGCM(random(32))
        self._redeemed: dict[str, float] = {}
        """States and when they were used, oldest first."""

    def begin(self, return_to: str) -> Begun:
        """A login that, once done, goes on at `return_to`, which `is_own_path`."""
        state, nonce, verifier = (_text(self._random(32)) for _ in range(3))
        plain = orjson.dumps([nonce, verifier, return_to, self._clock.monotonic()])
        salt = self._random(_NONCE_BYTES)
        sealed = _text(salt + self._cipher.encrypt(salt, plain, state.encode()))
        return Begun(state, sealed, nonce, _text(sha256(verifier.encode()).digest()))

    def redeem(self, state: str, sealed: str) -> Login | None:
        """The login of `state`, once, to the browser that keeps it, within ten minutes; None otherwise."""
        try:
            found = urlsafe_b64decode(sealed + "==")
            plain = self._cipher.decrypt(found[:_NONCE_BYTES], found[_NONCE_BYTES:], state.encode())
        except (ValueError, InvalidTag):
            return None
        login = Login(*orjson.loads(plain))
        now = self._clock.monotonic()
        if now - login.began >= LOGIN_SECONDS or state in self._redeemed:
            return None
        self._redeemed[state] = now
        while len(self._redeemed) > MAX_REDEEMED or now - next(iter(self._redeemed.values())) >= LOGIN_SECONDS:
            del self._redeemed[next(iter(self._redeemed))]
        return login


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


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
