"""The kubernetes action beside real kubectl: the same requests, and the same opinion of rollouts."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autoheal.actions import Context, Kubernetes
from autoheal.actions.kubernetes_config import KubernetesError
from autoheal.actions.kubernetes_rollout import waits_for
from tests.support.components import require
from tests.support.kubernetes import kubeconfig, kubernetes
from tests.support.kubernetes_rules import Asked, Cluster
from tests.support.pki import Pki


@pytest.fixture
async def cluster(pki: Pki) -> AsyncIterator[Cluster]:
    async with kubernetes(pki) as made:
        yield made


class Kubectl:
    """Runs it against a cluster, with a cache of its own."""

    def __init__(self, config: Path) -> None:
        self._argv = [require("kubectl"), "--kubeconfig", str(config), "--cache-dir", str(config.parent / "cache")]

    async def __call__(self, *arguments: str) -> tuple[int, str]:
        """Its exit code, and what it said."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._argv, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, said.decode()


def furnish(cluster: Cluster) -> None:
    cluster.objects.clear()
    pod_template = {"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": "api"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "api"}}, "template": pod_template}
    status = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "observedGeneration": 1}
    for resource in ("deployments", "statefulsets", "daemonsets"):
        cluster.add(resource, "api", spec=dict(spec), status=dict(status))
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-5d", "uid": "u", "controller": True}
    cluster.add(
        "pods",
        "api-1",
        spec={"nodeName": "node-1", "containers": [{"name": "api", "image": "api"}]},
        status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        metadata={"ownerReferences": [owner]},
    )
    cluster.add("nodes", "node-1", None)


def request(asked: Asked) -> tuple[str, str, dict[str, str], str, Any]:
    """What counts of a request that changes something. kubectl gives a field manager of its own to one command."""
    query = {name: value for name, value in asked.query.items() if name != "fieldManager"}
    # Without one the API takes it for JSON; the zero time is an artefact of Go's encoder.
    return asked.method, asked.path, query, asked.headers.get("content-type", "application/json"), plain(asked.body)


def plain(body: Any) -> Any:
    """Without what differs from one object, second or encoder to the next."""
    if isinstance(body, dict):
        left_out = ("creationTimestamp", "uid", "resourceVersion", "preconditions")
        return {name: plain(value) for name, value in body.items() if name not in left_out}
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)$", "NOW", body) if isinstance(body, str) else body


KINDS = ("deployment", "statefulset", "daemonset")
"""What `kubectl rollout restart`, which has no dry run, restarts."""


@pytest.mark.component
@pytest.mark.parametrize(
    ("command", "params", "rehearsal"),
    [
        *(
            (f"rollout restart {kind}/api", {"rollout_restart": f"{kind}/api", "namespace": "shop"}, False)
            for kind in KINDS
        ),
        *(
            (command, params, rehearsal)
            for rehearsal in (False, True)
            for command, params in (
                (
                    "scale deployment/api --current-replicas=3 --replicas=5",
                    {"scale": "deployment/api", "namespace": "shop", "by": 2, "max": 9},
                ),
                ("delete pod api-1 --wait=false", {"delete_pod": "api-1", "namespace": "shop"}),
                ("drain node-1", {"evict": "api-1", "namespace": "shop"}),
                ("cordon node-1", {"cordon": "node-1"}),
            )
        ),
    ],
)
async def test_the_requests_are_those_of_kubectl(
    cluster: Cluster, pki: Pki, tmp_path: Path, context: Context, command: str, params: dict[str, Any], rehearsal: bool
) -> None:
    """Method, path, query, media type and body, but for preconditions, which are ours; in a dry run as well."""
    config = kubeconfig(tmp_path, cluster, pki)
    kubectl, action = Kubectl(config), Kubernetes(config)
    furnish(cluster)
    if command == "drain node-1":
        # The eviction alone: the node is cordoned already, and the pod goes as soon as it may.
        cluster.objects["nodes", None, "node-1"]["spec"]["unschedulable"] = True
        cluster.before = lambda method: gone(cluster) if method == "GET" and not rehearsal else None
    dry = ["--dry-run=server"] if rehearsal else []
    code, said = await kubectl(*command.split(), *([] if "node" in command else ["--namespace", "shop"]), *dry)
    assert code == 0, said
    theirs = [request(asked) for asked in cluster.asked if asked.method != "GET"]
    cluster.before = lambda _: None
    cluster.asked.clear()
    furnish(cluster)
    outcome = await (action.rehearse if rehearsal else action.run)(params, context)
    assert outcome.ok, outcome
    assert [request(asked) for asked in cluster.asked if asked.method != "GET"] == theirs
    assert len(theirs) == 1


def gone(cluster: Cluster) -> None:
    """The pod, once it was evicted."""
    if "deletionTimestamp" in cluster.objects.get(("pods", "shop", "api-1"), {}).get("metadata", {}):
        cluster.remove("pods", "api-1")


REPLICAS = ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas", "observedGeneration")
SCHEDULED = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable", "observedGeneration")
GIVEN_UP = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}


@pytest.mark.component
@pytest.mark.parametrize(
    ("resource", "status"),
    [
        *(
            ("deployments", dict(zip(REPLICAS, counts, strict=True)))
            for counts in [(3, 3, 3, 3, 1), (3, 3, 3, 3, 0), (3, 2, 2, 3, 1), (4, 3, 3, 3, 1), (3, 3, 2, 2, 1)]
        ),
        ("deployments", {**dict.fromkeys(REPLICAS, 3), "conditions": [GIVEN_UP]}),
        *(
            ("statefulsets", {**dict(zip(REPLICAS, counts, strict=True)), "updateRevision": "b", "currentRevision": at})
            for counts, at in [
                ((3, 3, 3, 3, 1), "b"),
                ((3, 3, 3, 3, 0), "b"),
                ((3, 3, 3, 2, 1), "b"),
                ((3, 2, 3, 3, 1), "a"),
            ]
        ),
        ("partition", {**dict(zip(REPLICAS, (3, 1, 3, 3, 1), strict=True)), "updateRevision": "b"}),
        ("partition", {**dict(zip(REPLICAS, (3, 2, 3, 3, 1), strict=True)), "updateRevision": "b"}),
        *(
            ("daemonsets", dict(zip(SCHEDULED, counts, strict=True)))
            for counts in [(2, 2, 2, 1), (2, 2, 2, 0), (2, 1, 2, 1), (2, 2, 1, 1), (0, 0, 0, 1)]
        ),
    ],
)
async def test_a_rollout_is_complete_when_kubectl_says_so(
    cluster: Cluster, pki: Pki, tmp_path: Path, resource: str, status: dict[str, Any]
) -> None:
    """`kubectl rollout status` looks at the same objects."""
    kind = "statefulsets" if resource == "partition" else resource
    spec: dict[str, Any] = {"replicas": 3}
    if kind != "deployments":
        spec["updateStrategy"] = {"type": "RollingUpdate"}
    if resource == "partition":
        spec["updateStrategy"]["rollingUpdate"] = {"partition": 1}
    found = cluster.add(kind, "api", spec=spec, status=status)
    kubectl = Kubectl(kubeconfig(tmp_path, cluster, pki))
    code, said = await kubectl("rollout", "status", f"{kind}/api", "--watch=false", "--namespace", "shop")
    with pytest.raises(KubernetesError) if code else contextlib.nullcontext():
        assert (waits_for(found) is None) is not said.lower().startswith("waiting"), said
