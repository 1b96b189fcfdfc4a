"""The action `kubernetes`: restart or scale a workload, delete or evict a pod, cordon a node."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from autoheal.actions import kubernetes_orders as orders
from autoheal.actions.contract import DEFAULT_TIMEOUT, Context, Outcome, Traits, milliseconds, one_line
from autoheal.actions.kubernetes_api import Refused, at, connected, number, text
from autoheal.actions.kubernetes_config import SERVICE_ACCOUNT, Access, KubernetesError, from_kubeconfig, in_cluster
from autoheal.actions.secret import Secrets
from autoheal.actions.verbs import one_of, order, the_one
from autoheal.errors import RenderError
from autoheal.rules.fields import checked, described, literal
from autoheal.rules.template import Template
from autoheal.rules.units import Timeout

MAX_REPLICAS = 2**31 - 1

_VERBS = ("rollout_restart", "scale", "delete_pod", "evict", "cordon")
_REVERSIBLE = frozenset({"scale", "cordon"})
_RESTARTABLE = {"deployment": "deployments", "statefulset": "statefulsets", "daemonset": "daemonsets"}
_SCALABLE = ("deployment", "statefulset")
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def check_name(name: str) -> None:
    """Raise RenderError unless `name` can be an object's (a subdomain of RFC 1123).

    It stands in a URL's path: with a slash or a question mark in it, it would be another request (CWE-74).
    """
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        raise RenderError(f"{name[:80]!r} cannot be a name: lower case letters, digits, - and . as RFC 1123 has it")


def check_namespace(name: str) -> None:
    """Raise RenderError unless `name` can be a namespace's (a label of RFC 1123)."""
    if not re.fullmatch(_LABEL, name):
        raise RenderError(f"{name[:80]!r} cannot be a namespace: lower case letters, digits and - as RFC 1123 has it")


def check_restartable(text: str) -> None:
    """Raise RenderError unless `text` is KIND/NAME of what has rollouts."""
    _check_workload(text, tuple(_RESTARTABLE))


def check_scalable(text: str) -> None:
    """Raise RenderError unless `text` is KIND/NAME of what has replicas."""
    _check_workload(text, _SCALABLE)


def _check_workload(text: str, kinds: tuple[str, ...]) -> None:
    kind, slash, name = text.partition("/")
    if not slash or kind not in kinds:
        raise RenderError(f"{text[:80]!r} is not KIND/NAME with a kind of {', '.join(kinds)}")
    check_name(name)


_CHECKS = dict(zip(_VERBS, (check_restartable, check_scalable, check_name, check_name, check_name), strict=True))


def _context(text: str) -> str:
    if not literal(text):
        raise ValueError("is empty: leave it out for the kubeconfig's current context")
    return text


def _not_zero(value: int) -> int:
    if value == 0:
        raise ValueError("0 changes nothing")
    return value


Restartable = Annotated[Template, checked(check_restartable), described("a template, KIND/NAME: deployment/api")]
Scalable = Annotated[Template, checked(check_scalable), described("a template, KIND/NAME: deployment/api")]
Name = Annotated[Template, checked(check_name), described("a template, an object's name")]
Namespace = Annotated[Template, checked(check_namespace), described("a template, a namespace's name")]
Replicas = Annotated[int, Field(strict=True, ge=0, le=MAX_REPLICAS)]
Difference = Annotated[int, Field(strict=True, ge=-MAX_REPLICAS, le=MAX_REPLICAS), AfterValidator(_not_zero)]


