"""Who may come in when there are identities.

| the request shows … | answer |
|---|---|
| a token in the URL, two Authorization headers, `Bearer` with anything but one token | 400 `invalid_request` |
| one bearer token (cookies do not count beside it) that is good | by its role |
| … that is not | 401 `invalid_token` |
| … while the provider's keys cannot be had | 503, Retry-After |
| the cookie of a session, with GET or HEAD | by its role |
| … with another method, from our own origin and script | by its role |
| … with another method, from anywhere else | 403: another site may be driving the browser |
| the cookie of a session that has ended, or never was | 401, and the cookie is taken back |
| two of them, one of which another program has set | 400, and all are taken back; a redirect could go round |
| nothing, or a scheme that is not known here | 401 without an error, as RFC 6750 section 3.1 has it |
| nothing good, from a browser that asks for /console | 303 to the way to the login |

By its role: on when it suffices, else 403 `insufficient_scope`. Where the route is public, nothing at all is good
enough; credentials that are no good are answered as above.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NoReturn

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import Scope

from autoheal.errors import KeysUnavailable, Unauthenticated
from autoheal.model import Operator, Role
from autoheal.oidc import Oidc
from autoheal.web.access.cookies import Cookies
from autoheal.web.access.credentials import Bearer, Cookie, Malformed, TwoSessions, forged, presented
from autoheal.web.access.failures import Failures
from autoheal.web.access.renewal import Renewal
from autoheal.web.security import Admission

METADATA = "/.well-known/oauth-protected-resource"
SAFE_METHODS = frozenset({"GET", "HEAD"})
CONSOLE = "/console"
DOORSTEP = "/console/login.html"
"""Keeps the fragment, which browsers tell no server and take along through redirects (RFC 9110 section 10.2.2); then
the login. To be sent straight there would lose it at the provider, and show it to the provider's page.
"""


class IdentifiedAccess:
    """`Access` with identities.

    `origin` is where browsers reach us, None when nobody said; `renewal` knows the sessions. It and `cookies` are None
    when there is no login for browsers.
    """

    def __init__(
        self, oidc: Oidc, failures: Failures, *, origin: str | None, cookies: Cookies | None, renewal: Renewal | None
    ) -> None:
        self._oidc = oidc
        self._failures = failures
        self._origin = origin
        self._cookies = cookies
        self._renewal = renewal

    async def admit(self, scope: Scope, role: Role) -> Admission:
        """See `autoheal.web.security.Access.admit`."""
        found = await self._who(scope)
        if found is None:
            await self._nobody(scope)
        has = found.operator.role
        if has is None or has < role:
            await self._failures.tell(scope, "insufficient_role", actor=found.operator.subject)
            detail = f"This needs the role {role.label}; yours is {'none' if has is None else has.label}."
            raise HTTPException(403, detail, self._challenge("insufficient_scope", detail))
        return found

    async def reader(self, scope: Scope) -> Admission | str:
        """See `autoheal.web.security.Access.reader`."""
        found = await self._who(scope)
        if found is None:
            return "log in, or send a token"
        return found if found.operator.reads else "you have no role here that reads"

    async def _who(self, scope: Scope) -> Admission | None:
        """Whoever the request shows; None when it shows nobody. Raises HTTPException for what is no good."""
        try:
            shown = presented(scope, self._cookies.session if self._cookies else None)
        except Malformed as error:
            await self._count("")
            await self._failures.tell(scope, "invalid_request")
            raise HTTPException(400, str(error), self._challenge("invalid_request", str(error))) from None
        except TwoSessions:
            await self._failures.tell(scope, "invalid_request")
            raise self._two_sessions(scope) from None
        match shown:
            case Bearer():
                return await self._bearer(scope, shown.token)
            case Cookie():
                return await self._session(scope, shown.id)
        return None

    async def _bearer(self, scope: Scope, token: str) -> Admission:
        async def lasts() -> bool:
            # Asked again: it may have run out or lost its key. What is in the cache costs microseconds.
            with contextlib.suppress(Unauthenticated, KeysUnavailable):
                return (await self._oidc.authenticate(token)).reads
            return False

        try:
            return Admission(await self._oidc.authenticate(token), lasts)
        except Unauthenticated as error:
            await self._failures.tell(scope, error.reason, kid=error.kid)
            raise HTTPException(401, error.detail, self._challenge("invalid_token", error.detail)) from None

    async def _session(self, scope: Scope, key: str) -> Admission:
        assert self._renewal is not None
        assert self._cookies is not None
        assert self._origin is not None
        if scope["method"] not in SAFE_METHODS and (why := forged(scope, self._origin)):
            await self._failures.tell(scope, "csrf")
            raise HTTPException(403, f"A session alone does not suffice for this: {why}.")
        renewal = self._renewal

        async def who(*, used: bool) -> Operator | None:
            session = await renewal.current(key, used=used)
            return session.operator if session else None

        async def lasts() -> bool:
            return await who(used=False) is not None

        operator = await who(used=True)
        if operator is None:
            self._to_login(scope)
            raise HTTPException(
                401,
                "Your session has ended. Log in again at /login.",
                {**self._challenge(), "Set-Cookie": self._cookies.clear(self._cookies.session)},
            )
        return Admission(operator, lasts)

    def _two_sessions(self, scope: Scope) -> HTTPException:
        assert self._cookies is not None
        headers = MutableHeaders()
        for cookie in self._cookies.clear_all(self._cookies.session, scope["raw_path"].decode("latin-1")):
            headers.append("Set-Cookie", cookie)
        return HTTPException(
            400,
            f"There are two cookies {self._cookies.session}: another program of this host has set one. Both were taken "
            "back: log in again at /login. Should this come again, delete the cookies of this host in the browser.",
            headers,
        )

    async def _nobody(self, scope: Scope) -> NoReturn:
        self._to_login(scope)
        await self._count(None)
        ways = "Send a bearer token" + (", or log in at /login." if self._cookies else ".")
        raise HTTPException(401, ways, self._challenge())

    def _to_login(self, scope: Scope) -> None:
        """Raise a redirect when a person stands before /console; programs would take the login for the answer."""
        headers = Headers(scope=scope)
        wanted = scope["path"] == CONSOLE and scope["method"] in SAFE_METHODS
        if wanted and self._cookies and "text/html" in headers.get("accept", "") and "authorization" not in headers:
            raise HTTPException(303, "Log in first.", {"Location": f"{self._origin}{DOORSTEP}"})

    async def _count(self, token: str | None) -> None:
        """Let what never was a token be counted and logged where all others are."""
        with contextlib.suppress(Unauthenticated):
            await self._oidc.authenticate(token)

    def _challenge(self, error: str | None = None, description: str = "") -> Mapping[str, str]:
        """RFC 6750 section 3 and RFC 9728 section 5.1."""
        parts = ['Bearer realm="autoheal"']
        if error is not None:
            parts += [f'error="{error}"', f'error_description="{description}"']
        if self._origin is not None:
            parts.append(f'resource_metadata="{self._origin}{METADATA}"')
        return {"WWW-Authenticate": ", ".join(parts)}
