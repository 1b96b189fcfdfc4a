"""Alerts and rules for games of chance: few targets, every mode and guard; as a rules file and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autoheal.rules import RuleSet
from tests.support.rules import rules_from

MAX_RUNNING = 3
FREEZE = (14 * 3600 + 40 * 60, 14 * 3600 + 55 * 60)
"""Seconds of the day (UTC) from and until which no rule acts."""
POPULATION = "count(up)"
"""What Prometheus is asked."""
ALERTS: Sequence[Mapping[str, str]] = (
    {"alertname": "Down", "on": "a"},
    {"alertname": "Down", "on": "a", "pod": "2"},
    {"alertname": "Down", "on": "b"},
    {"alertname": "Down", "on": "c"},
    {"alertname": "Down", "on": "d"},
    {"alertname": "Slow", "on": "a"},
    {"alertname": "Slow", "on": "b"},
    {"alertname": "Slow", "on": "c", "env": "sacred"},
)
"""What may fire; the place in it is the fingerprint."""
Budget = tuple[int, float]
"""So many in any span of so many seconds."""


@dataclass(frozen=True)
class Law:
    """One rule, in seconds and plain names."""

    name: str
    alertnames: tuple[str, ...]
    mode: str
    does: tuple[str, ...]
    verify: float = 60.0
    wait: float = 0.0
    cooldown: float = 0.0
    per_target: tuple[Budget, ...] = ()
    per_rule: tuple[Budget, ...] = ()
    breaker: tuple[int, float] | None = None
    demote: str = "dry_run"
    rollout: float = 100.0
    """In percent."""
    fleet: int | None = None
    """The most percent of the population that may be under treatment."""
    rerun_interrupted: bool = False
    concurrency: int | None = None
    storm: Budget | None = None
    unless: str | None = None
    approval: float = 900.0
    cancel_on_resolve: bool = False

    def text(self, step: int, target: str) -> str:
        """What the action of that step (from 1) is told."""
        return f"{self.does[step - 1]} {target}"

    def rule(self) -> dict[str, Any]:
        """As a rules file says it."""
        said: dict[str, Any] = {
            "name": self.name,
            "match": f'alertname=~"{"|".join(self.alertnames)}"',
            "target": "{{ labels.on }}",
            "mode": self.mode,
            "for": f"{self.wait:g}s",
            "cooldown": f"{self.cooldown:g}s",
            "budget": {"target": _windows(self.per_target), "rule": _windows(self.per_rule)},
            "storm": "off" if self.storm is None else _windows((self.storm,))[0],
            "approval": {"expires": f"{self.approval:g}s"},
            "cancel_on_resolve": self.cancel_on_resolve,
            "rollout": f"{self.rollout:g}%",
            "rerun_interrupted": self.rerun_interrupted,
            "continue": True,
            "steps": [
                {"fake": {"do": f"{do} {{{{ target }}}}"}, "verify": {"resolved_within": f"{self.verify:g}s"}}
                for do in self.does
            ],
        }
        if self.breaker is not None:
            failures, reset = self.breaker
            said["breaker"] = {"failures": failures, "reset": f"{reset:g}s", "demote": self.demote}
        if self.fleet is not None:
            said["fleet"] = {"at_most": f"{self.fleet}%", "of": POPULATION}
        if self.concurrency is not None:
            said["concurrency"] = self.concurrency
        if self.unless is not None:
            said["unless"] = [f'alertname="{self.unless}"']
        return said


@dataclass(frozen=True)
class Laws:
    """A whole set of rules."""

    laws: tuple[Law, ...]
    budget: tuple[Budget, ...]
    loaded: RuleSet = field(init=False)

    def __post_init__(self) -> None:
        said = {
            "version": 1,
            "budget": _windows(self.budget),
            "protect": ['env="sacred"'],
            "freeze": [{"from": "14:40", "to": "14:55", "zone": "UTC"}],
            "rules": [law.rule() for law in self.laws],
        }
        object.__setattr__(self, "loaded", rules_from(json.dumps(said)))

    def named(self, name: str) -> Law | None:
        return next((law for law in self.laws if law.name == name), None)

    def digest(self, name: str) -> str | None:
        """That of one rule, to which people's words are bound."""
        return next((rule.digest for rule in self.loaded.rules if rule.name == name), None)


def _windows(budgets: tuple[Budget, ...]) -> list[str]:
    return [f"{count}/{seconds:g}s" for count, seconds in budgets]


_RESTART = Law(
    "restart",
    ("Down",),
    "live",
    ("restart", "replace"),
    cooldown=120,
    per_target=((2, 1200),),
    per_rule=((5, 1800),),
    breaker=(2, 300),
    concurrency=2,
    storm=(3, 120),
    fleet=50,
    cancel_on_resolve=True,
)
_FAIL_OVER = Law(
    "fail-over",
    ("Down", "Slow"),
    "approve",
    ("fail over", "rebuild"),
    per_rule=((3, 1800),),
    unless="Maintenance",
    approval=300,
)
_TIDY = Law(
    "tidy",
    ("Slow",),
    "live",
    ("tidy",),
    verify=20,
    wait=20,
    cooldown=30,
    per_target=((3, 600),),
    rollout=70,
    rerun_interrupted=True,
)
_PONDER = Law("ponder", ("Down", "Slow"), "dry_run", ("ponder",))

BOOKS = (
    Laws((_RESTART, _FAIL_OVER, _TIDY, _PONDER), budget=((8, 3600),)),
    Laws(
        (
            replace(
                _TIDY,
                breaker=(1, 60),
                demote="approve",
                cooldown=0,
                does=("tidy well", "tidy again"),
                rollout=30,
                rerun_interrupted=False,
            ),
            replace(_FAIL_OVER, approval=150, unless=None, storm=(3, 300), concurrency=1, does=("fail over now",)),
            replace(_RESTART, mode="off"),
        ),
        budget=((4, 600), (10, 3600)),
    ),
    Laws(
        (replace(_RESTART, mode="approve", concurrency=1, breaker=None, storm=None, rollout=60), _TIDY),
        budget=((3, 1800),),
    ),
)
"""What the rules file may say; the first is what it says at first."""
