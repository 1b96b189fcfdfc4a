"""A real sshd on loopback, with keys of its own."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.components import require, require_root
from tests.support.ports import free_port
from tests.support.processes import running


@dataclass(frozen=True)
class Sshd:
    """It takes `identity` for `user`; `known_hosts` knows it."""

    port: int
    user: str
    identity: Path
    known_hosts: Path

    @property
    def host_key(self) -> str:
        """Its public key, as a line of known_hosts has it."""
        return self.known_hosts.read_text().split(" ", 1)[1].strip()


def make_key(path: Path) -> None:
    """A pair of keys: the private one at `path`, the public one beside it."""
    subprocess.run([require("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """A running sshd whose every file is in `folder`."""
    require_root("sshd")
    for name in ("host_key", "identity"):
        make_key(folder / name)
    made = Sshd(free_port(), getpass.getuser(), folder / "identity", folder / "known_hosts")
    made.known_hosts.write_text(f"[127.0.0.1]:{made.port} {(folder / 'host_key.pub').read_text()}")
    config = f"""\
Port {made.port}
ListenAddress 127.0.0.1
HostKey {folder / "host_key"}
AuthorizedKeysFile {folder / "identity.pub"}
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
    (folder / "sshd_config").write_text(config)
    # It wants an empty /run/sshd, which is nobody else's business.
    script = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
    start = [require("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    argv = [require("unshare"), "--mount", "/bin/sh", "-c", script, "sh", *start]
    with running(argv, lambda: _listens(made.port), folder / "log"):
        yield made


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
