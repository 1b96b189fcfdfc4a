"""`report.md`: what was gathered at a glance, and what to look at next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from autoheal.incident.answers import Answer
from autoheal.incident.bundle import Part

_CHECKLIST = """\
## What to look at

- [ ] **Does it answer?** `overview.json`, `healthz.json`, `readyz.json` above. `/healthz` without `/readyz`: the log
  cannot be written. Nothing at all, and a process: it hangs (next point). No process: `own-log.txt` says why it ended.
- [ ] **What does it do?** `threads.txt`: a main thread that waits for work is in `runners.py` and nowhere deeper; else
  it is stuck there. The tasks tell who waits for what: a peer that does not answer, a lock.
- [ ] **What went wrong last?** `errors.jsonl`, newest last; then `records.jsonl` around the same `correlation_id`.
- [ ] **Is the log whole?** `verify.txt`. If not: copy the data directory before anything else, docs/audit.md.
- [ ] **Is there room?** Disks, inodes and memory in `host.txt`; `autoheal_audit_free_bytes` in `metrics.txt`.
- [ ] **Who holds it back?** `paused`, `enabled` and `dry_run` in `overview.json`; breakers, storms, locks and pauses in
  `state.json`; `effective_mode` in `rules.json`.
- [ ] **Do its peers answer?** `selftest.json`; `keys.txt`; warnings in `overview.json`.
- [ ] **What changed?** `config_loaded` and `service_started` in `records.jsonl`; `versions.txt`; `settings.json`.
- [ ] **Then** docs/runbooks.md has a section for each alert that autoheal is watched by. To have it begin nothing:
  a file `PAUSE` in its data directory.

## Before you hand it on

Secrets that autoheal knows of are not in it: neither their values, nor credentials in addresses, nor bearer tokens.
Labels, annotations and outputs are, as the log has them, and names of hosts and people: it is for your own people.
"""


def report(parts: Sequence[Part], answers: Mapping[str, Answer], *, made_at: str, url: str, version: str) -> str:
    """The text, for people."""
    failed = [part for part in parts if part.failed]
    lines = [
        "# autoheal: what an incident left",
        "",
        f"Gathered at {made_at} by autoheal {version}; the service was asked at {url}.",
        f"{len(parts) - len(failed)} of {len(parts)} parts are here; what is missing says why.",
        "",
        "## At a glance",
        "",
        *(f"- {line}" for line in _glance(answers)),
        "",
        "## What is here",
        "",
        "| part | file | what it tells |",
        "|---|---|---|",
        *(f"| {part.name} | {_file(part)} | {_cell(part)} |" for part in parts),
        "",
    ]
    return "\n".join(lines) + "\n" + _CHECKLIST


def _glance(answers: Mapping[str, Answer]) -> list[str]:
    first = answers["/"]
    overview = _object(first)
    if overview is None:
        return [f"It does not answer: {first.why or f'GET / was answered {first.status}'}."]
    ready = answers["/readyz"]
    told = [
        "It answers: status {status}, version {version}, up for {uptime_seconds} s, head {head}.",
        "enabled {enabled}, dry_run {dry_run}, paused {paused}.",
    ]
    told = [line.format_map(_Known(overview)) for line in told]
    told.append(f"/readyz: {ready.status or ready.why}.")
    if (tests := _object(answers["/selftest/health"])) is not None:
        told.append("Self-test: {status}, {consecutive_failures} failures in a row.".format_map(_Known(tests)))
    warnings = overview.get("warnings")
    return told + [f"Warning: {text}" for text in (warnings if isinstance(warnings, list) else [])]


class _Known(dict[str, object]):
    """Fields of an answer, which may be another version's."""

    def __missing__(self, name: str) -> str:
        return "unknown"


def _object(answer: Answer) -> dict[str, object] | None:
    try:
        told = orjson.loads(answer.body) if answer.status else None
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def _file(part: Part) -> str:
    return f"`{part.file}`" if part.file else "none"


def _cell(part: Part) -> str:
    told = part.told.replace("|", "\\|")
    return f"**missing:** {told}" if part.failed else told
