"""`decide`: pure, total, and never `act` when any guard says no; modes, approval and hold-out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoheal.breaker import Breaker
from autoheal.model import Mode, Reason
from autoheal.rules import RuleSet
from autoheal.rules.decide import Decision, Switches
from autoheal.state import Charge, Dispute, Episode, Silence, State
from autoheal.storm import Release, Storm
from tests.support.decisions import NOW, RULES, a_pause, a_run, ask, charge, episode

moments = st.floats(NOW - 1e4, NOW + 1e4) | st.sampled_from([-6.2e10, 2.5e11, 0.0])


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
    changes: list[dict[str, Any]] = [{"plan_digest": "0"}, {"rule_digest": "0"}, {"void": True}]
    for change in changes:
        about.released["restart"] = dataclasses.replace(release, **change)
        assert ask(state, about, rules=rules).reason is Reason.AWAITING_APPROVAL
        assert ask(state, about).reason is Reason.ACT
    about.released = {"dry": release}
    assert ask(state, about, rules=rules).reason is Reason.STORM


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
