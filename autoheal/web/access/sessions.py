"""Sessions of browsers: in memory, and gone with the process; the browser keeps an opaque id and nothing else.

What lies here opens no door by itself: the store knows the SHA-256 of each id, and tokens are sealed with AES-256-GCM
under a key that only the id gives, for the place of that id alone. So a dump of the memory holds no usable cookie and,
while no request is under way, no token.
"""

from __future__ import annotations

import secrets
from asyncio import Task
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from autoheal.clock import Clock
from autoheal.model import Operator

IDLE_SECONDS = 30 * 60.0
"""Without a request; a stream that is open is none."""
ABSOLUTE_SECONDS = 8 * 3600.0
"""From the login on, whatever happens in it."""
MAX_SESSIONS = 10_000
MAX_PER_SUBJECT = 20
"""Of one person; a further login ends the one that was not used for longest."""

_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a session keeps of the provider's answer: the way to the next one, and the hint for the logout there."""

    id_token: str
    refresh_token: str | None


@dataclass(slots=True)
class Session:
    """One browser's. Times are the clock's `now`; `renew_at` is None when its tokens cannot be renewed.

    `awaited` says whether requests wait for a renewal that is under way.
    """

    operator: Operator
    began: float
    used: float
    renew_at: float | None
    sealed: bytes
    renewal: Task[None] | None = field(default=None, repr=False)
    awaited: bool = True


class Sessions:
    """All that there are. `random(n)` gives n random bytes."""

    def __init__(self, clock: Clock, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._clock = clock
        self._random = random
        self._by_hash: dict[bytes, Session] = {}
        """Ordered by last use."""

    def __len__(self) -> int:
        return len(self._by_hash)

    def begin(self, operator: Operator, tokens: Tokens, renew_at: float | None) -> str:
        """The id, 256 random bits, of a new session."""
        self._make_room(operator.subject)
        key = urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        now = self._clock.now()
        self._by_hash[_hash(key)] = Session(operator, now, now, renew_at, self._seal(key, tokens))
        return key

    def find(self, key: str, *, used: bool) -> Session | None:
        """The session of this id while it lasts; `used` says that its browser asked for something."""
        place = _hash(key)
        session = self._by_hash.get(place)
        if session is None:
            return None
        now = self._clock.now()
        if self._is_over(session, now):
            del self._by_hash[place]
            return None
        if used:
            session.used = now
            self._by_hash[place] = self._by_hash.pop(place)
        return session

    def tokens(self, key: str, session: Session) -> Tokens:
        """What was sealed under this id; cryptography's InvalidTag for another one's."""
        nonce, text = session.sealed[:_NONCE_BYTES], session.sealed[_NONCE_BYTES:]
        return Tokens(*orjson.loads(_cipher(key).decrypt(nonce, text, _hash(key))))

    def renew(self, key: str, session: Session, operator: Operator, tokens: Tokens, renew_at: float | None) -> None:
        """Go on with what the provider says now; that it is used, or when it ends, does not change."""
        session.operator, session.renew_at = operator, renew_at
        session.sealed = self._seal(key, tokens)

    def end(self, key: str) -> Session | None:
        """Forget the session; None when there was none."""
        session = self.find(key, used=False)
        if session is not None:
            del self._by_hash[_hash(key)]
        return session

    def _seal(self, key: str, tokens: Tokens) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + _cipher(key).encrypt(nonce, orjson.dumps([tokens.id_token, tokens.refresh_token]), _hash(key))

    def _is_over(self, session: Session, now: float) -> bool:
        return now >= min(session.began + ABSOLUTE_SECONDS, session.used + IDLE_SECONDS)

    def _make_room(self, subject: str) -> None:
        now = self._clock.now()
        for place, session in list(self._by_hash.items()):
            if self._is_over(session, now):
                del self._by_hash[place]
        own = [place for place, session in self._by_hash.items() if session.operator.subject == subject]
        for place in own[: max(0, len(own) + 1 - MAX_PER_SUBJECT)]:
            del self._by_hash[place]
        if len(self._by_hash) >= MAX_SESSIONS:
            del self._by_hash[next(iter(self._by_hash))]


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()


def _cipher(key: str) -> AESGCM:
    derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"autoheal/session-tokens/v1").derive(key.encode())
    return AESGCM(derived)
