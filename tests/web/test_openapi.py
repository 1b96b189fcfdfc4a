"""The OpenAPI document beside the application: the same routes, roles, parameters, bodies and answers."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from autoheal import __version__
from autoheal.web.openapi import document
from autoheal.web.security import PUBLIC, Door
from tests.support.api_page import PAGE, operations, page, who
from tests.support.clock import FakeClock
from tests.support.gateway import gateway, until
from tests.support.logins import OIDC, OWN, LoginProvider, bearer, log_in
from tests.support.operating import operating
from tests.support.rules import with_keys

API = document()
KNOWN = re.compile(r"known(?: here)?: (.*)")
OF_LOGINS = {"/login", "/login/callback", "/logout", "/-/refresh-jwks", "/.well-known/oauth-protected-resource"}
"""Routes that are there with an identity provider alone."""


def strict(api: dict[str, Any]) -> dict[str, Any]:
    """The document, but what it does not name must not be there: clients are to bear more, tests are not."""
    made = copy.deepcopy(api)

    def walk(node: Any, *, closed: bool) -> None:
        if isinstance(node, list):
            for each in node:
                walk(each, closed=closed)
        if not isinstance(node, dict):
            return
        for name, value in node.items():
            # A part of a whole cannot say what is not in the whole.
            walk(value, closed=name != "allOf")
        if closed and ("$ref" in node or ("properties" in node and node.get("type") != "string")):
            node["unevaluatedProperties"] = False

    for schema in made["components"]["schemas"].values():
        for name, value in schema.items():
            walk(value, closed=name != "allOf")
    for _, _, operation, _ in operations(made):
        for answer in operation["responses"].values():
            walk(answer.get("content", {}), closed=True)
    walk([answer["content"] for answer in made["components"]["responses"].values()], closed=True)
    return made


STRICT = strict(API)
REGISTRY: Registry[Any] = Registry().with_resource("urn:api", DRAFT202012.create_resource(STRICT))


def check(method: str, path: str, answer: httpx.Response) -> None:
    """AssertionError unless the document tells of this answer: its status, its type, and what is in it."""
    responses = STRICT["paths"][path][method.lower()]["responses"]
    status = str(answer.status_code)
    assert status in responses or "default" in responses, f"{method} {path} answered {status}"
    key = status if status in responses else "default"
    pointer = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method.lower()}/responses/{key}"
    told = responses[key]
    if "$ref" in told:
        pointer = told["$ref"].removeprefix("#")
        told = STRICT["components"]["responses"][pointer.rpartition("/")[2]]
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind in told.get("content", {"": {}}), f"{method} {path} answered {status} as {kind!r}"
    if kind in ("application/json", "application/problem+json"):
        schema = {"$ref": f"urn:api#{pointer}/content/{kind.replace('/', '~1')}/schema"}
        validator = Draft202012Validator(schema, registry=REGISTRY, format_checker=FormatChecker())
        faults = [f"{fault.json_path}: {fault.message[:200]}" for fault in validator.iter_errors(answer.json())]
        assert not faults, f"{method} {path} {status}: {faults}"


def test_the_document_is_one() -> None:
    """By the specification's own schema (OpenAPI 3.1), with the version of this program."""
    validate(API)
    assert API["info"]["version"] == __version__
    ids = [operation["operationId"] for _, _, operation, _ in operations(API)]
    assert len(set(ids)) == len(ids)


def test_docs_api_md_follows_from_the_document() -> None:
    """`make docs` makes it anew."""
    assert PAGE.read_text() == page(API), "docs/api.md is not what autoheal/web/openapi.yaml says: run make docs"


def test_each_section_shows_a_call() -> None:
    """For people who paste; what only a browser does has none."""
    silent = {tag["name"] for tag in API["tags"] if "curl " not in tag["description"]}
    assert silent == {"GET /console", "GET /login and /login/callback", "POST /logout"}
    paths = {re.sub(r"\{\w+\}", "[^/]+", path) for _, path, _, _ in operations(API)}
    for shown in re.findall(r"curl [^\n]*127\.0\.0\.1:9009(/[^\s'?\"]*)", PAGE.read_text()):
        assert any(re.fullmatch(path, shown) for path in paths), f"{shown} is no route"


