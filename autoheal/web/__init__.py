"""The HTTP surface (docs/api.md): one file per family of endpoints; `autoheal.app` puts them together."""
