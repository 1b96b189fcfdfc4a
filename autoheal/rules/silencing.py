"""Which alerts a silence covers, and which silence covers an alert."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

from autoheal.rules.match import Matcher, all_match, parse_matchers
from autoheal.state import Silence


def exactly(labels: Mapping[str, str], names: Collection[str]) -> tuple[Matcher, ...]:
    """The matchers that an alert with `labels` meets by the labels `names`, each with its very value."""
    return tuple(Matcher(name, "=", labels[name]) for name in sorted(names))


def notation(matchers: Sequence[Matcher]) -> str:
    """`matchers` in Alertmanager's notation, as records hold them."""
    return ", ".join(map(str, matchers))


def covering(silences: Iterable[Silence], labels: Mapping[str, str], now: float) -> Silence | None:
    """Of the silences that cover an alert with `labels` at `now` (epoch seconds), the one that lasts longest."""
    lasting = (silence for silence in silences if now < silence.ends_at)
    covers = (silence for silence in lasting if all_match(_parsed(silence.matchers), labels))
    return max(covers, key=lambda silence: silence.ends_at, default=None)


@lru_cache(maxsize=1024)
def _parsed(matchers: str) -> tuple[Matcher, ...]:
    # Every decision asks every silence: to compile their regular expressions each time would take the most of it.
    return parse_matchers(matchers)
