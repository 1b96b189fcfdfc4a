"""The true service encrypts what rotation put away; whoever has the private key finds all of it whole."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import httpx

from autoheal.journal.files import Storage, log_files
from tests.support.commands import autoheal
from tests.support.ports import free_port
from tests.support.processes import running, wait_until
from tests.support.secrecy import PRIVATE, PUBLIC

RULES = "version: 1\nrules: []\n"


def alert(number: int) -> dict[str, object]:
    return {
        "version": "4",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "Down", "instance": f"host-{number}"},
                "annotations": {},
                "startsAt": "2026-11-21T05:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": f"{number:016x}",
            }
        ],
    }


def test_from_rotation_to_verification(tmp_path: Path) -> None:
    """Alerts, a rename as logrotate does it, a stop, a start without the key: nothing is lost; `verify` says so with
    the key, and without it names what it could not check.
    """
    data, port = tmp_path / "data", free_port()
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "key.txt").write_text(PRIVATE)
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "AUTOHEAL_DATA_DIR": str(data),
        "AUTOHEAL_RULES": str(tmp_path / "rules.yaml"),
        "AUTOHEAL_PORT": str(port),
        "AUTOHEAL_AUDIT_ENCRYPT": PUBLIC,
    }

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    argv = [sys.executable, "-m", "autoheal", "serve"]
    with_key = environment | {"AUTOHEAL_AUDIT_IDENTITY_FILE": str(tmp_path / "key.txt")}
    with httpx.Client(base_url=url, trust_env=False) as client:
        with running(argv, ready, tmp_path / "log", env=with_key) as service:
            assert all(client.post("/alert", json=alert(number)).status_code == 200 for number in range(5))
            (data / "audit.jsonl").rename(data / "audit.jsonl-20261121-1")
            assert client.post("/alert", json=alert(9)).status_code == 200

            def encrypted() -> bool:
                return [file.storage for file in log_files(data)] == [Storage.ENCRYPTED, Storage.PLAIN]

            wait_until(encrypted, seconds=40, what="the encrypted file")
            body = client.get("/audit").json()
            assert (body["records"][-1]["seq"], body["partial"]) == (1, False)
            wait_until(lambda: "autoheal_audit_unencrypted_files 0.0" in client.get("/metrics").text)
            service.send_signal(signal.SIGTERM)
            assert service.wait(20) == 0
        with running(argv, ready, tmp_path / "log", env=environment) as service:
            assert client.post("/alert", json=alert(10)).status_code == 200
            assert client.get("/audit").json()["unread"][0]["first"] == 1
            service.send_signal(signal.SIGTERM)
            assert service.wait(20) == 0
    done = autoheal("audit", "verify", data, "--identity", tmp_path / "key.txt")
    assert (done.returncode, done.stdout[:3]) == (0, "OK:"), done.stdout
    done = autoheal("audit", "verify", data)
    assert done.returncode == 1
    assert done.stdout.startswith("BAD: encrypted: seq 1, audit.jsonl-20261121-1: seq 1 to ")
    assert PRIVATE not in (tmp_path / "log").read_text()
