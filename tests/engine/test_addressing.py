"""Whom a record is to reach: pure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autoheal.engine.addressing import ENTRIES, Addressing
from autoheal.model import Draft, Kind
from autoheal.state import Episode, Incident, State
from tests.support.channels import FakeChannel

ABOUT: dict[str, Any] = {"fingerprint": "f", "rule": "r"}


def standing(*names: str, kind: str = "escalated") -> State:
    """A state in which people were told of these, and the alerts among them fire."""
    state = State(founded=True)
    for name in names:
        state.incidents[name] = Incident(5, kind, "critical", ["webhook", "gone"])
        about, fingerprint, *_ = name.split(" ")
        if about == "alert":
            labels = {"instance": fingerprint}
            state.episodes[fingerprint] = Episode("e1", fingerprint, labels, {}, 0.0, 0.0, None)
    return state


def told(state: State, draft: Draft) -> list[str]:
    """What `draft` says of which incidents."""
    address = Addressing([FakeChannel()], lambda: SimpleNamespace(rules=()), key_errors=True)  # type: ignore[arg-type, return-value]
    (addressed,) = address(state, [draft])
    entries = addressed.detail.get("tell", [])
    assert all(entry["to"] == ["webhook"] for entry in entries), "channels that are gone are told nothing"
    return [f"{entry['what']} {entry['incident']}" for entry in entries]


def test_the_end_of_an_alert_ends_what_was_told_of_it() -> None:
    """By whatever rule; another alert's end does not."""
    state = standing("alert f r", "alert f q", "alert g r")
    state.episodes["f"].decisions = dict.fromkeys(("r", "q", "p"))  # type: ignore[arg-type]
    resolved = Draft(kind=Kind.ALERT_RESOLVED, fingerprint="f")
    assert told(state, resolved) == ["resolve alert f r", "resolve alert f q"]
    assert told(state, Draft(kind=Kind.ALERT_RESOLVED, fingerprint="unknown")) == []


@pytest.mark.parametrize("kind", [Kind.APPROVAL_GRANTED, Kind.APPROVAL_DENIED, Kind.ACTION_CANCELLED])
def test_an_answer_ends_a_question_and_no_failure(kind: Kind) -> None:
    """A second run that is cancelled leaves the alert as the first one left it."""
    draft = Draft(kind=kind, **ABOUT)
    assert told(standing("alert f r", kind="approval_requested"), draft) == ["resolve alert f r"]
    assert told(standing("alert f r"), draft) == []
    assert told(standing("alert f r"), Draft(kind=Kind.HEAL_CONFIRMED, **ABOUT)) == ["resolve alert f r"]


def test_an_acknowledgement_is_about_what_it_covers() -> None:
    """By the labels of alerts that fire; a rule's breaker is no alert, and what was acknowledged is so already."""
    state = standing("alert f r", "alert g r", "alert h r", "breaker r")
    state.incidents["alert h r"].acknowledged = True
    del state.episodes["g"]
    made = Draft(kind=Kind.SILENCE_CREATED, detail={"matchers": 'instance=~"f|g|h"'})
    assert told(state, made) == ["acknowledge alert f r"]
    assert told(state, Draft(kind=Kind.SILENCE_CREATED, detail={"matchers": 'instance="x"'})) == []


def test_a_record_names_no_more_than_it_can_hold() -> None:
    """An acknowledgement may cover thousands."""
    state = standing(*(f"alert f{number} r" for number in range(ENTRIES + 30)))
    made = Draft(kind=Kind.SILENCE_CREATED, detail={"matchers": 'instance!=""'})
    assert len(told(state, made)) == ENTRIES


def test_without_channels_drafts_are_left_alone() -> None:
    """The very same ones."""
    drafts = [Draft(kind=Kind.WATCHDOG_MISSING)]
    assert Addressing([], lambda: None, key_errors=True)(State(), drafts) is drafts  # type: ignore[arg-type, return-value]
