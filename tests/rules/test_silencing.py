"""Coverage: which alerts a silence covers is a function of its record, the labels and the time."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from autoheal.journal.record import parse, seal
from autoheal.model import Draft, Kind, rfc3339
from autoheal.rules.match import Matcher, parse_matchers
from autoheal.rules.silencing import covering, exactly, notation
from autoheal.state import CLOCK_SET_BACK, Silence, State, fold

NOW = 1_790_000_000.0

names = st.sampled_from(["alertname", "job", "instance", "utf8.näme"])
values = st.sampled_from(["", "api", "web", "api-1", 'a"b\\c\nd', "{}=~,"])
alerts = st.dictionaries(names, values)
matchers = st.builds(Matcher, names, st.sampled_from(["=", "!="]), values) | st.builds(
    Matcher, names, st.sampled_from(["=~", "!~"]), st.sampled_from(["api.*", "api|web", ".+", ".*", ""])
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def holds(matcher: Matcher, labels: dict[str, str]) -> bool:
    """As Alertmanager's documentation says it, by Python's own regular expressions."""
    value = labels.get(matcher.name, "")
    equal = bool(re.fullmatch(matcher.value, value)) if "~" in matcher.op else value == matcher.value
    return equal is (matcher.op[0] == "=")


def created(silence_id: str, about: list[Matcher], ends_at: float, request: int) -> Draft:
    detail = {
        "request": request,
        "silence_id": silence_id,
        "matchers": notation(about),
        "ends_at": rfc3339(ends_at),
    }
    return Draft(kind=Kind.SILENCE_CREATED, actor="ann", detail=detail)


@given(
    made=st.lists(st.tuples(st.lists(matchers, min_size=1, max_size=4), st.integers(-100, 100)), max_size=5),
    labels=alerts,
    asked_at=st.integers(0, 100),
)
def test_an_alert_is_covered_by_the_longest_of_the_silences_whose_matchers_all_hold(
    made: list[tuple[list[Matcher], int]], labels: dict[str, str], asked_at: int
) -> None:
    """Whatever records of silences the log holds, as written and as read back; and never after its end."""
    state, lines = State(), []
    for number, (about, ends_in) in enumerate(made):
        record = seal(created(f"s{number}", about, NOW + ends_in, 0), state.head, NOW)
        state.apply(record)
        lines.append(record.line)
    assert fold(map(parse, lines)).silences == state.silences
    expected = [ends for about, ends in made if ends > asked_at and all(holds(each, labels) for each in about)]
    found = covering(state.silences.values(), labels, NOW + asked_at)
    assert (None if found is None else found.ends_at - NOW) == max(expected, default=None)


@given(st.dictionaries(texts.filter(bool), texts, min_size=1, max_size=5), st.data())
def test_an_alert_s_own_labels_cover_it_and_none_that_differs_in_one(
    labels: dict[str, str], data: st.DataObject
) -> None:
    """Any text that a label may hold survives the way through a record: a fingerprint's silence covers its alert."""
    silence = Silence("s1", notation(exactly(labels, labels.keys())), "ann", NOW + 1)
    assert parse_matchers(silence.matchers) == exactly(labels, labels.keys())
    assert covering([silence], {**labels, "more": "x"} if "more" not in labels else labels, NOW) is silence
    name = data.draw(st.sampled_from(sorted(labels)))
    assert covering([silence], {**labels, name: labels[name] + "x"}, NOW) is None


def test_the_order_of_matchers_does_not_depend_on_the_alert_s() -> None:
    """So that the same alert acknowledged twice has the same matchers in the log."""
    one, other = {"b": "2", "a": "1"}, {"a": "1", "b": "2"}
    assert notation(exactly(one, one.keys())) == notation(exactly(other, other.keys())) == 'a="1", b="2"'


@given(st.lists(st.tuples(st.sampled_from(["create", "replace", "expire"]), st.integers(0, 3)), max_size=20))
def test_what_stands_is_what_was_made_less_what_was_replaced_or_ended(steps: list[tuple[str, int]]) -> None:
    """The fold keeps each silence from its record to the one that takes its place, or tells that it was ended."""
    state = State()
    standing: dict[str, None] = {}
    for number, (what, which) in enumerate(steps):
        known = list(standing)
        old = known[which % len(known)] if known and what != "create" else "s?"
        if what == "expire":
            draft = Draft(kind=Kind.SILENCE_EXPIRED, detail={"silence_id": old})
        else:
            draft = created(f"s{number}", [Matcher("a", "=", "b")], NOW + 60, 0)
            draft.detail["replaces"] = old  # type: ignore[index]
            standing[f"s{number}"] = None
        standing.pop(old, None)
        state.apply(seal(draft, state.head, NOW))
    assert list(state.silences) == list(standing)


def test_one_that_takes_its_own_place_has_a_new_end() -> None:
    """Alertmanager changes a silence in place within the second in which it began; its id stays then."""
    state = State()
    for ends_at in (NOW + 60, NOW + 5):
        draft = created("s1", [Matcher("a", "=", "b")], ends_at, 0)
        draft.detail["replaces"] = "s1"  # type: ignore[index]
        state.apply(seal(draft, state.head, NOW))
    assert {each.id: each.ends_at for each in state.silences.values()} == {"s1": NOW + 5}


def test_silences_that_are_over_are_forgotten() -> None:
    """At the next one a day later, as the clock may have been set back: a log of years keeps those that may last."""
    state, day = State(), CLOCK_SET_BACK + 60
    for number in range(5):
        state.apply(
            seal(
                created(f"s{number}", [Matcher("a", "=", "b")], NOW + number * day + 30, 0),
                state.head,
                NOW + number * day,
            )
        )
    assert list(state.silences) == ["s4"]