async def test_document_and_application_have_the_same_routes_and_roles(tmp_path: Path) -> None:
    """With a login, where there are most."""
    async with gateway(tmp_path, OIDC) as gate:
        built = {
            (method, door.path, door.role if door.role == PUBLIC else door.role.label)
            for door in gate.app.routes
            if isinstance(door, Door)
            for method in (door.methods or set()) - {"HEAD"}
        }
    assert {(method, path, who(operation)) for method, path, operation, _ in operations(API)} == built


def filled(path: str, **values: str) -> str:
    """`path` with its parameters replaced."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "x"), path)


async def test_document_and_application_take_the_same_parameters_and_fields(tmp_path: Path) -> None:
    """What is unknown is refused with the names of what is known; those are compared."""
    clock = FakeClock()
    async with gateway(tmp_path, OIDC, http=LoginProvider(clock).http, clock=clock) as gate:
        boss = bearer(clock, "boss")
        for method, path, operation, parameters in operations(API):
            if path in ("/login/callback", "/logout"):
                continue  # theirs are the provider's, and none; tests of logins tell
            asked = await gate.client.request(method, filled(path), params={"zz": "1"}, headers=boss)
            assert asked.status_code == 400, f"{method} {path} takes any parameter"
            assert asked.json()["parameter"] == "zz"
            known = KNOWN.search(asked.json()["detail"])
            assert known is not None
            assert known[1].replace("none", "") == ", ".join(
                sorted(each["name"] for each in parameters if each["in"] == "query")
            )
            if method == "POST" and path not in ("/alert", "/-/refresh-jwks"):
                refused = await gate.client.post(filled(path), json={"zz": 1}, headers=boss)
                known = KNOWN.search(refused.json()["errors"][0])
                assert known is not None
                assert set(filter(None, known[1].split(", "))) == fields(operation), f"{method} {path}"


def fields(operation: dict[str, Any]) -> set[str]:
    """Those of an operation's body."""
    if "requestBody" not in operation:
        return set()
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema.get("allOf", [schema])[0]["$ref"].rpartition("/")[2]
    return set(API["components"]["schemas"][name]["properties"])


RULES = (
    with_keys("storm: 2/10m", "budget: {target: [3/1h], rule: [9/1d]}")
    + """
      - name: guarded
        match: alertname="Other"
        target: x
        mode: "off"
        freeze: [{from: '00:00', to: '24:00', zone: UTC}]
        unless: ['alertname="Upgrade"']
        fleet: {at_most: 50%, of: 'count(up)'}
        steps: [{fake: {do: nothing}}]
"""
)
ASKING = with_keys("budget: [3/1h]").replace("mode: live", "mode: approve").replace("cooldown: 10m", "cooldown: 0s")


