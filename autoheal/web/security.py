"""Routes that know who may use them, who that is without identities (OIDC off), and what every answer carries.

With OIDC on, `autoheal.web.access` knows instead; with it off:

| the request … | public route | sensitive route |
|---|---|---|
| comes from this machine, directly | answered | answered |
| comes from another address | answered | 403 |
| was forwarded by a proxy (it says so) | answered | 403: its sender may be anywhere |
| has a whole URL for its target, as proxies are sent | answered | 403: it was meant for another host |
| asks for a Host that is not loopback | answered | 403: DNS rebinding |
| was caused by a page of another site | answered | 403: that page must not drive or read us |

A reverse proxy on this machine that sets none of the forwarding headers and rewrites Host cannot be told from a local
program: docs/api.md warns of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Literal, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autoheal.model import Operator, Role

_HOST = re.compile(r"(localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_FORWARDED = re.compile(
    r"forwarded(-.*)?|via|surrogate-capability|proxy-connection|front-end-https"
    r"|(cdn|cf|cloudfront|fastly|fly|ali-cdn|akamai|tailscale)-.*"
    r"|(.*-)?(client|connecting|connection|real|remote|src|user)-?(ip|addr)"
    r"|x-(forwarded|original|real|proxy|proxyuser|envoy|azure|appgw|arr|akamai|cdn|sucuri|varnish)(-.*)?"
    r"|x-originating-ip|x-rewrite-url|x-amzn-trace-id|x-amz-cf-id",
    re.IGNORECASE,
)
"""What proxies, load balancers and content networks add. One too many costs a 403 that says why."""
WHOLE_URL = "autoheal.whole_url"
"""Extension of a request's scope: its target was a whole URL (RFC 9112 section 3.2.2), which uvicorn does not keep."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, unless the endpoint says otherwise. The console's pages have a policy that lets them run."""


PUBLIC: Final = "public"
"""Marks a route that asks nobody who they are."""
_ACCESS = "autoheal.access"
_OPERATOR = "autoheal.operator"


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody who is let in. `lasts` tells, whenever it is asked, whether they still would be."""

    operator: Operator
    lasts: Callable[[], Awaitable[bool]]


class Access(Protocol):
    """Who asks, and whether they may."""

    async def admit(self, scope: Scope, role: Role) -> Admission:
        """Whoever sent this request and has `role`. Raises HTTPException with the whole answer for others."""
        ...

    async def reader(self, scope: Scope) -> Admission | str:
        """Whoever sent this request and may read the log; a sentence that says why nobody is known to have.

        Raises HTTPException for credentials that are no good: whoever shows some wants to be known by them.
        """
        ...


class Door(Route):
    """A route with one method that knows who may use it."""

    def __init__(self, method: str, path: str, role: Role | Literal["public"], endpoint: object) -> None:
        middleware = (Middleware(Guard, role=role),) if isinstance(role, Role) else ()
        super().__init__(path, endpoint, methods=[method], middleware=middleware)  # type: ignore[arg-type]
        self.role = role


class Guard:
    """ASGI middleware of a route that is not public: nobody reaches it whom `Access` has not admitted."""

    def __init__(self, app: ASGIApp, role: Role) -> None:
        self.app = app
        self.role = role

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise HTTPException, or go on with the operator in the scope."""
        scope[_OPERATOR] = (await access(scope).admit(scope, self.role)).operator
        await self.app(scope, receive, send)


class Identification:
    """ASGI middleware that tells routes whom to ask about identities; it asks nobody itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with `access` in the scope."""
        scope[_ACCESS] = self.access
        await self.app(scope, receive, send)


def access(scope: Scope) -> Access:
    """What `Identification` gave to this request."""
    found: Access = scope[_ACCESS]
    return found


def operator(request: Request) -> Operator:
    """Who sent this request. For endpoints of routes that are not public."""
    found: Operator = request.scope[_OPERATOR]
    return found


def actor(request: Request) -> str:
    """The `actor` of records that follow from this request. For endpoints of routes that are not public."""
    return operator(request).subject


LOCAL = Operator(subject="local", role=Role.ADMIN, name=None, client=None)
"""Whoever is on this machine while there are no identities: every role, and no name."""


class LocalAccess:
    """`Access` without identities: this machine is let in, and nobody else."""

    async def admit(self, scope: Scope, role: Role) -> Admission:  # noqa: ARG002 it has every role
        """See `Access.admit`."""
        found = await self.reader(scope)
        if isinstance(found, str):
            raise HTTPException(403, f"Only for programs and people on this machine: {found}.")
        return found

    async def reader(self, scope: Scope) -> Admission | str:
        """See `Access.reader`."""
        return not_local(scope) or Admission(LOCAL, _always)


async def _always() -> bool:
    return True


def not_local(scope: Scope) -> str | None:
    """Why this request is not known to come from this machine and of its user's own will; None when it is."""
    peer = peer_address(scope)
    if peer is None or not peer.is_loopback:
        return "the connection comes from another address"
    headers = Headers(scope=scope)
    for name in headers:
        if _FORWARDED.fullmatch(name):
            return f"the header {name} says that the request was forwarded"
    if WHOLE_URL in scope.get("extensions", ()):
        return "its target is a whole URL, as it is sent to proxies"
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _is_loopback_host(hosts[0]):
        return "the Host header is not localhost, 127.0.0.0/8 or [::1] (DNS rebinding)"
    origins = headers.getlist("origin")
    if origins and origins != [f"{scope['scheme']}://{hosts[0]}"]:
        return "the Origin header names another site"
    if headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin"):
        return "a page of another site caused it (Sec-Fetch-Site)"
    return None


def from_browser(scope: Scope) -> bool:
    """Whether a browser sent this: every browser puts at least one of the two on a POST."""
    headers = Headers(scope=scope)
    return "origin" in headers or "sec-fetch-site" in headers


def peer_address(scope: Scope) -> IPv4Address | IPv6Address | None:
    """The address at the other end of the connection, IPv4 also when it came through an IPv6 socket."""
    client = scope.get("client")
    if client is None:
        return None
    try:
        address = ip_address(client[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def is_allowed(scope: Scope, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the peer is in one of `networks`; none at all allow everybody."""
    if not networks:
        return True
    peer = peer_address(scope)
    return peer is not None and any(peer in network for network in networks)


class SecurityHeaders:
    """ASGI middleware: what every answer carries."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers added."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, add)


def _is_loopback_host(host: str) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1].lower()
    if not name.startswith("127."):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
