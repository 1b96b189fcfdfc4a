"""Alerts that autoheal itself raises, as `POST /api/v2/alerts` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoheal.model import rfc3339


@dataclass(frozen=True, slots=True)
class Post:
    """An alert that fires from `starts_at` until `ends_at` (epoch seconds), unless it is posted again before.

    Alertmanager knows it by its labels; one whose `ends_at` is not in the future has ended.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float
    ends_at: float
    url: str | None = None

    def body(self) -> dict[str, Any]:
        """As the API wants it."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            # It refuses an alert that ends before it starts: one that ends at once may.
            "startsAt": rfc3339(min(self.starts_at, self.ends_at)),
            "endsAt": rfc3339(self.ends_at),
            **({"generatorURL": self.url} if self.url else {}),
        }
