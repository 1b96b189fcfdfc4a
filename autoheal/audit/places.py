"""Where the log is when the command line does not say."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from autoheal.journal.checkpoint import FOLDER_NAME, PUBLIC_NAME

Add = Callable[[str, str, str], argparse.ArgumentParser]
"""Adds a command: its name, a summary, and examples one a line, indented by two spaces."""


def data_dir(given: Path | None) -> Path:
    """The data directory: `given`, else the service's own (`AUTOHEAL_DATA_DIR`, `./data` by default)."""
    return given or Path(os.environ.get("AUTOHEAL_DATA_DIR", "").strip() or "./data")


def public_key_file(data: Path, *, own: bool) -> Path:
    """The public keys of the log in `data`; `own`: it is the service's own, whose `AUTOHEAL_KEY_DIR` counts."""
    key_dir = os.environ.get("AUTOHEAL_KEY_DIR", "").strip() if own else ""
    return (Path(key_dir) if key_dir else data / FOLDER_NAME) / PUBLIC_NAME
