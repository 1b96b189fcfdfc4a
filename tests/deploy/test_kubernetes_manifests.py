"""deploy/kubernetes as kustomize builds it."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from autoheal.actions import ACTIONS
from autoheal.actions.kubernetes_config import SERVICE_ACCOUNT
from autoheal.config import load
from autoheal.rules import load as load_rules
from tests.support.pages import blocks
from tests.support.tools import checked

pytestmark = pytest.mark.component

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
BIN = Path(sys.executable).parent
FOREIGN = {"ServiceMonitor"}
"""Kinds of the Prometheus operator, of which the validator knows nothing."""


def built(overlay: str) -> str:
    return checked("kubectl", "kustomize", FOLDER / "overlays" / overlay)


@pytest.fixture(scope="module", params=["canary", "production"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def objects(overlay: str) -> dict[str, Any]:
    """By kind and name."""
    found = YAML(typ="safe").load_all(io.StringIO(built(overlay)))
    return {f"{one['kind']}/{re.sub('-[a-z0-9]{10}$', '', one['metadata']['name'])}": one for one in found}


def pod(objects: dict[str, Any]) -> Any:
    return objects["Deployment/autoheal"]["spec"]["template"]["spec"]


def container(objects: dict[str, Any], name: str) -> Any:
    (found,) = (one for one in pod(objects)["containers"] if one["name"] == name)
    return found


def test_the_api_would_take_them(overlay: str, tmp_path: Path) -> None:
    """By the schemas of an old and of a new Kubernetes, in which nothing is unknown."""
    texts = built(overlay).split("\n---\n")
    file = tmp_path / "objects.yaml"
    file.write_text("\n---\n".join(text for text in texts if not any(f"kind: {kind}" in text for kind in FOREIGN)))
    for version in ("1.29", "1.36"):
        checked(str(BIN / "kubernetes-validate"), "--strict", "-k", version, file)


def test_only_production_acts(objects: dict[str, Any], overlay: str) -> None:
    """The canary is a dry run without rights; production acts, in the one namespace that it is given."""
    live = overlay == "production"
    environment = {one["name"]: one["value"] for one in container(objects, "autoheal")["env"]}
    assert environment["AUTOHEAL_DRY_RUN"] == ("false" if live else "true")
    assert ("account" in {mount["name"] for mount in container(objects, "autoheal")["volumeMounts"]}) is live
    roles = {name: one["metadata"]["namespace"] for name, one in objects.items() if name.startswith("Role")}
    assert roles == ({"Role/autoheal": "shop", "RoleBinding/autoheal": "shop"} if live else {})
    assert not [name for name in objects if name.startswith("ClusterRole")]


def test_the_settings_are_valid(objects: dict[str, Any], tmp_path: Path) -> None:
    """Autoheal takes them, with what the image sets; somebody else's variables do not come in."""
    secret = tmp_path / "secret"
    secret.write_text("a client's secret")
    environment = {one["name"]: one["value"] for one in container(objects, "autoheal")["env"]}
    environment |= objects["ConfigMap/autoheal-settings"]["data"]
    settings = load(environment | {"OIDC_CLIENT_SECRET_FILE": str(secret), "AUTOHEAL_HOST": "0.0.0.0"})
    assert settings.oidc is not None
    assert settings.oidc.role_map
    assert pod(objects)["enableServiceLinks"] is False


