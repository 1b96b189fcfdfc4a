"""What guards have to tell: records that follow from others, whoever wrote those. Pure: state and rules in, drafts out.

They are made from the state alone, so that none is lost when the gateway dies between cause and consequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autoheal.breaker import Breaker
from autoheal.model import Draft, Kind, rfc3339
from autoheal.rules import Rule
from autoheal.state import State

DEMOTED_AFTER = 3
"""Openings of a rule's breaker without a heal between them after which the rule is a dry run."""


def breakers_due(state: State, rules: Mapping[str, Rule]) -> list[Draft]:
    """The openings, closings and demotions that `state` calls for and no record tells of. `rules` are by name."""
    return [
        draft
        for name, breaker in state.breakers.items()
        if (rule := rules.get(name)) is not None
        for draft in _due(rule, breaker)
    ]


def _due(rule: Rule, breaker: Breaker) -> Iterator[Draft]:
    if breaker.opened_at is not None and breaker.digest != rule.digest:
        # Whoever changed a rule has looked at it, and what it failed with is not what it would do now.
        yield Draft(kind=Kind.BREAKER_CLOSED, rule=rule.name, reason="rule_changed")
    elif breaker.opened_at is not None and breaker.failures == 0 and not breaker.demoted:
        yield Draft(kind=Kind.BREAKER_CLOSED, rule=rule.name, reason="healed")
    elif rule.breaker is not None and (
        breaker.trial_failed or (breaker.opened_at is None and breaker.failures >= rule.breaker.failures)
    ):
        opens = breaker.opens + 1
        about = {"failures": breaker.failures, "opens": opens, "rule_digest": rule.digest}
        until = rfc3339(breaker.until(rule.breaker.reset))
        yield Draft(kind=Kind.BREAKER_OPENED, rule=rule.name, detail={**about, "until": until})
        if opens >= DEMOTED_AFTER and not breaker.demoted:
            yield Draft(
                kind=Kind.RULE_DEMOTED, rule=rule.name, detail={**about, "from": rule.mode.value, "to": "dry_run"}
            )
