from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoheal.rules.index import RuleIndex
from autoheal.rules.match import Matcher, all_match, parse_matchers

NAMES = st.sampled_from(["alertname", "service", "instance"])
VALUES = st.sampled_from(["", "a", "b", "api", "web-1", "a|b"])
MATCHERS = st.builds(Matcher, NAMES, st.sampled_from(["=", "!="]), VALUES) | st.builds(
    Matcher, NAMES, st.sampled_from(["=~", "!~"]), st.sampled_from(["", "a|b", "api|web-1|a", ".*", "a.*", "a||b", "a"])
)
LISTS = st.lists(st.lists(MATCHERS, min_size=1, max_size=3).map(tuple), max_size=30)
LABELS = st.dictionaries(NAMES, VALUES)


@given(LISTS, st.lists(LABELS, max_size=6))
def test_the_index_finds_what_a_loop_finds(lists: list[tuple[Matcher, ...]], alerts: list[dict[str, str]]) -> None:
    """For any lists and labels the same positions in the same order; candidates are never fewer, nor repeated."""
    found = RuleIndex(lists)
    for labels in alerts:
        naive = [position for position, matchers in enumerate(lists) if all_match(matchers, labels)]
        assert list(found.matching(labels)) == naive
        candidates = list(found.candidates(labels))
        assert candidates == sorted(set(candidates))
        assert set(naive) <= set(candidates)


def test_a_thousand_rules_leave_few_candidates() -> None:
    """Rules with an equality, or an alternation of literals, are candidates only when that label has the value."""
    rules = [parse_matchers(f'severity="page", alertname="A{number}"') for number in range(500)]
    rules += [parse_matchers(f'severity="page", alertname=~"A{number}|B{number}"') for number in range(500)]
    assert list(RuleIndex(rules).candidates({"severity": "page", "alertname": "A7"})) == [7, 507]
    assert list(RuleIndex(rules).candidates({"severity": "page", "alertname": "B7"})) == [507]
    assert list(RuleIndex(rules).candidates({"severity": "page"})) == []


def test_a_thousand_regexes_are_asked_at_once() -> None:
    """Rules that only regexes tell apart are candidates only when theirs holds, also behind a crowded equality."""
    rules = [parse_matchers(f'instance=~"host{number}-[0-9]+:.*"') for number in range(500)]
    rules += [parse_matchers(f'severity="page", alertname=~"A{number}[a-z]"') for number in range(500)]
    found = RuleIndex(rules)
    assert list(found.candidates({"instance": "host7-1:80", "severity": "page", "alertname": "A7x"})) == [7, 507]
    assert list(found.candidates({"instance": "host7", "severity": "page"})) == []


@given(LISTS, LABELS)
def test_without_memory_for_its_regexes_the_index_is_slower_and_as_right(
    lists: list[tuple[Matcher, ...]], labels: dict[str, str]
) -> None:
    """When RE2 cannot hold all regexes at once, every rule that has one is a candidate."""
    tight = RuleIndex(lists, max_memory=1)
    assert list(tight.matching(labels)) == list(RuleIndex(lists).matching(labels))


class Exhausted:
    """RE2's answer when its automaton runs out of memory: the same as when nothing matches."""

    def Match(self, text: bytes) -> None:  # noqa: N802 its name in RE2
        return None


def test_an_automaton_that_runs_out_of_memory_hides_no_rule() -> None:
    """A silence in which even the regex for all texts is missing makes every rule a candidate."""
    found = RuleIndex([parse_matchers(f'a=~"x{number}+"') for number in range(9)])
    found._regexes["a"]._set = Exhausted()
    assert list(found.matching({"a": "x77"})) == [7]
    assert len(list(found.candidates({"a": "x77"}))) == 9
