"""Where the log is when the command line does not say."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from autoheal.age import Identities
from autoheal.errors import AutohealError
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


def add_identity(command: argparse.ArgumentParser) -> None:
    """The private key for what is encrypted."""
    what = "the age private key for encrypted files (default: AUTOHEAL_AUDIT_IDENTITY)"
    command.add_argument("--identity", metavar="FILE", type=Path, help=what)


def identities(given: Path | None) -> Identities | None:
    """The private keys in the file `given`, else those of the service. Raises AutohealError, and OSError."""
    if given is None:
        if not any(os.environ.get(name) for name in ("AUTOHEAL_AUDIT_IDENTITY", "AUTOHEAL_AUDIT_IDENTITY_FILE")):
            return None
        from autoheal.config import load_one  # noqa: PLC0415 two thirds of the start, for those alone who have one

        found: Identities | None = load_one(os.environ, "audit_identity")
        return found
    try:
        return Identities.parse(given.read_text(encoding="utf-8"))
    except ValueError as error:
        what = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise AutohealError(f"{given}: {what}") from None
