"""States, to be compared across processes."""

from __future__ import annotations

import hashlib

from pydantic import TypeAdapter

from autoheal.state import State


def digest(state: State) -> str:
    """The SHA-256 of all that a state holds, in its order."""
    return hashlib.sha256(TypeAdapter(State).dump_json(state)).hexdigest()
