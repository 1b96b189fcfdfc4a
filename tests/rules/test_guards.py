"""Guards: what each lets pass, what it refuses, and when it is to be asked again."""

from __future__ import annotations

import dataclasses

import pytest

from autoheal.breaker import Breaker
from autoheal.model import Mode, Reason, rfc3339
from autoheal.rules import RuleSet
from autoheal.rules.decide import Switches
from autoheal.rules.guards import NO_FACTS, Facts, Others, Population, Standing
from autoheal.state import Charge, LastDecision, Silence, State
from autoheal.storm import Storm
from tests.support.decisions import NOW, RULES, a_pause, a_run, ask, charge, episode
from tests.support.rules import rules_from


def test_nothing_is_begun_while_it_is_paused() -> None:
    """All rules, or the one that is named; live or dry, before the first step or between two."""
    everything, this, other = (
        State(pauses=[a_pause()]),
        State(pauses=[a_pause("restart")]),
        State(pauses=[a_pause("dry")]),
    )
    for state in (everything, this):
        assert ask(state).reason is Reason.PAUSED
        assert ask(state, run=a_run()).reason is Reason.PAUSED
        assert ask(state, run=a_run(step=1)).reason is Reason.PAUSED
    assert ask(other).reason is Reason.ACT
    assert ask(other, episode(alertname="Dry")).reason is Reason.PAUSED
    assert ask(everything, episode(alertname="Off")).reason is Reason.PAUSED
    assert ask(everything, episode(alertname="Other")).reason is Reason.NO_RULE
    protected = ask(everything, episode(namespace="kube-system"))
    assert [verdict.reason for verdict in protected.verdicts][-1] is Reason.PAUSED


def test_a_pause_ends_by_itself_at_its_time() -> None:
    """To the instant; the decision says when to ask again, and whose words stood in the way."""
    state = State(pauses=[a_pause(until=NOW + 1)])
    decision = ask(state)
    assert (decision.reason, decision.ask_again) == (Reason.PAUSED, NOW + 1)
    saw = {"rule": None, "how": "api", "by": "ann", "reason": "the database moves", "until": rfc3339(NOW + 1)}
    assert decision.verdicts[-1].saw == saw
    assert ask(state, now=NOW + 1).reason is Reason.ACT


def test_of_several_pauses_the_last_to_end_counts() -> None:
    """Also that of the rule beside that of all; one without an end has no time to ask again."""
    state = State(pauses=[a_pause(until=NOW + 60), a_pause("restart", NOW + 90)])
    assert ask(state).ask_again == NOW + 90
    assert ask(state, now=NOW + 60).reason is Reason.PAUSED
    state.pauses.append(a_pause(how="file"))
    assert ask(state).ask_again is None
    assert ask(state).verdicts[-1].saw["how"] == "file"


def test_a_live_run_begins_only_where_its_end_can_be_told() -> None:
    """With the log's disk nearly full nothing live begins; dry runs and what has begun go on."""
    low = State(space_low=True)
    assert ask(low).reason is Reason.LOW_SPACE
    assert ask(low, run=a_run()).reason is Reason.LOW_SPACE
    assert ask(low, run=a_run(step=1)).reason is Reason.ACT
    assert ask(low, episode(alertname="Dry")).reason is Reason.DRY_RUN


def acked(**labels: str) -> State:
    """A state in which a silence covers alerts with `labels` for the next minute."""
    matchers = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return State(silences={"s1": Silence("s1", matchers, "ann", NOW + 60)})


def test_what_an_operator_minds_is_left_alone_until_the_silence_ends() -> None:
    """The decision names silence, operator and end, and is asked again then; other alerts are not acked."""
    state = acked(alertname="Down", instance="api-1")
    decision = ask(state)
    assert (decision.reason, decision.ask_again) == (Reason.ACKED, NOW + 60)
    assert decision.verdicts[-1].saw == {"silence": "s1", "by": "ann", "until": "2026-09-21T14:14:20.000000Z"}
    assert ask(state, now=NOW + 60).reason is Reason.ACT
    assert ask(state, episode(instance="api-2")).reason is Reason.ACT
    assert ask(acked(alertname="Dry"), episode(alertname="Dry")).reason is Reason.ACKED


