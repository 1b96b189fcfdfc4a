"""What forbids to act, by the documentation: what is asked of a run's first action, and what of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tests.support.games.laws import ALERTS, FREEZE, MAX_RUNNING, Budget, Law, Laws

if TYPE_CHECKING:
    from tests.support.games.told import Firing, Seen, Told
    from tests.support.games.watchman import Watchman

UNAPPROVED = "nobody has approved it"
LATE_SECONDS = 60.0
"""So long after the time that people had to answer an approved run may still begin."""


def objections(known: Watchman, run: Seen, law: Law, book: Laws, now: float, population: float) -> Iterator[str]:
    """What is asked of a run's first action alone, where that is written down at `now`."""
    last = known.last_action.get((run.rule, run.target))
    if last is not None and now < last + law.cooldown:
        yield "cooldown"
    yield from _spent(known, run, law, book, now)
    others = [other for other in known.runs.values() if other.at_work and other is not run]
    mine = [other for other in others if other.rule == run.rule]
    if len(others) >= MAX_RUNNING or (law.concurrency is not None and len(mine) >= law.concurrency):
        yield "concurrency"
    if law.fleet is not None and 1 + len(mine) > int(population) * law.fleet // 100:
        yield "fleet"
    if law.breaker is not None and run.rule not in known.demoted:
        yield from _broken(known, run, law.breaker, mine, now)
    held = run.rule in known.storming or run.fingerprint in known.storms.get(run.rule, ())
    if law.storm is not None and held and (run.rule, run.episode) not in known.released:
        yield "storm"
    firing = known.episodes.get(run.fingerprint)
    if firing is not None:
        if now < min(firing.starts_at, firing.opened_at) + law.wait:
            yield "for"
        place = known.places.get((run.rule, run.fingerprint, firing.starts_at))
        if law.rollout < 100 and (place is None or place >= law.rollout):
            yield "rollout"
    if known.space_low:
        yield "space"


def _spent(known: Watchman, run: Seen, law: Law, book: Laws, now: float) -> Iterator[str]:
    # Who has not begun holds its share.
    waiting = [other for other in known.open_runs().values() if not other.step and other is not run]
    charges = known.charges + [(now, other.rule, other.target) for other in waiting]
    scopes: list[tuple[str, tuple[Budget, ...], list[float]]] = [
        ("all", book.budget, [ts for ts, _, _ in charges]),
        ("rule", law.per_rule, [ts for ts, rule, _ in charges if rule == run.rule]),
        ("target", law.per_target, [ts for ts, *on in charges if on == [run.rule, run.target]]),
    ]
    for scope, budgets, times in scopes:
        for count, seconds in budgets:
            if sum(ts > now - seconds for ts in times) >= count:
                yield f"budget of {scope}: {count} in {seconds:g} s"


def _broken(known: Told, run: Seen, breaker: Budget, mine: Sequence[Seen], now: float) -> Iterator[str]:
    failures, reset = breaker
    if known.failures[run.rule] >= failures:
        if now < known.failed_at[run.rule] + reset:
            yield "breaker"
        if mine:
            yield "breaker: a second trial"


def forbidden(known: Told, run: Seen, step: int, text: str, book: Laws, now: float) -> str | None:
    """Why `book` forbids that step at the very moment at which it is executed, if it does."""
    law = book.named(run.rule)
    if law is None or law.mode not in ("live", "approve"):
        return "no such rule"
    if step > len(law.does) or text != law.text(step, run.target):
        return "another plan"
    if run.end is not None or run.unwanted or run.outcome is not None:
        return "the run was to end"
    firing = known.episodes.get(run.fingerprint)
    if firing is None or firing.id != run.episode:
        return "the alert has ended"
    if firing.disputed:
        return "nobody knows whether it fires"
    if "env" in firing.labels:
        return "protected"
    demoted = known.demoted.get(run.rule)
    if demoted == "dry_run":
        return "demoted"
    if any(rule in (None, run.rule) and now < until for (rule, _), until in known.pauses.items()):
        return "paused"
    if any(_covers(of, firing) and now < until for of, until in known.acks.values()):
        return "acknowledged"
    if known.truth.minded(run.fingerprint):
        return "somebody else has silenced it"
    if FREEZE[0] <= now % 86400 < FREEZE[1]:
        return "frozen"
    if (barred := known.truth.barred(law.unless)) is not None:
        return barred
    if "approve" in (law.mode, demoted) and not (step > 1 or approved(known, run, law, book, now)):
        return UNAPPROVED
    return None


def _covers(fingerprint: str, firing: Firing) -> bool:
    """Whether an acknowledgement of one alert is one of another, as Alertmanager's silences are."""
    return ALERTS[int(fingerprint, 16)].items() <= firing.labels.items()


def approved(known: Told, run: Seen, law: Law, book: Laws, now: float) -> bool:
    """Whether people said so of the run, or of this plan of this rule with the batch of a storm, and not long ago."""
    if run.granted and run.asked_until is not None:
        return now < run.asked_until + LATE_SECONDS
    if (run.rule, run.episode) in known.void:
        return False
    *digests, at = known.released.get((run.rule, run.episode), (0.0,))
    return digests == [run.digest, book.digest(run.rule)] and now < at + law.approval + LATE_SECONDS
