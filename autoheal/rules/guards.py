"""The guards that time, other runs, people and chance can change: each a pure answer with what it looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from autoheal.model import Reason, rfc3339
from autoheal.rules.load import RuleSet
from autoheal.rules.schema import Rule, Window
from autoheal.rules.silencing import covering
from autoheal.state import Episode, Run, State

TEXT_SHOWN = 1000
"""How much of a rule's own text, or of an error, a guard shows; the rules' whole is kept by their digest."""
ERRORS_SHOWN = 3
ASK_OTHERS_SECONDS = 30.0
"""After so long Alertmanager or Prometheus is asked again about what keeps a rule from acting."""
BEGINNING_SECONDS = 60.0
"""What was approved at the last moment may take so long to begin: others are asked before, who may hang."""
SILENCES_SHOWN = 3
SILENCE_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Others:
    """What Alertmanager said of other alerts when it was asked, at `asked_at` (epoch seconds).

    `firing` is one beside which the rule must not act: its fingerprint, its alertname, and the `unless` that speaks of
    it. When there is none, `known` says whether that is certain, and `errors` why it is not.
    """

    asked_at: float
    known: bool
    firing: tuple[str, str, str] | None = None
    errors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How Alertmanager said that the alert itself stands when it was asked, at `asked_at` (epoch seconds).

    `silenced_by` are the ids of the silences that cover it. `known` is whether it was listed at all: Alertmanager
    forgets alerts at a restart, and may not answer.
    """

    asked_at: float
    known: bool
    silenced_by: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Population:
    """What Prometheus said that a query counts when it was asked, at `asked_at` (epoch seconds).

    `count` is finite; None where it could not tell, and `error` says why.
    """

    asked_at: float
    count: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision must know of the world beyond the state; None is what nobody asked.

    `populations` are by query.
    """

    others: Others | None = None
    standing: Standing | None = None
    populations: Mapping[str, Population] = field(default_factory=dict)


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guard's answer and what it looked at. `ask_again` is when a refusal may end (epoch seconds)."""

    reason: Reason
    passed: bool
    saw: dict[str, Any] = field(default_factory=dict)
    ask_again: float | None = None


def disputed(episode: Episode) -> Verdict:
    """Whether no Alertmanager has told the alert's end while another lists it: nobody knows then whether it fires."""
    if (dispute := episode.dispute) is None:
        return Verdict(Reason.DISPUTED, passed=True)
    saw = {"since": when(dispute.since), "ends_at": when(dispute.ends_at), "heard_at": when(dispute.heard_at)}
    return Verdict(Reason.DISPUTED, passed=False, saw=saw)


def acked(state: State, episode: Episode, now: float) -> Verdict:
    """Whether nobody has acknowledged the alert."""
    silence = covering(state.silences.values(), episode.labels, now)
    if silence is None:
        return Verdict(Reason.ACKED, passed=True, saw={"silences": len(state.silences)})
    saw = {"silence": silence.id, "by": silence.actor, "until": when(silence.ends_at)}
    return Verdict(Reason.ACKED, passed=False, saw=saw, ask_again=silence.ends_at)


def human_present(state: State, episode: Episode, rule: Rule, facts: Facts, now: float) -> Verdict:
    """Whether no silence that was made elsewhere says that a person minds the alert.

    What is not known does not stand in the way, unless the last thing known is that somebody was there.
    """
    standing = facts.standing
    if standing is None:
        return Verdict(Reason.HUMAN_PRESENT, passed=True, saw={"known": False})
    saw: dict[str, Any] = {"known": standing.known, "asked_at": when(standing.asked_at)}
    theirs = [silence for silence in standing.silenced_by if silence not in state.silences]
    if theirs:
        saw["silences"] = [silence[:SILENCE_SHOWN] for silence in theirs[:SILENCES_SHOWN]]
    last = episode.decisions.get(rule.name)
    still = not standing.known and last is not None and last.reason is Reason.HUMAN_PRESENT
    return Verdict(Reason.HUMAN_PRESENT, not theirs and not still, saw, now + ASK_OTHERS_SECONDS)


def paused(state: State, rule: Rule, now: float) -> Verdict:
    """Whether nobody has paused the rule, or all of them."""
    pauses = [pause for pause in state.paused(now) if pause.rule in (None, rule.name)]
    if not pauses:
        return Verdict(Reason.PAUSED, passed=True, saw={"pauses": len(state.pauses)})
    # Of several the one that lasts longest is what stands in the way.
    last = max(pauses, key=lambda pause: float("inf") if pause.until is None else pause.until)
    saw: dict[str, Any] = {"rule": last.rule, "how": last.how, "by": last.actor, "reason": last.reason}
    if last.until is not None:
        saw["until"] = when(last.until)
    return Verdict(Reason.PAUSED, passed=False, saw=saw, ask_again=last.until)


