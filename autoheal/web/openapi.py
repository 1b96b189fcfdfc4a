"""`GET /openapi.json`: the API for programs. openapi.yaml beside this file says it, and docs/api.md is made of it."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML
from starlette.requests import Request
from starlette.responses import Response

from autoheal import __version__
from autoheal.web.parameters import parameters

SOURCE = Path(__file__).with_name("openapi.yaml")


def document() -> dict[str, Any]:
    """The OpenAPI document, read anew. Takes most of a second: the reader of YAML is thorough, not fast."""
    read: dict[str, Any] = YAML(typ="safe").load(SOURCE)
    return {**read, "info": {**read["info"], "version": __version__}}


async def openapi(request: Request) -> Response:
    """Answer with the document."""
    parameters(request, ())
    # Beside the event loop, where alerts are taken meanwhile.
    return Response(await asyncio.to_thread(_encoded), media_type="application/json")


@cache
def _encoded() -> bytes:
    return orjson.dumps(document())
