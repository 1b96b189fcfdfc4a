"""Actions that other distributions add: entry points of the group `autoheal.actions`.

An entry point's name is the action's name in rules; what it refers to is called without arguments and answers an
`Action`. Whatever such code does, the gateway's own promises hold: see `Foreign`.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import re
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

import orjson
import structlog
from pydantic import BaseModel

from autoheal.actions.contract import (
    DEFAULT_TIMEOUT,
    Action,
    Context,
    Observing,
    Outcome,
    Rehearsing,
    Traits,
    milliseconds,
    one_line,
)
from autoheal.actions.secret import Secrets
from autoheal.errors import ConfigError, Fault

GROUP = "autoheal.actions"
GRACE_SECONDS = 5.0
"""How long an action that is cancelled may take to end."""
MAX_DETAIL_BYTES = 48 * 1024
"""Of an outcome's detail as JSON, so that its record fits 64 KiB."""

_NAME = re.compile("[a-z][a-z0-9_]{0,31}")
_OTHER_KEYS = ("verify",)

Method = Callable[[Mapping[str, Any], Context], Awaitable[Outcome]]

_log = structlog.get_logger(__name__)


def installed(taken: Mapping[str, Action], found: Iterable[Distribution] | None = None) -> dict[str, Action]:
    """The actions that `found`, by default whatever is installed, adds to those that are `taken`.

    Raises ConfigError with a fault for each that cannot be used, naming its distribution: an action that silently was
    not there would leave its rules unread.
    """
    faults: list[Fault] = []
    actions: dict[str, Action] = {}
    origins = dict.fromkeys(taken, "autoheal itself")
    for distribution, entry in _entries(distributions() if found is None else found, faults):
        origin = f"{distribution.name} {distribution.version}"
        try:
            actions[entry.name] = foreign(_made(entry, origins), origin)
            origins[entry.name] = origin
        except _UnusableError as error:
            faults.append(Fault(f"{origin}, action {entry.name!r}", str(error)))
    if faults:
        raise ConfigError(faults)
    return actions


