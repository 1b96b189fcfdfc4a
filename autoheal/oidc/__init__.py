"""Who asks, by the word of an OpenID Connect provider: its addresses, its keys, its tokens, their roles."""

from autoheal.oidc.discovery import Provider
from autoheal.oidc.fetch import provider_client
from autoheal.oidc.service import Oidc
from autoheal.oidc.telling import KeyTrouble

__all__ = ["KeyTrouble", "Oidc", "Provider", "provider_client"]