def test_no_step_begins_on_what_an_operator_minds() -> None:
    """Neither the first step of a run that was decided before, nor the next one of a run under way."""
    assert ask(acked(alertname="Down"), run=a_run()).reason is Reason.ACKED
    assert ask(acked(alertname="Down"), run=a_run(step=1)).reason is Reason.ACKED


FROZEN_RULES = rules_from("""
    version: 1
    freeze: [{from: Fri 16:00, to: Mon 14:30, zone: UTC}]
    rules:
      - name: restart
        match: alertname="Down"
        target: '{{ labels.instance }}'
        mode: live
        freeze: [{from: Mon 12:00, to: Mon 15:00, zone: UTC}, {from: Mon 13:00, to: Mon 13:30, zone: UTC}]
        steps: [{fake: {do: x}}]
      - name: dry
        match: alertname="Dry"
        target: '{{ labels.instance }}'
        steps: [{fake: {do: x}}]
    """)
"""NOW is a Monday, 14:13:20 UTC."""


def test_nothing_begins_in_a_freeze_of_the_rule_or_of_all() -> None:
    """The window that ends last is told, and its end is when to ask again; a later step does not begin either."""
    mine = ask(rules=FROZEN_RULES)
    assert (mine.reason, mine.ask_again) == (Reason.FROZEN, NOW + 2800)
    assert mine.verdicts[-1].saw == {"window": "Mon 12:00 to Mon 15:00 UTC", "until": "2026-09-21T15:00:00.000000Z"}
    assert ask(rules=FROZEN_RULES, run=a_run(step=1)).reason is Reason.FROZEN
    assert ask(rules=FROZEN_RULES, now=mine.ask_again or 0).reason is Reason.ACT
    other = ask(rules=FROZEN_RULES, about=episode(alertname="Dry"))
    assert (other.reason, other.verdicts[-1].saw["window"]) == (Reason.FROZEN, "Fri 16:00 to Mon 14:30 UTC")
    assert ask(rules=FROZEN_RULES, about=episode(alertname="Dry"), now=NOW + 1000).reason is Reason.DRY_RUN


CAREFUL = rules_from("""
    version: 1
    rules:
      - name: restart
        match: alertname="Down"
        target: '{{ labels.instance }}'
        mode: live
        unless: [alertname="Upgrade"]
        steps: [{fake: {do: x}}]
    """)


def test_beside_another_alert_a_rule_acts_only_where_it_is_known_not_to_fire() -> None:
    """A fact of Alertmanager's that the decision's record holds; not knowing is no permission, at no step."""
    quiet = Facts(others=Others(NOW - 2, known=True))
    assert ask(rules=CAREFUL, facts=quiet).reason is Reason.ACT
    firing = Facts(others=Others(NOW - 2, known=False, firing=("f7", "Upgrade", 'alertname="Upgrade"')))
    decision = ask(rules=CAREFUL, facts=firing)
    assert (decision.reason, decision.ask_again) == (Reason.UNLESS, NOW + 30)
    assert decision.verdicts[-1].saw["firing"] == {
        "fingerprint": "f7",
        "alertname": "Upgrade",
        "unless": 'alertname="Upgrade"',
    }
    unknown = Facts(others=Others(NOW - 2, known=False, errors=("am: did not answer",)))
    for facts in (unknown, NO_FACTS):
        for step in (None, 0, 1):
            run = None if step is None else a_run(step=step)
            decision = ask(rules=CAREFUL, facts=facts, run=run)
            assert (decision.reason, decision.ask_again) == (Reason.UNLESS, NOW + 30)
    assert ask(rules=CAREFUL, facts=unknown).verdicts[-1].saw["errors"] == ["am: did not answer"]
    assert ask(facts=firing).reason is Reason.ACT


def standing(*silences: str, known: bool = True) -> Facts:
    return Facts(standing=Standing(NOW - 2, known, silences))


