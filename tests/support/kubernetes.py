"""A Kubernetes API server on loopback, for autoheal and for kubectl; its rules stand in `kubernetes_rules`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.support.kubernetes_rules import VERBS, Cluster
from tests.support.pki import Pki
from tests.support.server import served


class Protocol(HttpToolsProtocol):
    """uvicorn's, with the client's certificate in the scope, which ASGI has no place for."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        app, peer = self.app, transport.get_extra_info("peercert") or {}

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "peer": peer}, receive, send)

        self.app = with_peer


@asynccontextmanager
async def kubernetes(pki: Pki) -> AsyncIterator[Cluster]:
    """A cluster whose API is served over TLS, in the test's own event loop, until the block ends."""
    cluster = Cluster()
    app = Starlette(routes=[Route("/{path:path}", cluster.answer, methods=list(VERBS))])
    config = uvicorn.Config(
        app,
        port=0,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        ssl_certfile=pki.server,
        ssl_keyfile=pki.server_key,
        ssl_ca_certs=str(pki.ca),
        ssl_cert_reqs=ssl.CERT_OPTIONAL,
    )
    async with served(config) as port:
        cluster.url = f"https://127.0.0.1:{port}"
        try:
            yield cluster
        finally:
            cluster.close_watches()


def kubeconfig(folder: Path, cluster: Cluster, pki: Pki, token: str = "token-of-autoheal") -> Path:
    """A kubeconfig for `cluster`, with a bearer token, for autoheal and kubectl alike."""
    path = folder / "kubeconfig"
    path.write_text(
        f"""\
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: '{cluster.url}', certificate-authority: '{pki.ca}'}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
"""
    )
    path.chmod(0o600)
    return path
