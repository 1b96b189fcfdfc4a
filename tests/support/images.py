"""Images made of what this machine has: no registry is asked."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pip

from tests.support.components import lacking, require
from tests.support.dockers import DockerEngine
from tests.support.tools import checked

ROOT = Path(__file__).parents[2]
PIECE_BYTES = 64 * 1024
LEFT_OUT = frozenset(("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "__pycache__"))
LEFT_OUT |= {"site-packages", "dist-packages"}
NEEDED_BY_WHEELS = (
    *("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "librt.so.1", "libdl.so.2", "libpthread.so.0", "libutil.so.1"),
    *("libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2"),
)


class Rootfs:
    """A root file system, of which a later word about a path replaces an earlier one."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        self._add(path, tarfile.DIRTYPE, mode)
        self._entries[path][0].uid = owner

    def link(self, path: str, target: str) -> None:
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, tarfile.REGTYPE, mode, content)

    def copy(self, *sources: Path, to: str | None = None) -> None:
        """Programs and libraries of this machine, and the libraries that they are linked to."""
        for source in sources:
            self.file(to or str(source), source.read_bytes(), 0o755)
        linked = subprocess.run(["ldd", *sources], check=False, capture_output=True, text=True, timeout=60).stdout
        for library in set(re.findall(r"(/\S+) \(0x", linked)):
            self.file(library, Path(library).read_bytes(), 0o755)

    def busybox(self) -> None:
        """A shell and what else busybox can do."""
        self.file("/bin/busybox", Path(require("busybox")).read_bytes(), 0o755)
        for applet in set(checked("busybox", "--list").split()) - {"busybox"}:
            self.link(f"/bin/{applet}", "busybox")

    def tar(self) -> bytes:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            for _, (entry, data) in sorted(self._entries.items()):
                tar.addfile(entry, io.BytesIO(data))
        return content.getvalue()

    def _add(self, path: str, kind: bytes, mode: int, content: bytes = b"", target: str = "") -> None:
        for parent in Path(path).parents:
            if str(parent) != "/" and str(parent) not in self._entries:
                self.folder(str(parent))
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), target
        self._entries[path] = (entry, content)


def common() -> Rootfs:
    """What any program needs around it, and a shell."""
    rootfs = Rootfs()
    rootfs.busybox()
    rootfs.folder("/tmp", 0o1777)
    rootfs.folder("/root")  # where some interpreters of developers live
    rootfs.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    rootfs.file("/etc/group", b"root:x:0:\n")
    return rootfs


def python_base() -> bytes:
    """What `python:…-slim` has, as far as the Dockerfile needs it: this machine's Python, pip, and a shell."""
    rootfs = common()
    interpreter = Path(sys.executable).resolve()
    rootfs.link("/usr/local/bin/python", str(interpreter))
    known = checked("ldconfig", "-p")
    linked = [Path(re.findall(rf"{re.escape(name)} .*x86-64.* => (\S+)", known)[0]) for name in NEEDED_BY_WHEELS]
    for folder in {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}:
        for file in _files(folder):
            if file.suffix == ".so":
                linked.append(file)
            else:
                rootfs.file(str(file), file.read_bytes())
    rootfs.copy(interpreter, *linked)
    installed = Path(pip.__file__).parent
    for file in _files(installed):
        rootfs.file(f"{sysconfig.get_path('stdlib')}/pip/{file.relative_to(installed)}", file.read_bytes())
    return rootfs.tar()


def alpine_base() -> bytes:
    """What `alpine` with its logrotate package has, as far as the sidecar needs it."""
    rootfs = common()
    rootfs.copy(Path(require("logrotate")), to="/usr/sbin/logrotate")
    rootfs.copy(Path(require("gzip")), to="/bin/gzip")
    return rootfs.tar()


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = set(folders) - LEFT_OUT
        yield from (Path(here, name) for name in names if not name.endswith(".a") and not name.startswith("_test"))


def load(engine: DockerEngine, name: str, rootfs: bytes, *changes: str) -> None:
    """Make `rootfs` the image `name`, with the instructions of a Dockerfile in `changes` carried out."""
    repository, _, tag = name.partition(":")
    # In pieces: httpx copies what is left of a whole body at each write.
    pieces = (rootfs[at : at + PIECE_BYTES] for at in range(0, len(rootfs), PIECE_BYTES))
    source = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes}
    engine.ask("POST", "/images/create", params=source, content=pieces)


def build(engine: DockerEngine, name: str, context: Path, **arguments: str) -> None:
    """Build the Dockerfile of `context` as people do, without a network."""
    options = [option for item in arguments.items() for option in ("--build-arg", "=".join(item))]
    env = {"DOCKER_BUILDKIT": "0", "DOCKER_HOST": engine.host, "DOCKER_CONFIG": "/nonexistent"}
    checked("docker", "build", "--network", "none", "--tag", name, *options, context, env=env)


def wheels(folder: Path) -> None:
    """The wheels of the locked requirements, as the Dockerfile takes them; skips where no index can be reached."""
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    locks = [option for name in ("run", "build") for option in ("-r", ROOT / "requirements" / f"{name}.txt")]
    done = subprocess.run([*argv, "-d", folder, *locks], check=False, capture_output=True, text=True, timeout=110)
    if done.returncode != 0:
        lacking(f"the locked requirements cannot be fetched: {done.stderr[-500:]}")


def checkout(folder: Path) -> Path:
    """What a clean clone has of the build's context; `folder` itself."""
    for name in checked("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder
