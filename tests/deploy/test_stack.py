"""The image's recipe and the production stack, as far as that can be told without starting them."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import autoheal
from autoheal.config import load
from autoheal.config.options import OPTIONS
from tests.support.compose import compose
from tests.support.tools import checked

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FILE = ROOT / "docker-compose.prod.yml"
STACK = YAML(typ="safe").load(FILE)
SERVICES: dict[str, Any] = STACK["services"]
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
ASKED = re.findall(r"\$\{(\w+)(?::([-?])([^}]*))?\}", FILE.read_text())


def test_compose_files_are_what_the_specification_says() -> None:
    """By the JSON Schema of the Compose specification."""
    checked(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE)


@pytest.mark.parametrize("file", ["Dockerfile", "logrotate/Dockerfile"])
def test_the_recipes_are_clean(file: str) -> None:
    """By hadolint, with every warning an error."""
    checked(str(BIN / "hadolint"), "--failure-threshold", "info", ROOT / file)


@pytest.mark.component
def test_yaml_and_scripts_are_clean() -> None:
    """All YAML that is deployed, and every shell script."""
    checked("yamllint", "--strict", "deploy", "docker-compose.prod.yml", cwd=ROOT)
    scripts = [name for name in checked("git", "ls-files", cwd=ROOT).splitlines() if _is_script(ROOT / name)]
    assert ".ci/run" in scripts
    checked("shellcheck", *scripts, cwd=ROOT)


def _is_script(file: Path) -> bool:
    return file.is_file() and re.match(rb"#!.*\b(ba)?sh\n", file.read_bytes()[:64]) is not None


@pytest.mark.component
def test_compose_takes_it() -> None:
    """Docker Compose understands the file and the example of its settings as this page of tests does."""
    argv = (*compose(), "--env-file", str(ROOT / ".env.example"), "--file", str(FILE))
    taken = json.loads(checked(*argv, "config", "--format", "json"))
    assert taken["services"].keys() == SERVICES.keys() - {"docker-socket-proxy"}
    said = {name: _filled(str(value)) for name, value in SERVICES["autoheal"]["environment"].items()}
    assert taken["services"]["autoheal"]["environment"] == said
    listed = checked(*argv, "--profile", "docker-socket-proxy", "config", "--services").split()
    assert sorted(listed) == sorted(SERVICES)


@pytest.mark.component
def test_compose_asks_for_what_is_missing() -> None:
    """Without an identity provider nothing comes up, and the message says where to read on."""
    with pytest.raises(AssertionError, match=r"OIDC_\w+ is missing a value: .*see \.env\.example"):
        checked(
            *compose(),
            "--env-file",
            "/dev/null",
            "--file",
            str(FILE),
            "config",
            env={"AUTOHEAL_PUBLIC_URL": "https://a.example"},
        )


def test_every_variable_is_explained() -> None:
    """What the stack asks for stands in .env.example with a comment before it, and nothing else; defaults agree."""
    assert {name for name, _, _ in ASKED} | {"COMPOSE_PROFILES"} == EXAMPLE.keys()
    lines = (ROOT / ".env.example").read_text().splitlines()
    for before, line in pairwise(lines):
        assert not re.match(r"[A-Z_]+=", line) or before.startswith("#") or line.startswith("LOGROTATE_BASE"), line
    for name, how, default in ASKED:
        if how == "-" and default:
            assert EXAMPLE[name] == default, name


def test_the_example_is_a_valid_configuration(tmp_path: Path) -> None:
    """Autoheal takes what the stack makes of .env.example; nothing in it acts, and nobody unknown gets in."""
    secret = tmp_path / "secret"
    secret.write_text("a client's secret")
    environment = {name: _filled(str(value)) for name, value in SERVICES["autoheal"]["environment"].items()}
    settings = load(environment | {"OIDC_CLIENT_SECRET_FILE": str(secret), "AUTOHEAL_HOST": "0.0.0.0"})
    assert settings.dry_run
    assert settings.events_auth
    assert settings.oidc is not None
    assert settings.oidc.role_map
    assert [str(network) for network in settings.alert_allowlist] == ["172.30.9.10/32", "127.0.0.1/32"]
    assert settings.alertmanager_urls == ("http://alertmanager:9093",)


def _filled(text: str) -> str:
    """`text` with its variables replaced by the values of .env.example."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: EXAMPLE[found[1]].strip("'"), text)


