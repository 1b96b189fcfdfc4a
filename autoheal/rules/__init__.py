"""What to do about which alerts: load, match, render, decide.

Actions are not known here: `load` is told the model of each action's parameters.
"""

from autoheal.rules.load import RuleSet, asking_prometheus, describe, load, naming_channels
from autoheal.rules.match import Matcher, parse_matchers
from autoheal.rules.render import plan, reveal
from autoheal.rules.schema import Rule, RuleBudget, Step, Verify, Window, json_schema

__all__ = [
    "Matcher",
    "Rule",
    "RuleBudget",
    "RuleSet",
    "Step",
    "Verify",
    "Window",
    "asking_prometheus",
    "describe",
    "json_schema",
    "load",
    "naming_channels",
    "parse_matchers",
    "plan",
    "reveal",
]
