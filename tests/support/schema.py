"""The JSON Schema of rules files as it should stand in the documentation.

To write it anew: `.venv/bin/python -m tests.support.schema > docs/rules.schema.json`
"""

from __future__ import annotations

import json

from pydantic import BaseModel

from autoheal.actions import ACTIONS
from autoheal.rules import json_schema

PARAMS: dict[str, type[BaseModel]] = {name: action.Params for name, action in ACTIONS.items()}
"""The models of the true actions' parameters."""


def text() -> str:
    """The whole file."""
    return json.dumps(json_schema(PARAMS), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")
