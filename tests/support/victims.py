"""Processes that must be gone, or must live on: found by an argument that nothing else has."""

from __future__ import annotations

import uuid
from pathlib import Path


def mark() -> str:
    """A text to put on a command line."""
    return f"autoheal-test-{uuid.uuid4().hex}"


def marked(text: str) -> list[int]:
    """Ids of the living processes with `text` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # A zombie has an empty command line.
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if text.encode() in arguments:
                found.append(int(entry.name))
    return found
