"""A Kubernetes API server's rules, as far as the action `kubernetes` and kubectl's commands beside it meet them.

Real kubectl works against it, so that its answers are such as Kubernetes' own client takes. What it refuses it
refuses with the status, the reason and the words of the true one. It controls nothing: tests move pods and rollouts.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from tests.support.kubernetes_discovery import KINDS, SCALABLE, discovery
from tests.support.kubernetes_objects import (
    RefusedError,
    annotated,
    invalid,
    merged,
    qualified,
    ready,
    scale_of,
    selected,
)

PATCHES = ("application/strategic-merge-patch+json", "application/merge-patch+json")
VERBS = {"GET": "get", "PATCH": "patch", "PUT": "update", "POST": "create", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Cluster:
    """What there is, who may do what, and what was asked. `budgets`: healthy pods wanted, by disruption budget.

    `tokens` are users by their bearer tokens; a certificate of the authority is a user by its common name. `grants`
    are RBAC's rules by user, a rule with `namespace` being one of a Role; a user without any may do everything.
    """

    url: str = ""
    objects: dict[tuple[str, str | None, str], dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {"token-of-autoheal": "autoheal"})
    grants: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)
    retry_after: int = 0
    """Seconds that an eviction is told to wait which a disruption budget does not allow."""
    before: Callable[[str], object] = lambda _: None
    """Called with the method of each request before it is answered: what happens in the world meanwhile."""
    asked: list[Asked] = field(default_factory=list)
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by each watch that begins."""
    _revision: int = 100
    _events: list[tuple[int, str, tuple[str, str | None, str], dict[str, Any]]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _epoch: int = 0
    _forgotten: int = 0

    def add(self, resource: str, name: str, namespace: str | None = "shop", **parts: Any) -> dict[str, Any]:
        """Create an object; `parts` are its spec, status and metadata."""
        group, kind = KINDS[resource]
        metadata = {"name": name, "uid": f"uid-of-{name}-{self._revision}", "generation": 1, "annotations": {}}
        metadata |= {"namespace": namespace} if namespace else {}
        made = {"apiVersion": f"{group}/v1".removeprefix("/"), "kind": kind, "metadata": metadata}
        made |= {"spec": parts.get("spec", {}), "status": parts.get("status", {})}
        made["metadata"] |= parts.get("metadata", {})
        self.objects[resource, namespace, name] = made
        self.touch(resource, name, namespace, event="ADDED")
        return made

    def touch(
        self, resource: str, name: str, namespace: str | None = "shop", *, event: str = "MODIFIED", **status: Any
    ) -> None:
        """Something about an object has changed: its `status`, or what the test changed in it."""
        found = self.objects[resource, namespace, name]
        self._revision += 1
        found["metadata"]["resourceVersion"] = str(self._revision)
        found["status"] |= status
        self._tell(event, (resource, namespace, name), found)

    def remove(self, resource: str, name: str, namespace: str | None = "shop") -> None:
        """It is gone."""
        self._revision += 1
        self._tell("DELETED", (resource, namespace, name), self.objects.pop((resource, namespace, name)))

    def close_watches(self) -> None:
        """As the API does when it likes; clients are to ask again."""
        self._epoch += 1
        self._news.set()

    def forget(self) -> None:
        """What happened until now is compacted: who asks for what came after an older version is told 410."""
        self._forgotten = self._revision
        self._events.clear()

    def _tell(self, event: str, key: tuple[str, str | None, str], seen: dict[str, Any]) -> None:
        self._events.append((self._revision, event, key, copy.deepcopy(seen)))
        self._news.set()

    # HTTP

    async def answer(self, request: Request) -> Response:
        """What the API says to `request`."""
        raw = await request.body()
        body = orjson.loads(raw) if raw else None
        path, query = request.url.path, dict(request.query_params)
        self.asked.append(Asked(request.method, path, query, dict(request.headers), body))
        self.before(request.method)
        try:
            user = self._user(request)
            if (told := discovery(path)) is not None:
                return JSONResponse(told)
            return self._resource(request, user, query, body)
        except RefusedError as error:
            return JSONResponse(error.status, error.status["code"], error.headers)

    def _user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme != "Bearer" or token not in self.tokens:
                raise RefusedError(401, "Unauthorized", "Unauthorized")
            return self.tokens[token]
        subject = request.scope["peer"].get("subject", ())
        return next((value for part in subject for name, value in part if name == "commonName"), "system:anonymous")

    def _resource(self, request: Request, user: str, query: dict[str, str], body: Any) -> Response:
        parts = request.url.path.strip("/").split("/")
        prefix = ["api", "v1"] if parts[0] == "api" else ["apis", "apps", "v1"]
        rest = parts[len(prefix) :]
        namespace = rest[1] if rest[:1] == ["namespaces"] else None
        rest = rest[2:] if namespace else rest
        resource, name, sub = (*rest, "", "", "")[:3]
        group = "" if prefix[0] == "api" else "apps"
        if parts[: len(prefix)] != prefix or KINDS.get(resource, ("?",))[0] != group or len(rest) > 3:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        verb = VERBS[request.method]
        if not name:
            verb = "watch" if query.get("watch") in ("true", "1") else "list"
        self._authorize(user, verb, group, f"{resource}/{sub}".rstrip("/"), namespace, name)
        if query.get("dryRun", "All") != "All":
            raise invalid("PatchOptions", "dryRun", query["dryRun"], 'Unsupported value: supported values: "All"')
        if verb == "watch":
            stream = self._watch(resource, namespace, selected(query), int(query["resourceVersion"]))
            return StreamingResponse(stream, media_type="application/json")
        if verb == "list":
            return JSONResponse(self._list(resource, namespace, selected(query)))
        key = (resource, namespace, name)
        if key not in self.objects:
            raise RefusedError(404, "NotFound", f'{qualified(resource)} "{name}" not found', name=name, kind=resource)
        found = self.objects[key]
        kind = request.headers.get("content-type", "").partition(";")[0]
        match (request.method, sub):
            case ("GET", ""):
                return JSONResponse(found)
            case ("PATCH", "") if kind in PATCHES:
                return JSONResponse(self._patch(key, body, dry="dryRun" in query))
            case ("GET", "scale") if resource in SCALABLE:
                return JSONResponse(scale_of(found))
            case ("PUT", "scale") if resource in SCALABLE and kind in ("", "application/json"):
                return JSONResponse(self._scale(key, body, dry="dryRun" in query))
            case ("DELETE", "") if kind in ("", "application/json"):
                return JSONResponse(self._delete(key, body or {}, dry="dryRun" in query))
            case ("POST", "eviction") if resource == "pods" and kind == "application/json":
                return JSONResponse(self._evict(key, body, dry="dryRun" in query), 201)
            case ("PATCH" | "PUT" | "POST" | "DELETE", _) if kind not in ("", *PATCHES, "application/json"):
                raise RefusedError(
                    415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}"
                )
            case _:
                raise RefusedError(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )

    def _authorize(self, user: str, verb: str, group: str, resource: str, namespace: str | None, name: str) -> None:
        rules = self.grants.get(user, [] if user == "system:anonymous" else None)
        if rules is None or any(
            verb in rule["verbs"]
            and group in rule["apiGroups"]
            and resource in rule["resources"]
            and rule.get("namespace", namespace) == namespace
            and name in (rule.get("resourceNames") or [name])
            for rule in rules
        ):
            return
        whole = f"{qualified(resource)} {orjson.dumps(name).decode()}" if name else qualified(resource)
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        raise RefusedError(
            403,
            "Forbidden",
            f'{whole} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}',
            name=name,
            kind=resource,
        )

    # Verbs

    def _list(self, resource: str, namespace: str | None, name: str | None) -> dict[str, Any]:
        group, kind = KINDS[resource]
        keys = [key for key in self.objects if key[0] == resource and namespace in (None, key[1])]
        items = [self.objects[key] for key in keys if name in (None, key[2])]
        metadata = {"resourceVersion": str(self._revision)}
        version = f"{group}/v1".removeprefix("/")
        return {"apiVersion": version, "kind": f"{kind}List", "metadata": metadata, "items": items}

    async def _watch(self, resource: str, namespace: str | None, name: str | None, since: int) -> AsyncIterator[bytes]:
        epoch = self._epoch
        self.watched.set()
        if since < self._forgotten:
            gone = RefusedError(410, "Expired", f"too old resource version: {since} ({self._forgotten})")
            yield orjson.dumps({"type": "ERROR", "object": gone.status}) + b"\n"
            return
        while epoch == self._epoch:
            self._news.clear()
            for revision, event, key, seen in list(self._events):
                if revision > since and key[:2] == (resource, namespace) and name in (None, key[2]):
                    yield orjson.dumps({"type": event, "object": seen}) + b"\n"
                since = max(since, revision)
            await self._news.wait()

    def _patch(self, key: tuple[str, str | None, str], patch: Any, *, dry: bool) -> dict[str, Any]:
        found = self.objects[key]
        wanted = merged(found, patch)
        self._unchanged(key, patch.get("metadata", {}).get("resourceVersion"))
        for place, given in annotated(wanted):
            for name, value in given.items():
                if not isinstance(value, str):
                    raise invalid(found["kind"], f"{place}[{name}]", str(value), "must be a string")
        return self._stored(key, wanted, dry=dry)

    def _scale(self, key: tuple[str, str | None, str], scale: Any, *, dry: bool) -> dict[str, Any]:
        name = key[2]
        if (scale.get("apiVersion"), scale.get("kind")) != ("autoscaling/v1", "Scale"):
            raise RefusedError(
                400, "BadRequest", f"{scale.get('kind')} in version {scale.get('apiVersion')} is no Scale"
            )
        if scale["metadata"].get("name") != name:
            message = (
                f"the name of the object ({scale['metadata'].get('name')}) does not match the name on the URL ({name})"
            )
            raise RefusedError(400, "BadRequest", message)
        self._unchanged(key, scale["metadata"].get("resourceVersion"))
        if scale["spec"].get("replicas", 0) < 0:
            raise invalid("Scale", "spec.replicas", scale["spec"]["replicas"], "must be greater than or equal to 0")
        wanted = merged(self.objects[key], {"spec": {"replicas": scale["spec"].get("replicas", 0)}})
        return scale_of(self._stored(key, wanted, dry=dry))

    def _delete(self, key: tuple[str, str | None, str], options: Any, *, dry: bool) -> dict[str, Any]:
        known = {"apiVersion", "kind", "dryRun", "preconditions", "propagationPolicy", "gracePeriodSeconds"}
        if not options.keys() <= known:
            raise RefusedError(400, "BadRequest", f"unknown fields: {sorted(options.keys() - known)}")
        found = self.objects[key]
        uid, own = (options.get("preconditions") or {}).get("uid"), found["metadata"]["uid"]
        if uid not in (None, own):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
            raise RefusedError(409, "Conflict", f'Operation cannot be fulfilled on pods "{key[2]}": {why}')
        wanted = merged(found, {"metadata": {"deletionTimestamp": "2026-11-21T03:00:30Z"}})
        return self._stored(key, wanted, dry=dry or options.get("dryRun") == ["All"])

    def _evict(self, key: tuple[str, str | None, str], eviction: Any, *, dry: bool) -> dict[str, Any]:
        if (eviction.get("apiVersion"), eviction.get("kind")) != ("policy/v1", "Eviction"):
            raise RefusedError(400, "BadRequest", f"{eviction.get('kind')} is no Eviction of policy/v1")
        if eviction["metadata"]["name"] != key[2]:
            raise RefusedError(400, "BadRequest", "name in URL does not match name in Eviction object: BadRequest")
        if len(self.budgets) > 1:
            message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise RefusedError(500, "InternalError", message)
        pods = [pod for (resource, *_), pod in self.objects.items() if resource == "pods"]
        healthy = sum("deletionTimestamp" not in pod["metadata"] and ready(pod) for pod in pods)
        for name, wanted in self.budgets.items():
            if healthy <= wanted:
                why = f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                cause = {"reason": "DisruptionBudget", "message": why}
                details = {"causes": [cause], "retryAfterSeconds": self.retry_after}
                raise RefusedError(429, "TooManyRequests", message, **details)
        self._delete(key, eviction.get("deleteOptions") or {}, dry=dry)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def _unchanged(self, key: tuple[str, str | None, str], version: str | None) -> None:
        if version not in (None, self.objects[key]["metadata"]["resourceVersion"]):
            why = "the object has been modified; please apply your changes to the latest version and try again"
            message = f'Operation cannot be fulfilled on {qualified(key[0])} "{key[2]}": {why}'
            raise RefusedError(409, "Conflict", message, name=key[2], kind=key[0])

    def _stored(self, key: tuple[str, str | None, str], wanted: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        if dry:
            return wanted
        if wanted != self.objects[key]:
            if wanted["spec"] != self.objects[key]["spec"]:
                wanted["metadata"]["generation"] += 1
            self.objects[key] = wanted
            self.touch(key[0], key[2], key[1])
        return self.objects[key]
