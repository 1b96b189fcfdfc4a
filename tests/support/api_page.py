"""docs/api.md as it follows from the OpenAPI document: `make docs` writes it, a test holds it to that.

Prose stands in the document's descriptions. A tag is a section; in its text the comments `<!-- parameters -->`,
`<!-- fields -->` and `<!-- answers -->` give way to tables of what its operations take and answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autoheal.web.openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
HEAD = """\
<!-- Made by `make docs` of autoheal/web/openapi.yaml: change that file. -->

# HTTP API

For programs: [`GET /openapi.json`](#get-openapijson).

| method | path | who | what |
|---|---|---|---|
"""
METHODS = ("get", "post")


def operations(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Method, path, operation and parameters (the path's own among them) of each operation, in the document's order."""
    for path, item in api["paths"].items():
        for method in METHODS:
            if method in item:
                yield (
                    method.upper(),
                    path,
                    item[method],
                    item.get("parameters", []) + item[method].get("parameters", []),
                )


def who(operation: dict[str, Any]) -> str:
    """The least role that an operation needs: `public` where none does."""
    security = operation["security"]
    return "public" if not security or {} in security else str(security[0]["bearer"][0])


def page(api: dict[str, Any]) -> str:
    """The page."""
    rows = "".join(
        f"| {method} | [`{path}`](#{anchor(operation['tags'][0])}) | {who(operation)} | {operation['summary']} |\n"
        for method, path, operation, _ in operations(api)
    )
    sections = [f"## {tag['name']}\n\n{_filled(api, tag)}" for tag in api["tags"]]
    general = api["info"]["description"].strip("\n")
    return "\n".join([HEAD + rows, f"## For all routes\n\n{general}\n", *sections])


def anchor(heading: str) -> str:
    """As a link names a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _filled(api: dict[str, Any], tag: dict[str, str]) -> str:
    parts = [part for part in operations(api) if tag["name"] in part[2]["tags"]]
    tables = {"parameters": _parameters(parts), "fields": _fields(api, parts), "answers": _answers(parts)}
    text = tag["description"].strip("\n") + "\n"
    for name, rows in tables.items():
        mark = f"<!-- {name} -->\n"
        # Bodies and errors that several operations share may be told once, in words.
        if bool(rows) != (mark in text) and (name == "parameters" or not rows):
            raise ValueError(f"the tag {tag['name']!r}: {mark.strip()} and what its operations have do not agree")
        head = {"parameters": "parameter | meaning", "fields": "field | meaning", "answers": "status | when"}[name]
        lines = [f"| {head} |\n", "|---|---|\n", *(f"| {key} | {value} |\n" for key, value in rows.items())]
        text = text.replace(mark, "".join(lines))
    return text


def _parameters(parts: list[Any]) -> dict[str, str]:
    """Those of the query: headers and paths are told in the text."""
    return {
        f"`{each['name']}`": each["description"].strip()
        for *_, parameters in parts
        for each in parameters
        if each["in"] == "query"
    }


def _fields(api: dict[str, Any], parts: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, _, operation, _ in parts:
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schema = media["schema"]
            name = (schema.get("allOf", [schema])[0])["$ref"].rpartition("/")[2]
            for field, about in api["components"]["schemas"][name]["properties"].items():
                if "description" in about:
                    found.setdefault(f"`{field}`", about["description"].strip())
    return found


def _answers(parts: list[Any]) -> dict[str, str]:
    """Those that are told for this operation alone, of operations that tell of errors so."""
    found: dict[str, str] = {}
    for _, _, operation, _ in parts:
        told = {
            status: about["description"].strip()
            for status, about in operation["responses"].items()
            if status.isdecimal() and "$ref" not in about and int(status) >= 400
        }
        for status, text in told.items():
            found.setdefault(status, text)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(document()))
