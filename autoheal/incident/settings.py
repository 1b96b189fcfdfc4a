"""The settings as they may be shown, and what of them must not be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from autoheal.config import MAX_SECRET_BYTES, OPTIONS

_NOT_SET = "not set"


def shown(environ: Mapping[str, str]) -> dict[str, str]:
    """Every option as it is set; of a secret that it is, where from, and of addresses the host."""
    told = {}
    for option in OPTIONS:
        value, file = environ.get(option.name, "").strip(), environ.get(f"{option.name}_FILE", "").strip()
        if option.secret and file:
            told[option.name] = f"from {option.name}_FILE={file}"
        elif option.secret:
            told[option.name] = _hosts(value) if value else _NOT_SET
        else:
            told[option.name] = value or (f"{option.default} (default)" if option.default else _NOT_SET)
    return told


def secrets(environ: Mapping[str, str], directory: Path, token_file: Path | None) -> Iterator[str]:
    """All that is secret in them, and in what they name: the secrets of rules among it, and tokens.

    Paths that are not absolute begin in `directory`.
    """
    files = [] if token_file is None else [token_file]
    for option in OPTIONS:
        if option.secret:
            yield environ.get(option.name, "")
            if file := environ.get(f"{option.name}_FILE", "").strip():
                files.append(Path(file))
    if file := environ.get("AUTOHEAL_SELFTEST_TOKEN_FILE", "").strip():
        files.append(Path(file))
    for path in (*files, *_of_rules(directory / (environ.get("AUTOHEAL_RULES", "").strip() or "rules.yaml"))):
        # Who may not read it has not got it in what is gathered either.
        with contextlib.suppress(OSError), (directory / path).open("rb") as opened:
            yield opened.read(MAX_SECRET_BYTES).decode("utf-8", "ignore")


def _of_rules(rules: Path) -> Iterator[Path]:
    """The files that the rules name under `secrets`, also of rules that are no good otherwise."""
    with contextlib.suppress(OSError):
        for file in sorted(rules.iterdir()) if rules.is_dir() else [rules]:
            with contextlib.suppress(OSError, YAMLError, UnicodeDecodeError, AttributeError):
                named = YAML(typ="safe").load(file.read_text(encoding="utf-8")).get("secrets") or {}
                yield from (Path(str(path)) for path in named.values())


def _hosts(value: str) -> str:
    """Of one address, or several, all but what may be secret."""
    found = []
    for one in value.split(","):
        with contextlib.suppress(ValueError):
            parts = urlsplit(one.strip())
            if parts.scheme in ("http", "https", "postgresql") and parts.hostname:
                found.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…")
    return f"set: {', '.join(found)}" if found else "set"
