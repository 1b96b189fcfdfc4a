"""Who is let in while there are no identities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from autoheal.web.security import is_allowed, not_local
from tests.support.gateway import Gateway, gateway

SENSITIVE = ("/audit", "/rules", "/runs", "/runs/r2")


shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for all of these tests: none of them may change it."""
    async with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def scope(peer: str | None = "127.0.0.1", *headers: tuple[str, str]) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return {
        "type": "http",
        "scheme": "http",
        "client": None if peer is None else (peer, 5000),
        "headers": raw,
    }


HOST = ("Host", "localhost:9009")


@pytest.mark.parametrize(
    "request_scope",
    [
        scope("127.0.0.1", HOST),
        scope("127.8.9.1", ("Host", "127.8.9.1:1")),
        scope("::1", ("Host", "[::1]:9009")),
        scope("::ffff:127.0.0.1", ("Host", "LOCALHOST")),
        scope("127.0.0.1", HOST, ("Origin", "http://localhost:9009")),
        scope("127.0.0.1", HOST, ("Sec-Fetch-Site", "none")),
        scope("127.0.0.1", HOST, ("Sec-Fetch-Site", "same-origin")),
    ],
)
def test_programs_and_people_on_this_machine_are_local(request_scope: dict[str, Any]) -> None:
    """Directly from loopback, to a loopback name, from no page or our own."""
    assert not_local(request_scope) is None


@pytest.mark.parametrize(
    ("request_scope", "why"),
    [
        (scope("192.0.2.1", HOST), "address"),
        (scope("::ffff:192.0.2.1", HOST), "address"),
        (scope("10.0.0.1", HOST), "address"),
        (scope("not an address", HOST), "address"),
        (scope(None, HOST), "address"),
        (scope("127.0.0.1"), "Host"),
        (scope("127.0.0.1", HOST, HOST), "Host"),
        (scope("127.0.0.1", ("Host", "evil.example:9009")), "rebinding"),
        (scope("127.0.0.1", ("Host", "localhost.evil.example")), "rebinding"),
        (scope("127.0.0.1", ("Host", "127.0.0.1.evil.example")), "rebinding"),
        (scope("127.0.0.1", ("Host", "127.0.0.999")), "rebinding"),
        (scope("127.0.0.1", ("Host", "localhost\n")), "rebinding"),
        (scope("127.0.0.1", ("Host", "0.0.0.0:9009")), "rebinding"),
        (scope("127.0.0.1", ("Host", "localhost@evil.example")), "rebinding"),
        (scope("127.0.0.1", HOST, ("Origin", "https://evil.example")), "Origin"),
        (scope("127.0.0.1", HOST, ("Origin", "null")), "Origin"),
        (scope("127.0.0.1", HOST, ("Origin", "http://localhost:3000")), "Origin"),
        (scope("127.0.0.1", HOST, ("Origin", "https://localhost:9009")), "Origin"),
        (scope("127.0.0.1", HOST, ("Origin", "http://localhost:9009"), ("Origin", "null")), "Origin"),
        (scope("127.0.0.1", HOST, ("Sec-Fetch-Site", "cross-site")), "page"),
        (scope("127.0.0.1", HOST, ("Sec-Fetch-Site", "same-site")), "page"),
    ],
)  # fmt: skip
def test_everything_else_is_not_and_is_told_why(request_scope: dict[str, Any], why: str) -> None:
    """Another address, a proxy, another name, another site: each has its own sentence."""
    assert why in (not_local(request_scope) or "")


