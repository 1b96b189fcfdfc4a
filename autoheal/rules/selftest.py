"""The rule for the alert of the self-test: built in, always a dry run, and out of reach of rules files."""

from __future__ import annotations

from typing import Final

from autoheal.model import Mode, OwnName
from autoheal.rules.fields import Strict
from autoheal.rules.match import parse_matchers
from autoheal.rules.schema import Rule, Step
from autoheal.rules.template import OF_TARGET, Flavour, Template

SELF_TEST: Final = Rule(
    # No file can have a rule of this name: a slash is not allowed in one.
    name="autoheal/selftest",
    matchers=parse_matchers(f'alertname="{OwnName.SELFTEST}"'),
    target=Template("self-test", Flavour.TEXT, OF_TARGET),
    # No installed action has this name either: were the rule ever live, it could do nothing.
    steps=(Step(action="nothing", params=Strict()),),
    mode=Mode.DRY_RUN,
    cooldown=0.0,
    storm=None,
)
"""What `decide` asks about `AutohealSelfTest`; every guard that holds for all rules holds for it as well."""
