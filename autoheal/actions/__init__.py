"""What autoheal can do to the world: one module per action, and the table of all."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from autoheal.actions.command import Command
from autoheal.actions.contract import DEFAULT_TIMEOUT, Action, Context, Outcome, Traits
from autoheal.actions.docker import DEFAULT_HOST, Docker
from autoheal.actions.http import Http
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
    "Outcome",
    "Systemd",
    "Traits",
    "builtin",
    "orphan_gone",
]


def builtin(*, docker_host: str = DEFAULT_HOST, docker_certs: Path | None = None) -> Mapping[str, Action]:
    """Every built-in action by its name in rules, as the settings want it."""
    actions: tuple[Action, ...] = (Command(), Http(), Docker(docker_host, docker_certs), Systemd())
    return MappingProxyType({action.name: action for action in actions})


ACTIONS = builtin()
"""The built-in actions as they are when no setting says otherwise."""
