"""`decide`: pure, total, and never `act` when any guard says no."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.breaker import Breaker
from autoheal.model import Mode, Reason, rfc3339
from autoheal.rules import RuleSet
from autoheal.rules.decide import Decision, Switches, decide
from autoheal.rules.guards import NO_FACTS, Facts, Others, Population, Standing
from autoheal.state import Charge, Dispute, Episode, LastDecision, Pause, Run, Silence, State
from autoheal.storm import Release, Storm
from tests.support.rules import rules_from

NOW = 1_790_000_000.0
LIVE = Switches(enabled=True, dry_run=False)
moments = st.floats(NOW - 1e4, NOW + 1e4) | st.sampled_from([-6.2e10, 2.5e11, 0.0])
RULES = rules_from("""
    version: 1
    budget: [5/1h]
    protect: ['namespace="kube-system"']
    rules:
      - name: restart
        match: alertname="Down"
        for: 30s
        target: '{{ labels.instance }}'
        allow_target: 'api-[0-9]+'
        protect: ['tier="gold"']
        mode: live
        cooldown: 10m
        budget: {target: [2/1h], rule: [3/1h]}
        breaker: {failures: 2, reset: 30m}
        steps: [{fake: {do: 'restart {{ target }}'}}]
      - name: "off"
        match: alertname="Off"
        mode: "off"
      - name: dry
        match: alertname="Dry"
        target: '{{ labels.instance }}'
        mode: dry_run
        steps: [{fake: {do: x}}]
    """)


def episode(**labels: str) -> Episode:
    labels = {"alertname": "Down", "instance": "api-1", **labels}
    return Episode("e1", "f1", labels, {}, NOW - 100, NOW - 90, "c")


def ask(
    state: State | None = None,
    about: Episode | None = None,
    *,
    switches: Switches = LIVE,
    now: float = NOW,
    run: Run | None = None,
    rules: RuleSet = RULES,
    facts: Facts = NO_FACTS,
) -> Decision:
    about = about or episode()
    rule = next(iter(rules.match(about.labels)), None)
    return decide(state or State(), about, rule, rules, switches, now, run, facts)


def charge(state: State, rule: str, target: str, ts: float) -> None:
    state.charge(Charge(ts, rule, target))


def a_run(target: str = "api-1", rule: str = "restart", step: int = 0) -> Run:
    return Run("r9", "e1", "f1", "Down", rule, target, Mode.LIVE, {"steps": []}, "d", NOW, "c", step=step)


def test_all_guards_passed_is_act() -> None:
    """With nothing in the way the decision is `act`, with the plan and every guard's answer."""
    decision = ask()
    assert decision.reason is Reason.ACT
    assert decision.plan is not None
    assert decision.plan["steps"][0]["params"] == {"do": "restart api-1"}
    assert [verdict.reason for verdict in decision.verdicts] == [
        Reason.DISABLED,
        Reason.NO_RULE,
        Reason.PAUSED,
        Reason.PROTECTED,
        Reason.BAD_TARGET,
        Reason.RULE_OFF,
        Reason.NOT_YET,
        Reason.RUN_ENDED,
        Reason.IN_PROGRESS,
        Reason.DISPUTED,
        Reason.ACKED,
        Reason.HUMAN_PRESENT,
        Reason.FROZEN,
        Reason.UNLESS,
        Reason.COOLDOWN,
        Reason.BUDGET,
        Reason.BREAKER_OPEN,
        Reason.STORM,
        Reason.FLEET_GUARD,
        Reason.CONCURRENCY,
        Reason.LOW_SPACE,
        Reason.HOLD_OUT,
    ]


def a_pause(rule: str | None = None, until: float | None = None, how: str = "api") -> Pause:
    return Pause(rule, how, "ann", "the database moves", NOW - 60, until)


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


def test_switches_stand_above_all_rules() -> None:
    """AUTOHEAL_ENABLED=false stops everything; AUTOHEAL_DRY_RUN=true makes live rules dry runs."""
    assert ask(switches=Switches(enabled=False, dry_run=False)).reason is Reason.DISABLED
    assert ask(switches=Switches(enabled=True, dry_run=True)).reason is Reason.DRY_RUN
    assert ask(about=episode(alertname="Dry")).reason is Reason.DRY_RUN


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"alertname": "Other"}, Reason.NO_RULE),
        ({"alertname": "Off"}, Reason.RULE_OFF),
        ({"namespace": "kube-system"}, Reason.PROTECTED),
        ({"tier": "gold"}, Reason.PROTECTED),
        ({"instance": "api-1; rm -rf /"}, Reason.BAD_TARGET),
        ({"instance": ""}, Reason.BAD_TARGET),
        ({"instance": "api-1\n"}, Reason.BAD_TARGET),
    ],
)
def test_labels_decide(labels: dict[str, str], reason: Reason) -> None:
    """No rule, `off`, protected labels (rule's and top level) and bad targets each say so."""
    assert ask(about=episode(**labels)).reason is reason


