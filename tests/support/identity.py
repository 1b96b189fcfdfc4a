"""An identity provider in memory: keys that sign with `cryptography` alone, and the addresses where they are told."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from autoheal.config import OidcSettings, load
from autoheal.metrics import Metrics
from autoheal.oidc import KeyTrouble, Oidc
from tests.support.clock import FakeClock

ISSUER = "https://idp.example/realms/ops"
AUDIENCE = "autoheal"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, length: int | None = None) -> str:
    return encoded(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


def packed(value: object) -> str:
    """A header or claims as a segment; text and bytes stay as they are."""
    if isinstance(value, str):
        value = value.encode()
    return encoded(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


@cache
def private_key(algorithm: str, which: int = 0, bits: int = 2048) -> Any:
    """A private key of the kind that `algorithm` needs; `which` tells several of a kind apart."""
    if algorithm[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65537, bits)
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class SigningKey:
    """A key pair with its kid; `which` tells several of one algorithm apart."""

    kid: str | None = "one"
    algorithm: str = "RS256"
    which: int = 0
    bits: int = 2048

    @property
    def private(self) -> Any:
        return private_key("RS256" if self.algorithm[0] in "RP" else self.algorithm, self.which, self.bits)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public half as a provider publishes it; a change to None leaves the member out."""
        public = self.private.public_key()
        numbers: dict[str, Any]
        if isinstance(public, rsa.RSAPublicKey):
            own = public.public_numbers()
            numbers = {"kty": "RSA", "n": number(own.n), "e": number(own.e)}
        elif isinstance(public, ec.EllipticCurvePublicKey):
            point, size = public.public_numbers(), (public.curve.key_size + 7) // 8
            name = {256: "P-256", 384: "P-384", 521: "P-521"}[public.curve.key_size]
            numbers = {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size)}
        else:
            numbers = {"kty": "OKP", "crv": "Ed25519", "x": encoded(public.public_bytes_raw())}
        told = {"kid": self.kid, "use": "sig", "alg": self.algorithm, **numbers, **changes}
        return {name: value for name, value in told.items() if value is not None}

    def signature(self, message: bytes, algorithm: str | None = None) -> bytes:
        algorithm = algorithm or self.algorithm
        private, digest = self.private, HASHES.get(algorithm[2:], hashes.SHA512())
        if algorithm.startswith("RS"):
            return bytes(private.sign(message, padding.PKCS1v15(), digest))
        if algorithm.startswith("PS"):
            return bytes(private.sign(message, padding.PSS(padding.MGF1(digest), digest.digest_size), digest))
        if algorithm in CURVES:
            size = (private.curve.key_size + 7) // 8
            r, s = decode_dss_signature(private.sign(message, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return bytes(private.sign(message))

    def sign(self, header: object, claims: object, algorithm: str | None = None) -> str:
        """A token of exactly this header and these claims, whatever they are."""
        message = f"{packed(header)}.{packed(claims)}"
        return f"{message}.{encoded(self.signature(message.encode(), algorithm))}"


def claims(clock: FakeClock, **changes: Any) -> dict[str, Any]:
    """Claims of a good access token; a change to None leaves the claim out."""
    now = int(clock.now())
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": now + 300, "iat": now, **changes}
    return {name: value for name, value in told.items() if value is not None}


def token(
    clock: FakeClock, key: SigningKey | None = None, *, header: Mapping[str, Any] | None = None, **changes: Any
) -> str:
    """A good access token, but for what is changed."""
    key = key or SigningKey()
    told = {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt", **(header or {})}
    return key.sign({name: value for name, value in told.items() if value is not None}, claims(clock, **changes))


class IdentityProvider:
    """What answers at `ISSUER`: its discovery document, its keys, and how often each was asked for.

    `broken` takes the place of every answer while it is set; `gate` holds answers back until it is set.
    """

    def __init__(self, *keys: SigningKey) -> None:
        self.document: Any = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
        }
        self.keys: Any = {"keys": [key.jwk() for key in keys or (SigningKey(),)]}
        self.asked: list[str] = []
        self.broken: Callable[[httpx.Request], httpx.Response] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    @property
    def fetches(self) -> int:
        """How often the keys were asked for."""
        return self.asked.count("/realms/ops/keys")

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        await self.gate.wait()
        if self.broken is not None:
            return self.broken(request)
        told = self.document if "well-known" in request.url.path else self.keys
        return told if isinstance(told, httpx.Response) else httpx.Response(200, json=told)


def unreachable(request: httpx.Request) -> httpx.Response:
    """A provider that is away."""
    raise httpx.ConnectError("connection refused", request=request)


def status(code: int) -> Callable[[httpx.Request], httpx.Response]:
    """A provider that answers with an error."""
    return lambda _: httpx.Response(code, text="no")


def settings() -> OidcSettings:
    """Those that trust `ISSUER`, by default."""
    found = load({"OIDC_ENABLED": "true", "OIDC_ISSUER": ISSUER, "OIDC_AUDIENCE": AUDIENCE}).oidc
    assert found is not None
    return found


def make(
    provider: IdentityProvider,
    clock: FakeClock,
    metrics: Metrics | None = None,
    trouble: KeyTrouble | None = None,
    **changes: Any,
) -> Oidc:
    """An Oidc that trusts `provider`; `changes` are of its settings. Its spread of times is one half."""
    return Oidc(
        replace(settings(), **changes),
        provider.http,
        clock=clock,
        metrics=metrics or Metrics(),
        trouble=trouble,
        random=lambda: 0.5,
    )