def test_a_silence_that_was_made_elsewhere_is_a_person() -> None:
    """Live or dry, at every step; what nobody asked or could tell stands in nobody's way, and the record says so."""
    for about in (episode(), episode(alertname="Dry")):
        for run in (None, a_run(step=1)):
            decision = ask(about=about, facts=standing("s1", "s2"), run=run)
            assert (decision.reason, decision.ask_again) == (Reason.HUMAN_PRESENT, NOW + 30)
    assert decision.verdicts[-1].saw == {"known": True, "asked_at": rfc3339(NOW - 2), "silences": ["s1", "s2"]}
    for facts, known in ((NO_FACTS, False), (standing(known=False), False), (standing(), True)):
        decision = ask(facts=facts)
        assert decision.reason is Reason.ACT
        (verdict,) = [verdict for verdict in decision.verdicts if verdict.reason is Reason.HUMAN_PRESENT]
        assert verdict.saw["known"] is known


def test_a_silence_of_ours_is_none_elsewhere() -> None:
    """It is `acked` while it covers the alert, and of no matter here; another one beside it is."""
    state = State(silences={"s1": Silence("s1", 'alertname="Other"', "ann", NOW + 60)})
    assert ask(state, facts=standing("s1")).reason is Reason.ACT
    assert ask(state, facts=standing("s1", "s2")).verdicts[-1].saw["silences"] == ["s2"]
    state.silences["s1"].matchers = 'alertname="Down"'
    assert ask(state, facts=standing("s1", "s2")).reason is Reason.ACKED


def test_who_was_seen_is_there_until_that_is_known_to_be_over() -> None:
    """An Alertmanager that restarts has forgotten the alert, and with it that somebody silenced it."""
    about = episode()
    about.decisions["restart"] = LastDecision(Reason.HUMAN_PRESENT, "api-1", Mode.LIVE, "d")
    assert ask(about=about, facts=standing(known=False)).reason is Reason.HUMAN_PRESENT
    assert ask(about=about, facts=standing()).reason is Reason.ACT
    # Without Alertmanager nobody could ever tell.
    assert ask(about=about).reason is Reason.ACT


QUERY = 'count(up{job="api"})'


def fleet_rules(at_most: str) -> RuleSet:
    return rules_from(f"""
    version: 1
    rules:
      - name: restart
        match: alertname="Down"
        target: '{{{{ labels.instance }}}}'
        mode: live
        fleet: {{at_most: {at_most}, of: 'count(up{{job="{{{{ labels.job }}}}"}})'}}
        steps: [{{fake: {{do: x}}}}]
    """)


def counted(count: float | None, query: str = QUERY) -> Facts:
    return Facts(populations={query: Population(NOW - 2, count, None if count is not None else "down")})


def at_work(*queries: str, rule: str = "restart") -> State:
    state = State()
    for number, query in enumerate(queries):
        run = dataclasses.replace(a_run(rule=rule), id=f"r{number}", plan={"fleet": query, "steps": []})
        state.runs[run.id], state.working[run.id] = run, rule
    return state


@pytest.mark.parametrize(
    ("at_most", "count", "others", "passes"),
    [
        ("10%", 10.0, 0, True),
        ("10%", 10.0, 1, False),
        ("10%", 9.9, 0, False),
        ("10%", 5.0, 0, False),
        ("29%", 100.0, 28, True),
        ("29%", 100.0, 29, False),
        ("100%", 3.0, 2, True),
        ("2", 100.0, 1, True),
        ("2", 100.0, 2, False),
        ("2", 1.0, 0, True),
        ("2", 1.0, 1, False),
        ("2", 0.0, 0, False),
        ("2", 0.5, 0, False),
        ("2", -5.0, 0, False),
        ("100%", 0.0, 0, False),
        ("100%", -3.0, 0, False),
        ("2", None, 0, False),
        ("100%", None, 0, False),
        ("100%", 2.0**53, 3, True),
    ],
)
def test_at_most_so_much_of_a_population(at_most: str, count: float | None, others: int, passes: bool) -> None:
    """Rounded down, this run included; what is no positive number allows nothing."""
    state = at_work(*[QUERY] * others)
    decision = ask(state, episode(job="api"), rules=fleet_rules(at_most), facts=counted(count))
    (verdict,) = [verdict for verdict in decision.verdicts if verdict.reason is Reason.FLEET_GUARD]
    assert (verdict.passed, decision.reason) == ((True, Reason.ACT) if passes else (False, Reason.FLEET_GUARD))
    assert verdict.saw["treated"] == others + 1
    assert (verdict.saw["query"], verdict.saw["population"], verdict.saw["at_most"]) == (QUERY, count, at_most)
    assert verdict.saw.get("error") == ("down" if count is None else None)
    assert decision.ask_again == (None if passes else NOW + 30)


