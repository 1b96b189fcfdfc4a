"""Which alerts a silence covers, and which silence covers an alert."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

from autoheal.rules.match import Matcher, all_match, parse_matchers
from autoheal.state import Silence


class Labelled(Protocol):
    """An alert, or the episode that it opened."""

    @property
    def labels(self) -> Mapping[str, str]: ...  # noqa: D102 as in Alert


AnyLabelled = TypeVar("AnyLabelled", bound=Labelled)


def exactly(labels: Mapping[str, str], names: Collection[str]) -> tuple[Matcher, ...]:
    """The matchers that an alert with `labels` meets by the labels `names`, each with its very value."""
    return tuple(Matcher(name, "=", labels[name]) for name in sorted(names))


def notation(matchers: Sequence[Matcher]) -> str:
    """`matchers` in Alertmanager's notation, as records hold them."""
    return ", ".join(map(str, matchers))


def covered(matchers: Sequence[Matcher], alerts: Iterable[AnyLabelled]) -> list[AnyLabelled]:
    """Those of `alerts` for which all `matchers` hold."""
    return [alert for alert in alerts if all_match(matchers, alert.labels)]


def covering(silences: Iterable[Silence], labels: Mapping[str, str], now: float) -> Silence | None:
    """Of the silences that cover an alert with `labels` at `now` (epoch seconds), the one that lasts longest."""
    lasting = (silence for silence in silences if now < silence.ends_at)
    covers = (silence for silence in lasting if all_match(parsed(silence.matchers), labels))
    return max(covers, key=lambda silence: silence.ends_at, default=None)


@lru_cache(maxsize=1024)
def parsed(matchers: str) -> tuple[Matcher, ...]:
    """The matchers of a silence, from the notation that records hold."""
    # Every decision asks every silence: to compile their regular expressions each time would take the most of it.
    return parse_matchers(matchers)
