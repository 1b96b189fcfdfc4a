"""The action `systemd`: restart, start, stop or reload a unit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from autoheal.actions.command import execute
from autoheal.actions.contract import Context, Outcome, Traits, one_line
from autoheal.actions.verbs import one_of, order, the_one
from autoheal.errors import RenderError
from autoheal.rules.fields import checked, described
from autoheal.rules.template import Template
from autoheal.rules.units import Timeout

_VERBS = ("restart", "start", "stop", "reload")
_REVERSIBLE = frozenset({"start", "stop"})
_TYPES = ("service", "socket", "timer", "path", "mount", "automount")
_ANY_TYPE = "service|socket|timer|path|mount|automount|target|slice|scope|device|swap|snapshot"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]{0,254}")  # systemd.unit(5)
_ENDS_THE_MACHINE = re.compile(
    r"systemd-(poweroff|reboot|soft-reboot|halt|kexec|exit|suspend|hibernate|hybrid-sleep|suspend-then-hibernate)"
    r"|systemd-sysupdate-reboot|(packagekit|fwupd)-offline-update"  # they reboot when they are done, or cannot be
    r"|emergency|rescue|debug-shell|initrd-.*"
)


def check_unit(name: str) -> None:
    """Raise RenderError unless `name` is one unit's name, of a type that services are made of.

    systemctl takes patterns for all units that match, and paths for mounts and devices. It would start
    `reboot.target` as well.
    """
    if not _NAME.fullmatch(name):
        raise RenderError(f"{name[:80]!r} is not a unit's name (patterns and paths are refused)")
    stem, _, kind = name.rpartition(".")
    if not stem or kind not in _ANY_TYPE.split("|"):
        stem, kind = name, "service"  # as systemctl takes it
    if kind not in _TYPES:
        raise RenderError(f"{name[:80]!r} is a {kind}: only units of the types {', '.join(_TYPES)} are acted on")
    if kind == "service" and _ENDS_THE_MACHINE.fullmatch(stem):
        raise RenderError(f"{name[:80]!r} would end or take over the machine")


Unit = Annotated[Template, checked(check_unit), described("a template, a unit's name")]


class SystemdParams(BaseModel):
    """Exactly one of restart, start, stop and reload, each with the name of a unit."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        json_schema_extra=one_of(_VERBS),
    )

    restart: Unit | None = None
    start: Unit | None = None
    stop: Unit | None = None
    reload: Unit | None = None
    timeout: Timeout | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Self:
        the_one(self, _VERBS)
        return self


@dataclass(frozen=True, slots=True)
class Systemd:
    """Has systemd do something to one unit, through `systemctl` (a name in the command's PATH, or a path)."""

    systemctl: str = "systemctl"

    name: ClassVar[str] = "systemd"
    Params: ClassVar[type[BaseModel]] = SystemdParams

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """What a restart has ended does not come back, and a reload's old configuration is not kept."""
        return Traits(idempotent=True, reversible=order(params, _VERBS)[0] in _REVERSIBLE)

    def describe(self, params: Mapping[str, Any]) -> str:
        """What one would type for it."""
        return one_line(shlex.join(self._argv(params)))

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        """See `Observing`: the unit's invocation, unless systemd itself restarts it."""
        _, unit = order(params, _VERBS)
        try:
            check_unit(unit)
        except RenderError:
            return None
        argv = [self.systemctl, "show", "--property=InvocationID,NRestarts", "--", unit]
        outcome = await execute(lambda _: argv, {}, context)
        if not outcome.ok:
            return None
        told = dict(line.partition("=")[::2] for line in outcome.detail["output"].splitlines())
        by_itself = told.get("NRestarts", "0") != "0"
        return "restarts by itself" if by_itself else f"invocation {told.get('InvocationID') or 'none'}"

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when systemctl says so: systemd's job has been done."""
        try:
            check_unit(order(params, _VERBS)[1])
        except RenderError as error:
            return Outcome(ok=False, detail={"error": str(error)})
        outcome = await execute(self._argv, params, context)
        if outcome.detail.get("timed_out"):
            # systemctl only waits for it.
            outcome.detail["error"] += "; systemd may still carry it out"
        elif outcome.detail.get("exit_code") and (said := outcome.detail["output"].strip()):
            outcome.detail["error"] = one_line(f"{outcome.detail['error']}: {said.splitlines()[0]}")
        return outcome

    def _argv(self, params: Mapping[str, Any]) -> list[str]:
        verb, unit = order(params, _VERBS)
        return [self.systemctl, "--no-ask-password", verb, "--", unit]
