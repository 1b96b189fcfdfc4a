"""The action `docker`: restart, start, stop, kill or unpause a container."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from autoheal.actions.contract import DEFAULT_TIMEOUT, Context, Outcome, Traits, milliseconds, one_line
from autoheal.actions.docker_engine import Container, Engine, EngineError, NoSuchContainer, connected
from autoheal.actions.secret import Secrets
from autoheal.actions.verbs import one_of, order, the_one
from autoheal.errors import RenderError
from autoheal.rules.address import parse_engine
from autoheal.rules.fields import checked, described, literal
from autoheal.rules.template import Template
from autoheal.rules.units import Duration, Timeout

DEFAULT_HOST = "unix:///var/run/docker.sock"

_VERBS = ("restart", "start", "stop", "kill", "unpause")
_REVERSIBLE = frozenset({"start", "stop", "unpause"})
_WITH_STOP_TIMEOUT = frozenset({"restart", "stop"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,254}")  # the Engine's own rule; ids are such texts too
_SIGNALS = (
    *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL"),
    *("PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1"),
    *("USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"),
    *(f"RTMIN+{number}" for number in range(1, 16)),
    *(f"RTMAX-{number}" for number in range(1, 15)),
)
"""What the Engine knows by name."""


def check_container(name: str) -> None:
    """Raise RenderError unless `name` can be a container's name or id.

    It stands in a URL's path: with a slash or a question mark in it, it would be another request (CWE-74).
    """
    if not _NAME.fullmatch(name):
        raise RenderError(f"{name[:80]!r} cannot be a container's name or id")


def _host(text: str) -> str:
    parse_engine(literal(text))
    return text


def _signal(value: Any) -> Any:
    name = value.upper().removeprefix("SIG") if isinstance(value, str) else value
    if name not in _SIGNALS:
        raise ValueError(f"{str(value)[:40]!r} is not a signal's name, such as TERM, HUP or RTMIN+3")
    return name


def _whole(seconds: float) -> float:
    if seconds != int(seconds):
        raise ValueError("the Engine counts whole seconds")
    return seconds


Name = Annotated[Template, checked(check_container), described("a template, a container's name or whole id")]


class DockerParams(BaseModel):
    """Exactly one of restart, start, stop, kill and unpause, each with the name or whole id of a container."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        json_schema_extra=one_of(_VERBS),
    )

    restart: Name | None = None
    start: Name | None = None
    stop: Name | None = None
    kill: Name | None = None
    unpause: Name | None = None
    signal: Annotated[str, BeforeValidator(_signal), described("a signal's name: TERM, HUP, RTMIN+3")] | None = None
    stop_timeout: Annotated[Duration, AfterValidator(_whole)] | None = None
    host: Annotated[str, AfterValidator(_host), described("unix:///PATH, tcp://HOST:PORT or https://…")] | None = None
    timeout: Timeout | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        verb = the_one(self, _VERBS)
        if self.signal is not None and verb != "kill":
            raise ValueError("`signal` goes with `kill` alone")
        if self.stop_timeout is not None and verb not in _WITH_STOP_TIMEOUT:
            raise ValueError("`stop_timeout` goes with `restart` and `stop` alone")
        return self


@dataclass(frozen=True, slots=True)
class Docker:
    """Has a Docker Engine do something to one container.

    `host` is the Engine's address unless a step names another, `certs` the folder of ca.pem, cert.pem and key.pem
    for those behind TLS.
    """

    host: str = DEFAULT_HOST
    certs: Path | None = None

    name: ClassVar[str] = "docker"
    Params: ClassVar[type[BaseModel]] = DockerParams

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """A signal may mean anything, and what a restart has ended does not come back."""
        verb, _ = order(params, _VERBS)
        return Traits(idempotent=verb != "kill", reversible=verb in _REVERSIBLE)

    def describe(self, params: Mapping[str, Any]) -> str:
        """What one would type for it."""
        verb, container = order(params, _VERBS)
        host = ["--host", params["host"]] if params.get("host") else []
        options = ["--signal", params["signal"]] if params.get("signal") else []
        if params.get("stop_timeout") is not None:
            options = ["--time", f"{params['stop_timeout']:g}"]
        return one_line(shlex.join(["docker", *host, verb, *options, container]))

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:  # noqa: ARG002 as `Observing`
        """See `Observing`: which container has the name, and when it was started unless the Engine itself does that."""
        _, asked = order(params, _VERBS)
        try:
            check_container(asked)
            async with connected(params.get("host") or self.host, self.certs) as engine:
                found = await engine.container(asked)
        except NoSuchContainer:
            return "no such container"
        except (EngineError, RenderError):
            return None
        by_itself = found.state["restarts"] > 0
        return f"{found.id} {'restarts by itself' if by_itself else found.state['started_at']}"

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when the Engine says that it has done it, or that nothing was to do."""
        verb, asked = order(params, _VERBS)
        timeout = params.get("timeout") or DEFAULT_TIMEOUT
        started = context.clock.monotonic()
        detail: dict[str, Any] = {}
        late = silent = f"no answer from the Docker Engine within {timeout:g} s"
        done = False
        try:
            check_container(asked)
            async with asyncio.timeout(timeout), connected(params.get("host") or self.host, self.certs) as engine:
                found = await engine.container(asked)
                detail |= {"container": found.id, "name": found.name, "before": found.state}
                late = f"not finished after {timeout:g} s; the Docker Engine may still carry it out"
                if not await _carry_out(engine, verb, found, params):
                    detail["already"] = True
                done, late = True, silent
                detail["after"] = await _state(engine, found.id)
        except TimeoutError:
            detail["error"] = late
        except (EngineError, RenderError) as error:
            detail["error"] = one_line(Secrets(context.secrets).hidden(str(error)))
        if done and "error" in detail:
            # It was done all the same: only how the container is now is not known.
            detail["after"] = {"error": detail.pop("error")}
        return Outcome(ok=done, detail=detail | {"duration_ms": milliseconds(context.clock.monotonic() - started)})


async def _carry_out(engine: Engine, verb: str, found: Container, params: Mapping[str, Any]) -> bool:
    if verb == "unpause" and found.state["status"] == "running":
        # The Engine calls that an error, unlike the start of what runs and the stop of what does not.
        return False
    query: dict[str, str] = {}
    if params.get("signal") is not None:
        query["signal"] = f"SIG{params['signal']}"
    if params.get("stop_timeout") is not None:
        query["t"] = str(int(params["stop_timeout"]))
    return await engine.order(verb, found.id, query)


async def _state(engine: Engine, container_id: str) -> Mapping[str, Any]:
    try:
        return (await engine.container(container_id)).state
    except NoSuchContainer:
        return {"status": "removed"}  # it was started with --rm