def test_of_another_population_or_rule_is_not_counted() -> None:
    """Nor is the run itself that asks again; a population that nobody asked for is unknown."""
    about, rules = episode(job="api"), fleet_rules("1")
    assert ask(at_work("count(x)"), about, rules=rules, facts=counted(9.0)).reason is Reason.ACT
    assert ask(at_work(QUERY, rule="other"), about, rules=rules, facts=counted(9.0)).reason is Reason.ACT
    state = at_work(QUERY)
    assert ask(state, about, rules=rules, facts=counted(9.0), run=state.runs["r0"]).reason is Reason.ACT
    assert ask(State(), about, rules=rules, facts=counted(9.0, "count(x)")).reason is Reason.FLEET_GUARD
    assert ask(State(), about, rules=rules).verdicts[-1].saw["error"] == "not asked yet"
    assert ask(State(), about, rules=rules, run=a_run(step=1)).reason is Reason.ACT


def test_a_label_stays_within_the_query() -> None:
    """Whatever it holds, it is one value of one matcher."""
    decision = ask(about=episode(job='x"}) or vector(1e9) #'), rules=fleet_rules("10%"))
    assert decision.plan is not None
    assert decision.plan["fleet"] == 'count(up{job="x\\"}) or vector(1e9) #"})'


def test_cooldown_is_per_rule_and_target() -> None:
    """Within `cooldown` of the last action on the target the rule waits; another target does not."""
    state = State(last_action={"restart": {"api-1": NOW - 100}})
    decision = ask(state)
    assert (decision.reason, decision.ask_again) == (Reason.COOLDOWN, NOW + 500)
    assert ask(state, episode(instance="api-2")).reason is Reason.ACT
    assert ask(state, now=NOW + 500).reason is Reason.ACT


def test_budgets_per_target_rule_and_all() -> None:
    """Each window's charges count, the narrowest scope first; `ask_again` is when enough have left the window."""
    state = State()
    charge(state, "restart", "api-1", NOW - 3000)
    charge(state, "restart", "api-1", NOW - 2000)
    decision = ask(state)
    assert (decision.reason, decision.ask_again) == (Reason.BUDGET, NOW - 3000 + 3600)
    assert ask(state, episode(instance="api-2")).reason is Reason.ACT
    charge(state, "restart", "api-3", NOW - 1000)
    assert ask(state, episode(instance="api-2")).reason is Reason.BUDGET
    assert ask(state, episode(instance="api-2"), now=NOW + 601).reason is Reason.ACT
    charge(state, "q", "x", NOW - 10)
    charge(state, "q", "y", NOW - 5)
    dry = ask(state, episode(alertname="Dry"))
    assert dry.reason is Reason.BUDGET
    assert dry.ask_again == NOW + 600


def test_runs_that_wait_to_begin_count_as_spent() -> None:
    """A hundred alerts of one moment share the budget: what was decided and has not begun is spent."""
    state = State()
    state.reserve("r1", Charge(NOW, "restart", "api-7"))
    state.reserve("r2", Charge(NOW, "restart", "api-8"))
    assert ask(state).reason is Reason.ACT
    state.reserve("r3", Charge(NOW, "restart", "api-9"))
    assert ask(state).reason is Reason.BUDGET


def test_a_run_is_not_in_its_own_way() -> None:
    """What a run itself has reserved is no reason to refuse it, in none of the scopes."""
    state = State()
    charge(state, "restart", "api-1", NOW - 1)
    state.reserve("r9", Charge(NOW, "restart", "api-1"))
    assert ask(state).reason is Reason.BUDGET
    assert ask(state, run=a_run()).reason is Reason.ACT
    state.reserve("r8", Charge(NOW, "restart", "api-1"))
    assert ask(state, run=a_run()).reason is Reason.BUDGET


