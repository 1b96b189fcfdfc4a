"""What autoheal can do to the world: one module per action, and the table of all."""

from collections.abc import Mapping
from types import MappingProxyType

from autoheal.actions.command import Command
from autoheal.actions.contract import DEFAULT_TIMEOUT, Action, Context, Outcome
from autoheal.actions.http import Http
from autoheal.actions.supervision import orphan_gone

__all__ = ["ACTIONS", "DEFAULT_TIMEOUT", "Action", "Command", "Context", "Http", "Outcome", "orphan_gone"]

ACTIONS: Mapping[str, Action] = MappingProxyType({action.name: action for action in (Command(), Http())})
"""Every built-in action by its name in rules."""
