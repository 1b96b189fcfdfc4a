"""Rules from text, with an action that only tests have."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from autoheal.rules import RuleSet, load
from autoheal.rules.fields import Text


class FakeParams(BaseModel):
    """`fake: {do: TEXT}`."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    do: Text


class FakeActionParams:
    """The parameter models that `rules_from` knows."""

    Params: ClassVar[Mapping[str, type[BaseModel]]] = {"fake": FakeParams}


def rules_from(text: str, **options: Any) -> RuleSet:
    """Load `text` as a rules file whose steps may use the `fake` action."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(dedent(text))
        return load(path, actions=FakeActionParams.Params, idempotent=lambda *_: True, **options)


ONE_RULE = """
    version: 1
    rules:
      - name: restart
        match: alertname="Down"
        target: '{{ labels.instance }}'
        mode: live
        cooldown: 10m
        steps:
          - fake: {do: 'restart {{ target }}'}
            verify: {resolved_within: 5m}
          - fake: {do: 'replace {{ target }}'}
            verify: {resolved_within: 5m}
"""


def with_keys(*keys: str) -> str:
    """ONE_RULE with further `keys` in its rule."""
    return ONE_RULE.replace("mode: live", "\n        ".join(("mode: live", *keys)))
