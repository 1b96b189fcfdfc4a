"""How things in Kubernetes are: what a record tells of them, and what a rollout still waits for.

The rules of `waits_for` are those of `kubectl rollout status`.
"""

from __future__ import annotations

from typing import Any

from autoheal.actions.kubernetes_api import at, number, text
from autoheal.actions.kubernetes_config import KubernetesError


def condition(found: Any, kind: str) -> dict[str, Any]:
    """The condition of that type, empty when there is none."""
    conditions = at(found, "status", "conditions")
    for one in conditions if isinstance(conditions, list) else ():
        if at(one, "type") == kind:
            return dict(one)
    return {}


def workload(found: Any) -> dict[str, Any]:
    """Of a deployment, a stateful set or a daemon set."""
    if text(found, "kind") == "DaemonSet":
        counts = {
            "replicas": number(found, "status", "desiredNumberScheduled"),
            "updated": number(found, "status", "updatedNumberScheduled"),
            "available": number(found, "status", "numberAvailable"),
        }
    else:
        counts = {
            "replicas": wanted(found),
            "updated": number(found, "status", "updatedReplicas"),
            "available": number(found, "status", "availableReplicas"),
        }
    return counts | {"generation": number(found, "metadata", "generation")}


def pod(found: Any) -> dict[str, Any]:
    """Of a pod: `restarts` are those of all its containers."""
    containers = at(found, "status", "containerStatuses")
    restarts = sum(number(one, "restartCount") for one in containers) if isinstance(containers, list) else 0
    return {
        "phase": text(found, "status", "phase"),
        "ready": condition(found, "Ready").get("status") == "True",
        "restarts": restarts,
        "node": text(found, "spec", "nodeName"),
        "terminating": at(found, "metadata", "deletionTimestamp") is not None,
    }


def node(found: Any) -> dict[str, Any]:
    """Of a node."""
    ready = condition(found, "Ready").get("status") == "True"
    return {"ready": ready, "unschedulable": at(found, "spec", "unschedulable") is True}


def wanted(found: Any) -> int:
    """The replicas that its spec asks for; one, where it does not say."""
    replicas = at(found, "spec", "replicas")
    return replicas if isinstance(replicas, int) else 1


def waits_for(found: Any) -> str | None:
    """What the rollout of a workload still waits for, for people; None when it is complete.

    Raises KubernetesError when it will not be.
    """
    if found is None:
        raise KubernetesError("it was deleted meanwhile")
    kind = text(found, "kind")
    if number(found, "status", "observedGeneration") < number(found, "metadata", "generation"):
        return "its controller has not taken note of the change"
    if kind == "DaemonSet":
        return _daemon_set(found)
    return _stateful_set(found) if kind == "StatefulSet" else _deployment(found)


def _deployment(found: Any) -> str | None:
    progressing = condition(found, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        raise KubernetesError(f"it exceeded its progress deadline: {text(progressing, 'message')}")
    replicas, updated = number(found, "status", "replicas"), number(found, "status", "updatedReplicas")
    if updated < wanted(found):
        return f"{updated} of {wanted(found)} replicas are updated"
    if replicas > updated:
        return f"{replicas - updated} old replicas have not ended"
    available = number(found, "status", "availableReplicas")
    return f"{available} of {updated} updated replicas are available" if available < updated else None


def _daemon_set(found: Any) -> str | None:
    desired = number(found, "status", "desiredNumberScheduled")
    updated, available = number(found, "status", "updatedNumberScheduled"), number(found, "status", "numberAvailable")
    if updated < desired:
        return f"{updated} of {desired} pods are updated"
    return f"{available} of {desired} updated pods are available" if available < desired else None


def _stateful_set(found: Any) -> str | None:
    ready = number(found, "status", "readyReplicas")
    if ready < wanted(found):
        return f"{ready} of {wanted(found)} replicas are ready"
    updated = number(found, "status", "updatedReplicas")
    if isinstance(partition := at(found, "spec", "updateStrategy", "rollingUpdate", "partition"), int):
        due = wanted(found) - partition
        return f"{updated} of {due} replicas are updated" if updated < due else None
    if text(found, "status", "updateRevision") != text(found, "status", "currentRevision"):
        return f"{updated} of {wanted(found)} replicas are updated"
    return None
