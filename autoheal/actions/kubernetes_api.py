"""A Kubernetes API server, spoken to over HTTP: as much of its API as the action `kubernetes` needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson

from autoheal import __version__
from autoheal.actions.http import root_of
from autoheal.actions.kubernetes_config import Access, KubernetesError

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of one object: etcd keeps none above 1.5 MiB."""

JSON = "application/json"
STRATEGIC_MERGE = "application/strategic-merge-patch+json"

_MEANING = {
    401: "not logged in",
    403: "forbidden",
    404: "not found",
    409: "conflict",
    422: "invalid",
    429: "not now",
}


class Unreachable(KubernetesError):
    """No whole answer came."""


class Refused(KubernetesError):
    """The API server's no. `retry_after` is what it asks us to wait, in seconds."""

    def __init__(self, text: str, status: int, retry_after: float) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


def at(found: Any, *path: str) -> Any:
    """What stands at `path` in an object, or None: whatever a server sends, looking at it raises nothing."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def number(found: Any, *path: str) -> int:
    """The count at `path`; the API leaves out those that are 0."""
    value = at(found, *path)
    return value if isinstance(value, int) else 0


def text(found: Any, *path: str) -> str:
    """The text at `path`, not longer than what Kubernetes calls things by."""
    value = at(found, *path)
    return value[:253] if isinstance(value, str) else ""


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Api]:
    """A conversation with the API server of `access`; it has no deadline of its own."""
    headers = {"user-agent": f"autoheal/{__version__}", "accept": JSON, "accept-encoding": "identity"}
    if access.token is not None:
        headers["authorization"] = f"Bearer {access.token}"
    transport = httpx.AsyncHTTPTransport(verify=access.tls or False, trust_env=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url=access.server,
        headers=headers,
        trust_env=False,
        timeout=None,  # noqa: S113 the whole action has one
    ) as client:
        yield Api(client, access)


class Api:
    """One conversation; `connected` begins it."""

    def __init__(self, client: httpx.AsyncClient, access: Access) -> None:
        self._client = client
        self._access = access

    async def ask(
        self, method: str, path: str, body: Any = None, *, content: str = JSON, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The object that is answered. Raises Refused for an answer that is no success, and Unreachable."""
        request = self._request(method, path, body, content, query)
        with self._reaching():
            response = await self._client.send(request, stream=True)
            try:
                answer = await self._whole(response)
            finally:
                await response.aclose()
        if not response.is_success:
            raise self._refused(response.status_code, response.headers, answer)
        return self._object(answer)

    async def watch(self, path: str, name: str, since: str) -> AsyncIterator[tuple[str, Any]]:
        """What happens to the object `name` after the version `since`, until the server ends it.

        Each is the event's type and the object after it. Raises as `ask` does; the events' own errors end it, too.
        """
        query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": since, "watch": "true"}
        request = self._request("GET", path, None, JSON, query)
        with self._reaching():
            response = await self._client.send(request, stream=True)
        try:
            if not response.is_success:
                with self._reaching():
                    answer = await self._whole(response)
                raise self._refused(response.status_code, response.headers, answer)
            async for line in self._lines(response):
                event = self._object(line)
                if event.get("type") == "ERROR":
                    return
                yield str(event.get("type")), event.get("object")
        finally:
            await response.aclose()

    def _request(
        self, method: str, path: str, body: Any, content: str, query: Mapping[str, str] | None
    ) -> httpx.Request:
        sent = None if body is None else orjson.dumps(body)
        return self._client.build_request(
            method,
            path,
            params=query,
            content=sent,
            headers=None if sent is None else {"content-type": content},
            extensions={"sni_hostname": self._access.server_name} if self._access.server_name else None,
        )

    async def _whole(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        async for data in response.aiter_raw():
            answer += data
            self._bound(answer)
        return bytes(answer)

    async def _lines(self, response: httpx.Response) -> AsyncIterator[bytes]:
        line = bytearray()
        stream = response.aiter_raw()
        while True:
            with self._reaching():
                data = await anext(stream, None)
            if data is None:
                return
            *ended, rest = data.split(b"\n")
            for piece in ended:
                yield bytes(line + piece)
                line.clear()
            line += rest
            self._bound(line)

    def _bound(self, answer: bytearray) -> None:
        if len(answer) > MAX_ANSWER_BYTES:
            raise KubernetesError(f"the API server's answer is longer than {MAX_ANSWER_BYTES} bytes")

    @contextmanager
    def _reaching(self) -> Any:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise Unreachable(self._unreachable(error)) from None

    def _unreachable(self, error: BaseException) -> str:
        root, server = root_of(error), self._access.server
        if isinstance(root, ConnectionRefusedError):
            return f"no API server listens at {server}: is the address in {self._access.source} right?"
        return self._access.hide(f"cannot talk to the API server at {server}: {str(root) or type(root).__name__}")

    def _object(self, answer: bytes) -> dict[str, Any]:
        try:
            told = orjson.loads(answer)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise KubernetesError(f"what listens at {self._access.server} does not answer as a Kubernetes API server")
        return told

    def _refused(self, status: int, headers: httpx.Headers, answer: bytes) -> Refused:
        try:
            told = orjson.loads(answer)
        except ValueError:
            told = None
        message = at(told, "message") if text(told, "kind") == "Status" else answer.decode(errors="replace")
        said = [str(message)]
        if status == 429:
            # Which disruption budget it is stands there alone.
            causes = at(told, "details", "causes")
            said += [str(at(cause, "message") or "") for cause in causes] if isinstance(causes, list) else []
        if status == 401:
            said.append(f"are the credentials of {self._access.source} still good?")
        words = " ".join(part.strip() for part in said if part.strip())
        meaning = f"{_MEANING.get(status, 'the API server refused')} ({status}): {words}"
        wait = headers.get("retry-after", "")
        # Nothing is cut yet: the token, or a secret, must be whole to be recognised.
        return Refused(self._access.hide(meaning), status, float(wait) if wait.isdecimal() else 0.0)
