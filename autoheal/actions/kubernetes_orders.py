"""What the action `kubernetes` asks of a cluster: each order reads what is there, then asks for one change of it.

The requests are those of kubectl's commands, with preconditions where the API has them: what is changed is what was
seen. In a rehearsal the API is asked to go through all of it but the change (`dryRun=All`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from autoheal.actions import kubernetes_rollout as standing
from autoheal.actions.kubernetes_api import STRATEGIC_MERGE, Api, Refused, Unreachable, at, number, text
from autoheal.actions.kubernetes_config import KubernetesError
from autoheal.clock import Clock

EVICTION_PAUSE = 5.0
"""Seconds between tries of an eviction that a disruption budget does not allow yet, as with `kubectl drain`."""
WATCH_PAUSE = 1.0
"""Seconds before what is waited for is looked at again after a watch has ended."""

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
MIRROR = "kubernetes.io/config.mirror"


@dataclass(slots=True)
class Order:
    """One change of one object. `path` is the object's, whose last part is `name`.

    It may take `timeout` seconds from `started`, of the monotonic clock. `detail` is filled with what is seen, and
    `late` says what is not known should the time be over.
    """

    api: Api
    clock: Clock
    started: float
    timeout: float
    path: str
    name: str
    rehearsal: bool
    late: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def query(self) -> dict[str, str]:
        """What a change's request says besides."""
        return {"dryRun": "All"} if self.rehearsal else {}

    def begun(self) -> None:
        """The change is asked for from here on."""
        if not self.rehearsal:
            self.late = f"not finished after {self.timeout:g} s; the API server may still carry it out"


async def rollout_restart(order: Order) -> None:
    """Have all pods of a workload replaced, as its strategy says."""
    found = await order.api.ask("GET", order.path)
    order.detail["before"] = standing.workload(found)
    if at(found, "spec", "paused") is True:
        raise KubernetesError("its rollouts are paused: nothing restarts until `kubectl rollout resume`")
    if text(found, "spec", "updateStrategy", "type") == "OnDelete":
        raise KubernetesError("its update strategy is OnDelete: pods restart when they are deleted, not by a rollout")
    moment = datetime.fromtimestamp(int(order.clock.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: moment}}}}}
    order.begun()
    made = await order.api.ask("PATCH", order.path, patch, content=STRATEGIC_MERGE, query=order.query)
    order.detail["after"] = standing.workload(made)


async def scale(order: Order, wanted: Callable[[int], int]) -> None:
    """Change a workload's number of replicas to what `wanted` makes of the present one; it raises KubernetesError."""
    try:
        await _scale(order, wanted)
    except Refused as error:
        if error.status != 409:
            raise
        await _scale(order, wanted)


async def _scale(order: Order, wanted: Callable[[int], int]) -> None:
    path = f"{order.path}/scale"
    found = await order.api.ask("GET", path)
    now = number(found, "spec", "replicas")
    replicas = wanted(now)
    order.detail["before"] = order.detail["after"] = {"replicas": now}
    if replicas == now:
        order.detail["already"] = True
        return
    order.begun()
    # With its resourceVersion: what somebody else has changed meanwhile is not what was decided on.
    await order.api.ask("PUT", path, {**found, "spec": {"replicas": replicas}}, query=order.query)
    order.detail["after"] = {"replicas": replicas}


async def delete_pod(order: Order) -> None:
    """Delete a pod, whatever disruption budgets say; its controller makes another."""
    uid = await _pod(order)
    if uid is None:
        return
    options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background", **_dry(order)}
    order.begun()
    await order.api.ask("DELETE", order.path, options)


async def evict(order: Order) -> None:
    """Delete a pod as soon as the disruption budgets allow it."""
    uid = await _pod(order)
    if uid is None:
        return
    namespace = order.path.split("/")[-3]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": order.name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid}, **_dry(order)},
    }
    order.detail["attempts"] = 0
    while True:
        order.detail["attempts"] += 1
        order.begun()
        try:
            await order.api.ask("POST", f"{order.path}/eviction", eviction)
        except Refused as error:
            pause = max(EVICTION_PAUSE, error.retry_after)
            if (
                error.status != 429
                or order.rehearsal
                or order.clock.monotonic() + pause >= order.started + order.timeout
            ):
                raise
            order.late = f"not evicted after {order.timeout:g} s: {error}"
            await order.clock.sleep(pause)
            if not await _stays(order, uid):
                order.detail["already"] = True
                return
        else:
            return


