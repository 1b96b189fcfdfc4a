"""What a filter lets skip."""

from __future__ import annotations

import pytest

from autoheal.journal.needles import may_hold, needles
from autoheal.query import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind=action_fail", ['"kind":"action_fail']),
        ("rule IN (a, b, a)", ['"rule":"a', '"rule":"b']),
        ("kind=action_fail OR alertname=HighCPU", ['"kind":"action_fail', '"alertname":"HighCPU']),
        # one branch without a needle voids them all
        ("kind=action_fail OR step>1", []),
        # of several that must hold, the likeliest to be rare
        ("kind=alert_firing AND rule=r", ['"rule":"r']),
        ("rule=r AND labels.instance=db-17", ['"instance":"db-17']),
        ("rule IN (a, b) AND target=c", ['"target":"c']),
        ("rule=r AND NOT target=c AND step>1", ['"rule":"r']),
        (f"kind=a AND rule IN ({', '.join('abcdefghi')})", ['"kind":"a']),
        # more of them would cost more than parsing
        (f"rule IN ({', '.join('abcdefgh')})", [f'"rule":"{name}' for name in "abcdefgh"]),
        (f"rule IN ({', '.join('abcdefghi')})", []),
        # what equals a number or a boolean may stand in the line in another way
        ("step=1", []),
        ("seq IN (1, 2)", []),
        ("detail.exit_code=1", []),
        ("detail.exit_code IN (x, -1e5)", []),
        ("detail.ok=true", []),
        ("detail.ok=false", []),
        ("detail.plan.action=command", ['"action":"command']),
        # labels are text always
        ("labels.port=8080", ['"port":"8080']),
        ("labels.enabled=true", ['"enabled":"true']),
        # as JSON writes them
        (r'labels."a \"b\""="c\\d\n\u00e9"', [r'"a \"b\"":"c\\d\né']),
        ('target=""', ['"target":"']),
        ("ts=2026-11-21T07:00:00+02:00", ['"ts":"2026-11-21T05:00:00.000000Z']),
        ("NOT kind=a", []),
        ("kind!=a", []),
        ("kind~a*", []),
        ("rule EXISTS", []),
        ("alertname>=a", []),
    ],
)
def test_needles(text: str, expected: list[str]) -> None:
    """Texts compared by `=` or IN give the bytes that they are written as; whatever is in doubt gives none."""
    assert [needle.decode() for needle in needles(parse(text).root)] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind=decision", True),
        ("kind=action_fail", False),
        ("kind~action_*", False),
        ("NOT kind=decision", True),
        ("NOT kind IN (decision, escalated)", False),
        ("kind!=decision AND kind!=escalated", True),
        ("kind=decision AND alertname=C", False),
        ("kind=decision AND (alertname=C OR alertname=B)", True),
        ("kind=action_fail OR alertname=A", True),
        ("kind=action_fail OR alertname=C", False),
        ("alertname!=A AND alertname!=B", True),
        ("alertname EXISTS", True),
        ("NOT alertname EXISTS", True),
        ("labels.alertname=C", True),
        ("step>100", True),
        ("kind=action_fail AND step>1", False),
    ],
)
def test_files_that_cannot_hold_a_match(text: str, expected: bool) -> None:
    """A file of decisions and escalations about A and B is skipped only when nothing in it could match."""
    assert may_hold(parse(text), ["decision", "escalated"], ["A", "B"]) is expected


def test_unknown_alertnames_rule_nothing_out() -> None:
    """A manifest that names no alerts (there were too many) says nothing about them, but still about kinds."""
    assert may_hold(parse("alertname=C"), ["decision"], None)
    assert not may_hold(parse("alertname=C AND kind=escalated"), ["decision"], None)