OF_PROXIES = [
    "Forwarded",
    "Via",
    "X-Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Real-IP",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-Client-IP",
    "Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "Fly-Client-IP",
    "Fastly-Client-IP",
    "WL-Proxy-Client-IP",
    "X-ProxyUser-Ip",
    "X-Originating-IP",
    "X-Remote-IP",
    "X-Remote-Addr",
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "CF-Ray",
    "CF-Visitor",
    "CDN-Loop",
    "Akamai-Origin-Hop",
    "Surrogate-Capability",
    "X-Envoy-External-Address",
    "X-Envoy-Expected-Rq-Timeout-Ms",
    "X-Amzn-Trace-Id",
    "X-Amz-Cf-Id",
    "X-Azure-ClientIP",
    "X-Azure-SocketIP",
    "X-AppGW-Trace-Id",
    "X-ARR-LOG-ID",
    "X-Varnish",
    "CloudFront-Viewer-Address",
    "CloudFront-Forwarded-Proto",
    "Fastly-FF",
    "Fastly-SSL",
    "Fly-Region",
    "CDN-RequestId",
    "Cdn-Src-Ip",
    "X-Cdn-Src-Ip",
    "Ali-Cdn-Real-Ip",
    "X-Sucuri-ClientIP",
    "X-Akamai-Edgescape",
    "DO-Connecting-IP",
    "X-NF-Client-Connection-IP",
    "X-Appengine-User-IP",
    "Tailscale-User-Login",
    "Front-End-Https",
    "Proxy-Connection",
    "Forwarded-For",
    "Remote-Addr",
]
"""Of nginx, HAProxy, Envoy, Varnish, IIS, AWS, Azure, Cloudflare and others; a list apart from the product's own."""
OF_CLIENTS = [
    "Accept",
    "User-Agent",
    "Authorization",
    "Cookie",
    "X-Requested-With",
    "X-Request-ID",
    "traceparent",
    "Cache-Control",
    "TE",
    "Forward",
    "Client",
    "X-Realm",
    "X-Description",
]


@pytest.mark.parametrize("name", OF_PROXIES)
def test_every_header_that_proxies_add_is_known(name: str) -> None:
    """Whatever its value: the sender may be anywhere."""
    assert f"the header {name.lower()} says" in (not_local(scope("127.0.0.1", HOST, (name, ""))) or "")


@pytest.mark.parametrize("name", OF_CLIENTS)
def test_headers_that_clients_send_are_none_of_them(name: str) -> None:
    """A program on this machine is not taken for a proxy."""
    assert not_local(scope("127.0.0.1", HOST, (name, "x"))) is None


@pytest.mark.parametrize("target", ["http://evil.example/audit", "http://localhost/audit", "HTTPS://localhost/audit"])
@shared
async def test_a_whole_url_is_a_request_to_a_proxy(gate: Gateway, target: str) -> None:
    """It names a host of its own, for which the Host header does not stand; public routes answer it."""
    for path, status in ((target, b"403"), (target.replace("audit", "healthz"), b"200")):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert status == b"200" or b"whole URL" in answer


@pytest.mark.parametrize("path", SENSITIVE)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@shared
async def test_sensitive_routes_refuse_them(gate: Gateway, path: str, headers: Mapping[str, str]) -> None:
    """403 with the reason, before anything is looked up, for GET and HEAD alike."""
    answer = await gate.client.get(path, headers=headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("Only for programs and people on this machine: ")
    assert (await gate.client.head(path, headers=headers)).status_code == 403


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
@shared
async def test_public_routes_answer_them(gate: Gateway, path: str) -> None:
    """A scraper behind a proxy is welcome."""
    headers = {"Host": "autoheal.example", "X-Forwarded-For": "203.0.113.7"}
    assert (await gate.client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("peer", "networks", "allowed"),
    [
        ("192.0.2.1", (), True),
        ("192.0.2.1", ("192.0.2.0/24",), True),
        ("::ffff:192.0.2.1", ("192.0.2.0/24",), True),
        ("192.0.3.1", ("192.0.2.0/24", "2001:db8::/32"), False),
        ("2001:db8::1", ("192.0.2.0/24", "2001:db8::/32"), True),
        (None, ("0.0.0.0/0",), False),
    ],
)
def test_an_allowlist_admits_its_networks_alone(peer: str | None, networks: tuple[str, ...], allowed: bool) -> None:
    """An empty one admits everybody; an unknown peer is in no network."""
    assert is_allowed(scope(peer), [ip_network(network) for network in networks]) is allowed


@pytest.mark.parametrize("path", ["/", "/metrics", "/audit", "/no/such/path", "/audit?n=0", "/events?q=("])
@shared
async def test_every_answer_carries_the_security_headers(gate: Gateway, path: str) -> None:
    """Errors included."""
    headers = (await gate.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 400), ("203.0.113.0/24", 403)])
async def test_the_peer_is_who_connects(tmp_path: Path, network: str, status: int) -> None:
    """Whatever X-Forwarded-For says, from loopback too: else anybody could claim an address of the allowlist."""
    async with gateway(tmp_path, {"AUTOHEAL_ALERT_ALLOWLIST": network}) as gate:
        answer = await gate.client.post("/alert", content=b"{}", headers={"X-Forwarded-For": "203.0.113.7"})
    assert answer.status_code == status
