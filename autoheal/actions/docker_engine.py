"""A Docker Engine, spoken to over its HTTP API: as much of it as the action `docker` needs."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from autoheal import __version__
from autoheal.actions.http import root_of
from autoheal.errors import AutohealError
from autoheal.rules.address import parse_engine

NEWEST_API = (1, 55)
"""The newest version of the API whose changes are known to leave alone what is used here."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARS = 256


class EngineError(AutohealError):
    """The Engine could not be asked, or would not; says why, for people."""


class NoSuchContainer(EngineError):
    """It has no container of that very name or id."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the Engine knows it: `id` has 64 hex digits, `state` is what a record tells of it."""

    id: str
    name: str
    state: Mapping[str, Any]


@asynccontextmanager
async def connected(host: str, certs: Path | None) -> AsyncIterator[Engine]:
    """The Engine at `host`; see `parse_engine`. `certs` has ca.pem, cert.pem and key.pem for one behind TLS.

    Has no deadline of its own. Raises EngineError when it cannot be spoken to.
    """
    address = parse_engine(host)
    tls = _tls(certs) if address.url.startswith("https:") else False
    transport = httpx.AsyncHTTPTransport(uds=address.socket, verify=tls, trust_env=False)
    headers = {"user-agent": f"autoheal/{__version__}", "accept-encoding": "identity"}
    async with httpx.AsyncClient(
        transport=transport,
        base_url=address.url,
        headers=headers,
        trust_env=False,
        timeout=None,  # noqa: S113 the whole action has one
    ) as client:
        engine = Engine(client, host)
        await engine.negotiate()
        yield engine


class Engine:
    """One conversation; `connected` begins it."""

    def __init__(self, client: httpx.AsyncClient, host: str) -> None:
        self._client = client
        self._host = host
        self._version = ""

    async def negotiate(self) -> None:
        """Settle on the newest version of the API that both sides know, as Docker's own client does."""
        status, headers, body = await self._ask("GET", "/_ping")
        if status != 200:
            raise EngineError(_refusal(status, body))
        offered = headers.get("api-version", "").split(".")
        if len(offered) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in offered):
            raise EngineError(f"what listens at {self._host} does not answer as a Docker Engine does")
        self._version = ".".join(map(str, min(NEWEST_API, (int(offered[0]), int(offered[1])))))

    async def container(self, asked: str) -> Container:
        """The container whose name or whole id is `asked`. Raises NoSuchContainer."""
        status, _, body = await self._ask("GET", f"/v{self._version}/containers/{asked}/json")
        if status == 404:
            raise NoSuchContainer(f"there is no container {asked!r}")
        if status != 200:
            raise EngineError(_refusal(status, body))
        found = self._container(body)
        if asked not in (found.id, found.name):
            # The Engine takes the beginning of an id for the whole: "db" may be any container's.
            raise NoSuchContainer(
                f"there is no container {asked!r}; the id of {found.name!r} begins so: write its name or its whole id"
            )
        return found

    async def order(self, verb: str, container_id: str, query: Mapping[str, str]) -> bool:
        """Have `verb` done to a container; False when there was nothing to do. Raises EngineError when it was not."""
        status, _, body = await self._ask("POST", f"/v{self._version}/containers/{container_id}/{verb}", query)
        if status not in (204, 304):
            raise EngineError(_refusal(status, body))
        return status == 204

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None
    ) -> tuple[int, httpx.Headers, bytes]:
        body = bytearray()
        try:
            async with self._client.stream(method, path, params=query) as response:
                async for data in response.aiter_raw():
                    body += data
                    if len(body) > MAX_ANSWER_BYTES:
                        raise EngineError(f"the Engine's answer is longer than {MAX_ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            raise EngineError(self._unreachable(error)) from None
        return response.status_code, response.headers, bytes(body)

    def _unreachable(self, error: BaseException) -> str:
        root = root_of(error)
        if isinstance(root, PermissionError):
            return f"permission denied at {self._host}: the service's user must be allowed to write to that socket"
        if isinstance(root, FileNotFoundError | ConnectionRefusedError):
            return f"no Docker Engine listens at {self._host}: is it running?"
        return f"cannot talk to the Docker Engine at {self._host}: {str(root) or type(root).__name__}"

    def _container(self, body: bytes) -> Container:
        try:
            told = orjson.loads(body)
            state = told["State"]
            seen: dict[str, Any] = {"status": str(state["Status"])[:20], "exit_code": _number(state["ExitCode"])}
            seen |= {"oom_killed": bool(state["OOMKilled"]), "restarts": _number(told.get("RestartCount") or 0)}
            for name in ("StartedAt", "FinishedAt"):
                seen[f"{name[:-2].lower()}_at"] = str(state[name])[:40]
            if isinstance(state.get("Health"), dict):
                seen["health"] = str(state["Health"].get("Status"))[:20]
            return Container(_id(told["Id"]), str(told["Name"])[:MAX_NAME_CHARS].removeprefix("/"), seen)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise EngineError(
                f"what listens at {self._host} does not describe containers as a Docker Engine does"
            ) from None


def _id(value: Any) -> str:
    # It stands in the URL of the request that changes something: with a slash in it, that would be another (CWE-74).
    if not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError("not an id")
    return str(value)


def _number(value: Any) -> int:
    # A record holds no number beyond 64 bits, and these have 32 at most.
    if not isinstance(value, int) or not -(2**31) <= value < 2**32:
        raise ValueError("not a number of 32 bits")
    return value


def _tls(certs: Path | None) -> ssl.SSLContext:
    if certs is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=certs / "ca.pem")
        # An encrypted key would be asked for on the terminal.
        context.load_cert_chain(certs / "cert.pem", certs / "key.pem", password="")
    except (OSError, ValueError) as error:
        raise EngineError(f"ca.pem, cert.pem and key.pem in {str(certs)!r} cannot be used: {error}") from None
    return context


def _refusal(status: int, body: bytes) -> str:
    try:
        message = str(orjson.loads(body)["message"])
    except (ValueError, TypeError, KeyError):
        message = body.decode(errors="replace")
    what = {403: "forbidden by the Engine, or by the proxy before it", 409: "conflict"}.get(
        status, "the Engine refused"
    )
    # Not cut: a secret in it must be whole to be recognised.
    return f"{what} ({status}): {message.strip()}"
