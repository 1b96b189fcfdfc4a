"""The environment, read once into `Settings`: every fault at once, nothing misspelt ignored, no secret repeated."""

from autoheal.config.oidc import ALGORITHMS, OidcSettings
from autoheal.config.options import OPTIONS
from autoheal.config.parsers import is_loopback
from autoheal.config.settings import CHANNEL_SETTINGS, MAX_SECRET_BYTES, Settings, load, load_one

__all__ = [
    "ALGORITHMS",
    "CHANNEL_SETTINGS",
    "MAX_SECRET_BYTES",
    "OPTIONS",
    "OidcSettings",
    "Settings",
    "is_loopback",
    "load",
    "load_one",
]
