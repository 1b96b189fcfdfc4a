"""What is believed of a discovery document."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from autoheal.errors import FailureReason, KeysUnavailable, Unauthenticated
from autoheal.oidc import Provider
from autoheal.oidc.discovery import read_provider
from autoheal.oidc.keys import Unusable
from tests.support.clock import FakeClock
from tests.support.identity import ISSUER, IdentityProvider, make, token

DOCUMENT = {
    "issuer": ISSUER,
    "jwks_uri": f"{ISSUER}/keys",
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "end_session_endpoint": f"{ISSUER}/logout",
    "token_endpoint_auth_methods_supported": ["client_secret_post", "none"],
    "authorization_response_iss_parameter_supported": True,
}


def test_a_whole_document() -> None:
    """Each address arrives where it belongs."""
    assert read_provider(DOCUMENT, ISSUER) == Provider(
        issuer=ISSUER,
        jwks_uri=f"{ISSUER}/keys",
        authorization_endpoint=f"{ISSUER}/authorize",
        token_endpoint=f"{ISSUER}/token",
        end_session_endpoint=f"{ISSUER}/logout",
        token_endpoint_auth_methods=("client_secret_post", "none"),
        sends_iss=True,
    )


def test_what_is_left_out_has_its_default() -> None:
    """A client shows its secret in the Authorization header unless told otherwise (Discovery 1.0 section 3)."""
    found = read_provider({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}, ISSUER)
    assert found.token_endpoint is found.authorization_endpoint is found.end_session_endpoint is None
    assert found.token_endpoint_auth_methods == ("client_secret_basic",)
    assert not found.sends_iss


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer": None}, "names nothing as the issuer"),
        ({"issuer": "https://idp.example/realms/other"}, "realms/other' as the issuer: OIDC_ISSUER must be that"),
        ({"issuer": f"{ISSUER}//"}, "as the issuer"),
        ({"issuer": ISSUER.upper()}, "as the issuer"),
        ({"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, "{tenantid}"),
        ({"issuer": "https://idp.example/\n"}, r"\\n"),
        ({"jwks_uri": None}, "set OIDC_JWKS_URI"),
        ({"jwks_uri": "http://idp.example/keys"}, "jwks_uri that is no https address"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri that is no https address"),
        ({"jwks_uri": "https://"}, "jwks_uri that is no https address"),
        ({"jwks_uri": ["https://idp.example/keys"]}, "jwks_uri that is no https address"),
        ({"jwks_uri": "https://u:p@idp.example/keys"}, "jwks_uri that is no https address"),
        ({"jwks_uri": "https://idp.example:port/"}, "jwks_uri that is no https address"),
        ({"token_endpoint": "http://127.0.0.1/token"}, "token_endpoint that is no https address"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint that is no https address"),
        ({"end_session_endpoint": "http://idp.example/"}, "end_session_endpoint that is no https address"),
        ({"token_endpoint_auth_methods_supported": "none"}, "no texts"),
        ({"token_endpoint_auth_methods_supported": [1]}, "no texts"),
    ],
)
def test_a_document_that_cannot_be_trusted(changes: dict[str, Any], says: str) -> None:
    """Of another issuer, or with an address that is not safe: what is wrong is told, and printable."""
    with pytest.raises(Unusable, match=says) as caught:
        read_provider(DOCUMENT | changes, ISSUER)
    assert str(caught.value).isprintable()


def test_on_loopback_plain_http_will_do() -> None:
    """For a provider on this machine, whose addresses are on it too."""
    local = "http://127.0.0.1:8080/realms/ops"
    document = {"issuer": local, "jwks_uri": f"{local}/keys", "token_endpoint": "https://idp.example/token"}
    assert read_provider(document, local).jwks_uri == f"{local}/keys"
    with pytest.raises(Unusable):
        read_provider(document | {"token_endpoint": "http://idp.example/token"}, local)


@pytest.mark.parametrize("configured", [ISSUER, f"{ISSUER}/"])
@pytest.mark.parametrize("told", [ISSUER, f"{ISSUER}/"])
async def test_a_slash_at_the_end_is_the_documents_business(clock: FakeClock, configured: str, told: str) -> None:
    """OIDC_ISSUER may have it or not; tokens must have it exactly if the document has."""
    provider = IdentityProvider()
    provider.document["issuer"] = told
    oidc = make(provider, clock, issuer=configured)
    assert await oidc.refresh() == 1
    assert provider.asked[0] == "/realms/ops/.well-known/openid-configuration"
    assert (await oidc.provider()).issuer == told
    assert (await oidc.authenticate(token(clock, iss=told))).subject == "alice"
    with pytest.raises(Unauthenticated) as caught:
        await oidc.authenticate(token(clock, iss=told.removesuffix("/") if told.endswith("/") else f"{told}/"))
    assert caught.value.reason is FailureReason.WRONG_ISSUER


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(301, headers={"Location": f"{ISSUER}/elsewhere"}),
        httpx.Response(200, text="[]"),
        httpx.Response(200, content=b'{"issuer": "' + b"x" * 65_536 + b'"}'),
    ],
)
async def test_a_document_that_cannot_be_read(clock: FakeClock, answer: httpx.Response) -> None:
    """No keys, then; the address that failed is named for those who may know."""
    provider = IdentityProvider()
    provider.document = answer
    with pytest.raises(KeysUnavailable, match="openid-configuration"):
        await make(provider, clock).refresh()
    assert provider.asked == ["/realms/ops/.well-known/openid-configuration"]
