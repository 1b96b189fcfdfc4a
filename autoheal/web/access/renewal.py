"""Sessions in step with the provider: renewed before their tokens run out, ended when it says so.

| the provider … | the session |
|---|---|
| gives new tokens for the same person | goes on, with the role that they tell |
| names another person, or tells of no role any more | ends |
| refuses the refresh token (invalid_grant): logged out, disabled, revoked | ends |
| cannot be reached, or answers nonsense | goes on until its own end; asked again after 30 s, and no request waits |
| signs with a key that is not known here yet | the same |
| gave no refresh token at the login | goes on until its own end |
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import structlog

from autoheal.clock import Clock
from autoheal.errors import FailureReason, JournalUnavailable, KeysUnavailable, Unauthenticated, UpstreamError
from autoheal.model import Draft, Kind, Operator, Role
from autoheal.oidc import Oidc
from autoheal.web.access.provider import Client, Grant, GrantRefused
from autoheal.web.access.sessions import Session, Sessions, Tokens

RENEW_AT = 0.8
"""Of the access token's life."""
DEFAULT_LIFE_SECONDS = 300.0
"""Of an access token whose provider does not tell it."""
RETRY_SECONDS = 30.0
MAX_RENEWING = 8
"""Renewals at the same time; others wait their turn, and requests do not wait for those."""

_log = structlog.get_logger(__name__)


class Identities:
    """Who is behind the provider's tokens. `audience` is the one that access tokens for this service have."""

    def __init__(self, oidc: Oidc, client: Client, audience: str) -> None:
        self.oidc = oidc
        self.client = client
        self._audience = audience

    async def of(self, grant: Grant, *, nonce: str | None, known: Operator | None = None) -> Operator:
        """The person whom `grant` is for; `known` from before when it tells of nobody.

        Some providers tell roles in the ID token, others in the access token alone: where that one is for this
        service, the higher role counts. Raises Unauthenticated and KeysUnavailable.
        """
        found = known
        roles: list[Role | None] = []
        if grant.id_token is not None:
            claims = await self.oidc.verify_id_token(
                grant.id_token, client_id=self.client.id, nonce=nonce, access_token=grant.access_token
            )
            found = self.oidc.operator(claims)
            roles.append(found.role)
        if found is None:
            raise UpstreamError("the identity provider's token_endpoint answers without an ID token")
        bearer = await self._bearer(grant.access_token)
        if bearer is not None and bearer.subject == found.subject:
            roles.append(bearer.role)
        elif grant.id_token is None:
            return found
        return replace(found, role=max((role for role in roles if role is not None), default=None))

    async def _bearer(self, access_token: str) -> Operator | None:
        """Whom the access token is for; None when it is not for this service, or no good here."""
        if self._audience not in _audiences(access_token):
            return None
        with contextlib.suppress(Unauthenticated):
            return await self.oidc.authenticate(access_token)
        return None


class Renewal:
    """Asks the provider again, once for all requests that wait for it."""

    def __init__(
        self,
        identities: Identities,
        sessions: Sessions,
        note: Callable[[Draft], Awaitable[None]],
        clock: Clock,
    ) -> None:
        self._identities = identities
        self._sessions = sessions
        self._note = note
        self._clock = clock
        self._places = asyncio.Semaphore(MAX_RENEWING)

    async def current(self, key: str, *, used: bool) -> Session | None:
        """The session of this id as the provider sees it now; `used` says that its browser asked for something."""
        session = self._sessions.find(key, used=used)
        if session is None or session.renew_at is None or self._clock.now() < session.renew_at:
            return session
        if session.renewal is None:
            session.awaited = session.awaited and not self._places.locked()
            session.renewal = asyncio.get_running_loop().create_task(self._renew(key, session))
        if session.awaited:
            # Not the request's own: whoever goes away must not lose a refresh token that is good for one time.
            await asyncio.shield(session.renewal)
        return self._sessions.find(key, used=False)

    async def _renew(self, key: str, session: Session) -> None:
        try:
            async with self._places:
                why = await self._ask(key, session)
            session.awaited = True
        except (UpstreamError, KeysUnavailable) as error:
            session.renew_at = self._clock.now() + RETRY_SECONDS
            session.awaited = False
            _log.warning("session_not_renewed", error=str(error))
            return
        finally:
            session.renewal = None
        if why is not None and self._sessions.end(key) is not None:
            _log.info("session_ended", why=why)
            try:
                await self._note(Draft(kind=Kind.LOGOUT, actor=session.operator.subject, reason=why))
            except JournalUnavailable as error:
                _log.error("logout_not_recorded", error=str(error))

    async def _ask(self, key: str, session: Session) -> str | None:
        """Renew the session, or say why it is to end. Raises UpstreamError and KeysUnavailable: not known now."""
        had = self._sessions.tokens(key, session)
        client = self._identities.client
        try:
            grant = await client.renew(await self._identities.oidc.provider(), had.refresh_token or "")
            # Kept before anything else can fail: the old one is used up, and to use it again looks like a theft.
            refreshed = Tokens(had.id_token, grant.refresh_token or had.refresh_token)
            self._sessions.renew(key, session, session.operator, refreshed, session.renew_at)
            operator = await self._identities.of(grant, nonce=None, known=session.operator)
        except GrantRefused as error:
            if error.code != "invalid_grant":
                raise UpstreamError(str(error)) from error
            return "invalid_grant"
        except Unauthenticated as error:
            if error.reason is FailureReason.UNKNOWN_KID:
                # Keys are asked for once in 30 s, and any stranger can have used that up a moment before a rotation.
                raise UpstreamError("the identity provider has signed with a key that is not known yet") from error
            return error.reason.value
        if operator.subject != session.operator.subject:
            return "other_subject"
        if not operator.reads:
            return "no_role"
        tokens = replace(refreshed, id_token=grant.id_token or had.id_token)
        self._sessions.renew(key, session, operator, tokens, renew_at(grant, tokens, self._clock.now()))
        return None


def renew_at(grant: Grant, tokens: Tokens, now: float) -> float | None:
    """When the session that `grant` begins or goes on with is to be renewed; None without a refresh token."""
    if tokens.refresh_token is None:
        return None
    return now + RENEW_AT * (grant.expires_in or DEFAULT_LIFE_SECONDS)


def _audiences(token: str) -> set[str]:
    """Whom an access token says that it is for; nobody when it is opaque to us. Not to be believed by itself.

    Tokens for other services are no failed attempt on this one: they are not even tried.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return set()
    try:
        found = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=="))["aud"]
    except (ValueError, KeyError, TypeError):
        return set()
    return {one for one in (found if isinstance(found, list) else [found]) if isinstance(one, str)}
