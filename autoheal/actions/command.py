"""The action `command`: run a program. Never a shell."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from autoheal.actions.contract import DEFAULT_TIMEOUT, Context, Outcome, Traits, milliseconds, one_line
from autoheal.actions.excerpt import KEPT_BYTES, Excerpt
from autoheal.actions.secret import Secrets, SecretUnreadable
from autoheal.actions.supervision import Ending, lock_path, supervise
from autoheal.rules.fields import Argument, Text
from autoheal.rules.render import reveal
from autoheal.rules.template import Template
from autoheal.rules.units import Timeout

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE_SECONDS = 5.0


def _program(argv: tuple[Template, ...]) -> tuple[Template, ...]:
    if not argv[0].literal or not argv[0].source:
        raise ValueError("the program must be literal: a label must not choose what is executed")
    return argv


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{name[:60]!r} cannot be a variable's name")
    if name.startswith("AUTOHEAL_"):
        raise ValueError(f"{name[:60]} is set by autoheal itself")
    return name


Argv = Annotated[tuple[Argument, ...], Field(min_length=1), AfterValidator(_program)]
"""A program, which must be literal, and its arguments."""


class CommandParams(BaseModel):
    """A program and its arguments; no shell reads them."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    argv: Argv
    cwd: Text | None = None
    env: dict[Annotated[str, AfterValidator(_variable)], Text] = Field(default_factory=dict)
    timeout: Timeout | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a program under a guardian; `grace` is the seconds between SIGTERM and SIGKILL."""

    grace: float = GRACE_SECONDS

    name: ClassVar[str] = "command"
    Params: ClassVar[type[BaseModel]] = CommandParams

    def traits(self, params: Mapping[str, Any]) -> Traits:  # noqa: ARG002 a program may do anything
        """Nothing is known of what a program does."""
        return Traits(idempotent=False, reversible=False)

    def describe(self, params: Mapping[str, Any]) -> str:
        """The command line, quoted so that it could be pasted into a shell when it holds no control characters."""
        return one_line(shlex.join(params["argv"]))

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when the program ended by itself with exit code 0."""
        return await execute(lambda revealed: revealed["argv"], params, context, self.grace)


async def execute(
    argv: Callable[[Mapping[str, Any]], Sequence[str]],
    params: Mapping[str, Any],
    context: Context,
    grace: float = GRACE_SECONDS,
) -> Outcome:
    """Run what `argv` makes of `params`, their secrets revealed; `cwd`, `env` and `timeout` are those of `params`.

    As with actions, whatever happens is an `Outcome`: a success when the program ended by itself with exit code 0.
    """
    secrets = Secrets(context.secrets)
    timeout = params.get("timeout") or DEFAULT_TIMEOUT
    output = Excerpt(secrets, head=KEPT_BYTES // 2, tail=KEPT_BYTES // 2)
    started = context.clock.monotonic()
    try:
        revealed = reveal(params, secrets)
        ending = await supervise(
            argv(revealed),
            cwd=revealed.get("cwd") or "/",
            env=_environment(context) | (revealed.get("env") or {}),
            timeout=timeout,
            grace=grace,
            lock=lock_path(context.lock_dir, context.run, context.step),
            output=output,
        )
    except (SecretUnreadable, ValueError) as error:
        ending = Ending(fault=str(error))
    took = milliseconds(context.clock.monotonic() - started)
    detail = _detail(ending, timeout, took)
    if "error" in detail:
        detail["error"] = one_line(secrets.hidden(detail["error"]))
    detail |= {"output": output.text(), "output_truncated": output.cut > 0}
    return Outcome(ok=ending == Ending(exit_code=0), detail=detail)


def _environment(context: Context) -> dict[str, str]:
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": "/",
        "AUTOHEAL_RUN": context.run,
        "AUTOHEAL_STEP": str(context.step),
        "AUTOHEAL_IDEMPOTENCY_KEY": context.idempotency_key,
    }


def _detail(ending: Ending, timeout: float, took: int) -> dict[str, Any]:
    detail: dict[str, Any] = {}
    if ending.exit_code is not None:
        detail["exit_code"] = ending.exit_code
    if ending.signal is not None:
        detail["signal"] = _signal_name(ending.signal)
    detail["duration_ms"] = took
    if error := _error(ending, timeout):
        detail["error"] = error
    if ending.stopped:
        detail["timed_out"] = True
    if ending.still_running:
        detail["still_running"] = True
    return detail


def _error(ending: Ending, timeout: float) -> str | None:
    if ending.fault is not None:
        return ending.fault
    if ending.still_running:
        return f"not finished after {timeout:g} s, and still running though it was told to end and then killed"
    if ending.stopped:
        return f"not finished after {timeout:g} s, so it was ended"
    if ending.signal is not None:
        return f"ended by {_signal_name(ending.signal)}"
    return f"exit code {ending.exit_code}" if ending.exit_code else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal
