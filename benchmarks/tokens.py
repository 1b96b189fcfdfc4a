"""What judging a token costs: beside the bare signature, beside PyJWT and joserfc, remembered, and in a flood.

All times are the thread's own on the processor: what waits for others that share the machine is not counted.

.venv/bin/python benchmarks/tokens.py
"""

from __future__ import annotations

import asyncio
import statistics
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from autoheal.clock import SystemClock
from autoheal.errors import Unauthenticated
from autoheal.metrics import Metrics
from autoheal.oidc import Oidc
from tests.support.clock import FakeClock
from tests.support.identity import (
    AUDIENCE,
    ISSUER,
    IdentityProvider,
    SigningKey,
    claims,
    encoded,
    packed,
    settings,
    token,
)

ROUNDS = 100
CALLS = 50
FLOOD = 10_000
LIMITS = {"RS256": 2.2, "ES256": 1.5}
CLAIMS: dict[str, Any] = {
    "name": "Alice Example",
    "azp": "console",
    "jti": "f" * 36,
    "scope": "openid profile email",
    "realm_access": {"roles": ["offline_access", "uma_authorization", "sre"]},
    "resource_access": {"account": {"roles": ["manage-account", "view-profile"]}},
    "session_state": "f" * 36,
}


def bare(key: SigningKey, text: str) -> Callable[[], object]:
    """The signature alone: the floor."""
    message, _, segment = text.rpartition(".")
    signed, signature = message.encode(), urlsafe_b64decode(segment + "==")
    public, digest = key.private.public_key(), hashes.SHA256()
    if key.algorithm == "RS256":
        return lambda: public.verify(signature, signed, padding.PKCS1v15(), digest)
    pair = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    return lambda: public.verify(pair, signed, ec.ECDSA(digest))


def pyjwt(key: SigningKey, text: str) -> Callable[[], object]:
    """PyJWT with its key built beforehand and the same claims checked."""
    public, required = key.private.public_key(), {"require": ["exp", "iss", "aud", "sub"]}
    return lambda: jwt.decode(text, public, [key.algorithm], required, audience=AUDIENCE, issuer=ISSUER, leeway=60)


def joserfc(key: SigningKey, text: str) -> Callable[[], object]:
    """As `pyjwt`, with joserfc."""
    public = joserfc_jwk.import_key(key.jwk())
    registry = joserfc_jwt.JWTClaimsRegistry(
        leeway=60,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True},
    )
    return lambda: registry.validate(joserfc_jwt.decode(text, public, [key.algorithm]).claims)


def microseconds(call: Callable[[], object]) -> float:
    """Of one call, in this round."""
    start = time.thread_time()
    for _ in range(CALLS):
        call()
    return (time.thread_time() - start) / CALLS * 1e6


async def awaited(oidc: Oidc, text: str, *, remembered: bool) -> float:
    """Of one `authenticate`, in this round."""
    start = time.thread_time()
    for _ in range(CALLS):
        if not remembered:
            oidc._verified.clear()  # noqa: SLF001 nothing else makes it forget
        await oidc.authenticate(text)
    return (time.thread_time() - start) / CALLS * 1e6


async def compare(algorithm: str) -> None:
    """All of them in turn, round by round: a busy machine slows them alike. Medians."""
    key, clock = SigningKey(algorithm=algorithm), SystemClock()
    provider = IdentityProvider(key)
    oidc = Oidc(settings(), provider.http, clock=clock, metrics=Metrics())
    await oidc.refresh()
    text = token(FakeClock(time.time()), key, header={"typ": "JWT"}, exp=int(time.time()) + 3600, **CLAIMS)
    others = {"bare signature": bare(key, text), "PyJWT": pyjwt(key, text), "joserfc": joserfc(key, text)}
    found: dict[str, list[float]] = {name: [] for name in (*others, "autoheal", "remembered")}
    for _ in range(ROUNDS):
        for name, call in others.items():
            found[name].append(microseconds(call))
        found["autoheal"].append(await awaited(oidc, text, remembered=False))
        found["remembered"].append(await awaited(oidc, text, remembered=True))
    print(f"{algorithm}, a token of {len(text)} characters")
    for name, rounds in found.items():
        middle = statistics.median(rounds)
        ratio = statistics.median(one / floor for one, floor in zip(rounds, found["bare signature"], strict=True))
        limit = {"autoheal": f"at most {LIMITS[algorithm]}", "remembered": "at most 3 µs"}.get(name, "")
        print(f"  {name:<16}{middle:>8.1f} µs{ratio:>8.2f} times the floor  {limit}")


async def flood() -> None:
    """How often the provider is asked while strangers invent a kid each, for 90 s of the service's time."""
    provider, clock = IdentityProvider(), FakeClock()
    oidc = Oidc(settings(), provider.http, clock=clock, metrics=Metrics())
    await oidc.refresh()
    provider.asked.clear()
    refused = 0
    start = time.thread_time()
    for number in range(FLOOD):
        if number % (FLOOD // 90) == 0:
            await clock.advance(1)
        try:
            await oidc.authenticate(forged(clock, number))
        except Unauthenticated:
            refused += 1
    spent = (time.thread_time() - start) / FLOOD * 1e6
    seconds = round(clock.now() - FakeClock().now())
    print(f"flood: {refused:,} unknown kids in {seconds} s make {len(provider.asked)} requests, {spent:.0f} µs each")


def forged(clock: FakeClock, number: int) -> str:
    """A token with good claims and a kid of its own: those cost most to refuse. Its signature is never looked at."""
    header = packed({"alg": "RS256", "kid": f"kid-{number}"})
    return f"{header}.{packed(claims(clock))}.{encoded(bytes(256))}"


async def main() -> None:
    """Print a table for each algorithm and a line for the flood."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for algorithm in LIMITS:
        await compare(algorithm)
    await flood()


if __name__ == "__main__":
    asyncio.run(main())