async def test_what_is_answered_is_what_the_document_says(tmp_path: Path) -> None:
    """Every GET route with something to tell, and what people do; also the errors of each, without a field too many."""
    async with operating(tmp_path, ASKING) as here:

        async def asked(method: str, path: str, status: int, body: object = None, **values: str) -> httpx.Response:
            answer = await here.client.request(method, filled(path, **values), json=body)
            assert answer.status_code == status, answer.text
            check(method, path, answer)
            return answer

        await here.fire("api-1")
        run = (await here.run("awaiting_approval"))["id"]
        digest = (await asked("GET", "/runs/{id}", 200, id=run)).json()["plan_digest"]
        pages = (
            {path for method, path, *_ in operations(API) if method == "GET"} - OF_LOGINS - {"/events", "/runs/{id}"}
        )
        for path in sorted(pages):
            await asked("GET", path, 200, file="main.js")
        await asked("POST", "/runs/{id}/approve", 409, {"plan_digest": "0" * 64}, id=run)
        await asked("POST", "/runs/{id}/approve", 400, {"plan_digest": 1, "x": 2}, id=run)
        await asked("POST", "/runs/{id}/approve", 200, {"plan_digest": digest, "comment": "good"}, id=run)
        await here.run("verifying")
        await asked("POST", "/runs/{id}/cancel", 200, {"comment": "no"}, id=run)
        await here.run("cancelled")
        await asked("POST", "/runs/{id}/deny", 409, id=run)
        await asked("POST", "/runs/{id}/rerun", 200, id=run)
        await here.run("awaiting_approval")
        await asked("POST", "/pause", 200, {"reason": "night", "duration": "1h"})
        await asked("POST", "/pause", 400, {"duration": "1h"})
        await asked("POST", "/resume", 200)
        await asked("POST", "/ack", 404, {"fingerprint": "0" * 16})
        await asked("POST", "/alert", 400, {"version": "4"})
        await asked("GET", "/audit", 200)
        here.rules.write_text(RULES)
        await asked("POST", "/-/reload", 200)
        await here.fire("b-1", "b-2", "b-3")
        await until(lambda: len(here.engine.state.batch("restart")) >= 3)
        storm = (await asked("GET", "/storms", 200)).json()["storms"][0]
        await asked("GET", "/rules", 200)
        await asked("GET", "/state", 200)
        await asked("POST", "/rules/{name}/release", 409, {"batch_digest": "0" * 64}, name="restart")
        await asked("POST", "/rules/{name}/release", 200, {"batch_digest": storm["batch_digest"]}, name="restart")
        await asked("POST", "/rules/{name}/reset", 200, name="restart")
        here.rules.write_text("version: 1\nrules: [{}]\n")
        await asked("POST", "/-/reload", 409)
        for method, path, _, parameters in operations(API):
            if path not in OF_LOGINS and parameters and method == "GET":
                check(method, path, await here.client.get(filled(path), params={"zz": "1"}))
        lines = await here.client.get("/audit", headers={"Accept": "application/x-ndjson"})
        check("GET", "/audit", lines)
        async with here.client.stream("GET", "/events") as stream:
            check("GET", "/events", stream)


async def test_what_logins_answer_is_what_the_document_says(tmp_path: Path) -> None:
    """The routes that are there with an identity provider."""
    clock = FakeClock()
    idp = LoginProvider(clock)
    async with gateway(tmp_path, OIDC, http=idp.http, clock=clock) as gate:
        for path in ("/login", "/.well-known/oauth-protected-resource", "/console"):
            check("GET", path, await gate.client.get(path, headers={"Accept": "text/html"}))
        check("GET", "/login/callback", await gate.client.get("/login/callback?code=x&state=y"))
        check("GET", "/login/callback", await log_in(gate, idp))
        check("GET", "/whoami", await gate.client.get("/whoami"))
        check("POST", "/-/refresh-jwks", await gate.client.post("/-/refresh-jwks", headers=bearer(clock, "boss")))
        check("POST", "/logout", await gate.client.post("/logout", headers=OWN))
        for method, path, operation, _ in operations(API):
            if who(operation) not in ("public", "admin"):
                refused = await gate.client.request(method, filled(path))
                assert refused.status_code == 401
                check(method, path, refused)


@pytest.mark.parametrize(
    ("path", "changed"), [("/", {"surprise": 1}), ("/", {"version": None}), ("/whoami", {"role": "root"})]
)
async def test_an_answer_that_is_otherwise_is_noticed(tmp_path: Path, path: str, changed: dict[str, Any]) -> None:
    """A field more, one less or of another kind: else the tests above would prove nothing."""
    async with gateway(tmp_path) as gate:
        answer = await gate.client.get(path)
    told = {name: value for name, value in {**answer.json(), **changed}.items() if (name, value) != ("version", None)}
    with pytest.raises(AssertionError, match=path):
        check("GET", path, httpx.Response(200, json=told))
