"""deploy/nginx in a real nginx, before a real gateway with a real identity provider."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.components import require
from tests.support.monitoring import gateway
from tests.support.nginx import configured, listens
from tests.support.pki import Pki
from tests.support.ports import free_port
from tests.support.posting import alert, body
from tests.support.processes import running
from tests.support.provider import AUDIENCE, Provider

pytestmark = pytest.mark.component

RULES = "version: 1\nrules: []\n"
READER = "a reader whom the API knows"


@dataclass
class Front:
    """nginx on `url`, with a gateway behind it that can be stopped and started again."""

    folder: Path
    url: str
    gateway_port: int
    settings: dict[str, str]
    tls: ssl.SSLContext
    seen_by_api: list[str | None] = field(default_factory=list)

    @contextmanager
    def served(self) -> Iterator[None]:
        with gateway(self.folder, self.gateway_port, RULES, self.settings):
            yield

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.tls, trust_env=False, timeout=10)

    def post(self, number: int) -> None:
        """Tell the gateway itself of an alert, as Alertmanager does."""
        told = body(alert(f"{number:016x}", instance=f"host-{number}"))
        url = f"http://127.0.0.1:{self.gateway_port}/alert"
        assert httpx.post(url, json=told, trust_env=False).status_code == 200


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("nginx")
    ports = {"gateway": free_port(), "https": free_port(), "http": free_port()}
    pki = Pki(folder / "pki")
    idp = Provider(folder, free_port(), "http://127.0.0.1:1", roles={"proxy": ["reads"]})
    settings = {
        "OIDC_ENABLED": "true",
        "OIDC_ISSUER": idp.issuer,
        "OIDC_AUDIENCE": AUDIENCE,
        "OIDC_ROLES_CLAIM": "roles",
        "OIDC_ROLE_MAP": '{"reads":"viewer"}',
        "AUTOHEAL_EVENTS_AUTH": "true",
        "AUTOHEAL_PUBLIC_URL": f"https://127.0.0.1:{ports['https']}",
    }
    url, tls = settings["AUTOHEAL_PUBLIC_URL"], ssl.create_default_context(cafile=str(pki.ca))
    made = Front(folder, url, ports["gateway"], settings, tls)
    with ExitStack() as stack:
        stack.enter_context(idp.started())
        api = stack.enter_context(_api(made.seen_by_api))
        token = folder / "autoheal-token.conf"
        token.write_text(f'proxy_set_header Authorization "Bearer {idp.token("proxy")}";\n')
        file = configured(folder, ports, api, pki)
        argv = [require("nginx"), "-p", folder, "-c", file, "-g", "daemon off;"]
        stack.enter_context(running(argv, lambda: listens(ports["https"]), folder / "nginx.log"))
        yield made


@contextmanager
def _api(seen: list[str | None]) -> Iterator[int]:
    """Somebody's API that knows one reader; its port."""

    class Judge(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["X-Original-URI"])
            self.send_response(204 if self.headers["Authorization"] == READER else 401)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 its name in the library
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Stream:
    """Events of an open stream, one at a time, and the id to resume from."""

    answer: httpx.Response
    last_id: str = ""

    def __post_init__(self) -> None:
        self._lines = self.answer.iter_lines()

    def take(self) -> dict[str, Any]:
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                record: dict[str, Any] = orjson.loads(value)
                return record
        raise AssertionError("the stream has ended")

    def begun(self) -> None:
        """The first id has come: what happens from now on is in the stream."""
        while not self.last_id:
            name, _, value = next(self._lines).partition(": ")
            self.last_id = value if name == "id" else ""


FIRING = {"params": {"q": "kind=alert_firing"}, "headers": {"Authorization": READER, "Accept-Encoding": "gzip"}}


def test_only_readers_that_the_api_knows_get_events(front: Front) -> None:
    """The gateway is not even asked for others; the API sees which address was wanted."""
    with front.served(), front.client() as client:
        assert client.get("/api/events").status_code == 401
        assert client.get("/api/events", headers={"Authorization": "somebody else"}).status_code == 401
        assert client.get("/api/auth", headers={"Authorization": READER}).status_code == 404
        assert client.get("/events").status_code == 401, "the console's own stream asks for a session"
    assert front.seen_by_api[-1] == "/api/events"


def test_events_come_one_by_one_though_compressed(front: Front) -> None:
    """Each is here before the next happens; the proxy's token makes its reader a viewer, who sees labels."""
    with front.served(), front.client() as client, client.stream("GET", "/api/events", **FIRING) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
        stream = Stream(answer)
        stream.begun()
        for number in range(1, 6):
            front.post(number)
            assert stream.take()["labels"]["instance"] == f"host-{number}"


def test_a_stream_resumes_through_a_restart_without_a_gap(front: Front) -> None:
    """What happened while its reader was away comes first, once, in order."""
    with front.client() as client:
        with front.served(), client.stream("GET", "/api/events", **FIRING) as answer:  # type: ignore[arg-type]
            stream = Stream(answer)
            stream.begun()
            front.post(11)
            assert stream.take()["labels"]["instance"] == "host-11"
        assert client.get("/api/events", headers=FIRING["headers"]).status_code == 502
        with front.served():
            front.post(12)
            headers = {**FIRING["headers"], "Last-Event-ID": stream.last_id}
            with client.stream("GET", "/api/events", params=FIRING["params"], headers=headers) as answer:
                again = Stream(answer)
                front.post(13)
                assert [again.take()["labels"]["instance"] for _ in range(2)] == ["host-12", "host-13"]


def test_alerts_and_counters_are_not_for_the_world(front: Front) -> None:
    """Whoever posts through the proxy would seem to be this machine; the rest asks who comes, whatever they claim."""
    with front.served(), front.client() as client:
        assert client.post("/alert", json=body(alert("f" * 16))).status_code == 404
        assert client.get("/metrics").status_code == 404
        assert client.get("/healthz").status_code == 200
        for name, value in {"X-Forwarded-User": "root", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=::1"}.items():
            assert client.get("/audit", headers={name: value}).status_code == 401
        login = client.get("/console", headers={"Accept": "text/html"})
        assert "http://" not in login.headers.get("location", "")


def test_http_leads_to_https(front: Front) -> None:
    """A browser that asks without TLS is sent on."""
    port = (front.folder / "autoheal.conf").read_text().split("listen 127.0.0.1:")[-1].split(";")[0]
    answer = httpx.get(
        f"http://127.0.0.1:{port}/console?a=1", headers={"Host": "autoheal.example.org"}, trust_env=False
    )
    assert (answer.status_code, answer.headers["location"]) == (308, "https://autoheal.example.org/console?a=1")
