"""From alerts to verified outcomes: intake, decisions, runs, recovery."""

from autoheal.engine.core import Engine

__all__ = ["Engine"]