class Foreign:
    """An action of another distribution, kept to what `Action` promises.

    What it raises is an outcome, and so is a detail that no record can hold. It gets copies, so that it cannot change
    a plan. It is cancelled at its deadline, and secrets are hidden in what it answers.
    """

    def __init__(self, action: Action, origin: str, grace: float = GRACE_SECONDS) -> None:
        self.name = action.name
        self.Params = action.Params
        self._action = action
        self._origin = origin
        self._grace = grace

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """As it says; neither when it cannot say."""
        told = self._guarded(lambda: self._action.traits(copy.deepcopy(dict(params))))
        if isinstance(told, Traits) and isinstance(told.idempotent, bool) and isinstance(told.reversible, bool):
            return told
        return Traits(idempotent=False, reversible=False)

    def describe(self, params: Mapping[str, Any]) -> str:
        """As it says; else its name and where it comes from."""
        told = self._guarded(lambda: self._action.describe(copy.deepcopy(dict(params))))
        return one_line(told) if isinstance(told, str) else f"{self.name} of {self._origin}"

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`."""
        return await self._kept(self._action.run, params, context)

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:
        """See `Observing`; one that is not cannot tell."""
        observing: object = self._action
        if not isinstance(observing, Observing):
            return None

        async def look(params: Mapping[str, Any], context: Context) -> Outcome:
            return Outcome(ok=True, detail={"observed": await observing.observe(params, context)})

        told = (await self._kept(look, params, context)).detail.get("observed")
        return told if isinstance(told, str) else None

    async def _kept(self, method: Method, params: Mapping[str, Any], context: Context) -> Outcome:
        timeout = params.get("timeout") or DEFAULT_TIMEOUT
        started = context.clock.monotonic()
        task = asyncio.ensure_future(self._run(method, copy.deepcopy(dict(params)), context))
        late = True
        try:
            await asyncio.wait([task], timeout=timeout)
            late = not task.done()
        finally:
            if late:
                task.cancel()
                await asyncio.wait([task], timeout=self._grace)
        took = {"duration_ms": milliseconds(context.clock.monotonic() - started)}
        if not task.done():
            error = f"not finished after {timeout:g} s, and it goes on though it was cancelled"
            return Outcome(ok=False, detail=took | {"error": error, "still_running": True})
        if late:
            return Outcome(ok=False, detail=took | {"error": f"not finished after {timeout:g} s, so it was cancelled"})
        if task.cancelled():
            return Outcome(ok=False, detail=took | {"error": "fault in the action itself: CancelledError"})
        outcome = task.result()
        return Outcome(outcome.ok, took | outcome.detail | took)

    async def _run(self, method: Method, params: Mapping[str, Any], context: Context) -> Outcome:
        try:
            outcome = await method(params, context)
            detail = _plain(outcome)
        except asyncio.CancelledError:
            raise  # ours, most likely
        except BaseException as error:  # noqa: BLE001 whatever it is: see the class
            self._tell(error)
            return Outcome(ok=False, detail={"error": f"fault in the action itself: {type(error).__name__}"})
        return Outcome(outcome.ok, _hidden(detail, Secrets(context.secrets)))

    def _guarded(self, ask: Callable[[], object]) -> object:
        try:
            return ask()
        except BaseException as error:  # noqa: BLE001 as above; nothing is awaited, so no cancellation of ours either
            self._tell(error)
            return None

    def _tell(self, error: BaseException) -> None:
        # Where, but not its text: that may quote a secret.
        where = traceback.format_tb(error.__traceback__)
        _log.error("foreign_action_raised", action=self.name, of=self._origin, error=type(error).__name__, where=where)


class RehearsingForeign(Foreign):
    """One that is `Rehearsing` as well, kept to the same."""

    def __init__(self, action: Action, rehearsing: Rehearsing, origin: str) -> None:
        super().__init__(action, origin)
        self._rehearsing = rehearsing

    async def rehearse(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Rehearsing`."""
        return await self._kept(self._rehearsing.rehearse, params, context)


def foreign(action: Action, origin: str) -> Foreign:
    """`action` of the distribution `origin`, kept to what it promises."""
    return RehearsingForeign(action, action, origin) if isinstance(action, Rehearsing) else Foreign(action, origin)


class _UnusableError(Exception):
    """Why an entry point gives no action, for people."""


def _entries(found: Iterable[Distribution], faults: list[Fault]) -> Iterable[tuple[Distribution, EntryPoint]]:
    """Each entry point of the group; of a distribution that is there twice the one that would be imported."""
    seen: set[str] = set()
    for distribution in found:
        # Read as a text first: another's broken file is not our concern.
        if f"[{GROUP}]" not in _text(distribution) or distribution.name in seen:
            continue
        seen.add(distribution.name)
        try:
            entries = list(distribution.entry_points.select(group=GROUP))
        except Exception as error:  # noqa: BLE001 importlib.metadata promises no kind
            faults.append(Fault(distribution.name, f"its entry_points.txt cannot be read: {one_line(str(error))}"))
            continue
        for entry in entries:
            yield distribution, entry


def _text(distribution: Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):
        return ""


def _made(entry: EntryPoint, origins: Mapping[str, str]) -> Action:
    if entry.name in origins:
        raise _UnusableError(f"there is an action of that name already, of {origins[entry.name]}")
    if not _NAME.fullmatch(entry.name) or entry.name in _OTHER_KEYS or hasattr(BaseModel, entry.name):
        raise _UnusableError(
            "cannot be an action's name: lower case letters, digits and _, and not a word that is taken"
        )
    try:
        action = entry.load()()
        problems = list(_problems(action, entry.name))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = one_line(f"{type(error).__name__}: {error}")
        raise _UnusableError(f"{entry.value} cannot be loaded: {said}") from error
    if problems:
        raise _UnusableError("; ".join(problems))
    checked: Action = action
    return checked


def _problems(action: Any, name: str) -> Iterable[str]:
    if getattr(action, "name", None) != name:
        yield f"its `name` is not {name!r}"
    params = getattr(action, "Params", None)
    if not isinstance(params, type) or not issubclass(params, BaseModel):
        yield "its `Params` is no pydantic model"
    elif params.model_config.get("extra") != "forbid":
        yield 'its `Params` must refuse unknown keys: model_config = ConfigDict(extra="forbid", …)'
    else:
        params.model_json_schema()  # editors get it; raises what is wrong with it
    for method in ("traits", "describe"):
        if not callable(getattr(action, method, None)):
            yield f"it has no method `{method}`"
    if not inspect.iscoroutinefunction(getattr(action, "run", None)):
        yield "its `run` is not an `async def`"
    if isinstance(action, Rehearsing) and not inspect.iscoroutinefunction(action.rehearse):
        yield "its `rehearse` is not an `async def`"
    if isinstance(action, Observing) and not inspect.iscoroutinefunction(action.observe):
        yield "its `observe` is not an `async def`"


def _plain(outcome: Outcome) -> Any:
    """The detail of what `run` answered, as JSON has it. Raises TypeError or ValueError when no record can hold it."""
    if not isinstance(outcome, Outcome) or not isinstance(outcome.ok, bool) or not isinstance(outcome.detail, dict):
        raise TypeError("not an Outcome")
    detail = orjson.dumps(outcome.detail)
    if len(detail) > MAX_DETAIL_BYTES:
        raise ValueError(f"a detail of {len(detail)} bytes")
    return orjson.loads(detail)


def _hidden(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, str):
        return secrets.hidden(value)
    if isinstance(value, list):
        return [_hidden(child, secrets) for child in value]
    if isinstance(value, dict):
        return {secrets.hidden(key): _hidden(child, secrets) for key, child in value.items()}
    return value
