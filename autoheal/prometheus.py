"""Prometheus's HTTP API: what a query comes to now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from autoheal.errors import UpstreamError
from autoheal.peer import Peer, Unusable

TIMEOUT_SECONDS = 5.0
"""From a query to the last byte of its answer."""
MAX_BODY_BYTES = 4 * 1024 * 1024
API = "api/v1"
WARNING_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """The values that a query came to: those of a vector's samples, or a scalar alone."""

    values: tuple[float, ...]

    @property
    def holds(self) -> bool:
        """Whether there is a value, and none of them is 0 or NaN."""
        return bool(self.values) and all(_holds(value) for value in self.values)

    @property
    def held(self) -> int:
        """How many of the values are neither 0 nor NaN."""
        return sum(map(_holds, self.values))


class Prometheus:
    """The Prometheus at `urls`, asked through `client`: several are members of an HA pair, which know the same.

    A URL may carry a path prefix and `user:password@`, which no error and no log line repeats.
    """

    def __init__(
        self,
        urls: Sequence[str],
        client: httpx.AsyncClient,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_body: int = MAX_BODY_BYTES,
    ) -> None:
        self._timeout = timeout
        self._peers = [Peer(url, client, timeout, max_body, API) for url in urls]

    async def query(self, expression: str) -> Answer:
        """What `expression` comes to, at the first that gives a usable answer.

        Raises UpstreamError with what each of them said when none does.
        """
        errors: list[str] = []
        for peer in self._peers:
            try:
                # The form: a URL may not be as long as a query. With the time, Prometheus gives up when we have.
                told = await peer.form("query", {"query": expression, "timeout": f"{self._timeout:g}"})
                return _read(told)
            except Unusable as error:
                errors.append(f"{peer.name}: {error}")
        raise UpstreamError(f"no Prometheus told: {'; '.join(errors)}")


def _holds(value: float) -> bool:
    return value != 0 and not math.isnan(value)


def _read(told: Any) -> Answer:
    try:
        if told["status"] != "success":
            raise Unusable("answered no success")
        if warnings := told.get("warnings"):
            # Behind Prometheus may stand others, one of whom did not answer: what is missing here may not hold.
            raise Unusable(f"answered with warnings: {str(warnings[0])[:WARNING_CHARACTERS]}")
        kind, result = told["data"]["resultType"], told["data"]["result"]
        if kind == "scalar":
            return Answer((float(result[1]),))
        if kind != "vector":
            raise Unusable(f"answered a {str(kind)[:20]}: a query must come to a vector of numbers or to a scalar")
        return Answer(tuple(_number(sample) for sample in result))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError):
        raise Unusable("did not answer as Prometheus does") from None


def _number(sample: Any) -> float:
    if "histogram" in sample:
        raise Unusable("answered histograms: a query must come to a vector of numbers or to a scalar")
    return float(sample["value"][1])