def approved(run: Run | None, episode: Episode, rule: Rule, plan_digest: str, now: float) -> Verdict:
    """Whether somebody has approved the run, or this plan of this rule with the batch of a storm.

    Hours later nobody expects it any more: until the run has begun, a word lasts as long as people have to give one.
    """
    if run is not None and run.approval is not None and run.approval.by is not None:
        # Nobody knows of a first step that was cut short, or whose intent a slow disk has delayed, that it has begun.
        begun = run.step > 1 or run.action_ok is not None
        until = run.approval.requested_at + rule.approval.expires + BEGINNING_SECONDS
        return Verdict(Reason.AWAITING_APPROVAL, begun or now < until, {"by": run.approval.by})
    release = episode.released.get(rule.name)
    if (
        release is not None
        and not release.void
        and now < release.ts + rule.approval.expires
        and (release.plan_digest, release.rule_digest) == (plan_digest, rule.digest)
    ):
        return Verdict(Reason.AWAITING_APPROVAL, passed=True, saw={"by": release.by, "with": "storm"})
    return Verdict(Reason.AWAITING_APPROVAL, passed=False, saw={"by": None})


def frozen(rule: Rule, rules: RuleSet, now: float) -> Verdict:
    """Whether no time window of the rule's, or of all rules', forbids to act now."""
    windows = (*rules.freeze, *rule.freeze)
    # Of several the one that lasts longest is what stands in the way.
    until, window = max(((window.until(now) or 0.0, str(window)) for window in windows), default=(0.0, ""))
    if until == 0.0:
        return Verdict(Reason.FROZEN, passed=True, saw={"windows": len(windows)})
    saw = {"window": window, "until": when(until)}
    return Verdict(Reason.FROZEN, passed=False, saw=saw, ask_again=until)


def unless(rule: Rule, facts: Facts, now: float) -> Verdict:
    """Whether none of the alerts fires beside which the rule does not act: to be certain, or not to act."""
    if not rule.unless:
        return Verdict(Reason.UNLESS, passed=True, saw={"alerts": 0})
    others = facts.others or Others(now, known=False, errors=("not asked yet",))
    saw: dict[str, Any] = {"alerts": len(rule.unless), "asked_at": when(others.asked_at), "known": others.known}
    if others.firing is not None:
        fingerprint, alertname, spoken_of = others.firing
        saw["firing"] = {"fingerprint": fingerprint, "alertname": alertname, "unless": spoken_of[:TEXT_SHOWN]}
    elif not others.known:
        saw["errors"] = [error[:TEXT_SHOWN] for error in others.errors[:ERRORS_SHOWN]]
    passed = others.known and others.firing is None
    return Verdict(Reason.UNLESS, passed, saw, ask_again=now + ASK_OTHERS_SECONDS)


def cooldown(state: State, rule: Rule, target: str, now: float) -> Verdict:
    """Whether the rule's last action on the target is long enough ago."""
    last = state.last_action.get(rule.name, {}).get(target)
    if last is None or rule.cooldown == 0:
        return Verdict(Reason.COOLDOWN, passed=True, saw={"cooldown": rule.cooldown})
    until = last + rule.cooldown
    saw = {"cooldown": rule.cooldown, "last_action": when(last), "until": when(until)}
    return Verdict(Reason.COOLDOWN, now >= until, saw, until)


def budget(state: State, rule: Rule, rules: RuleSet, target: str, now: float, run: Run | None) -> Verdict:
    """Whether none of the windows in which the run would count is spent."""
    # Runs that were decided but have not begun count as spent: a hundred alerts in one body share one budget.
    own = None if run is None else state.waiting.get(run.id)
    scopes: Sequence[tuple[str, Sequence[Window], str | None, str | None]] = (
        ("target", rule.budget.target, rule.name, target),
        ("rule", rule.budget.rule, rule.name, None),
        ("all", rules.budget, None, None),
    )
    saw: list[dict[str, Any]] = []
    for scope, windows, rule_name, target_name in scopes:
        spent = state.spent_on(rule_name, target_name)
        waiting = spent.waiting - (
            own is not None and rule_name in (None, own.rule) and target_name in (None, own.target)
        )
        for window in windows:
            first = spent.since(now - window.seconds)
            used = len(spent.times) - first + waiting
            saw.append({"scope": scope, "used": used, "of": window.count, "window": window.seconds})
            if used >= window.count:
                # The time at which enough charges have left the window; waiting ones count as charged now.
                over = first + used - window.count
                free = (spent.times[over] if over < len(spent.times) else now) + window.seconds
                return Verdict(Reason.BUDGET, passed=False, saw={"windows": saw}, ask_again=free)
    return Verdict(Reason.BUDGET, passed=True, saw={"windows": saw})


