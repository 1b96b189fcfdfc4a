"""The client that asks the provider."""

from __future__ import annotations

import ssl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from autoheal.oidc import provider_client
from tests.support.server import serving


async def test_no_cookie_goes_from_one_answer_into_the_next_request() -> None:
    """What a provider says to one person's tokens would else come with the tokens of the next one."""
    sent: list[str | None] = []

    async def token(request: Request) -> Response:
        sent.append(request.headers.get("cookie"))
        return Response(headers={"Set-Cookie": "who=olga; Path=/"})

    async with (
        serving(Starlette(routes=[Route("/token", token)])) as port,
        provider_client(ssl.create_default_context()) as http,
    ):
        for _ in range(2):
            assert "set-cookie" in (await http.get(f"http://127.0.0.1:{port}/token")).headers
    assert sent == [None, None]