def test_for_counts_from_the_alerts_start() -> None:
    """Before `for` has passed since startsAt the answer is `not_yet`, with the time to ask again."""
    young = episode()
    young.starts_at, young.opened_at = NOW - 10, NOW - 5
    decision = ask(about=young)
    assert (decision.reason, decision.ask_again) == (Reason.NOT_YET, NOW - 10 + 30)
    assert ask(about=young, now=NOW + 20).reason is Reason.ACT


def test_a_start_in_the_future_counts_as_its_arrival() -> None:
    """A sender whose clock runs ahead delays nothing beyond `for`."""
    ahead = episode()
    ahead.starts_at, ahead.opened_at = NOW + 1e6, NOW
    assert ask(about=ahead).ask_again == NOW + 30


def test_one_run_per_episode_and_rule() -> None:
    """A rule whose run on this episode has ended does not try again."""
    about = episode()
    about.ran.append("restart")
    assert ask(about=about).reason is Reason.RUN_ENDED


def test_one_run_per_target_across_rules() -> None:
    """A target that another run holds is `in_progress`, for the run itself it is not."""
    state = State(locks={"api-1": "r9"})
    assert ask(state).reason is Reason.IN_PROGRESS
    assert ask(state, run=a_run()).reason is Reason.ACT


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


def test_what_a_storm_let_go_passes_it_and_needs_no_approval_of_its_own() -> None:
    """By the rule, the plan and the episode that somebody looked at, alone; all other guards stay."""
    rules = sharing(100, Mode.APPROVE)
    rule = rules.rules[0]
    state = State(storms={"restart": Storm(NOW - 60)})
    about = episode()
    digest = ask(about=about, rules=rules).plan_digest
    assert digest is not None
    about.released["restart"] = release = Release(digest, rule.digest, NOW - 5, "ann")
    decision = ask(state, about, rules=rules)
    assert (decision.reason, decision.mode) == (Reason.ACT, Mode.APPROVE)
    assert decision.verdicts[-1].saw == {"by": "ann", "with": "storm"}
    # As long as people have to approve a plan, and no longer.
    late = dataclasses.replace(release, ts=NOW - rule.approval.expires)
    about.released["restart"] = late
    assert ask(state, about, rules=rules).reason is Reason.AWAITING_APPROVAL
    about.released["restart"] = release
    assert ask(state, episode(), rules=rules).reason is Reason.STORM
    assert ask(State(pauses=[a_pause()]), about, rules=rules).reason is Reason.PAUSED
    for other in (dataclasses.replace(release, plan_digest="0"), dataclasses.replace(release, rule_digest="0")):
        about.released["restart"] = other
        assert ask(state, about, rules=rules).reason is Reason.AWAITING_APPROVAL
        assert ask(state, about).reason is Reason.ACT
    about.released = {"dry": release}
    assert ask(state, about, rules=rules).reason is Reason.STORM


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


def test_a_demoted_rule_is_a_dry_run() -> None:
    """Whatever it says, open breaker or not, and the decision tells why; `off` stays off."""
    broken = Breaker(failures=5, failed_at=NOW, opened_at=NOW, opens=3, demoted=True)
    decision = ask(State(breakers={"restart": broken}))
    assert (decision.reason, decision.mode) == (Reason.DRY_RUN, Mode.DRY_RUN)
    assert {"mode": "live", "demoted": True} in [verdict.saw for verdict in decision.verdicts]
    assert ask(State(breakers={"off": broken}), episode(alertname="Off")).reason is Reason.RULE_OFF


def test_a_demoted_rule_asks_people_where_it_says_so() -> None:
    """An open breaker is then no obstacle, since each run has somebody's word; nobody goes further than before."""
    broken = Breaker(failures=5, failed_at=NOW, opened_at=NOW, opens=3, demoted=True)
    state = State(breakers={"restart": broken})

    def demoted(mode: Mode, demote: str) -> Decision:
        breaker = RULES.rules[0].breaker.model_copy(update={"demote": demote})  # type: ignore[union-attr]
        rule = dataclasses.replace(RULES.rules[0], mode=mode, breaker=breaker)
        return ask(state, rules=dataclasses.replace(RULES, rules=(rule,)))

    asked = demoted(Mode.LIVE, "approve")
    assert (asked.reason, asked.mode) == (Reason.AWAITING_APPROVAL, Mode.APPROVE)
    assert demoted(Mode.APPROVE, "approve").mode is Mode.APPROVE
    for mode in (Mode.LIVE, Mode.APPROVE, Mode.DRY_RUN):
        assert demoted(mode, "dry_run").reason is Reason.DRY_RUN
    assert demoted(Mode.DRY_RUN, "approve").reason is Reason.DRY_RUN
    assert demoted(Mode.OFF, "approve").reason is Reason.RULE_OFF


