"""What a decision knew of the world, read back from its record, and the decision made again by it."""

from __future__ import annotations

from collections.abc import Sequence

from autoheal.engine.deciding import decision_draft
from autoheal.journal import seal
from autoheal.model import Record, parse_rfc3339
from autoheal.rules import RuleSet
from autoheal.rules.decide import Switches, decide
from autoheal.rules.guards import Facts, Others, Population, Standing
from autoheal.state import fold


def facts_of(record: Record) -> Facts:
    """The facts that the guards of a decision looked at."""
    saw = {guard["guard"]: guard for guard in record.detail["guards"]}
    others = standing = None
    if "asked_at" in (about := saw.get("unless", {})):
        firing = tuple(about["firing"].values()) if "firing" in about else None
        others = Others(parse_rfc3339(about["asked_at"]), about["known"], firing)
    if "asked_at" in (about := saw.get("human_present", {})):
        standing = Standing(parse_rfc3339(about["asked_at"]), about["known"], about.get("silences", ()))
    populations = {}
    if "query" in (about := saw.get("fleet_guard", {})):
        told = Population(parse_rfc3339(about["asked_at"]), about["population"], about.get("error"))
        populations[about["query"]] = told
    return Facts(others, standing, populations)


def made_again(record: Record, records: Sequence[Record], rules: RuleSet) -> bytes:
    """The line of a decision that was made before its run began, from what came before it and what it tells itself."""
    state, now = fold(records[: record.seq - 1]), parse_rfc3339(record.detail["now"])
    episode, switches = state.episodes[str(record.fingerprint)], Switches(**record.detail["settings"])
    again = decide(state, episode, rules.rules[0], rules, switches, now, None, facts_of(record))
    draft = decision_draft(episode, again, switches, rules.digest, record.run)
    return seal(draft, records[record.seq - 2].head, record.ts).line