class KubernetesParams(BaseModel):
    """Exactly one of rollout_restart, scale, delete_pod, evict and cordon, and where."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        json_schema_extra=one_of(_VERBS),
    )

    rollout_restart: Restartable | None = None
    scale: Scalable | None = None
    delete_pod: Name | None = None
    evict: Name | None = None
    cordon: Name | None = None
    namespace: Namespace | None = None
    replicas: Replicas | None = None
    by: Difference | None = None
    min: Replicas | None = None
    max: Replicas | None = None
    wait: Annotated[bool, Field(strict=True)] = False
    context: Annotated[str, AfterValidator(_context), described("a context of the kubeconfig")] | None = None
    timeout: Timeout | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        verb = the_one(self, _VERBS)
        if verb == "cordon":
            if self.namespace is not None:
                raise ValueError("`namespace` does not go with `cordon`: nodes have none")
            if self.wait:
                raise ValueError("`wait` does not go with `cordon`: it is done at once")
        elif self.namespace is None:
            raise ValueError(f"`{verb}` needs a `namespace`")
        if verb == "scale":
            _check_bounds(self)
        elif {self.replicas, self.by, self.min, self.max} != {None}:
            raise ValueError("`replicas`, `by`, `min` and `max` go with `scale` alone")
        return self


def _check_bounds(params: KubernetesParams) -> None:
    if (params.replicas is None) is (params.by is None):
        raise ValueError("`scale` needs either `replicas`, a number, or `by`, a difference")
    if params.by is None:
        if (params.min, params.max) != (None, None):
            raise ValueError("`min` and `max` go with `by`: `replicas` is the very number")
    elif params.by > 0:
        if params.max is None or params.min is not None:
            raise ValueError("to scale up by a number needs a `max`, and no `min`")
    elif params.min is None or params.max is not None:
        raise ValueError("to scale down by a number needs a `min`, and no `max`")


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Has a Kubernetes cluster change one object.

    `kubeconfig` says which cluster, and who we are there; without it that is the cluster whose pod this is, told by
    `environ` and the folder `service_account`.
    """

    kubeconfig: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    service_account: Path = SERVICE_ACCOUNT

    name: ClassVar[str] = "kubernetes"
    Params: ClassVar[type[BaseModel]] = KubernetesParams

    def traits(self, params: Mapping[str, Any]) -> Traits:
        """Scaled by a number twice is scaled twice as far; pods that have ended do not come back."""
        verb, _ = order(params, _VERBS)
        return Traits(idempotent=params.get("by") is None, reversible=verb in _REVERSIBLE)

    def describe(self, params: Mapping[str, Any]) -> str:
        """The verb, what it is done to, and where."""
        verb, what = order(params, _VERBS)
        words = [verb.replace("_", " "), what]
        if params.get("replicas") is not None:
            words.append(f"to {params['replicas']} replicas")
        if params.get("by") is not None:
            bound = f"at most {params['max']}" if params["by"] > 0 else f"at least {params['min']}"
            words.append(f"by {params['by']:+d} replicas, {bound}")
        if params.get("namespace") is not None:
            words.append(f"in namespace {params['namespace']}")
        if params.get("context") is not None:
            words.append(f"of context {params['context']}")
        return one_line(" ".join(words))

    async def run(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Action.run`. It is a success when the API has accepted it, and, with `wait`, it was seen to be done."""
        return await self._do(params, context, rehearsal=False)

    async def rehearse(self, params: Mapping[str, Any], context: Context) -> Outcome:
        """See `Rehearsing`. The API server goes through all of it but the change (`dryRun=All`)."""
        return await self._do(params, context, rehearsal=True)

    async def observe(self, params: Mapping[str, Any], context: Context) -> str | None:  # noqa: ARG002 as `Observing`
        """See `Observing`: which object it is, and which version of what people want of it."""
        try:
            path, _ = _path(params)
            access = await asyncio.to_thread(self._access, params.get("context"))
            async with connected(access) as api:
                found = await api.ask("GET", path)
        except (KubernetesError, RenderError) as error:
            return "no such object" if isinstance(error, Refused) and error.status == 404 else None
        cordoned = " cordoned" if at(found, "spec", "unschedulable") is True else ""
        return f"{text(found, 'metadata', 'uid')} generation {number(found, 'metadata', 'generation')}{cordoned}"

    async def _do(self, params: Mapping[str, Any], context: Context, *, rehearsal: bool) -> Outcome:
        timeout = params.get("timeout") or DEFAULT_TIMEOUT
        started = context.clock.monotonic()
        late = f"no answer from the API server within {timeout:g} s"
        detail: dict[str, Any] = {}
        work: orders.Order | None = None
        try:
            path, name = _path(params)
            async with asyncio.timeout(timeout):
                # A kubeconfig may be long, and its YAML takes its time.
                access = await asyncio.to_thread(self._access, params.get("context"))
                detail["cluster"] = access.server
                async with connected(access) as api:
                    work = orders.Order(api, context.clock, started, timeout, path, name, rehearsal, late, detail)
                    await _carry_out(work, params)
        except TimeoutError:
            detail["error"] = work.late if work is not None else late
        except (KubernetesError, RenderError) as error:
            detail["error"] = str(error)
        if "error" in detail:
            detail["error"] = one_line(Secrets(context.secrets).hidden(detail["error"]))
        took = {"duration_ms": milliseconds(context.clock.monotonic() - started)}
        return Outcome(ok="error" not in detail, detail=detail | took)

    def _access(self, context: str | None) -> Access:
        if self.kubeconfig is not None:
            return from_kubeconfig(self.kubeconfig, context)
        if context is not None:
            raise KubernetesError(f"context {context!r} needs a kubeconfig: set AUTOHEAL_KUBECONFIG")
        return in_cluster(self.environ, self.service_account)


def _path(params: Mapping[str, Any]) -> tuple[str, str]:
    """The path of the object in the API, and its name. Raises RenderError for names that are none."""
    verb, what = order(params, _VERBS)
    _CHECKS[verb](what)
    if verb == "cordon":
        return f"api/v1/nodes/{what}", what
    check_namespace(params["namespace"])
    if verb in ("delete_pod", "evict"):
        return f"api/v1/namespaces/{params['namespace']}/pods/{what}", what
    kind, _, name = what.partition("/")
    return f"apis/apps/v1/namespaces/{params['namespace']}/{_RESTARTABLE[kind]}/{name}", name


async def _carry_out(work: orders.Order, params: Mapping[str, Any]) -> None:
    match order(params, _VERBS)[0]:
        case "rollout_restart":
            await orders.rollout_restart(work)
        case "scale":
            await orders.scale(work, lambda now: _replicas(now, params))
        case "delete_pod":
            await orders.delete_pod(work)
        case "evict":
            await orders.evict(work)
        case _:
            await orders.cordon(work)
    if not params.get("wait") or work.rehearsal:
        return
    try:
        await (orders.until_gone(work) if "uid" in work.detail else orders.until_rolled_out(work))
    except KubernetesError as error:
        raise KubernetesError(f"accepted, but not complete: {error}") from None


def _replicas(now: int, params: Mapping[str, Any]) -> int:
    """How many replicas it shall have that has `now`. Raises KubernetesError when that is beyond the bounds."""
    if params.get("by") is None:
        return int(params["replicas"])
    if now == 0:
        # As with horizontal autoscalers: what somebody has turned off is not turned on by the way.
        raise KubernetesError("it is scaled to 0, and `by` turns nothing on: `replicas` does")
    if params["by"] > 0:
        if now >= params["max"]:
            raise KubernetesError(f"it has {now} replicas already, and `max` is {params['max']}")
        return int(min(now + params["by"], params["max"]))
    if now <= params["min"]:
        raise KubernetesError(f"it has {now} replicas already, and `min` is {params['min']}")
    return int(max(now + params["by"], params["min"]))
