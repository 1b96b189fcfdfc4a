"""The action `ssh`: run a program on another machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from autoheal.actions.command import Argv, execute
from autoheal.actions.contract import Context, Outcome, Traits, one_line
from autoheal.errors import RenderError
from autoheal.rules.fields import checked, described, literal
from autoheal.rules.template import Template
from autoheal.rules.units import Timeout

SSH_FAILED = 255
"""The exit code of ssh itself when it could not connect or log in (ssh(1))."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_OPTIONS = (
    # Whoever would have to be asked is not there; a host that is not known is not the one that was meant.
    *("BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectTimeout=10", "ServerAliveInterval=15"),
    # Known is what stands in the files of known hosts, on loopback, where tunnels end, and with DNS, too.
    *("NoHostAuthenticationForLocalhost=no", "VerifyHostKeyDNS=no"),
    # Nothing of this machine is lent to the other, whatever the configuration of the user says.
    *("ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "Tunnel=no", "PermitLocalCommand=no"),
    # A shared connection would outlive the action; a command of the configuration would take the place of ours.
    *("ControlMaster=no", "ControlPath=none", "RemoteCommand=none", "RequestTTY=no", "LogLevel=ERROR"),
)


def _path(text: str) -> str:
    # ssh expands ~ and % in these, and takes white space between two files.
    if not re.fullmatch(r"/[A-Za-z0-9._/@+-]*", literal(text)):
        raise ValueError(f"{text[:80]!r} must be an absolute path of letters, digits and ._/@+-")
    return text


def _user(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}", literal(text)):
        raise ValueError(f"{text[:80]!r} cannot be a user's name")
    return text


File = Annotated[str, AfterValidator(_path), described("an absolute path")]


class _Params(BaseModel):
    """A host that AUTOHEAL_SSH_HOSTS allows, and a program to run there with its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    argv: Argv
    user: Annotated[str, AfterValidator(_user), described("a user's name")] | None = None
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    identity_file: File | None = None
    known_hosts: File | None = None
    timeout: Timeout | None = None


class Ssh:
    """Runs a program on one of `hosts`, through the program `ssh`.

    `hosts` are names and addresses in which `*` stands for any characters but dots and colons; with none, no host
    is allowed.
    """

    name = "ssh"

    def __init__(self, hosts: Sequence[str] = (), ssh: str = "ssh") -> None:
        self._ssh = ssh
        self._check = _allowed(hosts)
        host = Annotated[Template, checked(self._check), described("a template, a host's name or address")]
        self.Params = create_model("SshParams", __base__=_Params, __doc__=_Params.__doc__, host=(host, ...))

    def traits(self, params: Mapping[str, Any]) -> Traits:  # noqa: ARG002 a program may do anything
        """Nothing is known of what a program does."""
        return Traits(idempotent=False, reversible=False)

    def describe(self, params: Mapping[str, Any]) -> str:
        """What one would type for it, without the options that are always there."""
        return one_line(shlex.join(["ssh", *_where(params), "--", params["host"], shlex.join(params["argv"])]))

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when the program there ended with exit code 0."""
        try:
            self._check(params["host"])
        except RenderError as error:
            return Outcome(ok=False, detail={"error": str(error)})
        outcome = await execute(self._argv, params, context)
        detail = outcome.detail
        if detail.get("timed_out"):
            # ssh only waits for it.
            detail["error"] += "; the program may still run there"
        elif detail.get("exit_code") == SSH_FAILED and (said := detail["output"].strip()):
            detail["error"] = one_line(f"ssh could not connect or log in (exit code 255): {said.splitlines()[-1]}")
        return outcome

    def _argv(self, params: Mapping[str, Any]) -> list[str]:
        options = [part for option in _OPTIONS for part in ("-o", option)]
        # ssh joins arguments by spaces and the other side has a shell read them: they are quoted, secrets filled in.
        return [self._ssh, *options, *_where(params), "--", params["host"], shlex.join(params["argv"])]


def _where(params: Mapping[str, Any]) -> list[str]:
    given = []
    if params.get("user") is not None:
        given += ["-l", params["user"]]
    if params.get("port") is not None:
        given += ["-p", str(params["port"])]
    if params.get("identity_file") is not None:
        given += ["-i", params["identity_file"], "-o", "IdentitiesOnly=yes"]
    if params.get("known_hosts") is not None:
        given += ["-o", f"UserKnownHostsFile={params['known_hosts']}", "-o", "GlobalKnownHostsFile=/dev/null"]
    return given


def _allowed(hosts: Sequence[str]) -> Callable[[str], None]:
    """A check that raises RenderError for what is no host, which could be an option or a URL, or not among `hosts`."""
    patterns = [re.compile(re.escape(host.lower()).replace(r"\*", "[^.:]*")) for host in hosts]

    def check(host: str) -> None:
        if not _NAME.fullmatch(host) and not _is_ipv6(host):
            raise RenderError(f"{host[:80]!r} is not a host's name or address")
        if not any(pattern.fullmatch(host.lower()) for pattern in patterns):
            raise RenderError(f"host {host[:80]!r} is not allowed: AUTOHEAL_SSH_HOSTS says which hosts are")

    return check


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False
