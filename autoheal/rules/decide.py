"""The decision: may this rule act on this episode now, and if not, why and when to ask again.

`decide` is pure and total: no I/O, no clock, no randomness, never an exception. Guards are asked in the order of
`Reason`; the first that says no gives the reason, and every answer is kept with what the guard looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from autoheal.errors import RenderError
from autoheal.model import OWN_ALERTS, Mode, Reason, plan_digest
from autoheal.rules import guards
from autoheal.rules.guards import NO_FACTS, TEXT_SHOWN, Facts, Verdict, when
from autoheal.rules.load import RuleSet
from autoheal.rules.render import plan
from autoheal.rules.schema import Rule
from autoheal.rules.selftest import SELF_TEST
from autoheal.state import Episode, Run, State

_MODES = list(Mode)
"""From the one that goes least far on."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The settings that stand above all rules. `max_running` is how many runs may be at work at the same time."""

    enabled: bool
    dry_run: bool
    max_running: int = 32


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to happen with one episode by one rule, and why.

    `now` is the time for which it was made (epoch seconds, whole microseconds: what a record can tell).
    `plan` is what would be executed; None when it could not be rendered or was not reached.
    `rule_digest` and `approval_seconds` are what an approval is bound to and how long it may take, in `mode: approve`.
    `ask_again` (epoch seconds) is None when no passing of time alone can change the answer.
    """

    reason: Reason
    rule: str | None
    mode: Mode | None
    now: float
    verdicts: tuple[Verdict, ...]
    plan: dict[str, Any] | None = None
    plan_digest: str | None = None
    rule_digest: str | None = None
    approval_seconds: float | None = None
    ask_again: float | None = None

    @property
    def target(self) -> str | None:
        """The plan's target, once rendered."""
        return None if self.plan is None else str(self.plan["target"])


def decide(
    state: State,
    episode: Episode,
    rule: Rule | None,
    rules: RuleSet,
    switches: Switches,
    now: float,
    run: Run | None = None,
    facts: Facts = NO_FACTS,
) -> Decision:
    """Decide on `episode` by `rule` (None: nothing matched) at `now`.

    `run` is given when an accepted run asks again at the moment of execution: its own lock is then no obstacle,
    and from its second step on neither are cooldown and budget, which are charged once per run, and low space.
    """
    now = round(now, 6)
    verdicts: list[Verdict] = []
    made: dict[str, Any] | None = None
    mode = None if rule is None else mode_of(state, rule, switches)

    def conclude(reason: Reason, ask_again: float | None = None) -> Decision:
        return Decision(
            reason=reason,
            rule=None if rule is None else rule.name,
            mode=mode,
            now=now,
            verdicts=tuple(verdicts),
            plan=made,
            plan_digest=None if made is None else plan_digest(made),
            rule_digest=None if rule is None else rule.digest,
            approval_seconds=None if rule is None else rule.approval.expires,
            ask_again=ask_again,
        )

    verdicts.append(Verdict(Reason.DISABLED, switches.enabled, {"enabled": switches.enabled}))
    if not switches.enabled:
        return conclude(Reason.DISABLED)
    verdicts.append(Verdict(Reason.NO_RULE, rule is not None, {"rules": len(rules.rules)}))
    if rule is None:
        return conclude(Reason.NO_RULE)
    verdicts.append(pause := guards.paused(state, rule, now))
    if not pause.passed:
        # A storm is no smaller for being paused: it counts, and goes on to hold, what the rule would act on.
        made = _plan_or_none(rule, episode, rules, mode)
        return conclude(Reason.PAUSED, pause.ask_again)
    verdicts.append(protected(episode, rule, rules))
    if not verdicts[-1].passed:
        return conclude(Reason.PROTECTED)
    if rule.target is not None:
        try:
            made = plan(rule, episode)
        except RenderError as error:
            verdicts.append(Verdict(Reason.BAD_TARGET, passed=False, saw={"error": str(error)}))
            return conclude(Reason.BAD_TARGET)
        allowed = None if rule.allow_target is None else rule.allow_target.text[:TEXT_SHOWN]
        verdicts.append(
            Verdict(Reason.BAD_TARGET, passed=True, saw={"target": made["target"], "allow_target": allowed})
        )
    verdicts.append(Verdict(Reason.RULE_OFF, mode is not Mode.OFF, {"mode": rule.mode.value, **_demotion(state, rule)}))
    if mode is Mode.OFF or made is None:
        return conclude(Reason.RULE_OFF)
    for verdict in _waits(state, episode, rule, rules, made, mode, switches, now, run, facts):
        verdicts.append(verdict)
        if not verdict.passed:
            return conclude(verdict.reason, verdict.ask_again)
    if mode is Mode.DRY_RUN:
        return conclude(Reason.DRY_RUN)
    # A ladder that was begun is not left half-way because the share has shrunk.
    if run is None or run.step == 0:
        verdicts.append(share := guards.hold_out(episode, rule))
        if not share.passed:
            mode = Mode.DRY_RUN  # what becomes of it must never act
            return conclude(Reason.HOLD_OUT)
    if mode is Mode.APPROVE:
        verdicts.append(approval := guards.approved(run, episode, rule, plan_digest(made), now))
        if not approval.passed:
            return conclude(Reason.AWAITING_APPROVAL)
    return conclude(Reason.ACT)


