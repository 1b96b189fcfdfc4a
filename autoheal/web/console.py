"""`GET /console` and its files: plain ES modules, served as they lie in `console/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from autoheal.web.parameters import parameters

PAGE = "index.html"
OPEN_FILES = ("login.html", "login.js")
"""What whoever is not logged in needs to get there with the address's fragment; it tells nothing."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing inline, nothing from elsewhere, and no text ever becomes markup: a hostile label stays text."""
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_PACKAGED = Path(__file__).parents[1] / "_console"
_CHECKOUT = Path(__file__).parents[2] / "console"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    headers: Mapping[str, str]


class Console:
    """The page and its files, read once: what is served is what was there at the start, all of one version."""

    def __init__(self) -> None:
        folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
        self._files = {path.name: _file(path) for path in folder.iterdir() if path.suffix in _TYPES}

    async def page(self, request: Request) -> Response:
        """`GET /console`."""
        parameters(request, ())
        return self._answer(request, PAGE)

    async def file(self, request: Request) -> Response:
        """`GET /console/{file}`."""
        parameters(request, ())
        return self._answer(request, request.path_params["file"])

    async def open_file(self, request: Request, *, name: str) -> Response:
        """`GET /console/login.html` and what it needs: for everybody."""
        parameters(request, ())
        return self._answer(request, name)

    def _answer(self, request: Request, name: str) -> Response:
        if (found := self._files.get(name)) is None:
            raise HTTPException(404)
        if request.headers.get("if-none-match") == found.headers["ETag"]:
            return Response(status_code=304, headers=found.headers)
        return Response(found.body, headers=found.headers)


def _file(path: Path) -> _File:
    body = path.read_bytes()
    headers = {
        "Content-Type": f"{_TYPES[path.suffix]}; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "ETag": f'"{sha256(body).hexdigest()[:32]}"',
        # Kept, but asked for each time: an upgrade must not mix modules of two versions.
        "Cache-Control": "private, no-cache",
    }
    return _File(body, headers)
