"""deploy/nginx as a real nginx runs it, without a word to the rest of the machine."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.pki import Pki

EXAMPLE = Path(__file__).parents[2] / "deploy" / "nginx"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def configured(folder: Path, ports: dict[str, int], api: int, pki: Pki) -> Path:
    """The example with this machine's ports (`gateway`, `https`, `http`) and files, each of which must be in it.

    `api` is the port of the API that knows readers. What it gives is nginx's whole configuration.
    """
    text = (EXAMPLE / "autoheal.conf").read_text()
    for there, here in {
        "127.0.0.1:9009": f"127.0.0.1:{ports['gateway']}",
        "127.0.0.1:8080": f"127.0.0.1:{api}",
        "listen 443 ssl;": f"listen 127.0.0.1:{ports['https']} ssl;",
        "listen 80;": f"listen 127.0.0.1:{ports['http']};",
        "listen [::]:443 ssl;": "",
        "listen [::]:80;": "",
        "/etc/nginx/tls/autoheal.pem": str(pki.server),
        "/etc/nginx/tls/autoheal.key": str(pki.server_key),
        "/etc/nginx/autoheal-token.conf": str(folder / "autoheal-token.conf"),
        "/etc/nginx/autoheal-stream.conf": str(EXAMPLE / "autoheal-stream.conf"),
    }.items():
        assert there in text
        text = text.replace(there, here)
    (folder / "autoheal.conf").write_text(text)
    kept = " ".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    http = f"http {{ access_log off; {kept} include {folder}/autoheal.conf; }}"
    main = f"pid {folder}/pid; error_log stderr; events {{}} {http}"
    file = folder / "nginx.conf"
    file.write_text(main)
    return file


def listens(port: int) -> bool:
    """Whether somebody speaks HTTP there."""
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True
