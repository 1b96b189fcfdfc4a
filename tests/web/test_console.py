"""GET /console and its files."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.gateway import OUTSIDE, Gateway, gateway

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "console").iterdir())
shared = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@shared
async def test_the_page_is_the_index(gate: Gateway) -> None:
    """As it lies in console/, as HTML in UTF-8."""
    answer = await gate.client.get("/console")
    assert answer.content == (ROOT / "console" / "index.html").read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", FILES)
@shared
async def test_each_file_has_its_type_and_policy(gate: Gateway, name: str) -> None:
    """Under nosniff a wrong type would not run; the policy allows our own files and no inline script or style."""
    answer = await gate.client.get(f"/console/{name}")
    assert answer.content == (ROOT / "console" / name).read_bytes()
    media_type = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert answer.headers["content-type"] == f"{media_type[name.rpartition('.')[2]]}; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy[of] for of in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[of] for of in ("base-uri", "form-action", "frame-ancestors", "trusted-types")} == {"'none'"}
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@shared
async def test_a_file_is_kept_but_asked_for_each_time(gate: Gateway) -> None:
    """304 while it is the same: an upgrade never mixes modules of two versions."""
    answer = await gate.client.get("/console/main.js")
    assert answer.headers["cache-control"] == "private, no-cache"
    again = await gate.client.get("/console/main.js", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await gate.client.get("/console/dom.js", headers={"If-None-Match": answer.headers["etag"]})).is_success


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpyproject.toml", "%2e%2e", ".gitignore", "main.js%00", "Main.js"])
@shared
async def test_nothing_else_is_there(gate: Gateway, name: str) -> None:
    """Names are looked up, never opened."""
    assert (await gate.client.get(f"/console/{name}")).status_code == 404


@shared
async def test_strangers_do_not_see_it(gate: Gateway) -> None:
    """Without OIDC it is for this machine, as all that shows labels."""
    for path in ("/console", "/console/main.js"):
        assert (await gate.client.get(path, headers=OUTSIDE)).status_code == 403


def test_it_holds_to_its_own_policy() -> None:
    """No inline script, style or handler, no address of another host, and no way from text to markup."""
    for name in FILES:
        text = (ROOT / "console" / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        assert not re.search(r"""<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=""", text), name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name


def loaded() -> set[str]:
    """The files that the page needs to begin with: what it names, and what its modules import, and so on."""
    found, left = set(), {"index.html"}
    while left:
        name = left.pop()
        found.add(name)
        text = (ROOT / "console" / name).read_text()
        named = re.findall(
            r"""(?:href|src)="/console/([^"]+)"|^(?:import|export) .*?from '\./([^']+)'""", text, re.MULTILINE
        )
        left |= {one or other for one, other in named} - found
    return found


def test_it_is_small() -> None:
    """As it is sent to begin with: it is opened at night, on a phone. Each module fits a head."""
    assert {"main.js", "dom.js", "view-live.js", "icon.svg", "style.css"} <= loaded()
    assert {"view-approvals.js", "view-audit.js", "view-pictures.js"}.isdisjoint(loaded())
    assert sum((ROOT / "console" / name).stat().st_size for name in loaded()) < 150 * 1024
    lines = {name: len((ROOT / "console" / name).read_text().splitlines()) for name in FILES}
    assert [name for name, count in lines.items() if name.endswith(".js") and count >= 200] == []


def test_it_is_in_the_wheel(tmp_path: Path) -> None:
    """Where the package looks for it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name.removeprefix("autoheal/_console/") for name in zipfile.ZipFile(wheel).namelist()}
    assert set(FILES) <= names
