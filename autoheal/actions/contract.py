"""What an action is, what it is given, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from autoheal.clock import Clock

DEFAULT_TIMEOUT = 60.0
"""Seconds that an action may take when neither its step nor the rules' defaults say."""

ONE_LINE_CHARS = 500


@dataclass(frozen=True, slots=True)
class Context:
    """One execution: whose it is, and what it may use.

    `idempotency_key` is the same for every try of one step of one run. `secrets` are the files behind the
    names that a plan may hold; they are read at execution. `lock_dir` is where a running command keeps its lock:
    see `orphan_gone`.
    """

    run: str
    step: int
    idempotency_key: str
    secrets: Mapping[str, Path]
    lock_dir: Path
    clock: Clock


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it did what it should, and what was seen. `detail` is JSON, free of secrets and of bounded size."""

    ok: bool
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Traits:
    """What people may do about an action that was cut short, or that was a mistake.

    `idempotent`: to do it again leaves what doing it once leaves (RFC 9110 section 9.2.2). `reversible`: its opposite
    brings back what was. False when that is not known.
    """

    idempotent: bool
    reversible: bool


class Action(Protocol):
    """A way to act on the world.

    `Params` is what a rule's author writes; the methods get the same parameters as a plan holds them: plain JSON,
    templates rendered, secrets still markers.
    """

    @property
    def name(self) -> str:
        """Its key in a step."""
        ...

    @property
    def Params(self) -> type[BaseModel]:  # noqa: N802 a class
        """The model of its parameters; unknown keys must be faults."""
        ...

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """What holds of `run` with `params`."""
        ...

    def describe(self, params: Mapping[str, Any]) -> str:
        """One line for people: what `run` would do. Executes nothing and reveals no secret."""
        ...

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """Do it. Whatever the world does is an `Outcome`; only `asyncio.CancelledError` passes through."""
        ...


@runtime_checkable
class Rehearsing(Protocol):
    """What an `Action` may offer besides: to ask, without changing anything, whether `run` would be accepted.

    A dry run then tells what the world would have said: a right that is missing is seen before the night it is needed.
    """

    async def rehearse(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """Ask. Changes nothing, whatever `params` say, and may be asked again; else as `Action.run`."""
        ...


@runtime_checkable
class Observing(Protocol):
    """What an `Action` may offer besides: to tell how that is which `run` would change.

    People approve what they saw. When that has changed before the approved run begins, somebody else was at work.
    """

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        """A short text that differs once somebody has replaced, restarted or altered it; None when that is not known.

        What changes without anybody's doing does not belong into it, nor does a secret: it is recorded. Changes
        nothing, and may be asked again. It has five seconds; whatever it raises is not known.
        """
        ...


def one_line(text: str) -> str:
    """`text` with line breaks and other control characters escaped, and not too long to read."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[: ONE_LINE_CHARS + 1])
    return shown if len(shown) <= ONE_LINE_CHARS else shown[: ONE_LINE_CHARS - 1] + "…"


def milliseconds(seconds: float) -> int:
    """`seconds` as records have durations."""
    return round(seconds * 1000)