def test_one_writer_of_the_log(objects: dict[str, Any]) -> None:
    """A new pod begins after the old one has ended, and has more time to end than its actions get."""
    deployment = objects["Deployment/autoheal"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert pod(objects)["terminationGracePeriodSeconds"] > 30
    assert objects["PersistentVolumeClaim/autoheal-data"]["spec"]["accessModes"] == ["ReadWriteOncePod"]


@pytest.mark.parametrize("name", ["autoheal", "logrotate"])
def test_containers_are_hardened(objects: dict[str, Any], name: str) -> None:
    """As in the stack; rotation's capabilities are those that Pod Security's baseline allows."""
    security = container(objects, name)["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["capabilities"].get("add", []) == (
        [] if name == "autoheal" else ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    )
    assert security.get("runAsNonRoot", False) is (name == "autoheal")
    assert {"cpu", "memory"} == container(objects, name)["resources"]["limits"].keys()


def test_rotation_sees_the_data_alone(objects: dict[str, Any]) -> None:
    """Not the keys, the secrets or the account's token, which Kubernetes by itself would mount into every container."""
    assert pod(objects)["automountServiceAccountToken"] is False
    assert [one["name"] for one in pod(objects)["containers"]] == ["autoheal", "logrotate"]
    assert [mount["name"] for mount in container(objects, "logrotate")["volumeMounts"]] == ["data"]
    claims = {
        one["name"]: one["persistentVolumeClaim"] for one in pod(objects)["volumes"] if "persistentVolumeClaim" in one
    }
    assert {name: claim["claimName"] for name, claim in claims.items()} == {
        "data": "autoheal-data",
        "keys": "autoheal-keys",
    }


def test_names_lead_somewhere(objects: dict[str, Any]) -> None:
    """The Service finds the pod, the ServiceMonitor the Service, and the job is called as the alerts call it."""
    labels = objects["Deployment/autoheal"]["spec"]["template"]["metadata"]["labels"]
    service = objects["Service/autoheal"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert (
        objects["ServiceMonitor/autoheal"]["spec"]["selector"]["matchLabels"].items()
        <= service["metadata"]["labels"].items()
    )
    assert service["metadata"]["name"] == "autoheal"
    assert objects["NetworkPolicy/autoheal"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["name"] for port in container(objects, "autoheal")["ports"]}
    assert {
        service["spec"]["ports"][0]["targetPort"],
        objects["ServiceMonitor/autoheal"]["spec"]["endpoints"][0]["port"],
    } <= ports


def test_the_account_is_where_pods_look_for_it(objects: dict[str, Any], overlay: str) -> None:
    """What `kubernetes` steps read in a pod has the names that Kubernetes itself would give it."""
    if overlay == "canary":
        assert "account" not in [one["name"] for one in pod(objects)["volumes"]]
        return
    (mount,) = (one for one in container(objects, "autoheal")["volumeMounts"] if one["name"] == "account")
    assert Path(mount["mountPath"]) == SERVICE_ACCOUNT
    (volume,) = (one["projected"] for one in pod(objects)["volumes"] if one["name"] == "account")
    token, ca, namespace = volume["sources"]
    assert token["serviceAccountToken"]["path"] == "token"
    assert ca["configMap"] == {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    assert namespace["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == "metadata.namespace"


def test_the_rules_can_be_loaded(objects: dict[str, Any], tmp_path: Path) -> None:
    """Those that come with it are a valid, empty set."""
    file = tmp_path / "rules.yaml"
    file.write_text(objects["ConfigMap/autoheal-rules"]["data"]["rules.yaml"])
    assert load_rules(file, actions={name: action.Params for name, action in ACTIONS.items()}).rules == ()


def test_rights_are_those_of_the_page() -> None:
    """The role is the one that docs/actions.md explains."""
    page = re.findall(
        r"^```yml\n(apiVersion: rbac.*?)^```$", (ROOT / "docs" / "actions.md").read_text(), re.DOTALL | re.MULTILINE
    )
    yaml = YAML(typ="safe")
    told = next(iter(yaml.load_all(page[0])))
    made = next(iter(yaml.load_all(FOLDER / "remediation" / "role.yaml")))
    assert made == told


def test_the_lines_that_make_a_prometheusrule(tmp_path: Path) -> None:
    """What docs/deployment.md shows makes of the alerts what the Prometheus operator takes, as they are."""
    shown = (block.text for block in blocks(ROOT / "docs" / "deployment.md"))
    (lines,) = (text for text in shown if "PrometheusRule" in text)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    checked("sh", "-ec", lines, cwd=tmp_path)
    made = YAML(typ="safe").load(tmp_path / "prometheusrule.yaml")
    assert (made["apiVersion"], made["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert made["spec"] == YAML(typ="safe").load(ROOT / "deploy" / "prometheus" / "autoheal.rules.yml")
