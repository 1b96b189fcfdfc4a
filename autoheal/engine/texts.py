"""What is kept of the rules in force: that they were loaded or refused, and their texts by digest.

With its text a decision can be computed again after the rules have changed.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from autoheal.disk import write_whole
from autoheal.errors import ConfigError
from autoheal.model import Draft, Kind
from autoheal.rules import RuleSet

FAULTS_BYTES = 16 * 1024
"""What the faults of a refused reload may take in its record; each is cut at `FAULT_CHARACTERS`."""
FAULT_CHARACTERS = 500


def loaded(rules: RuleSet, actor: str) -> Draft:
    """The `config_loaded` record of `rules`."""
    return Draft(kind=Kind.CONFIG_LOADED, actor=actor, detail={"rules_digest": rules.digest, "rules": len(rules.rules)})


def rejected(error: ConfigError, actor: str) -> Draft:
    """The `config_rejected` record: the first faults as far as a record holds them, and how many more there are."""
    faults: list[str] = []
    room = FAULTS_BYTES
    for fault in (str(fault).encode(errors="replace").decode() for fault in error.faults):
        text = fault if len(fault) <= FAULT_CHARACTERS else f"{fault[:FAULT_CHARACTERS]}…"
        room -= len(orjson.dumps(text))
        if room < 0:
            break
        faults.append(text)
    return Draft(
        kind=Kind.CONFIG_REJECTED, actor=actor, detail={"faults": faults, "more": len(error.faults) - len(faults)}
    )


def keep_texts(folder: Path, rules: RuleSet) -> None:
    """Write the texts of `rules` to FOLDER/DIGEST.json unless they stand there. Raises OSError."""
    path = folder / f"{rules.digest}.json"
    if not path.exists():
        write_whole(path, orjson.dumps(dict(rules.texts), option=orjson.OPT_INDENT_2))