def breaker_open(state: State, rule: Rule, now: float, run: Run | None) -> Verdict:
    """Whether the rule has not failed too often in a row; after `reset` one run may show that it helps again."""
    breaker = state.breakers.get(rule.name)
    if rule.breaker is None or breaker is None:
        return Verdict(Reason.BREAKER_OPEN, passed=True, saw={"failures": 0 if breaker is None else breaker.failures})
    saw: dict[str, Any] = {"failures": breaker.failures, "of": rule.breaker.failures}
    # A demoted rule is a dry run, or asks people each time: its plans are what they judge it by.
    if breaker.demoted or not breaker.blocks(rule.breaker.failures):
        return Verdict(Reason.BREAKER_OPEN, passed=True, saw=saw)
    until = breaker.until(rule.breaker.reset)
    others = state.at_work(rule.name) - ({run.id} if run else set())
    saw |= {"until": when(until), "runs": sorted(others)}
    passed = now >= until and not others
    return Verdict(Reason.BREAKER_OPEN, passed, saw, until if now < until else None)


def storm(state: State, episode: Episode, rule: Rule) -> Verdict:
    """Whether no storm holds the alert: too many targets at once have one cause, which the rule does not know."""
    if rule.storm is None:
        return Verdict(Reason.STORM, passed=True, saw={"of": None})
    saw: dict[str, Any] = {"of": rule.storm.count, "window": rule.storm.seconds}
    if (release := episode.released.get(rule.name)) is not None:
        return Verdict(Reason.STORM, passed=True, saw=saw | {"released_by": release.by})
    known = state.storms.get(rule.name)
    if known is None or not known.holds(episode.fingerprint):
        return Verdict(Reason.STORM, passed=True, saw=saw)
    return Verdict(Reason.STORM, passed=False, saw=saw | {"since": when(known.began_at), "over": known.over})


def fleet_guard(state: State, rule: Rule, query: str | None, facts: Facts, now: float, run: Run | None) -> Verdict:
    """Whether one more of what `query` counts may be under treatment. Not knowing how many there are is a no."""
    if rule.fleet is None or query is None:
        return Verdict(Reason.FLEET_GUARD, passed=True, saw={"at_most": None})
    others = state.at_work(rule.name) - ({run.id} if run else set())
    treated = 1 + sum(state.runs[other].plan.get("fleet") == query for other in others)
    population = facts.populations.get(query) or Population(now, None, "not asked yet")
    saw: dict[str, Any] = {
        "query": query[:TEXT_SHOWN],
        "asked_at": when(population.asked_at),
        "population": population.count,
        "at_most": str(rule.fleet.at_most),
        "treated": treated,
    }
    if population.count is None:
        saw["error"] = population.error
    else:
        saw["allowed"] = rule.fleet.at_most.of(population.count)
    return Verdict(Reason.FLEET_GUARD, treated <= saw.get("allowed", 0), saw, now + ASK_OTHERS_SECONDS)


def concurrency(state: State, rule: Rule, max_running: int, run: Run | None) -> Verdict:
    """Whether there is room for one more run, in all and of this rule. `saw` names the scope that has none."""
    own = set() if run is None else {run.id}
    running = len(state.at_work() - own)
    saw: dict[str, Any] = {"scope": "all", "running": running, "of": max_running}
    if running >= max_running or rule.concurrency is None:
        return Verdict(Reason.CONCURRENCY, running < max_running, saw)
    running = len(state.at_work(rule.name) - own)
    saw = {"scope": "rule", "running": running, "of": rule.concurrency}
    return Verdict(Reason.CONCURRENCY, running < rule.concurrency, saw)


def hold_out(episode: Episode, rule: Rule) -> Verdict:
    """Whether the episode is in the share on which the rule acts.

    Its place from 0 to 100 is a hash of the rule's name, the fingerprint and the alert's start: always the same for
    one episode, and whoever is in at 10% is in at 25%.
    """
    about = orjson.dumps([rule.name, episode.fingerprint, when(episode.starts_at)])
    place = int.from_bytes(hashlib.sha256(about).digest()[:8]) / 2**64 * 100
    return Verdict(Reason.HOLD_OUT, place < rule.rollout, {"rollout": rule.rollout, "place": round(place, 3)})


def when(ts: float) -> str | float:
    """`ts` (epoch seconds) as records show it."""
    try:
        return rfc3339(ts)
    except (ValueError, OverflowError, OSError):
        return ts  # a hostile startsAt at the edge of the calendar
