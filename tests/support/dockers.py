"""A real Docker Engine on a private socket, with an image made of nothing but a static busybox: no network needed."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.support.components import lacking, require, require_root
from tests.support.pki import Pki
from tests.support.ports import free_port
from tests.support.processes import running

IMAGE = "busybox:test"
SLEEPER = ("sleep", "1000")


@dataclass(frozen=True)
class DockerEngine:
    """It listens at `host`, and with TLS at `tls_host`, where it asks for a certificate of `pki`."""

    host: str
    tls_host: str
    pki: Pki

    def ask(self, method: str, path: str, *, gone: bool = False, **options: Any) -> Any:
        """The answer to a request of ours, decoded when it is JSON; `gone` says that 404 is as good."""
        transport = httpx.HTTPTransport(uds=self.host.removeprefix("unix://"))
        with httpx.Client(transport=transport, base_url="http://docker/v1.41", timeout=60) as client:
            answer = client.request(method, path, **options)
        fine = answer.is_success or answer.status_code == 304 or (gone and answer.status_code == 404)
        assert fine, answer.text
        return orjson.loads(answer.content) if answer.content.startswith((b"{", b"[")) else answer.text

    def create(self, name: str, *argv: str, mounts: Mapping[Path, str] | None = None, rm: bool = False) -> str:
        """A container that is not started yet, on the host's network; its id."""
        binds = [f"{source}:{place}" for source, place in (mounts or {}).items()]
        host = {"NetworkMode": "host", "AutoRemove": rm, "Binds": binds}
        wanted = {"Image": IMAGE, "Cmd": ["/bin/busybox", *argv], "HostConfig": host}
        return str(self.ask("POST", "/containers/create", params={"name": name}, json=wanted)["Id"])

    def start(self, name: str, *argv: str, **options: Any) -> str:
        """A container that runs; its id."""
        made = self.create(name, *(argv or SLEEPER), **options)
        self.ask("POST", f"/containers/{made}/start")
        return made

    def state(self, name: str) -> Any:
        """What the Engine tells of its state."""
        return self.ask("GET", f"/containers/{name}/json")["State"]

    def clear(self) -> None:
        """Remove every container, however it is."""
        for container in self.ask("GET", "/containers/json", params={"all": "true"}):
            # Where an end and a removal meet, dockerd may go on to list a container that it no longer has.
            self.ask("DELETE", f"/containers/{container['Id']}", gone=True, params={"force": "true"})


@contextmanager
def docker_engine(folder: Path, *, builds: bool = False, apart: bool = False) -> Iterator[DockerEngine]:
    """A running dockerd whose every file is in `folder`.

    One that `builds` keeps its images in memory, in layers: with copies on a disk each step takes half a minute.
    One that is `apart` has a network of its own, in which the addresses and ports of any stack are free.
    """
    require_root("dockerd")
    busybox = Path(require("busybox")).read_bytes()
    pki = Pki(folder / "certs")
    path, port = folder / "docker.sock", free_port()
    config = {
        "data-root": str(folder / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "pid"),
        "hosts": [f"unix://{path}", f"tcp://127.0.0.1:{port}"],
        "tlsverify": True,
        "tlscacert": str(pki.ca),
        "tlscert": str(pki.server),
        "tlskey": str(pki.server_key),
        # No bridge and no rules of a firewall: nothing of the machine's network is touched.
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "storage-driver": "overlay2" if builds else "vfs",
        # The default asks for more than a container that runs these tests may have.
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 1024}},
    }
    (folder / "daemon.json").write_bytes(orjson.dumps(config))
    # In a mount namespace of its own: what it mounts is gone with it.
    (folder / "data").mkdir()
    first = f"mount -t tmpfs tmpfs '{folder}/data' && " if builds else ""
    first += "busybox ip link set lo up && " if apart else ""
    start = f"{first}exec '{require('dockerd')}' --config-file '{folder}/daemon.json'"
    argv = [require("unshare"), "--mount", *(["--net"] if apart else []), "/bin/sh", "-c", start]
    env = os.environ | {"PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))}
    engine = DockerEngine(f"unix://{path}", f"https://127.0.0.1:{port}", pki)
    with ExitStack() as stack:
        try:
            stack.enter_context(running(argv, lambda: _listens(path), folder / "log", env=env, seconds=60))
        except AssertionError as error:
            lacking(f"dockerd cannot run here: {error}")
        rootfs = io.BytesIO()
        with tarfile.open(fileobj=rootfs, mode="w") as tar:
            entry = tarfile.TarInfo("bin/busybox")
            entry.size, entry.mode = len(busybox), 0o755
            tar.addfile(entry, io.BytesIO(busybox))
        name, _, tag = IMAGE.partition(":")
        source = {"fromSrc": "-", "repo": name, "tag": tag}
        engine.ask("POST", "/images/create", params=source, content=rootfs.getvalue())
        try:
            yield engine
        finally:
            # With none left it ends at once.
            engine.clear()
    shutil.rmtree(folder / "data", ignore_errors=True)


def _listens(path: Path) -> bool:
    """Whether dockerd has done all that comes before: it listens last."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
