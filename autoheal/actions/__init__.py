"""What autoheal can do to the world: one module per action, those of others, and the table of all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from autoheal.actions.command import Command
from autoheal.actions.contract import DEFAULT_TIMEOUT, Action, Context, Observing, Outcome, Rehearsing, Traits
from autoheal.actions.docker import DEFAULT_HOST, Docker
from autoheal.actions.http import Http
from autoheal.actions.kubernetes import Kubernetes
from autoheal.actions.plugins import installed
from autoheal.actions.secret import Secrets
from autoheal.actions.ssh import Ssh
from autoheal.actions.supervision import orphan_gone
from autoheal.actions.systemd import Systemd

__all__ = [
    "ACTIONS",
    "DEFAULT_TIMEOUT",
    "Action",
    "Command",
    "Context",
    "Docker",
    "Http",
    "Kubernetes",
    "Observing",
    "Outcome",
    "Rehearsing",
    "Secrets",
    "Ssh",
    "Systemd",
    "Traits",
    "available",
    "builtin",
    "orphan_gone",
]


def builtin(
    *,
    docker_host: str = DEFAULT_HOST,
    docker_certs: Path | None = None,
    kubeconfig: Path | None = None,
    ssh_hosts: Sequence[str] = (),
) -> Mapping[str, Action]:
    """Every built-in action by its name in rules, as the settings want it."""
    actions: tuple[Action, ...] = (
        *(Command(), Http(), Docker(docker_host, docker_certs), Kubernetes(kubeconfig), Systemd(), Ssh(ssh_hosts)),
    )
    return MappingProxyType({action.name: action for action in actions})


def available(
    *, docker_host: str, docker_certs: Path | None, kubeconfig: Path | None, ssh_hosts: Sequence[str]
) -> Mapping[str, Action]:
    """The built-in actions and those that other distributions add, by their names in rules.

    Raises ConfigError when one that is installed cannot be used.
    """
    ours = builtin(docker_host=docker_host, docker_certs=docker_certs, kubeconfig=kubeconfig, ssh_hosts=ssh_hosts)
    return MappingProxyType({**ours, **installed(ours)})


ACTIONS = builtin()
"""The built-in actions as they are when no setting says otherwise."""
