"""From alerts to verified outcomes: intake, decisions, runs, recovery."""

from autoheal.engine.acknowledge import Ack, Acknowledged
from autoheal.engine.control import Word
from autoheal.engine.core import Engine
from autoheal.engine.release import batch_digest

__all__ = ["Ack", "Acknowledged", "Engine", "Word", "batch_digest"]