def test_settings_of_the_stack_are_options() -> None:
    """A variable of the stack that autoheal does not know would stop it."""
    known = {name for option in OPTIONS for name in (option.name, f"{option.name}_FILE")}
    assert SERVICES["autoheal"]["environment"].keys() <= known


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    """Nothing to write but its volumes, no right that it does not need, bounds on what it takes, a pinned version."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"cpus", "mem_limit", "pids_limit"} <= service.keys()
    assert not service.keys() & {"privileged", "devices", "pid", "ipc"}
    assert re.search(r":(\$\{AUTOHEAL_VERSION|v?\d+\.\d+\.\d+)", service["image"])
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${AUTOHEAL_BIND:-127.0.0.1}:"))


def test_bounds_are_as_promised() -> None:
    """One CPU and 512 MB for autoheal, a tenth and 64 MB for rotation."""
    bounds = {name: (SERVICES[name]["cpus"], SERVICES[name]["mem_limit"]) for name in SERVICES if "autoheal" in name}
    assert bounds == {"autoheal": (1.0, "512m"), "autoheal-logrotate": (0.1, "64m")}


def test_rotation_has_the_data_and_nothing_else() -> None:
    """No keys, no secrets, no network; and what it may is what its files' owner makes necessary."""
    sidecar = SERVICES["autoheal-logrotate"]
    assert [volume["source"] for volume in sidecar["volumes"]] == ["autoheal-data"]
    assert not sidecar.keys() & {"secrets", "environment", "networks"}
    assert sidecar["network_mode"] == "none"
    assert sidecar["cap_add"] == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]


def test_only_the_proxy_has_the_docker_socket() -> None:
    """It is there on demand only, reachable by autoheal alone, and lets the `docker` steps' requests through."""
    with_socket = {name for name in SERVICES if "docker.sock" in str(SERVICES[name].get("volumes"))}
    assert with_socket == {"docker-socket-proxy"}
    proxy = SERVICES["docker-socket-proxy"]
    assert proxy["profiles"] == ["docker-socket-proxy"]
    assert {name for name in SERVICES if "docker" in SERVICES[name].get("networks", [])} == {
        "autoheal",
        "docker-socket-proxy",
    }
    assert STACK["networks"]["docker"]["internal"] is True
    options = dict(option.partition("=")[::2] for option in proxy["command"])
    # As the proxy itself does, without brackets: https://github.com/wollomatic/socket-proxy, internal/config/config.go.
    allowed = {method: re.compile(f"^{options[f'-allow{method}']}$") for method in ("GET", "POST")}
    container = "9f" * 32
    for method, path, passes in [
        ("GET", "/_ping", True),
        ("GET", "/v1.41/containers/web/json", True),
        ("POST", f"/v1.51/containers/{container}/restart", True),
        ("POST", f"/v1.51/containers/{container}/exec", False),
        ("POST", "/v1.51/containers/create", False),
        ("GET", "/v1.41/containers/web/archive", False),
        ("GET", "/_ping/../v1.41/containers/web/archive", False),
        ("GET", "/v1.41/images/a/v1.41/containers/web/json", False),
        ("POST", f"/v1.41/x/v1.41/containers/{container}/kill", False),
    ]:
        assert bool(allowed[method].search(path)) is passes, path


def test_the_version_is_the_packages() -> None:
    """Wherever an image is named."""
    assert EXAMPLE["AUTOHEAL_VERSION"] == autoheal.__version__
    assert f"ARG VERSION={autoheal.__version__}\n" in (ROOT / "Dockerfile").read_text()
    overlay = YAML(typ="safe").load(ROOT / "deploy" / "kubernetes" / "overlays" / "canary" / "kustomization.yaml")
    assert {image["newTag"] for image in overlay["images"]} == {autoheal.__version__}


def test_the_bases_are_the_same_everywhere() -> None:
    """In the recipes, the stack and the example."""
    for variable, recipe in {"AUTOHEAL_BASE": "Dockerfile", "LOGROTATE_BASE": "logrotate/Dockerfile"}.items():
        assert f"ARG BASE={EXAMPLE[variable]}\n" in (ROOT / recipe).read_text()
