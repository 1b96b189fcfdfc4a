"""Which other alerts a rule's `unless` speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoheal.rules import Matcher
from autoheal.rules.unless import Unless
from tests.support.loading import faults, loaded

RULE = "version: 1\nrules: [{{name: a, match: a=b, mode: off, unless: [{}]}}]\n"


def unless(tmp_path: Path, text: str) -> Unless:
    (found,) = loaded(tmp_path, RULE.format(text)).rules[0].unless
    return found


def test_matchers_alone_or_with_labels_that_must_be_equal(tmp_path: Path) -> None:
    """A text is the short form; all matchers of an entry must hold, in one text or several."""
    short = unless(tmp_path, "'alertname=\"Upgrade\", env!=dev'")
    assert (short.matchers, short.equal) == ((Matcher("alertname", "=", "Upgrade"), Matcher("env", "!=", "dev")), ())
    assert short == unless(tmp_path, "{match: ['alertname=\"Upgrade\"', env!=dev]}")
    assert str(short) == 'alertname="Upgrade", env!="dev"'
    assert str(unless(tmp_path, "{match: x=y, equal: [rack, zone]}")) == 'x="y", equal: rack, zone'


@pytest.mark.parametrize(
    ("other", "meets"),
    [({"alertname": "Upgrade"}, True), ({"alertname": "Upgrade", "env": "dev"}, False), ({"env": "prod"}, False)],
)
def test_all_matchers_must_hold(tmp_path: Path, other: dict[str, str], meets: bool) -> None:
    """As in a rule's `match`."""
    assert unless(tmp_path, "'alertname=\"Upgrade\", env!=dev'").meets(other) is meets


def test_equal_labels_are_those_of_inhibition(tmp_path: Path) -> None:
    """Missing on both sides is equal, as in Alertmanager's inhibit rules; missing on one is not."""
    found = unless(tmp_path, "{match: x=y, equal: [rack]}")
    assert found.same({"rack": "1"}, {"rack": "1", "x": "y"})
    assert found.same({}, {"x": "y"})
    assert not found.same({"rack": "1"}, {"rack": "2"})
    assert not found.same({"rack": "1"}, {})


def test_a_redacted_label_can_be_neither_matched_nor_compared(tmp_path: Path) -> None:
    """Here it is a token and there its value: it would never be equal, and the rule would act."""
    for text in ("{match: x=y, equal: [token]}", "{match: token=y}", "token=y"):
        (fault,) = faults(tmp_path, RULE.format(text), redact=frozenset(["token"]))
        assert "label 'token' is redacted (AUTOHEAL_REDACT)" in fault
