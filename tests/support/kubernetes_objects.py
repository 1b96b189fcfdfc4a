"""Objects of Kubernetes as plain data, and how its API refuses something."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.kubernetes_discovery import KINDS


class RefusedError(Exception):
    """A request that the API answers with a Status that is a failure."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        self.status |= {"reason": reason, "details": details, "code": code}
        self.headers = {"Retry-After": str(details["retryAfterSeconds"])} if details.get("retryAfterSeconds") else {}


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether its condition says so."""
    return {"type": "Ready", "status": "True"} in pod["status"].get("conditions", [])


def selected(query: Mapping[str, str]) -> str | None:
    """The name that a field selector names."""
    selector = query.get("fieldSelector", "")
    return selector.removeprefix("metadata.name=") if selector.startswith("metadata.name=") else None


def qualified(resource: str) -> str:
    """As messages call it: `deployments.apps`."""
    name, slash, sub = resource.partition("/")
    return ".".join(filter(None, (name, KINDS[name][0]))) + slash + sub


def invalid(kind: str, place: str, value: Any, why: str) -> RefusedError:
    """422, as validation answers it."""
    cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {value!r}: {why}", "field": place}
    message = f'{kind} "" is invalid: {place}: Invalid value: {value!r}: {why}'
    return RefusedError(422, "Invalid", message, causes=[cause])


def merged(old: Any, patch: Any) -> Any:
    """`old` with a merge patch (RFC 7396), which for mappings is what a strategic one is, too."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = copy.deepcopy(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def annotated(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where an object has annotations, and which."""
    yield "metadata.annotations", found["metadata"].get("annotations") or {}
    template = found["spec"].get("template") or {}
    yield "spec.template.annotations", (template.get("metadata") or {}).get("annotations") or {}


def scale_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Its scale subresource."""
    metadata = {name: found["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
    spec, status = {"replicas": found["spec"]["replicas"]}, {"replicas": found["status"].get("replicas", 0)}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status}