def test_a_breaker_is_open_for_a_while_and_then_for_all_but_one() -> None:
    """As soon as the failures are there, whether a record tells of it yet or not; a step under way is not stopped."""
    one = State(breakers={"restart": Breaker(failures=1, failed_at=NOW)})
    assert ask(one).reason is Reason.ACT
    for opened_at in (None, NOW - 60):
        state = State(breakers={"restart": Breaker(failures=2, failed_at=NOW - 100, opened_at=opened_at)})
        until = NOW + 1800 - (100 if opened_at is None else 60)
        decision = ask(state)
        assert (decision.reason, decision.ask_again) == (Reason.BREAKER_OPEN, until)
        assert ask(state, run=a_run()).reason is Reason.BREAKER_OPEN
        assert ask(state, run=a_run(step=1)).reason is Reason.ACT
        assert ask(state, episode(alertname="Dry")).reason is Reason.DRY_RUN
        assert ask(state, now=until).reason is Reason.ACT
        state.working["r9"] = "restart"
        behind = ask(state, now=until)
        assert (behind.reason, behind.ask_again) == (Reason.BREAKER_OPEN, None)
        assert behind.verdicts[-1].saw["runs"] == ["r9"]
        assert ask(state, now=until, run=a_run()).reason is Reason.ACT


def test_a_storm_holds_its_rules_alerts_and_afterwards_those_it_held() -> None:
    """A step under way is not stopped; a rule with `storm: off` knows none."""
    state = State(storms={"restart": Storm(NOW - 60)})
    decision = ask(state)
    assert (decision.reason, decision.ask_again) == (Reason.STORM, None)
    assert ask(state, run=a_run()).reason is Reason.STORM
    assert ask(state, run=a_run(step=1)).reason is Reason.ACT
    assert ask(state, episode(alertname="Dry")).reason is Reason.DRY_RUN
    held = State(storms={"restart": Storm(NOW - 60, over=True, held={"f1": "api-1"})})
    assert ask(held).reason is Reason.STORM
    assert ask(held, dataclasses.replace(episode(), fingerprint="f2")).reason is Reason.ACT
    off = dataclasses.replace(RULES, rules=(dataclasses.replace(RULES.rules[0], storm=None),))
    assert ask(state, rules=off).reason is Reason.ACT


def test_so_many_runs_are_at_work_at_once() -> None:
    """In all and of one rule; a run is not in its own way, and a step under way is not stopped."""
    state = State()
    for number, rule in enumerate(("restart", "dry")):
        run = dataclasses.replace(a_run(f"t{number}", rule), id=f"r{number}")
        state.runs[run.id], state.working[run.id] = run, rule
    full, room = (Switches(enabled=True, dry_run=False, max_running=limit) for limit in (2, 3))
    decision = ask(state, switches=full)
    assert (decision.reason, decision.ask_again) == (Reason.CONCURRENCY, None)
    assert decision.verdicts[-1].saw == {"scope": "all", "running": 2, "of": 2}
    assert ask(state, switches=room).reason is Reason.ACT
    assert ask(state, switches=full, run=state.runs["r1"]).reason is Reason.ACT
    assert ask(state, switches=full, run=a_run(step=1)).reason is Reason.ACT
    one, two = (
        dataclasses.replace(RULES, rules=(dataclasses.replace(RULES.rules[0], concurrency=limit),)) for limit in (1, 2)
    )
    decision = ask(state, rules=one)
    assert (decision.reason, decision.verdicts[-1].saw) == (
        Reason.CONCURRENCY,
        {"scope": "rule", "running": 1, "of": 1},
    )
    assert ask(state, rules=two).reason is Reason.ACT
    assert ask(state, rules=one, run=state.runs["r0"]).reason is Reason.ACT


def test_later_steps_are_not_charged_again() -> None:
    """From its second step on a run is bound by neither cooldown nor budget, but still by protection."""
    state = State(last_action={"restart": {"api-1": NOW - 1}}, locks={"api-1": "r9"})
    assert ask(state, run=a_run(step=1)).reason is Reason.ACT
    assert ask(state, run=a_run(step=0)).reason is Reason.COOLDOWN
    assert ask(state, episode(tier="gold"), run=a_run(step=1)).reason is Reason.PROTECTED
