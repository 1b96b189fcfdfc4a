"""One gateway process: opens the log, folds it, and serves until a signal says stop."""

from autoheal.serve.process import load_rules, serve
from autoheal.serve.server import web_server

__all__ = ["load_rules", "serve", "web_server"]
