"""What is kept of the rules in force: that they were loaded or refused, and their texts by digest.

With its text a decision can be computed again after the rules have changed.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from autoheal.disk import write_whole
from autoheal.errors import ConfigError
from autoheal.model import By, Draft, Kind
from autoheal.rules import RuleSet

FAULTS_BYTES = 16 * 1024
"""What the faults of a refused reload may take in its record; each is cut at `FAULT_CHARACTERS`."""
FAULT_CHARACTERS = 500


def loaded(rules: RuleSet, by: By | None) -> Draft:
    """The `config_loaded` record of `rules`; `by` is whoever asked for it."""
    return _draft(Kind.CONFIG_LOADED, by, {"rules_digest": rules.digest, "rules": len(rules.rules)})


def rejected(error: ConfigError, by: By | None) -> Draft:
    """The `config_rejected` record: the first faults as far as a record holds them, and how many more there are."""
    faults: list[str] = []
    room = FAULTS_BYTES
    for fault in (str(fault).encode(errors="replace").decode() for fault in error.faults):
        text = fault if len(fault) <= FAULT_CHARACTERS else f"{fault[:FAULT_CHARACTERS]}…"
        room -= len(orjson.dumps(text))
        if room < 0:
            break
        faults.append(text)
    return _draft(Kind.CONFIG_REJECTED, by, {"faults": faults, "more": len(error.faults) - len(faults)})


def keep_texts(folder: Path, rules: RuleSet) -> None:
    """Write the texts of `rules` to FOLDER/DIGEST.json unless they stand there. Raises OSError."""
    path = folder / f"{rules.digest}.json"
    if not path.exists():
        write_whole(path, orjson.dumps(dict(rules.texts), option=orjson.OPT_INDENT_2))


def _draft(kind: Kind, by: By | None, detail: dict[str, object]) -> Draft:
    if by is None:
        return Draft(kind=kind, detail=detail)
    return Draft(kind=kind, actor=by.actor, correlation_id=by.correlation_id, detail=detail)
