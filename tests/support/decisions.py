"""Decisions made of nothing but a state, an alert and rules."""

from __future__ import annotations

from autoheal.model import Mode
from autoheal.rules import RuleSet
from autoheal.rules.decide import Decision, Switches, decide
from autoheal.rules.guards import NO_FACTS, Facts
from autoheal.state import Charge, Episode, Pause, Run, State
from tests.support.rules import rules_from

NOW = 1_790_000_000.0
LIVE = Switches(enabled=True, dry_run=False)
RULES = rules_from("""
    version: 1
    budget: [5/1h]
    protect: ['namespace="kube-system"']
    rules:
      - name: restart
        match: alertname="Down"
        for: 30s
        target: '{{ labels.instance }}'
        allow_target: 'api-[0-9]+'
        protect: ['tier="gold"']
        mode: live
        cooldown: 10m
        budget: {target: [2/1h], rule: [3/1h]}
        breaker: {failures: 2, reset: 30m}
        steps: [{fake: {do: 'restart {{ target }}'}}]
      - name: "off"
        match: alertname="Off"
        mode: "off"
      - name: dry
        match: alertname="Dry"
        target: '{{ labels.instance }}'
        mode: dry_run
        steps: [{fake: {do: x}}]
    """)


def episode(**labels: str) -> Episode:
    labels = {"alertname": "Down", "instance": "api-1", **labels}
    return Episode("e1", "f1", labels, {}, NOW - 100, NOW - 90, "c")


def ask(
    state: State | None = None,
    about: Episode | None = None,
    *,
    switches: Switches = LIVE,
    now: float = NOW,
    run: Run | None = None,
    rules: RuleSet = RULES,
    facts: Facts = NO_FACTS,
) -> Decision:
    about = about or episode()
    rule = next(iter(rules.match(about.labels)), None)
    return decide(state or State(), about, rule, rules, switches, now, run, facts)


def charge(state: State, rule: str, target: str, ts: float) -> None:
    state.charge(Charge(ts, rule, target))


def a_run(target: str = "api-1", rule: str = "restart", step: int = 0) -> Run:
    return Run("r9", "e1", "f1", "Down", rule, target, Mode.LIVE, {"steps": []}, "d", NOW, "c", step=step)


def a_pause(rule: str | None = None, until: float | None = None, how: str = "api") -> Pause:
    return Pause(rule, how, "ann", "the database moves", NOW - 60, until)
