"""What guards have to tell: records that follow from others, whoever wrote those. Pure: state and rules in, drafts out.

They are made from the state alone, so that none is lost when the gateway dies between cause and consequence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from autoheal.breaker import Breaker
from autoheal.errors import RenderError
from autoheal.model import Draft, Kind, Mode, rfc3339
from autoheal.rules import Rule, RuleSet
from autoheal.rules.decide import Switches, demoted_to, mode_of, protected
from autoheal.rules.render import target_of
from autoheal.rules.schema import Window
from autoheal.state import Episode, State
from autoheal.storm import Storm

DEMOTED_AFTER = 3
"""Openings of a rule's breaker without a heal between them after which the rule is demoted."""
TARGETS_NAMED = 20
TARGET_SHOWN = 200
"""How many targets the record of a storm names, and how many characters of each."""


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
    elif (
        rule.breaker is not None
        and not breaker.demoted
        and (breaker.trial_failed or (breaker.opened_at is None and breaker.failures >= rule.breaker.failures))
    ):
        about = {"failures": breaker.failures, "opens": breaker.opens + 1, "rule_digest": rule.digest}
        until = rfc3339(breaker.until(rule.breaker.reset))
        yield Draft(kind=Kind.BREAKER_OPENED, rule=rule.name, detail={**about, "until": until})
    elif breaker.opens >= DEMOTED_AFTER and not breaker.demoted and (to := demoted_to(rule)) is not rule.mode:
        about = {"failures": breaker.failures, "opens": breaker.opens, "rule_digest": rule.digest}
        modes = {"from": rule.mode.value, "to": to.value}
        yield Draft(kind=Kind.RULE_DEMOTED, rule=rule.name, detail={**about, **modes})


class Survey:
    """What the alerts are about on which a decision is due, before the first is made.

    So all alerts of a body are looked at first, and a storm's first alert meets the same answer as its last. `named`
    has the targets by rule of which no decision has told yet, and when their alerts began (epoch seconds).
    """

    def __init__(self) -> None:
        self._unseen: dict[str, None] = {}
        self.named: dict[str, dict[str, float]] = {}

    @property
    def done(self) -> bool:
        """Whether all have been looked at."""
        return not self._unseen

    def add(self, fingerprints: Iterable[str]) -> None:
        """These are to be looked at."""
        self._unseen.update(dict.fromkeys(fingerprints))

    def look(self, state: State, rules: RuleSet, at_most: int) -> bool:
        """Look at the next `at_most` of them; whether a target is new among them."""
        new = False
        for fingerprint in list(islice(self._unseen, at_most)):
            del self._unseen[fingerprint]
            if (episode := state.episodes.get(fingerprint)) is None:
                continue
            # The decision on it will meet whatever is wrong here, and tell of it; others must not suffer.
            with contextlib.suppress(Exception):
                for rule, target in _aims(episode, rules):
                    if state.targets.get(rule, {}).get(target, float("-inf")) < episode.opened_at:
                        self.named.setdefault(rule, {})[target] = episode.opened_at
                        new = True
        return new


def _aims(episode: Episode, rules: RuleSet) -> Iterator[tuple[str, str]]:
    for rule in rules.match(episode.labels):
        if rule.mode is not Mode.OFF and rule.storm is not None and protected(episode, rule, rules).passed:
            # Without a safe target there is nothing to count: the decision will say so.
            with contextlib.suppress(RenderError):
                yield rule.name, target_of(rule, episode)


def _hold_more(storm: Storm, count: int) -> bool:
    """Whether the alerts that the storm holds are about more than `count` targets."""
    held: set[str] = set()
    for target in storm.held.values():
        held.add(target)
        if len(held) > count:
            return True
    return False


def _acts(state: State, rule: Rule | None, switches: Switches) -> bool:
    return rule is not None and mode_of(state, rule, switches) in (Mode.APPROVE, Mode.LIVE)


def _about(limit: Window, targets: Sequence[str]) -> dict[str, object]:
    some = [target[:TARGET_SHOWN] for target in targets[:TARGETS_NAMED]]
    return {"targets": len(targets), "of": limit.count, "window": limit.seconds, "some": some}


def storms_due(
    state: State, rules: Mapping[str, Rule], named: Mapping[str, Mapping[str, float]], switches: Switches, now: float
) -> tuple[list[Draft], float | None]:
    """The begins and ends of storms, and the calls of people to one, that no record tells of, given what a `Survey` has
    `named`; and when time alone may end the next one (epoch seconds).
    """
    drafts: list[Draft] = []
    looks: list[float] = []
    for name in {**named, **state.storms}:
        rule, storm = rules.get(name), state.storms.get(name)
        limit = None if rule is None else rule.storm
        calls = storm is not None and storm.escalated_at is None and _acts(state, rule, switches)
        if storm is not None and not storm.over and limit is not None and not calls and _hold_more(storm, limit.count):
            continue  # whatever else there is: this is asked for each alert of a storm, and there may be thousands
        span = 0.0 if limit is None else limit.seconds
        seen = {**state.targets.get(name, {}), **named.get(name, {})}
        recent = {target: ts for target, ts in seen.items() if ts > now - span}
        if storm is not None and not storm.over:
            held = set(storm.held.values())
            if limit is None or (excess := len(recent.keys() | held) - limit.count) <= 0:
                drafts.append(Draft(kind=Kind.STORM_ENDED, rule=name, detail={"held": len(storm.held)}))
            elif calls:
                # One word to people for all of it; a dry run leaves them nothing to do.
                about = _about(limit, [*recent, *(held - recent.keys())])
                drafts.append(Draft(kind=Kind.ESCALATED, rule=name, reason="storm", detail=about))
            elif excess <= len(leaving := sorted(ts for target, ts in recent.items() if target not in held)):
                looks.append(leaving[excess - 1] + span)
        elif rule is not None and limit is not None and len(recent) > limit.count:
            drafts.append(Draft(kind=Kind.STORM_BEGAN, rule=name, detail=_about(limit, list(recent))))
    return drafts, min(looks, default=None)
