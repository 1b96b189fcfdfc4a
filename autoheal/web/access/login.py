"""`GET /login`, `GET /login/callback`, `POST /logout`: authorization code with PKCE, for browsers (RFC 6749, RFC 7636).

The tokens stay here; the browser gets the id of a session. What the provider's answer must show, in this order:

| check | against |
|---|---|
| `state` is one of ours, unused and fresh, and this browser has its login sealed in a cookie | login CSRF, replays |
| `iss` is the provider (RFC 9207), where it says that it sends it | mix-up |
| the code is redeemed with its PKCE verifier | stolen codes |
| the ID token is for us, of this login (nonce) and of these tokens (at_hash) | injected tokens |
| a role comes of it | people who may do nothing here |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn
from urllib.parse import urlencode, urlsplit

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal.clock import Clock
from autoheal.errors import JournalUnavailable, KeysUnavailable, Unauthenticated, UpstreamError
from autoheal.model import Draft, Kind, Operator
from autoheal.oidc import Provider
from autoheal.web.access.cookies import Cookies
from autoheal.web.access.credentials import cookies, forged
from autoheal.web.access.failures import Failures
from autoheal.web.access.logins import LOGIN_SECONDS, Login, Logins, is_own_path
from autoheal.web.access.provider import Grant, GrantRefused
from autoheal.web.access.renewal import Identities, renew_at
from autoheal.web.access.sessions import Sessions, Tokens
from autoheal.web.correlation import correlation_id
from autoheal.web.errors import RETRY_AFTER_SECONDS, BadParameter
from autoheal.web.parameters import parameters
from autoheal.web.security import peer_address

MAX_FINISHING = 8
"""Answers that are being checked with the provider at the same time: anybody can make one up with a code of their own,
and they must not take all connections to it."""
AFTER_LOGIN = "/console"
AGAIN = "Begin again at /login."
PROMPTS = ("login", "select_account")
"""What may be asked of the provider beyond the usual (OpenID Connect Core 1.0 section 3.1.2.1)."""

_log = structlog.get_logger(__name__)


class BrowserLogin:
    """The three endpoints."""

    def __init__(
        self,
        identities: Identities,
        cookies: Cookies,
        sessions: Sessions,
        logins: Logins,
        *,
        note: Callable[[Draft], Awaitable[None]],
        failures: Failures,
        clock: Clock,
    ) -> None:
        self._oidc = identities.oidc
        self._client = identities.client
        self._identities = identities
        self._cookies = cookies
        self._sessions = sessions
        self._logins = logins
        self._note = note
        self._failures = failures
        self._clock = clock
        self._finishing = 0

    async def begin(self, request: Request) -> Response:
        """`GET /login`: to the provider."""
        given = parameters(request, ("return_to", "prompt", "moved"))
        return_to, prompt = given.get("return_to", AFTER_LOGIN), given.get("prompt")
        if not is_own_path(return_to):
            raise BadParameter("return_to", "must be a path of this service, such as /console")
        if prompt is not None and prompt not in PROMPTS:
            raise BadParameter("prompt", f"must be one of {', '.join(PROMPTS)}")
        if given.get("moved", "1") != "1":
            raise BadParameter("moved", "must be 1, or absent")
        # The provider's answer comes to our origin: a cookie that was set under another name would not come there.
        # Once only: a proxy in front may show us another Host for ever.
        if "moved" not in given and request.headers.get("host", "").lower() != urlsplit(self._client.origin).netloc:
            return _to(f"{self._client.origin}/login?{urlencode({**given, 'moved': '1'})}")
        provider = await self._oidc.provider()
        begun = self._logins.begin(return_to)
        try:
            response = _to(self._client.authorization_url(provider, begun, prompt))
        except UpstreamError as error:
            raise HTTPException(502, f"Nobody can log in: {error}.") from None
        for name in self._cookies.surplus(list(request.cookies)):
            response.headers.append("Set-Cookie", self._cookies.clear(name))
        kept = self._cookies.set(self._cookies.login(begun.state), begun.sealed, LOGIN_SECONDS)
        response.headers.append("Set-Cookie", kept)
        return response

    async def finish(self, request: Request) -> Response:
        """`GET /login/callback`: from the provider, with a code or with a refusal."""
        answer = _answer(request)
        if self._finishing >= MAX_FINISHING:
            raise HTTPException(503, "Too many logins at once. Reload this page.", {"Retry-After": "5"})
        self._finishing += 1
        try:
            return await self._finish(request, answer)
        finally:
            self._finishing -= 1

    async def _finish(self, request: Request, answer: dict[str, str]) -> Response:
        # Before the state is used up: while the provider is away the page can be reloaded.
        provider = await self._oidc.provider()
        login = await self._login(request, answer.get("state", ""))
        code = await self._code(request, answer, provider)
        grant, operator = await self._redeem(request, provider, code, login)
        if not operator.reads:
            await self._refuse(request, 403, "no_role", "You are known, but have no role here.", operator.subject)
        await self._tell_login(operator, request)
        # A new id at each login: one that somebody else knew, or planted, is worth nothing (session fixation).
        for old in cookies(request.scope, self._cookies.session):
            self._sessions.end(old)
        tokens = Tokens(grant.id_token or "", grant.refresh_token)
        key = self._sessions.begin(operator, tokens, renew_at(grant, tokens, self._clock.now()))
        response = _to(login.return_to)
        response.headers.append("Set-Cookie", self._cookies.clear(self._cookies.login(answer["state"])))
        response.headers.append("Set-Cookie", self._cookies.set(self._cookies.session, key))
        return response

    async def end(self, request: Request) -> Response:
        """`POST /logout`: ends the session, and says where to go on so that it ends at the provider as well."""
        parameters(request, ())
        if why := forged(request.scope, self._client.origin):
            await self._failures.tell(request.scope, "csrf")
            raise HTTPException(403, f"A session alone does not suffice for this: {why}.")
        go_on = "/login?prompt=select_account"
        for key in cookies(request.scope, self._cookies.session):
            session = self._sessions.find(key, used=False)
            if session is None:
                continue
            tokens = self._sessions.tokens(key, session)
            self._sessions.end(key)
            await self._tell_logout(session.operator, request)
            go_on = await self._logout_url(tokens) or go_on
        response = Response(orjson.dumps({"next": go_on}), media_type="application/json")
        response.headers.append("Set-Cookie", self._cookies.clear(self._cookies.session))
        return response

    async def _login(self, request: Request, state: str) -> Login:
        """The login that the answer belongs to. Before anything else is believed or done."""
        sealed = cookies(request.scope, self._cookies.login(state))
        login = self._logins.redeem(state, sealed[0] if len(sealed) == 1 else "")
        if login is None:
            await self._refuse(
                request,
                400,
                "login_state",
                "This login is not known: it took over ten minutes, is over already, or began in another browser.",
            )
        return login

    async def _code(self, request: Request, answer: dict[str, str], provider: Provider) -> str:
        issuer = answer.get("iss")
        if issuer != provider.issuer and (issuer is not None or provider.sends_iss):
            await self._refuse(request, 400, "login_issuer", "Another identity provider has answered.")
        if "error" in answer:
            # Its description is anybody's text: it goes into our own log, and into no page.
            _log.info(
                "login_refused", error=answer["error"][:60], description=answer.get("error_description", "")[:200]
            )
            denied = answer["error"] == "access_denied"
            said = (
                "The identity provider has refused the login." if denied else "The identity provider could not do it."
            )
            await self._refuse(request, 403 if denied else 502, "login_denied", said)
        if "code" not in answer:
            await self._refuse(request, 400, "login_denied", "The identity provider's answer has no code.")
        return answer["code"]

    async def _redeem(self, request: Request, provider: Provider, code: str, login: Login) -> tuple[Grant, Operator]:
        try:
            grant = await self._client.redeem(provider, code, login.verifier)
            return grant, await self._identities.of(grant, nonce=login.nonce)
        except GrantRefused as error:
            if error.code == "invalid_grant":
                await self._refuse(
                    request, 400, "login_code", "The identity provider does not know this login any more."
                )
            _log.error("login_client_refused", error=error.code, remedy="compare OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
            raise HTTPException(502, "The identity provider refuses this service; its own log tells more.") from None
        except UpstreamError as error:
            _log.error("login_failed", error=str(error))
            raise HTTPException(502, f"The identity provider gave no usable answer. {AGAIN}") from None
        except KeysUnavailable as error:
            raise _later("The identity provider's keys cannot be fetched now.", error.retry_after) from None
        except Unauthenticated as error:
            await self._refuse(
                request, 502, error.reason, "The identity provider's tokens are not those of this login."
            )

    async def _refuse(self, request: Request, status: int, reason: str, why: str, actor: str = "system") -> NoReturn:
        await self._failures.tell(request.scope, reason, actor=actor)
        raise HTTPException(status, f"{why} {AGAIN}")

    async def _logout_url(self, tokens: Tokens) -> str | None:
        try:
            return self._client.logout_url(await self._oidc.provider(), tokens.id_token)
        except KeysUnavailable as error:
            _log.warning("logout_at_provider_left_out", error=str(error))
            return None

    async def _tell_login(self, operator: Operator, request: Request) -> None:
        draft = Draft(
            kind=Kind.LOGIN,
            actor=operator.subject,
            correlation_id=correlation_id(request.scope),
            detail=_about(operator, request),
        )
        try:
            await self._note(draft)
        except JournalUnavailable as error:
            _log.error("login_not_recorded", error=str(error))
            raise _later("The audit log takes no records now, so nobody can log in.", RETRY_AFTER_SECONDS) from None

    async def _tell_logout(self, operator: Operator, request: Request) -> None:
        """The session has ended already: that must not hang on the log."""
        draft = Draft(
            kind=Kind.LOGOUT, actor=operator.subject, reason="asked", correlation_id=correlation_id(request.scope)
        )
        try:
            await self._note(draft)
        except JournalUnavailable as error:
            _log.error("logout_not_recorded", error=str(error))


def _answer(request: Request) -> dict[str, str]:
    """The parameters that are ours to read; providers add others. Raises BadParameter for one that stands twice."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise BadParameter(name[:60], "given more than once")
        found[name] = value
    return found


def _later(why: str, seconds: int) -> HTTPException:
    """What is no use to reload: the code is spent."""
    return HTTPException(503, f"{why} {AGAIN}", {"Retry-After": str(seconds)})


def _about(operator: Operator, request: Request) -> dict[str, object]:
    assert operator.role is not None
    name = {"name": operator.name} if operator.name else {}
    return {"role": operator.role.label, **name, "address": str(peer_address(request.scope))}


def _to(url: str) -> Response:
    return Response(status_code=303, headers={"Location": url})