def _plan_or_none(rule: Rule, episode: Episode, rules: RuleSet, mode: Mode | None) -> dict[str, Any] | None:
    """The plan of a rule that may act on that alert and has a safe target for it."""
    if mode is Mode.OFF or rule.target is None or not protected(episode, rule, rules).passed:
        return None
    try:
        return plan(rule, episode)
    except RenderError:
        return None


def mode_of(state: State, rule: Rule, switches: Switches) -> Mode:
    """How far the rule may go now, whatever it says itself."""
    if switches.dry_run:
        return min(rule.mode, Mode.DRY_RUN, key=_MODES.index)
    return demoted_to(rule) if _demotion(state, rule) else rule.mode


def demoted_to(rule: Rule) -> Mode:
    """How far the rule may go once it is demoted: never further than it goes by itself."""
    demote = Mode.DRY_RUN if rule.breaker is None else Mode(rule.breaker.demote)
    return min(rule.mode, demote, key=_MODES.index)


def _demotion(state: State, rule: Rule) -> dict[str, bool]:
    breaker = state.breakers.get(rule.name)
    return {"demoted": True} if breaker is not None and breaker.demoted else {}


def protected(episode: Episode, rule: Rule, rules: RuleSet) -> Verdict:
    """Whether no protection covers the alert. One covers all alerts about autoheal: it is not to act on itself.

    The rule of the self-test, which never acts, may say what it would do.
    """
    if rule is SELF_TEST:
        return Verdict(Reason.PROTECTED, passed=True, saw={"asked": 0})
    if episode.alertname.startswith(OWN_ALERTS):
        return Verdict(Reason.PROTECTED, passed=False, saw={"protect": f'alertname=~"{OWN_ALERTS}.*"'})
    for matchers in (*rules.protect, *rule.protect):
        if all(matcher.matches(episode.labels) for matcher in matchers):
            return Verdict(Reason.PROTECTED, passed=False, saw={"protect": ", ".join(map(str, matchers))[:TEXT_SHOWN]})
    return Verdict(Reason.PROTECTED, passed=True, saw={"asked": len(rules.protect) + len(rule.protect)})


def _waits(
    state: State,
    episode: Episode,
    rule: Rule,
    rules: RuleSet,
    made: Mapping[str, Any],
    mode: Mode | None,
    switches: Switches,
    now: float,
    run: Run | None,
    facts: Facts,
) -> Iterator[Verdict]:
    """The guards that time or other runs can change."""
    target = made["target"]
    # A sender whose clock runs ahead must not delay remediation beyond `for`.
    ripe = min(episode.starts_at, episode.opened_at) + rule.for_
    yield Verdict(Reason.NOT_YET, now >= ripe, {"for": rule.for_, "until": when(ripe)}, ripe)
    if run is None:
        yield Verdict(Reason.RUN_ENDED, rule.name not in episode.ran, {"episode": episode.id})
    holder = state.locks.get(target)
    own = episode.runs.get(rule.name)
    busy = {other for other in (holder, own) if other is not None} - ({run.id} if run else set())
    yield Verdict(Reason.IN_PROGRESS, not busy, {"runs": sorted(busy)})
    yield guards.disputed(episode)
    yield guards.acked(state, episode, now)
    yield guards.human_present(state, episode, rule, facts, now)
    yield guards.frozen(rule, rules, now)
    yield guards.unless(rule, facts, now)
    if run is not None and run.step > 0:
        return
    yield guards.cooldown(state, rule, target, now)
    yield guards.budget(state, rule, rules, target, now, run)
    yield guards.breaker_open(state, rule, now, run)
    yield guards.storm(state, episode, rule)
    yield guards.fleet_guard(state, rule, made.get("fleet"), facts, now, run)
    yield guards.concurrency(state, rule, switches.max_running, run)
    # Before alerts can no longer be taken in, nothing new is begun. What has begun needs room to tell its end.
    if mode is not Mode.DRY_RUN:
        yield Verdict(Reason.LOW_SPACE, not state.space_low)
