"""Which rules can match an alert, without asking each of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import re2

from autoheal.rules.match import Matcher, all_match

MAX_MEMORY = 32 * 1024 * 1024
"""Bytes that RE2 may use for one label's regexes."""

CROWDED = 16
"""With more lists than this under one value, a regex tells them apart better."""

_LITERALS = re.compile(r"[\w \-/:@%#&=~,;<>!\"']+(?:\|[\w \-/:@%#&=~,;<>!\"']+)*")


class RuleIndex:
    """Finds the matcher lists that hold for some labels, in their order.

    A list with an equality (or a regex that is an alternation of literals) is filed under that label's values;
    of several, under the one that fewest lists share. One without, or in a crowd, is filed with the regexes of a
    label, which are asked all at once. The rest (nothing but negations, so rare) is asked one by one.
    """

    def __init__(self, lists: Sequence[tuple[Matcher, ...]], max_memory: int = MAX_MEMORY) -> None:
        self._lists = tuple(lists)
        shared = Counter(chain.from_iterable(_keys(matcher) for matchers in lists for matcher in matchers))
        self._filed: dict[str, dict[str, list[int]]] = {}
        self._rest: list[int] = []
        regexes: dict[str, list[tuple[int, str]]] = {}
        for position, matchers in enumerate(self._lists):
            options = [keys for matcher in matchers if (keys := _keys(matcher))]
            crowds = [max(shared[key] for key in keys) for keys in options]
            regex = next((m for m in matchers if m.op == "=~" and not _keys(m) and not m.matches({})), None)
            if options and (regex is None or min(crowds) <= CROWDED):
                for name, value in set(options[crowds.index(min(crowds))]):
                    self._filed.setdefault(name, {}).setdefault(value, []).append(position)
            elif regex is not None:
                regexes.setdefault(regex.name, []).append((position, regex.value))
            else:
                self._rest.append(position)
        self._regexes = {name: _Regexes(patterns, max_memory) for name, patterns in regexes.items()}

    def candidates(self, labels: Mapping[str, str]) -> Iterator[int]:
        """Positions of the lists that may hold, in order: every list that holds is among them."""
        found = list(self._rest)
        for name, value in labels.items():
            if name in self._filed:
                found.extend(self._filed[name].get(value, ()))
            if name in self._regexes:
                found.extend(self._regexes[name].positions(value))
        found.sort()
        return iter(found)

    def matching(self, labels: Mapping[str, str]) -> Iterator[int]:
        """Positions of the lists that hold, in order; lazily, since most callers want the first."""
        lists = self._lists
        return (position for position in self.candidates(labels) if all_match(lists[position], labels))


class _Regexes:
    """Regexes on one label, each with the position of its list, as one automaton."""

    def __init__(self, patterns: Sequence[tuple[int, str]], max_memory: int) -> None:
        self._positions = [position for position, _ in patterns]
        options = re2.Options()
        options.log_errors = False
        options.max_mem = max_memory
        self._set: re2.Set | None = re2.Set.FullMatchSet(options)
        try:
            for _, pattern in patterns:
                self._set.Add(pattern)
            # It holds for every text: when it is not among the answers, the automaton ran out of memory.
            self._set.Add("(?s).*")
            self._set.Compile()
        except re2.error:
            self._set = None

    def positions(self, value: str) -> Sequence[int]:
        """The positions whose regex holds for `value`; all of them when that cannot be told."""
        count = len(self._positions)
        found = self._set.Match(value.encode("utf-8", "replace")) if self._set is not None else None
        if not found or count not in found:
            return self._positions
        return [self._positions[answer] for answer in found if answer < count]


def _keys(matcher: Matcher) -> list[tuple[str, str]]:
    """The (label, value) pairs of which one must be present for `matcher` to hold; none when that cannot be told."""
    if matcher.op == "=" and matcher.value:
        return [(matcher.name, matcher.value)]
    if matcher.op == "=~" and _LITERALS.fullmatch(matcher.value):
        return [(matcher.name, value) for value in matcher.value.split("|")]
    return []
