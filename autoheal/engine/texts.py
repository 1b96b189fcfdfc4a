"""The rules' texts, kept by digest, so that a decision can be computed again after the rules changed."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from autoheal.rules import RuleSet


def keep_texts(folder: Path, rules: RuleSet) -> None:
    """Write the texts of `rules` to FOLDER/DIGEST.json unless they stand there. Raises OSError."""
    path = folder / f"{rules.digest}.json"
    if path.exists():
        return
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(orjson.dumps(dict(rules.texts), option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