def sharing(percent: float, mode: Mode = Mode.LIVE) -> RuleSet:
    """RULES with the first rule acting on that share."""
    return dataclasses.replace(RULES, rules=(dataclasses.replace(RULES.rules[0], rollout=percent, mode=mode),))


def an_episode(number: int, ago: float = 100) -> Episode:
    labels = {"alertname": "Down", "instance": "api-1"}
    return Episode(f"e{number}", f"f{number}", labels, {}, NOW - ago, NOW - 90, "c")


def test_a_rule_acts_on_its_share_of_episodes() -> None:
    """About so many of them; who is in at a small share is in at every greater one, and at 100% all are."""
    inside: set[str] = set()
    for percent in (1, 10, 25, 50, 100):
        now_in = {f"e{n}" for n in range(2000) if ask(about=an_episode(n), rules=sharing(percent)).reason is Reason.ACT}
        assert inside <= now_in
        assert abs(len(now_in) / 2000 - percent / 100) < 0.04
        inside = now_in


@given(
    fingerprint=st.text(max_size=20),
    starts_at=moments,
    shares=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)),
    mode=st.sampled_from([Mode.LIVE, Mode.APPROVE]),
    step=st.sampled_from([None, 0]),
)
def test_a_greater_share_only_takes_in(
    fingerprint: str, starts_at: float, shares: tuple[float, float], mode: Mode, step: int | None
) -> None:
    """Whatever the episode: who acts at a share acts at every greater one, and all do at 100%."""
    about = dataclasses.replace(an_episode(1, ago=0), fingerprint=fingerprint, starts_at=starts_at)
    run = None if step is None else a_run()
    small, great, all_of_them = (
        ask(about=about, rules=sharing(share, mode), run=run).reason is not Reason.HOLD_OUT
        for share in (*sorted(shares), 100.0)
    )
    assert small <= great <= all_of_them is True


def test_an_episode_keeps_its_place_and_the_next_gets_another() -> None:
    """Whenever it is asked and under whatever id; another start, or another rule, is another draw."""
    place = ask(about=an_episode(1)).verdicts[-1].saw["place"]
    assert place == 45.806
    moved = dataclasses.replace(an_episode(1), id="e77", opened_at=NOW - 1)
    assert ask(about=moved, now=NOW + 900).verdicts[-1].saw["place"] == place
    assert ask(about=an_episode(1, ago=101)).verdicts[-1].saw["place"] != place
    other = dataclasses.replace(RULES.rules[0], name="other")
    again = ask(about=an_episode(1), rules=dataclasses.replace(RULES, rules=(other,)))
    assert again.verdicts[-1].saw["place"] != place


def test_what_is_held_out_is_a_dry_run_with_all_guards_asked_before() -> None:
    """Its mode says that it must not act; people are not asked to approve it; what is a dry run anyway is just that."""
    held = an_episode(1)
    for mode in (Mode.LIVE, Mode.APPROVE):
        decision = ask(about=held, rules=sharing(45, mode))
        assert (decision.reason, decision.mode, decision.plan is None) == (Reason.HOLD_OUT, Mode.DRY_RUN, False)
        assert decision.verdicts[-1].saw == {"rollout": 45, "place": 45.806}
        assert ask(State(space_low=True), held, rules=sharing(45, mode)).reason is Reason.LOW_SPACE
    assert ask(about=held, rules=sharing(45.81)).reason is Reason.ACT
    assert ask(about=held, rules=sharing(45, Mode.DRY_RUN)).reason is Reason.DRY_RUN
    assert ask(about=held, rules=sharing(45), switches=Switches(enabled=True, dry_run=True)).reason is Reason.DRY_RUN


def test_a_share_that_shrinks_stops_what_has_not_begun() -> None:
    """And leaves a ladder alone that was begun."""
    held = an_episode(1)
    assert ask(about=held, rules=sharing(45), run=a_run()).reason is Reason.HOLD_OUT
    assert ask(about=held, rules=sharing(45), run=a_run(step=1)).reason is Reason.ACT


def test_later_steps_are_not_charged_again() -> None:
    """From its second step on a run is bound by neither cooldown nor budget, but still by protection."""
    state = State(last_action={"restart": {"api-1": NOW - 1}}, locks={"api-1": "r9"})
    assert ask(state, run=a_run(step=1)).reason is Reason.ACT
    assert ask(state, run=a_run(step=0)).reason is Reason.COOLDOWN
    assert ask(state, episode(tier="gold"), run=a_run(step=1)).reason is Reason.PROTECTED


