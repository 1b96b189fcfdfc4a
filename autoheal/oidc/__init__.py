"""Who asks, by the word of an OpenID Connect provider: its addresses, its keys, its tokens, their roles."""

from autoheal.oidc.discovery import Provider
from autoheal.oidc.fetch import provider_client
from autoheal.oidc.service import Oidc

__all__ = ["Oidc", "Provider", "provider_client"]
