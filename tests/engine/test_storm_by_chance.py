"""Storms by chance: whatever comes in whichever order, too many targets are never let through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoheal.engine.deciding import decision_draft
from autoheal.engine.guards import Survey, storms_due
from autoheal.journal.record import seal
from autoheal.model import Draft, Kind, rfc3339
from autoheal.rules.decide import Switches, decide
from autoheal.state import State, fold
from tests.support.rules import rules_from

NOW = 1_790_000_000.0
LIMIT, SPAN = 3, 600.0
SWITCHES = Switches(enabled=True, dry_run=True)
RULES = rules_from("""
    version: 1
    storm: 3/10m
    rules: [{name: r, match: alertname="Down", target: '{{ labels.on }}', steps: [{fake: {do: x}}]}]
    """)
BY_NAME = {rule.name: rule for rule in RULES.rules}

alerts = st.integers(0, 9)
bodies = st.tuples(st.sampled_from([0.0, 1.0, 200.0, 599.0, 600.0, 601.0]), st.lists(alerts), st.lists(alerts))


@given(st.lists(bodies, max_size=12))
def test_never_more_targets_in_a_window_than_allowed(story: list[tuple[float, list[int], list[int]]]) -> None:
    """Alerts fire and resolve; two of them share a target. Of those that a decision let through, no window of ten
    minutes holds more targets than allowed; what was held is let through never before it has resolved; and a storm
    lasts only while there is reason for it.
    """
    state, now = State(), NOW
    records, passed, held = [], [], set[str]()

    def tell(*drafts: Draft) -> None:
        for draft in drafts:
            records.append(seal(draft, state.head, now))
            state.apply(records[-1])

    def due(survey: Survey) -> None:
        while drafts := storms_due(state, BY_NAME, survey.named, SWITCHES, now)[0]:
            tell(*drafts)

    for later, ended, begun in story:
        now += later
        survey = Survey()
        times = {"how": "webhook", "ends_at": rfc3339(now), "starts_at": rfc3339(now)}
        for number in dict.fromkeys(ended):
            fingerprint = f"f{number}"
            if fingerprint in state.episodes:
                id_ = state.episodes[fingerprint].id
                tell(Draft(kind=Kind.ALERT_RESOLVED, fingerprint=fingerprint, episode=id_, detail=times))
                held.discard(fingerprint)
        arrived = [f"f{number}" for number in dict.fromkeys(begun) if f"f{number}" not in state.episodes]
        for fingerprint in arrived:
            labels = {"alertname": "Down", "on": f"t{int(fingerprint[1:]) // 2 * 2}"}
            tell(
                Draft(
                    kind=Kind.ALERT_FIRING,
                    fingerprint=fingerprint,
                    episode=f"e{state.head.seq + 1}",
                    labels=labels,
                    detail=times,
                )
            )
        survey.add(arrived)
        survey.look(state, RULES, len(arrived))
        due(survey)
        for fingerprint in list(state.episodes):
            episode = state.episodes[fingerprint]
            decision = decide(state, episode, RULES.rules[0], RULES, SWITCHES, now)
            tell(decision_draft(episode, decision, SWITCHES, RULES.digest, None))
            if decision.reason == "storm":
                held.add(fingerprint)
            else:
                assert fingerprint not in held
                if fingerprint in arrived:
                    passed.append((now, decision.target))
        due(Survey())
        storm = state.storms.get("r")
        if storm is not None and not storm.over:
            recent = {target for target, ts in state.targets["r"].items() if ts > now - SPAN}
            assert len(recent | set(storm.held.values())) > LIMIT
    for ts, _ in passed:
        assert len({target for other, target in passed if ts <= other < ts + SPAN}) <= LIMIT
    assert fold(records) == state
