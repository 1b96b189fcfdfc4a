"""The decision: may this rule act on this episode now, and if not, why and when to ask again.

`decide` is pure and total: no I/O, no clock, no randomness, never an exception. Guards are asked in the order of
`Reason`; the first that says no gives the reason, and every answer is kept with what the guard looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoheal.errors import RenderError
from autoheal.model import Mode, Reason, plan_digest, rfc3339
from autoheal.rules.load import RuleSet
from autoheal.rules.render import plan
from autoheal.rules.schema import Rule, Window
from autoheal.rules.silencing import covering
from autoheal.state import Episode, Run, State

TEXT_SHOWN = 1000
"""How much of a rule's own text a guard shows; the whole is kept by the rules' digest."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The settings that stand above all rules."""

    enabled: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guard's answer and what it looked at. `ask_again` is when a refusal may end (epoch seconds)."""

    reason: Reason
    passed: bool
    saw: dict[str, Any] = field(default_factory=dict)
    ask_again: float | None = None


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
) -> Decision:
    """Decide on `episode` by `rule` (None: nothing matched) at `now`.

    `run` is given when an accepted run asks again at the moment of execution: its own lock is then no obstacle,
    and from its second step on neither are cooldown and budget, which are charged once per run, and low space.
    """
    now = round(now, 6)
    verdicts: list[Verdict] = []
    made: dict[str, Any] | None = None
    mode = None if rule is None else _mode(rule, switches)

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
    verdicts.append(pause := _paused(state, rule, now))
    if not pause.passed:
        return conclude(Reason.PAUSED, pause.ask_again)
    verdicts.append(_protected(episode, rule, rules))
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
    verdicts.append(Verdict(Reason.RULE_OFF, mode is not Mode.OFF, {"mode": rule.mode.value}))
    if mode is Mode.OFF or made is None:
        return conclude(Reason.RULE_OFF)
    for verdict in _waits(state, episode, rule, rules, made["target"], mode, now, run):
        verdicts.append(verdict)
        if not verdict.passed:
            return conclude(verdict.reason, verdict.ask_again)
    if mode is Mode.DRY_RUN:
        return conclude(Reason.DRY_RUN)
    if mode is Mode.APPROVE:
        verdicts.append(approval := _approved(run))
        if not approval.passed:
            return conclude(Reason.AWAITING_APPROVAL)
    return conclude(Reason.ACT)


def _mode(rule: Rule, switches: Switches) -> Mode:
    if rule.mode in (Mode.LIVE, Mode.APPROVE) and switches.dry_run:
        return Mode.DRY_RUN
    return rule.mode


def _paused(state: State, rule: Rule, now: float) -> Verdict:
    pauses = [pause for pause in state.paused(now) if pause.rule in (None, rule.name)]
    if not pauses:
        return Verdict(Reason.PAUSED, passed=True, saw={"pauses": len(state.pauses)})
    # Of several the one that lasts longest is what stands in the way.
    last = max(pauses, key=lambda pause: float("inf") if pause.until is None else pause.until)
    saw: dict[str, Any] = {"rule": last.rule, "how": last.how, "by": last.actor, "reason": last.reason}
    if last.until is not None:
        saw["until"] = _when(last.until)
    return Verdict(Reason.PAUSED, passed=False, saw=saw, ask_again=last.until)


def _protected(episode: Episode, rule: Rule, rules: RuleSet) -> Verdict:
    for matchers in (*rules.protect, *rule.protect):
        if all(matcher.matches(episode.labels) for matcher in matchers):
            return Verdict(Reason.PROTECTED, passed=False, saw={"protect": ", ".join(map(str, matchers))[:TEXT_SHOWN]})
    return Verdict(Reason.PROTECTED, passed=True, saw={"asked": len(rules.protect) + len(rule.protect)})


def _waits(
    state: State,
    episode: Episode,
    rule: Rule,
    rules: RuleSet,
    target: str,
    mode: Mode | None,
    now: float,
    run: Run | None,
) -> Iterator[Verdict]:
    """The guards that time or other runs can change."""
    # A sender whose clock runs ahead must not delay remediation beyond `for`.
    ripe = min(episode.starts_at, episode.opened_at) + rule.for_
    yield Verdict(Reason.NOT_YET, now >= ripe, {"for": rule.for_, "until": _when(ripe)}, ripe)
    if run is None:
        yield Verdict(Reason.RUN_ENDED, rule.name not in episode.ran, {"episode": episode.id})
    holder = state.locks.get(target)
    own = episode.runs.get(rule.name)
    busy = {other for other in (holder, own) if other is not None} - ({run.id} if run else set())
    yield Verdict(Reason.IN_PROGRESS, not busy, {"runs": sorted(busy)})
    yield _acked(state, episode, now)
    if run is not None and run.step > 0:
        return
    yield _cooldown(state, rule, target, now)
    yield _budget(state, rule, rules, target, now, run)
    # Before alerts can no longer be taken in, nothing new is begun. What has begun needs room to tell its end.
    if mode is not Mode.DRY_RUN:
        yield Verdict(Reason.LOW_SPACE, not state.space_low)


def _acked(state: State, episode: Episode, now: float) -> Verdict:
    silence = covering(state.silences.values(), episode.labels, now)
    if silence is None:
        return Verdict(Reason.ACKED, passed=True, saw={"silences": len(state.silences)})
    saw = {"silence": silence.id, "by": silence.actor, "until": _when(silence.ends_at)}
    return Verdict(Reason.ACKED, passed=False, saw=saw, ask_again=silence.ends_at)


def _approved(run: Run | None) -> Verdict:
    approval = None if run is None else run.approval
    by = None if approval is None else approval.by
    return Verdict(Reason.AWAITING_APPROVAL, by is not None, {"by": by})


def _cooldown(state: State, rule: Rule, target: str, now: float) -> Verdict:
    last = state.last_action.get(rule.name, {}).get(target)
    if last is None or rule.cooldown == 0:
        return Verdict(Reason.COOLDOWN, passed=True, saw={"cooldown": rule.cooldown})
    until = last + rule.cooldown
    saw = {"cooldown": rule.cooldown, "last_action": _when(last), "until": _when(until)}
    return Verdict(Reason.COOLDOWN, now >= until, saw, until)


def _budget(state: State, rule: Rule, rules: RuleSet, target: str, now: float, run: Run | None) -> Verdict:
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


def _when(ts: float) -> str | float:
    try:
        return rfc3339(ts)
    except (ValueError, OverflowError, OSError):
        return ts  # a hostile startsAt at the edge of the calendar
