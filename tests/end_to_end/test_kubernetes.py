"""The gateway and a Kubernetes API: a live rule acts there, a dry run asks there and changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson

from tests.support.gateway import until
from tests.support.kubernetes import kubeconfig, kubernetes
from tests.support.monitoring import gateway
from tests.support.pki import Pki
from tests.support.ports import free_port
from tests.support.posting import alert, body

RULES = """\
version: 1
rules:
  - name: restart
    match: 'alertname="Down", job="api"'
    target: 'deployment/{{ labels.job }}'
    mode: live
    steps: [{kubernetes: {rollout_restart: '{{ target }}', namespace: shop}}]
  - name: grow
    match: 'alertname="Down", job="web"'
    target: 'deployment/{{ labels.job }}'
    mode: dry_run
    steps:
      - command: {argv: [/bin/false]}
      - kubernetes: {scale: '{{ target }}', namespace: shop, by: 2, max: 4}
      - kubernetes: {cordon: node-1}
"""


async def test_live_acts_and_a_dry_run_rehearses(tmp_path: Path) -> None:
    """AUTOHEAL_KUBECONFIG says where. What is not allowed stands in the dry run's record; no token is anywhere."""
    pki = Pki(tmp_path / "pki")
    async with kubernetes(pki) as cluster:
        for name in ("api", "web"):
            cluster.add("deployments", name, spec={"replicas": 3})
        cluster.add("nodes", "node-1", None)
        everything = {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"]}
        cluster.grants["autoheal"] = [{**everything, "verbs": ["get", "patch", "update"]}]
        env = {"AUTOHEAL_DRY_RUN": "false", "AUTOHEAL_KUBECONFIG": str(kubeconfig(tmp_path, cluster, pki))}
        port = free_port()
        with gateway(tmp_path, port, RULES, env):
            alerts = body(alert("a" * 16, job="api"), alert("b" * 16, job="web"))
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.post(f"http://127.0.0.1:{port}/alert", json=alerts)).status_code == 200
            await until(lambda: {"action_ok", "action_dry_run"} <= told(tmp_path).keys(), 30)
        assert cluster.objects["deployments", "shop", "api"]["metadata"]["generation"] == 2
        assert cluster.objects["deployments", "shop", "web"]["spec"] == {"replicas": 3}
        assert cluster.objects["nodes", None, "node-1"]["spec"] == {}
    ok, dry = told(tmp_path)["action_ok"], told(tmp_path)["action_dry_run"]
    assert (ok["rule"], ok["detail"]["after"]["generation"]) == ("restart", 2)
    scaled, cordoned = dry["detail"]["rehearsals"]
    assert (scaled["step"], scaled["ok"], scaled["before"], scaled["after"]) == (
        2,
        True,
        {"replicas": 3},
        {"replicas": 4},
    )
    assert (cordoned["step"], cordoned["ok"]) == (3, False)
    assert cordoned["error"].startswith('forbidden (403): nodes "node-1" is forbidden: User "autoheal" cannot get')
    written = b"".join(file.read_bytes() for file in await asyncio.to_thread(files, tmp_path / "data"))
    assert b"token-of-autoheal" not in written + (tmp_path / "gateway.log").read_bytes()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """What the log tells of actions, by kind."""
    lines = (folder / "data" / "audit.jsonl").read_bytes().splitlines()
    records = [orjson.loads(line) for line in lines if line.endswith(b"}")]
    return {record["kind"]: record for record in records if record["kind"].startswith("action")}