async def cordon(order: Order) -> None:
    """Have no more pods put on a node; those that are there stay."""
    found = await order.api.ask("GET", order.path)
    order.detail["before"] = order.detail["after"] = standing.node(found)
    if order.detail["before"]["unschedulable"]:
        order.detail["already"] = True
        return
    patch = {"spec": {"unschedulable": True}}
    order.begun()
    made = await order.api.ask("PATCH", order.path, patch, content=STRATEGIC_MERGE, query=order.query)
    order.detail["after"] = standing.node(made)


async def until_rolled_out(order: Order) -> None:
    """Wait until the workload's rollout is complete, as `kubectl rollout status` has it."""
    order.detail["after"] = standing.workload(await _until(order, standing.waits_for))


async def until_gone(order: Order) -> None:
    """Wait until the pod that was seen is there no more."""
    uid = order.detail["uid"]
    await _until(order, lambda found: "it has not ended" if text(found, "metadata", "uid") == uid else None)
    order.detail["gone"] = True


def _dry(order: Order) -> dict[str, Any]:
    return {"dryRun": ["All"]} if order.rehearsal else {}


async def _pod(order: Order) -> str | None:
    """The uid of the pod that is to go, or None when it is going already. Refuses one that would not come back."""
    found = await order.api.ask("GET", order.path)
    order.detail |= {"uid": text(found, "metadata", "uid"), "before": standing.pod(found)}
    if order.detail["before"]["terminating"]:
        order.detail["already"] = True
        return None
    if at(found, "metadata", "annotations", MIRROR) is not None:
        raise KubernetesError("it is a static pod: only the kubelet of its node can restart it")
    owners = at(found, "metadata", "ownerReferences")
    if not any(at(owner, "controller") is True for owner in (owners if isinstance(owners, list) else ())):
        raise KubernetesError("it has no controller, such as a ReplicaSet: once deleted, nothing would bring it back")
    return str(order.detail["uid"])


async def _stays(order: Order, uid: str) -> bool:
    """Whether the pod is there still, and nobody else has deleted it meanwhile; another may have its name."""
    try:
        found = await order.api.ask("GET", order.path)
    except Refused as error:
        if error.status != 404:
            raise
        return False
    return text(found, "metadata", "uid") == uid and at(found, "metadata", "deletionTimestamp") is None


async def _until(order: Order, waits_for: Callable[[Any], str | None]) -> Any:
    """The object once `waits_for` has nothing to say of it; None when it is gone.

    A watch may end at any time, and its place in history be forgotten: then all is looked at anew.
    """
    collection = order.path.rpartition("/")[0]
    query = {"fieldSelector": f"metadata.name={order.name}"}
    why: str | None = "not looked at yet"

    def still(found: Any) -> bool:
        nonlocal why
        why = waits_for(found)
        order.late = f"accepted, but not complete after {order.timeout:g} s: {why}"
        return why is not None

    while True:
        try:
            listed = await order.api.ask("GET", collection, query=query)
            items = at(listed, "items")
            found = items[0] if isinstance(items, list) and items else None
            if not still(found):
                return found
            async for event, seen in order.api.watch(
                collection, order.name, text(listed, "metadata", "resourceVersion")
            ):
                found = None if event == "DELETED" else seen
                if event in ("ADDED", "MODIFIED", "DELETED") and not still(found):
                    return found
        except Unreachable as error:
            order.late = f"accepted, but not seen to be complete: {error}"
        except Refused as error:
            if error.status not in (410, 429) and error.status < 500:
                raise
            order.late = f"accepted, but not seen to be complete: {error}"
        await order.clock.sleep(WATCH_PAUSE)
