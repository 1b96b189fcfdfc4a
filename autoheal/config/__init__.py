"""The environment, read once into `Settings`: every fault at once, nothing misspelt ignored, no secret repeated."""

from autoheal.config.options import OPTIONS
from autoheal.config.settings import MAX_SECRET_BYTES, Settings, is_loopback, load, load_one

__all__ = ["MAX_SECRET_BYTES", "OPTIONS", "Settings", "is_loopback", "load", "load_one"]
