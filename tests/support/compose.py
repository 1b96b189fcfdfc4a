"""docker-compose.prod.yml as people bring it up, with stand-ins for the images that are not built here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.support import images
from tests.support.components import lacking, require
from tests.support.dockers import DockerEngine
from tests.support.tools import checked

STAND_INS = Path(__file__).parent / "stand_ins"
NOBODY = 65534
GRAFANA = 472


def compose() -> list[str]:
    """Docker Compose 2: the plugin that is there, or what `make components` put beside the tests' Python."""
    plugin = [require("docker"), "compose"]
    if subprocess.run([*plugin, "version"], check=False, capture_output=True).returncode == 0:
        return plugin
    fetched = Path(sys.executable).parent / "docker-compose"
    if not fetched.exists():
        lacking("Docker Compose 2 is not installed: make components")
    return [str(fetched)]


@dataclass(frozen=True)
class Stack:
    """Compose in the checkout `folder`, and the private Engine that it speaks to."""

    engine: DockerEngine
    folder: Path
    argv: tuple[str, ...]

    def __call__(self, *arguments: str, seconds: float = 120) -> str:
        """What Compose prints. AssertionError with all that it says when it is not content."""
        env = {"DOCKER_HOST": self.engine.host, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": "/nonexistent"}
        return checked(*self.argv, *arguments, cwd=self.folder, env=env, seconds=seconds).strip()

    def run(self, service: str, *argv: str) -> str:
        """Run a program in the container of `service`."""
        return self("exec", "-T", service, *argv)

    def told(self, service: str) -> Any:
        """All that the Engine tells of the container of `service`, which may have ended."""
        return self.engine.ask("GET", f"/containers/{self('ps', '--all', '--quiet', service)}/json")

    @property
    def pid(self) -> int:
        """The Engine's, whose network and mounts are its own."""
        return int((Path(self.engine.host.removeprefix("unix://")).parent / "pid").read_text())

    def log_files(self) -> dict[str, str]:
        """The files of autoheal's log by their names, read from outside: who waits is not to load what it waits for."""
        volumes = Path(self.engine.host.removeprefix("unix://")).parent / "data" / "volumes"
        folder = Path(f"/proc/{self.pid}/root{volumes}/autoheal_autoheal-data/_data")
        found = {}
        for file in folder.glob("audit.jsonl*"):
            with suppress(FileNotFoundError):  # put away meanwhile
                found[file.name] = file.read_text(errors="replace")
        return found

    def records(self, *query: str) -> list[dict[str, Any]]:
        """Those of the audit log that match, oldest first."""
        lines = self.run("autoheal", "autoheal", "audit", "query", "-n", "1000", *query).splitlines()
        return [orjson.loads(line) for line in reversed(lines)]


def load_stand_ins(engine: DockerEngine, services: Mapping[str, Any], scratch: Path) -> None:
    """Images under the names that `services` ask for; `python:test` and `alpine:test`, the bases to build ours from."""
    images.load(engine, "python:test", images.python_base())
    images.load(engine, "alpine:test", images.alpine_base())
    # As their publishers make them: a program, nobody's, with busybox around it.
    for name, program, tool in [
        ("prometheus", "prometheus", "promtool"),
        ("alertmanager", "prometheus-alertmanager", "amtool"),
    ]:
        rootfs = images.common()
        rootfs.copy(Path(require(program)), to=f"/bin/{name}")
        rootfs.copy(Path(require(tool)), to=f"/bin/{tool}")
        for file in Path("/usr/share/prometheus", name).glob("*.tmpl"):
            rootfs.file(str(file), file.read_bytes())  # where Debian's looks for them
        rootfs.folder(f"/{name}", owner=NOBODY)
        changes = (f"USER {NOBODY}", f"WORKDIR /{name}", f'ENTRYPOINT ["/bin/{name}"]')
        images.load(engine, services[name]["image"], rootfs.tar(), *changes)
    # In place of Grafana: healthy if it can read what that reads, and write where that writes.
    rootfs = images.common()
    rootfs.file("/srv/api/health", b"ok")
    rootfs.folder("/var/lib/grafana", owner=GRAFANA)
    reads = 'test -s "$GF_SECURITY_ADMIN_PASSWORD__FILE" && test -r "$GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"'
    script = f"{reads} && test -r /etc/grafana/provisioning && touch /var/lib/grafana/grafana.db"
    entry = orjson.dumps(["/bin/sh", "-c", f"{script} && exec httpd -f -p 3000 -h /srv"]).decode()
    images.load(engine, services["grafana"]["image"], rootfs.tar(), f"USER {GRAFANA}", f"ENTRYPOINT {entry}")
    scratch.mkdir()
    (scratch / "socket_proxy.py").write_bytes((STAND_INS / "socket_proxy.py").read_bytes())
    recipe = 'FROM python:test\nCOPY socket_proxy.py /\nENTRYPOINT ["python", "/socket_proxy.py"]\n'
    (scratch / "Dockerfile").write_text(recipe)
    images.build(engine, services["docker-socket-proxy"]["image"], scratch)