hostile = st.text(max_size=20) | st.sampled_from(["api-1", "api-2", "kube-system", "gold", "Down", "Dry", "Off"])


@given(
    labels=st.dictionaries(st.sampled_from(["alertname", "instance", "namespace", "tier"]) | st.text(), hostile),
    starts_at=moments,
    opened_at=st.floats(NOW - 1e4, NOW),
    ran=st.booleans(),
    locked=st.sampled_from([None, "r9", "r8"]),
    last=st.none() | st.floats(NOW - 2000, NOW + 10),
    charged=st.lists(st.tuples(st.sampled_from(["restart", "q"]), st.floats(NOW - 7200, NOW))),
    waiting=st.integers(0, 4),
    switches=st.builds(Switches, st.booleans(), st.booleans(), st.integers(1, 3)),
    step=st.sampled_from([None, 0, 1]),
    breaker=st.none()
    | st.builds(
        Breaker,
        failures=st.integers(0, 3),
        failed_at=st.floats(NOW - 4000, NOW),
        opened_at=st.none() | st.floats(NOW - 4000, NOW),
        demoted=st.booleans(),
    ),
    at_work=st.booleans(),
    storm=st.none() | st.builds(Storm, st.just(NOW), st.booleans(), st.sampled_from([{}, {"f1": "t"}, {"f2": "t"}])),
    silence=st.none() | st.tuples(st.sampled_from(["Down", "Other"]), st.floats(NOW - 100, NOW + 100)),
    dispute=st.none() | st.builds(Dispute, moments, moments, moments),
)
def test_total_and_never_act_against_a_guard(
    labels: dict[str, str],
    starts_at: float,
    opened_at: float,
    ran: bool,
    locked: str | None,
    last: float | None,
    charged: list[tuple[str, float]],
    waiting: int,
    switches: Switches,
    step: int | None,
    breaker: Breaker | None,
    at_work: bool,
    storm: Storm | None,
    silence: tuple[str, float] | None,
    dispute: Dispute | None,
) -> None:
    """Whatever the state and the labels, there is a decision; `act` only when an independent reading allows it."""
    state = State()
    about = Episode("e1", "f1", labels, {}, starts_at, opened_at, None, ran=["restart"] if ran else [], dispute=dispute)
    target = labels.get("instance", "")
    if locked:
        state.locks[target] = locked
    if last is not None:
        state.last_action = {"restart": {target: last}}
    for rule, ts in sorted(charged, key=lambda one: one[1]):
        charge(state, rule, target, ts)
    for number in range(waiting):
        state.reserve(f"w{number}", Charge(NOW, "restart", "other"))
    if silence is not None:
        state.silences["s1"] = Silence("s1", f'alertname="{silence[0]}"', "ann", silence[1])
    if breaker is not None:
        state.breakers["restart"] = breaker
    if storm is not None:
        state.storms["restart"] = storm
    if at_work:
        state.runs["r7"], state.locks["another"] = dataclasses.replace(a_run("another"), id="r7"), "r7"
    run = None if step is None else a_run(target, step=step)
    decision = ask(state, about, switches=switches, run=run)
    again = ask(state, about, switches=switches, run=run)
    assert dataclasses.asdict(decision) == dataclasses.asdict(again)
    assert (decision.reason in (Reason.ACT, Reason.DRY_RUN)) == all(v.passed for v in decision.verdicts)
    if decision.reason is not Reason.ACT:
        return
    in_hour = [rule for rule, ts in charged if ts > NOW - 3600]
    assert switches.enabled
    assert not switches.dry_run
    assert labels["alertname"] == "Down"
    assert labels.get("namespace") != "kube-system"
    assert labels.get("tier") != "gold"
    assert target.startswith("api-")
    assert target[4:].isascii()
    assert target[4:].isdigit()
    assert min(starts_at, opened_at) + 30 <= NOW
    assert locked in (None, "r9") if run else locked is None
    assert run is not None or not ran
    assert dispute is None
    assert silence is None or silence[0] != "Down" or silence[1] <= NOW
    assert breaker is None or not breaker.demoted
    if step != 1:
        assert len(state.locks.keys() - {target}) + bool(locked and not run) < switches.max_running
        assert storm is None or (storm.over and "f1" not in storm.held)
        if breaker is not None and (breaker.failures >= 2 or breaker.opened_at is not None):
            assert max(breaker.failed_at, breaker.opened_at or 0) + 1800 <= NOW
            assert not at_work
            assert locked is None or run is not None
        assert last is None or NOW - last >= 600
        assert in_hour.count("restart") < 2
        assert in_hour.count("restart") + waiting < 3
        assert len(in_hour) + waiting < 5
