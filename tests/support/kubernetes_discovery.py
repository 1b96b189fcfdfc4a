"""What an API server tells of the resources that it has."""

from __future__ import annotations

from typing import Any

KINDS = {
    "deployments": ("apps", "Deployment"),
    "statefulsets": ("apps", "StatefulSet"),
    "daemonsets": ("apps", "DaemonSet"),
    "pods": ("", "Pod"),
    "nodes": ("", "Node"),
}
"""The API group and the kind of each resource."""
SCALABLE = ("deployments", "statefulsets")


def discovery(path: str) -> dict[str, Any] | None:
    """What there is, for kubectl."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.4"}
    groups = {"apps": "/apis/apps/v1", "policy": "/apis/policy/v1"}
    if path == "/apis":
        versions = {group: {"groupVersion": f"{group}/v1", "version": "v1"} for group in groups}
        told = [{"name": name, "versions": [one], "preferredVersion": one} for name, one in versions.items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": told}
    group = {"/api/v1": "", **{place: name for name, place in groups.items()}}.get(path)
    if group is None:
        return None
    resources = []
    for resource, (of, kind) in KINDS.items():
        if of == group:
            common = {"namespaced": resource != "nodes", "singularName": kind.lower()}
            resources.append({"name": resource, "kind": kind, "verbs": ["get", "list", "watch", "patch"], **common})
            if resource in SCALABLE:
                scale = {"name": f"{resource}/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"}
                resources.append({**scale, "verbs": ["get", "patch", "update"], **common})
            if resource == "pods":
                eviction = {"name": "pods/eviction", "kind": "Eviction", "group": "policy", "version": "v1"}
                resources.append({**eviction, "verbs": ["create"], **common})
    version = f"{group}/v1".removeprefix("/")
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
